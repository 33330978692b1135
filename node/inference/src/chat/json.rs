//! JSON in templates: as Python's `json.dumps` writes it, which is what models were trained on.

use hive_api::EngineError;
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use super::meter::Meter;
use crate::error::request;

/// Levels of JSON in a chat: schemas of tools, arguments, variables.
pub(super) const DEPTH: usize = 64;

/// Reads JSON into a value of a template; the order of keys stays. Texts go through `text`.
pub(super) fn value(
    json: &serde_json::Value,
    text: &dyn Fn(&str) -> String,
    depth: usize,
) -> Result<Value, EngineError> {
    use serde_json::Value as Json;
    if depth == DEPTH {
        return Err(request(format!("JSON of the chat is nested over {DEPTH} levels deep")));
    }
    Ok(match json {
        Json::Null => Value::from(()),
        Json::Bool(bool) => Value::from(*bool),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, number) => Value::from(number.unwrap_or_default()),
        },
        Json::String(string) => Value::from(text(string)),
        Json::Array(items) => {
            let items = items.iter().map(|item| value(item, text, depth + 1));
            Value::from(items.collect::<Result<Vec<_>, _>>()?)
        }
        Json::Object(map) => {
            let pairs =
                map.iter().map(|(key, item)| Ok((text(key), value(item, text, depth + 1)?)));
            Value::from_pairs(pairs.collect::<Result<Vec<_>, EngineError>>()?)
        }
    })
}

/// How JSON is written.
pub(super) struct Style {
    /// Spaces of a level; `None` writes all on one line.
    pub(super) indent: Option<usize>,
    pub(super) ascii: bool,
    pub(super) sorted: bool,
    /// Between elements, and between a key and its value.
    pub(super) separators: (String, String),
}

/// Writes a value as JSON.
pub(super) fn write(meter: &Meter, value: &Value, style: &Style) -> Result<String, Error> {
    meter.deep(value)?;
    let mut out = String::new();
    write_value(meter, value, style, 0, &mut out)?;
    Ok(out)
}

fn write_value(
    meter: &Meter,
    value: &Value,
    style: &Style,
    level: usize,
    out: &mut String,
) -> Result<(), Error> {
    let line = |out: &mut String, level: usize| {
        if let Some(indent) = style.indent {
            meter.charge((indent * level) as u64 + 1)?;
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * level));
        }
        Ok::<_, Error>(())
    };
    let (between, after_key) = &style.separators;
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => write_text(value.as_str().unwrap_or_default(), style.ascii, out),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter()?.checked() {
                if !empty {
                    meter.charge(between.len() as u64)?;
                    out.push_str(between);
                }
                empty = false;
                line(out, level + 1)?;
                write_value(meter, &item?, style, level + 1, out)?;
            }
            if !empty {
                line(out, level)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut keys = value.try_iter()?.collect::<Vec<_>>();
            if style.sorted {
                keys.sort();
            }
            out.push('{');
            for (index, key) in keys.iter().enumerate() {
                if 0 < index {
                    meter.charge(between.len() as u64)?;
                    out.push_str(between);
                }
                line(out, level + 1)?;
                write_text(&key.to_string(), style.ascii, out);
                meter.charge(after_key.len() as u64)?;
                out.push_str(after_key);
                write_value(meter, &value.get_item(key)?, style, level + 1, out)?;
            }
            if !keys.is_empty() {
                line(out, level)?;
            }
            out.push('}');
        }
        kind => {
            return Err(Error::new(ErrorKind::BadSerialization, format!("{kind} is no JSON")));
        }
    }
    Ok(())
}

fn write_text(text: &str, ascii: bool, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if control < ' ' || (ascii && !control.is_ascii()) => {
                for unit in control.encode_utf16(&mut [0; 2]) {
                    // Writing to a `String` cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

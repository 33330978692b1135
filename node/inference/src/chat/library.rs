//! What templates may call: the filters, tests, methods and functions of Jinja that chat templates
//! use, each paid for.
//!
//! Everything else is an unknown name. What gives out more than it takes in (`replace`, `join`,
//! `indent`, `tojson`, `range`) is written here; the rest is minijinja's, behind a payment for what
//! goes in and a list in place of a view for what comes out.

use std::time::SystemTime;

use minijinja::functions::Function;
use minijinja::value::{FunctionArgs, FunctionResult, Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, filters, tests};
use minijinja_contrib::pycompat;

use super::meter::Meter;
use super::{clock, json};

/// Spaces that a level of JSON or of an indented text may have.
const WIDEST: usize = 16;

/// Numbers in a range.
const LONGEST_RANGE: i64 = 10_000;

/// Makes everything known to an environment.
pub(super) fn install(env: &mut Environment<'_>, meter: &Meter, now: SystemTime) {
    for (name, test) in all_tests() {
        let meter = meter.clone();
        env.add_test(name, move |state: &mut State, args: Rest<Value>| -> Result<bool, Error> {
            for arg in args.iter().filter(|arg| arg.as_str().is_some()) {
                meter.shallow(arg)?;
            }
            Ok(test.call(state, &args)?.is_true())
        });
    }
    for (name, pay, filter) in all_filters() {
        let meter = meter.clone();
        env.add_filter(name, move |state: &mut State, args: Rest<Value>, kwargs: Kwargs| {
            let args = with_named(args, kwargs);
            for arg in &args {
                match pay {
                    Pay::Shallow => meter.shallow(arg)?,
                    Pay::Deep => meter.deep(arg)?,
                }
            }
            let made = filter.call(state, &args)?;
            meter.shallow(&made)?;
            meter.collect(made)
        });
    }
    own_filters(env, meter);
    own_functions(env, meter, now);
    let meter = meter.clone();
    env.set_unknown_method_callback(move |state, value, name, args| {
        method(&meter, state, value, name, args)
    });
}

#[derive(Clone, Copy)]
enum Pay {
    /// For texts and the number of elements.
    Shallow,
    /// For everything inside as well.
    Deep,
}

fn function<F, Rv, Args>(f: F) -> Value
where
    F: Function<Rv, Args>,
    Rv: FunctionResult,
    Args: for<'a> FunctionArgs<'a>,
{
    Value::from_function(f)
}

/// All arguments in one list, the named ones last, as minijinja hands them on.
fn with_named(args: Rest<Value>, kwargs: Kwargs) -> Vec<Value> {
    let mut args = args.0;
    if kwargs.args().next().is_some() {
        args.push(Value::from(kwargs));
    }
    args
}

fn all_filters() -> Vec<(&'static str, Pay, Value)> {
    use Pay::{Deep, Shallow};
    vec![
        ("abs", Shallow, function(filters::abs)),
        ("attr", Shallow, function(filters::attr)),
        ("bool", Shallow, function(filters::bool)),
        ("capitalize", Deep, function(filters::capitalize)),
        ("count", Shallow, function(filters::length)),
        ("d", Shallow, function(filters::default)),
        ("default", Shallow, function(filters::default)),
        ("dictsort", Deep, function(filters::dictsort)),
        ("first", Shallow, function(filters::first)),
        ("float", Shallow, function(filters::float)),
        ("groupby", Deep, function(filters::groupby)),
        ("int", Shallow, function(filters::int)),
        ("items", Shallow, function(filters::items)),
        ("last", Shallow, function(filters::last)),
        ("length", Shallow, function(filters::length)),
        ("lines", Shallow, function(filters::lines)),
        ("list", Shallow, function(filters::list)),
        ("lower", Deep, function(filters::lower)),
        ("map", Deep, function(filters::map)),
        ("max", Deep, function(filters::max)),
        ("min", Deep, function(filters::min)),
        ("reject", Deep, function(filters::reject)),
        ("rejectattr", Deep, function(filters::rejectattr)),
        ("reverse", Shallow, function(filters::reverse)),
        ("round", Shallow, function(filters::round)),
        ("safe", Deep, function(|value: Value| value)),
        ("select", Deep, function(filters::select)),
        ("selectattr", Deep, function(filters::selectattr)),
        ("sort", Deep, function(filters::sort)),
        ("split", Shallow, function(filters::split)),
        ("string", Deep, function(|value: Value| value.to_string())),
        ("title", Deep, function(filters::title)),
        ("trim", Deep, function(filters::trim)),
        ("unique", Deep, function(filters::unique)),
        ("upper", Deep, function(filters::upper)),
    ]
}

fn all_tests() -> Vec<(&'static str, Value)> {
    let mut all = vec![
        ("boolean", function(tests::is_boolean)),
        ("defined", function(tests::is_defined)),
        ("divisibleby", function(tests::is_divisibleby)),
        ("endingwith", function(tests::is_endingwith)),
        ("even", function(tests::is_even)),
        ("false", function(tests::is_false)),
        ("float", function(tests::is_float)),
        ("in", function(|a: Value, b: Value| contains(&b, &a))),
        ("integer", function(tests::is_integer)),
        ("iterable", function(tests::is_iterable)),
        ("lower", function(tests::is_lower)),
        ("mapping", function(tests::is_mapping)),
        ("none", function(tests::is_none)),
        ("number", function(tests::is_number)),
        ("odd", function(tests::is_odd)),
        ("sequence", function(tests::is_sequence)),
        ("startingwith", function(tests::is_startingwith)),
        ("string", function(tests::is_string)),
        ("true", function(tests::is_true)),
        ("undefined", function(tests::is_undefined)),
        ("upper", function(tests::is_upper)),
    ];
    let comparisons: [(&[&'static str], Value); 6] = [
        (&["eq", "equalto", "==", "sameas"], function(tests::is_eq)),
        (&["ne", "!="], function(tests::is_ne)),
        (&["lt", "lessthan", "<"], function(tests::is_lt)),
        (&["le", "<="], function(tests::is_le)),
        (&["gt", "greaterthan", ">"], function(tests::is_gt)),
        (&["ge", ">="], function(tests::is_ge)),
    ];
    for (names, test) in comparisons {
        all.extend(names.iter().map(|name| (*name, test.clone())));
    }
    all
}

fn contains(container: &Value, value: &Value) -> bool {
    match (container.as_str(), value.as_str()) {
        (Some(text), Some(part)) => text.contains(part),
        (Some(_), None) => false,
        (None, _) if container.kind() == ValueKind::Map => {
            container.get_item(value).is_ok_and(|found| !found.is_undefined())
        }
        (None, _) => container.try_iter().is_ok_and(|mut items| items.any(|item| item == *value)),
    }
}

fn own_filters(env: &mut Environment<'_>, meter: &Meter) {
    let paid = meter.clone();
    env.add_filter("replace", move |text: String, from: String, to: String| {
        replace(&paid, &text, &from, &to, None)
    });
    let paid = meter.clone();
    env.add_filter(
        "join",
        move |state: &mut State, items: Value, between: Option<String>, kwargs: Kwargs| {
            // By an attribute: `messages | join(', ', attribute='name')`.
            let items = if kwargs.has("attribute") {
                paid.deep(&items)?;
                function(filters::map).call(state, &[items, Value::from(kwargs)])?
            } else {
                items
            };
            join(&paid, &items, &between.unwrap_or_default())
        },
    );
    let paid = meter.clone();
    env.add_filter(
        "indent",
        move |text: String, width: Option<usize>, first: Option<bool>, blank: Option<bool>| {
            let width = width.unwrap_or(4).min(WIDEST);
            let lines = text.matches('\n').count() as u64 + 1;
            paid.charge(text.len() as u64 + lines * width as u64)?;
            let prefix = " ".repeat(width);
            let mut out = String::new();
            for (index, line) in text.split('\n').enumerate() {
                if 0 < index {
                    out.push('\n');
                }
                let wanted = if index == 0 { first.unwrap_or(false) } else { true };
                if wanted && (blank.unwrap_or(false) || !line.is_empty()) {
                    out.push_str(&prefix);
                }
                out.push_str(line);
            }
            Ok::<_, Error>(out)
        },
    );
    let paid = meter.clone();
    env.add_filter("tojson", move |value: Value, indent: Option<Value>, kwargs: Kwargs| {
        let named = |name: &str| kwargs.get::<Option<Value>>(name).ok()?;
        let indent = indent.or_else(|| named("indent")).and_then(|n| usize::try_from(n).ok());
        let separators = named("separators").and_then(|pair| {
            let item = |at| pair.get_item_by_index(at).ok()?.as_str().map(str::to_owned);
            Some((item(0)?, item(1)?))
        });
        let usual = if indent.is_some() { "," } else { ", " };
        let style = json::Style {
            indent: indent.map(|indent| indent.min(WIDEST)),
            ascii: named("ensure_ascii").is_some_and(|ascii| ascii.is_true()),
            sorted: named("sort_keys").is_some_and(|sorted| sorted.is_true()),
            separators: separators.unwrap_or_else(|| (usual.to_owned(), ": ".to_owned())),
        };
        json::write(&paid, &value, &style)
    });
}

fn own_functions(env: &mut Environment<'_>, meter: &Meter, now: SystemTime) {
    env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    env.add_function("strftime_now", move |form: &str| clock::format(now, form));
    env.add_function("namespace", minijinja::functions::namespace);
    let paid = meter.clone();
    env.add_function("dict", move |args: Rest<Value>, kwargs: Kwargs| {
        let args = with_named(args, kwargs);
        args.iter().try_for_each(|arg| paid.deep(arg))?;
        let mut pairs = Vec::new();
        for map in &args {
            for key in map.try_iter()? {
                pairs.push((key.clone(), map.get_item(&key)?));
            }
        }
        Ok::<_, Error>(Value::from_pairs(pairs))
    });
    let paid = meter.clone();
    env.add_function("range", move |from: i64, to: Option<i64>, step: Option<i64>| {
        let (from, to) = to.map_or((0, from), |to| (from, to));
        let step = step.unwrap_or(1);
        if step == 0 {
            return Err(Error::new(ErrorKind::InvalidOperation, "a range needs a step"));
        }
        let len = (i128::from(to) - i128::from(from)) / i128::from(step);
        if i128::from(LONGEST_RANGE) < len {
            let reason = format!("a range of over {LONGEST_RANGE} numbers");
            return Err(Error::new(ErrorKind::InvalidOperation, reason));
        }
        let mut numbers = Vec::new();
        let mut at = from;
        while if 0 < step { at < to } else { to < at } {
            paid.charge(32)?;
            numbers.push(Value::from(at));
            let Some(next) = at.checked_add(step) else { break };
            at = next;
        }
        Ok(Value::from(numbers))
    });
}

/// Python's methods of texts, lists and maps.
fn method(
    meter: &Meter,
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    meter.shallow(value)?;
    args.iter().try_for_each(|arg| meter.deep(arg))?;
    let text = |at: usize| {
        let arg = args.get(at).and_then(Value::as_str);
        arg.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("`{name}` needs a text")))
    };
    let Some(own) = value.as_str() else {
        let made = match name {
            "get" | "items" | "keys" | "values" | "count" => {
                if name == "count" {
                    meter.deep(value)?;
                }
                pycompat::unknown_method_callback(state, value, name, args)?
            }
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        };
        return meter.collect(made);
    };
    match name {
        "replace" => {
            let count = args.get(2).and_then(|n| usize::try_from(n.clone()).ok());
            replace(meter, own, text(0)?, text(1)?, count).map(Value::from)
        }
        "join" => join(meter, args.first().unwrap_or(&Value::UNDEFINED), own).map(Value::from),
        "removeprefix" => Ok(Value::from(own.strip_prefix(text(0)?).unwrap_or(own))),
        "removesuffix" => Ok(Value::from(own.strip_suffix(text(0)?).unwrap_or(own))),
        "rsplit" => {
            let most = args.get(1).and_then(|n| usize::try_from(n.clone()).ok());
            let parts = own.rsplitn(most.unwrap_or(own.len()).saturating_add(1), text(0)?);
            let mut parts: Vec<Value> = parts
                .map(|part| meter.charge(64).map(|()| Value::from(part)))
                .collect::<Result<_, _>>()?;
            parts.reverse();
            Ok(Value::from(parts))
        }
        "split" | "splitlines" => {
            // Each part is a value of its own, however short.
            let cuts = match args.first().and_then(Value::as_str) {
                Some("") => own.len(),
                Some(at) => own.matches(at).count(),
                None => own.split_whitespace().count(),
            };
            meter.charge(64 * (cuts as u64 + own.matches('\n').count() as u64))?;
            pycompat::unknown_method_callback(state, value, name, args)
        }
        // Its widths make a text of any length.
        "format" => Err(Error::from(ErrorKind::UnknownMethod)),
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn replace(
    meter: &Meter,
    text: &str,
    from: &str,
    to: &str,
    count: Option<usize>,
) -> Result<String, Error> {
    meter.charge(text.len() as u64)?;
    let found = if from.is_empty() { text.len() + 1 } else { text.matches(from).count() };
    let found = count.map_or(found, |count| count.min(found));
    meter.charge((found as u64).saturating_mul(to.len() as u64))?;
    Ok(text.replacen(from, to, found))
}

fn join(meter: &Meter, items: &Value, between: &str) -> Result<String, Error> {
    meter.deep(items)?;
    let mut out = String::new();
    for (index, item) in items.try_iter()?.checked().enumerate() {
        if 0 < index {
            meter.charge(between.len() as u64)?;
            out.push_str(between);
        }
        match item? {
            item if item.as_str().is_some() => out.push_str(item.as_str().unwrap_or_default()),
            item => out.push_str(&item.to_string()),
        }
    }
    Ok(out)
}

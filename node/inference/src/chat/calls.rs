//! Reads calls of tools out of the text that a model generates.
//!
//! Each family writes calls in its own way, and models mix them up, so all ways are understood:
//! `<tool_call>{…}</tool_call>` (Hermes, Qwen), `[TOOL_CALLS][…]` and `[TOOL_CALLS]name{…}`
//! (Mistral), `<|python_tag|>{…}` or an object that the answer begins with (Llama 3), and a fenced
//! block (Gemma). Text is held back only while it may become a call.
//!
//! Invariant: nothing is lost and nothing made up. What is no call of a tool that was offered comes
//! out as the text it was.

use hive_api::{Tool, ToolCall};
use serde_json::Value as Json;

/// What the generated text has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Text(String),
    Call(ToolCall),
}

/// What a call begins with.
const OPENERS: [&str; 6] =
    ["<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "```tool_code", "```tool_call", "```json"];

/// Other texts of special tokens that belong to calls.
const PARTS: [&str; 3] = ["</tool_call>", "[ARGS]", "[CALL_ID]"];

/// Whether a special token with this text belongs to a call. It has no text of its own, so whoever
/// feeds the reader gives it this one.
pub(crate) fn belongs_to_call(text: &str) -> bool {
    OPENERS.contains(&text) || PARTS.contains(&text)
}

/// Bytes that are held back for a call; a longer one is text.
const HELD: usize = 128 << 10;

/// Calls in one list.
const MOST: usize = 64;

/// The keys that the object of a call may begin with.
const KEYS: [&str; 6] = ["name", "type", "function", "arguments", "parameters", "id"];

/// Bytes of a name before its arguments.
const NAME: usize = 200;

/// A reader for one answer.
#[derive(Debug)]
pub(crate) struct Calls {
    names: Vec<String>,
    held: String,
    /// Nothing but white space has come so far, or since the last call.
    fresh: bool,
    made: u64,
    seed: u64,
}

/// What the text at an opener is.
enum Found {
    /// Calls, and the bytes that they took.
    Calls(Vec<(String, String)>, usize),
    /// So many bytes are text.
    Text(usize),
    /// It cannot be told yet.
    More,
}

impl Calls {
    /// A reader for calls of these tools. Ids are drawn from the seed.
    pub(crate) fn new(tools: &[Tool], seed: u64) -> Self {
        let names = tools.iter().map(|tool| tool.name.clone()).collect();
        Self { names, held: String::new(), fresh: true, made: 0, seed }
    }

    /// Whether there was a call.
    pub(crate) fn any(&self) -> bool {
        0 < self.made
    }

    /// Reads more text.
    pub(crate) fn push(&mut self, text: &str) -> Vec<Read> {
        self.held.push_str(text);
        self.read(false)
    }

    /// Reads what was held back: no text will follow.
    pub(crate) fn finish(&mut self) -> Vec<Read> {
        self.read(true)
    }

    fn read(&mut self, end: bool) -> Vec<Read> {
        let mut out = Vec::new();
        loop {
            if self.fresh && self.made > 0 {
                // What stands between calls and around them is no text for a person.
                let rest = self.held.trim_start_matches(|c: char| c.is_whitespace() || c == ';');
                let gap = self.held.len() - rest.len();
                self.held.drain(..gap);
            }
            if self.held.is_empty() {
                return out;
            }
            let opener = OPENERS
                .iter()
                .filter_map(|opener| Some((self.held.find(opener)?, *opener)))
                .min_by_key(|(at, _)| *at);
            let start = self.held.len() - self.held.trim_start().len();
            let bare = self.fresh
                && self.held[start..].starts_with(['{', '['])
                && opener.is_none_or(|(at, _)| start < at)
                // It may yet become `[TOOL_CALLS]`.
                && (end || !OPENERS.iter().any(|opener| opener.starts_with(&self.held[start..])
                    && self.held[start..].len() > 1));
            let (at, opener) = match (bare, opener) {
                (true, _) => (start, ""),
                (false, Some(found)) => found,
                (false, None) => {
                    let keep = if end { 0 } else { self.undecided() };
                    self.text(self.held.len() - keep, &mut out);
                    return out;
                }
            };
            match self.found(&self.held[at..], opener, end) {
                Found::Calls(calls, len) => {
                    self.before(at, &mut out);
                    self.held.drain(..len);
                    out.extend(calls.into_iter().map(|(name, arguments)| {
                        let id = self.id();
                        Read::Call(ToolCall { id, name, arguments })
                    }));
                    self.fresh = true;
                }
                Found::Text(len) => self.text(at + len, &mut out),
                Found::More => {
                    if !self.blank(at) {
                        self.text(at, &mut out);
                    }
                    return out;
                }
            }
        }
    }

    /// Whether the first bytes are white space that begins the answer, or stands behind a call.
    fn blank(&self, len: usize) -> bool {
        self.fresh && self.held[..len].trim().is_empty()
    }

    /// Gives out what stands before a call; white space alone is no text for a person.
    fn before(&mut self, len: usize, out: &mut Vec<Read>) {
        if self.blank(len) {
            self.held.drain(..len);
        } else {
            self.text(len, out);
        }
    }

    /// Gives out the first bytes as text.
    fn text(&mut self, len: usize, out: &mut Vec<Read>) {
        if len == 0 {
            return;
        }
        let text: String = self.held.drain(..len).collect();
        self.fresh &= text.trim().is_empty();
        match out.last_mut() {
            Some(Read::Text(last)) => last.push_str(&text),
            _ => out.push(Read::Text(text)),
        }
    }

    /// Bytes at the end that may be the beginning of an opener, with white space before a first one.
    fn undecided(&self) -> usize {
        let held = self.held.as_str();
        let begun = |opener: &str| {
            let longest = held.len().min(opener.len() - 1);
            (1..=longest).rev().find(|&len| held.ends_with(&opener[..len]))
        };
        let begun = OPENERS.iter().filter_map(|opener| begun(opener)).max().unwrap_or(0);
        if self.blank(held.len() - begun) { held.len() } else { begun }
    }

    fn found(&self, text: &str, opener: &str, end: bool) -> Found {
        if HELD < text.len() {
            return Found::Text(text.len());
        }
        // What is no call ends with its first character or its opener; the rest is looked at again.
        let none = Found::Text(opener.len().max(1));
        let body = text[opener.len()..].trim_start();
        let before = text.len() - body.len();
        if body.is_empty() {
            return if end { none } else { Found::More };
        }
        if !body.starts_with(['{', '[']) {
            return if opener == "[TOOL_CALLS]" { self.named(body, before, end) } else { none };
        }
        match may_be_call(body) {
            Some(true) => {}
            Some(false) => return none,
            None => return if end { none } else { Found::More },
        }
        let Some(len) = json_len(body) else {
            return if end { none } else { Found::More };
        };
        let Some(calls) = self.calls(&body[..len]) else { return none };
        let closer = match opener {
            "<tool_call>" => "</tool_call>",
            "" | "[TOOL_CALLS]" | "<|python_tag|>" => return Found::Calls(calls, before + len),
            _ => "```",
        };
        let rest = body[len..].trim_start();
        let gap = body.len() - len - rest.len();
        if rest.starts_with(closer) {
            Found::Calls(calls, before + len + gap + closer.len())
        } else if closer.starts_with(rest) && !end {
            Found::More
        } else {
            // Models forget to close what they opened.
            Found::Calls(calls, before + len)
        }
    }

    /// `name{…}`, `name[ARGS]{…}`, `name[CALL_ID]id[ARGS]{…}`.
    fn named(&self, body: &str, before: usize, end: bool) -> Found {
        let none = Found::Text(before.max(1));
        let Some(brace) = body.find('{') else {
            return if end || NAME < body.len() { none } else { Found::More };
        };
        let name = body[..brace].split('[').next().unwrap_or_default().trim();
        if !self.names.iter().any(|known| known == name) {
            return none;
        }
        let Some(len) = json_len(&body[brace..]) else {
            return if end { none } else { Found::More };
        };
        match serde_json::from_str::<Json>(&body[brace..brace + len]) {
            Ok(arguments) => {
                let call = (name.to_owned(), arguments.to_string());
                Found::Calls(vec![call], before + brace + len)
            }
            Err(_) => none,
        }
    }

    /// The calls in a JSON text: an object, or a list of objects.
    fn calls(&self, text: &str) -> Option<Vec<(String, String)>> {
        let json: Json = serde_json::from_str(text).ok()?;
        let items = match json {
            Json::Array(items) if (1..=MOST).contains(&items.len()) => items,
            Json::Object(_) => vec![json],
            _ => return None,
        };
        items.iter().map(|item| self.call(item)).collect()
    }

    fn call(&self, json: &Json) -> Option<(String, String)> {
        let call = json.get("function").filter(|inner| inner.is_object()).unwrap_or(json);
        let name = call.get("name")?.as_str()?;
        if !self.names.iter().any(|known| known == name) {
            return None;
        }
        let arguments = match call.get("arguments").or_else(|| call.get("parameters")) {
            None | Some(Json::Null) => "{}".to_owned(),
            Some(Json::String(text)) => {
                serde_json::from_str::<Json>(text).ok().filter(Json::is_object)?.to_string()
            }
            Some(arguments @ Json::Object(_)) => arguments.to_string(),
            Some(_) => return None,
        };
        Some((name.to_owned(), arguments))
    }

    /// Nine letters and digits: what Mistral's templates ask for, and nobody minds.
    fn id(&mut self) -> String {
        const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        self.made += 1;
        let mut z = self.seed.wrapping_add(self.made.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let mut id = String::new();
        for _ in 0..9 {
            id.push(char::from(LETTERS[(z % 62) as usize]));
            z /= 62;
        }
        id
    }
}

/// Whether the object or list that a text begins with may be a call: by its first key, so that other
/// JSON is not held back to its end.
fn may_be_call(text: &str) -> Option<bool> {
    let rest = text.strip_prefix('[').map_or(text, str::trim_start);
    if rest.is_empty() {
        return None;
    }
    let Some(rest) = rest.strip_prefix('{') else { return Some(false) };
    let rest = rest.trim_start();
    if rest.is_empty() {
        return None;
    }
    let Some(rest) = rest.strip_prefix('"') else { return Some(false) };
    match rest.find('"') {
        Some(end) => Some(KEYS.contains(&&rest[..end])),
        None if KEYS.iter().any(|key| key.starts_with(rest)) => None,
        None => Some(false),
    }
}

/// The length of the JSON object or list that a text begins with, once it is whole.
fn json_len(text: &str) -> Option<usize> {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;

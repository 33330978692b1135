//! What `tokenizer.json` says, in the values of a GGUF header.
//!
//! The file describes a pipeline that could be anything, with expressions of a stranger in it that
//! a backtracking matcher would run. So nothing of it is run: it is recognised. What is not one of
//! the pipelines that models of our families have is refused, by the name of the step.
//!
//! - Byte-level BPE: the expressions must be those of a [`splitting`](crate::tokenizer) that is
//!   known; tokens and merges are taken over.
//! - SentencePiece's BPE (a space is `▁`, a character without a token is bytes): a list of merges
//!   becomes scores, if scores can say the same ([`scores`]).
//!
//! Truncation and padding in the file are somebody's settings, not the model's; they are ignored.

mod pipeline;
mod scores;

use std::collections::BTreeMap;
use std::fmt;

use hive_api::EngineError;
use hive_protocol::gguf::{Array, Value};
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::config::MAX_VOCAB;
use crate::error::{invalid, unsupported};
pub(crate) use pipeline::Step;
use pipeline::{Pipeline, begins_with};

/// Bytes of `tokenizer.json` at most: Gemma's has 33 MB.
pub(crate) const MAX_LEN: u64 = 64 << 20;
/// Merges at most, as many as an array of a header holds.
const MAX_MERGES: usize = 4 << 20;

/// The parts of the file that matter.
#[derive(Deserialize)]
pub(crate) struct TokenizerJson {
    #[serde(default)]
    pub(crate) added_tokens: Vec<Added>,
    pub(crate) normalizer: Option<Step>,
    pub(crate) pre_tokenizer: Option<Step>,
    pub(crate) post_processor: Option<Step>,
    pub(crate) model: Model,
}

/// A token that is cut out of a text before anything else.
#[derive(Deserialize)]
pub(crate) struct Added {
    pub(crate) id: u64,
    pub(crate) content: String,
    #[serde(default)]
    pub(crate) special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

#[derive(Deserialize)]
pub(crate) struct Model {
    #[serde(rename = "type")]
    pub(crate) kind: Option<String>,
    pub(crate) vocab: Vocab,
    #[serde(default)]
    merges: Merges,
    pub(crate) unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: Option<bool>,
    dropout: Option<f64>,
    pub(crate) continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    pub(crate) max_input_chars_per_word: Option<u64>,
}

/// Reads the file.
pub(crate) fn parse(json: &[u8]) -> Result<TokenizerJson, EngineError> {
    serde_json::from_slice(json).map_err(|error| invalid(format!("`tokenizer.json`: {error}")))
}

/// What the files beside it say.
#[derive(Debug, Default)]
pub(crate) struct Sidecar {
    /// Texts of the tokens that begin and end a text.
    pub(crate) begin: Option<String>,
    pub(crate) end: Option<String>,
    /// Tokens that end a text, by number.
    pub(crate) ends: Vec<u32>,
    /// Whether texts begin with a token of their own, if somebody says.
    pub(crate) adds_begin: Option<bool>,
    pub(crate) template: Option<String>,
}

/// Returns the tokenizer as values, with `n_tokens` tokens.
pub(crate) fn values(
    file: &TokenizerJson,
    sidecar: &Sidecar,
    n_tokens: u64,
) -> Result<Vec<(String, Value)>, EngineError> {
    let model = &file.model;
    match model.kind.as_deref() {
        Some("BPE") | None => {}
        Some(kind) => {
            return Err(unsupported(format!(
                "a tokenizer of the type `{}`; supported is `BPE`",
                kind.escape_debug()
            )));
        }
    }
    let odd = |what: &str| unsupported(format!("a tokenizer with {what}"));
    if model.dropout.is_some_and(|dropout| 0.0 < dropout) {
        return Err(odd("random merges (`dropout`)"));
    }
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if filled(&model.continuing_subword_prefix) || filled(&model.end_of_word_suffix) {
        return Err(odd("marks inside words (`continuing_subword_prefix`, `end_of_word_suffix`)"));
    }

    let pipeline = Pipeline::read(file, model.ignore_merges.unwrap_or(false))?;
    let (tokens, mut roles) = tokens(file, &pipeline, n_tokens)?;
    let id = |text: &str| tokens.iter().position(|token| token == text).map(|id| id as u32);
    let mut values = Vec::new();
    let mut set = |key: &str, value: Value| values.push((format!("tokenizer.ggml.{key}"), value));
    set("tokens", Value::Array(Array::Str(tokens.iter().map(String::as_str).collect())));
    match &pipeline {
        Pipeline::Bytes { pre, .. } => {
            set("model", Value::Str("gpt2".to_owned()));
            set("pre", Value::Str((*pre).to_owned()));
            let merges: Vec<String> =
                model.merges.0.iter().map(|(left, right)| format!("{left} {right}")).collect();
            let merges = merges.iter().map(String::as_str).collect();
            set("merges", Value::Array(Array::Str(merges)));
        }
        Pipeline::Spaces { prefix, .. } => {
            set("model", Value::Str("llama".to_owned()));
            set("pre", Value::Str("default".to_owned()));
            let scores = scores::scores(&tokens, &mut roles, &model.merges.0)?;
            set("scores", Value::Array(Array::F32(scores)));
            set("add_space_prefix", Value::Bool(*prefix));
        }
    }
    set("token_type", Value::Array(Array::I32(roles.iter().map(|role| *role as i32).collect())));

    let begin = match begins_with(file.post_processor.as_ref())? {
        Some(begin) => Some((begin, true)),
        None => sidecar.begin.as_deref().map(|begin| (begin, sidecar.adds_begin == Some(true))),
    };
    if let Some((begin, adds)) = begin {
        let begin = id(begin).ok_or_else(|| invalid("the token that begins a text is none"))?;
        set("bos_token_id", Value::U32(begin));
        set("add_bos_token", Value::Bool(adds));
    } else {
        set("add_bos_token", Value::Bool(false));
    }
    let end = sidecar.end.as_deref().and_then(id);
    let mut ends: Vec<u32> = end.into_iter().chain(sidecar.ends.iter().copied()).collect();
    ends.retain({
        let mut seen = std::collections::BTreeSet::new();
        move |&id| seen.insert(id)
    });
    if ends.iter().any(|&id| n_tokens <= u64::from(id)) {
        return Err(invalid("`eos_token_id` is not a token"));
    }
    if let Some(&end) = ends.first() {
        set("eos_token_id", Value::U32(end));
    }
    if let Some(unknown) = model.unk_token.as_deref().and_then(id) {
        set("unknown_token_id", Value::U32(unknown));
    }
    if 1 < ends.len() {
        values.push(("hive.tokenizer.end_ids".to_owned(), Value::Array(Array::U32(ends))));
    }
    if let Pipeline::Bytes { composed: true, .. } = pipeline {
        values.push(("hive.tokenizer.normalizer".to_owned(), Value::Str("NFC".to_owned())));
    }
    if let Pipeline::Spaces { once, sparing, .. } = pipeline {
        for (name, on) in [("once", once), ("sparing", sparing)] {
            if on {
                values.push((format!("hive.tokenizer.space_prefix_{name}"), Value::Bool(true)));
            }
        }
    }
    if let Some(template) = &sidecar.template {
        values.push(("tokenizer.chat_template".to_owned(), Value::Str(template.clone())));
    }
    Ok(values)
}

/// What a token is for, in GGUF's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// The tokens in the order of their numbers, and what they are for.
fn tokens(
    file: &TokenizerJson,
    pipeline: &Pipeline,
    n_tokens: u64,
) -> Result<(Vec<String>, Vec<Role>), EngineError> {
    if n_tokens == 0 || MAX_VOCAB < n_tokens {
        return Err(invalid(format!("{n_tokens} tokens in the vocabulary")));
    }
    let n = n_tokens as usize;
    let mut tokens: Vec<Option<&str>> = vec![None; n];
    let mut roles = vec![Role::Unused; n];
    let place = |id: u64, text: &str| {
        usize::try_from(id).ok().filter(|&id| id < n).ok_or_else(|| {
            let text = text.escape_debug();
            invalid(format!("the token `{text}` has number {id}, the model has {n} tokens"))
        })
    };
    for (text, &id) in &file.model.vocab.0 {
        let at = place(id, text)?;
        if tokens[at].replace(text).is_some() {
            return Err(invalid(format!("two tokens have number {id}")));
        }
        roles[at] = match pipeline {
            _ if file.model.unk_token.as_deref() == Some(text) => Role::Unknown,
            Pipeline::Spaces { .. } if is_byte(text) => Role::Byte,
            _ => Role::Normal,
        };
    }
    let mut texts: Vec<String> =
        tokens.iter().map(|token| token.unwrap_or_default().to_owned()).collect();
    for added in &file.added_tokens {
        let at = place(added.id, &added.content)?;
        if added.content.is_empty() || tokens[at].is_some_and(|text| text != added.content) {
            return Err(invalid(format!("two tokens have number {}", added.id)));
        }
        if added.single_word || added.lstrip || added.rstrip {
            return Err(unsupported(format!(
                "the token `{}` takes spaces around it (`lstrip`, `rstrip`, `single_word`)",
                added.content.escape_debug()
            )));
        }
        tokens[at] = Some(&added.content);
        texts[at].clone_from(&added.content);
        roles[at] = if added.special { Role::Control } else { Role::UserDefined };
        // The unknown one and bytes stay what they are: they stand for something else.
        if file.model.unk_token.as_deref() == Some(&added.content) {
            roles[at] = Role::Unknown;
        }
        // Cut out of the text as it was written, before spaces become marks.
        let spaces = matches!(pipeline, Pipeline::Spaces { .. });
        if spaces && !added.special && added.content.chars().all(|c| c == '\u{2581}') {
            texts[at] = " ".repeat(added.content.chars().count());
        }
    }
    for (at, token) in tokens.iter().enumerate() {
        if token.is_none() {
            // The tables have rows that no token has: they are a round number of rows.
            texts[at] = format!("[PAD{at}]");
        }
    }
    Ok((texts, roles))
}

/// Whether a token is one byte of a character that has no token.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}

/// Tokens and their numbers. One that stands twice refuses the file.
#[derive(Default)]
pub(crate) struct Vocab(pub(crate) BTreeMap<String, u64>);

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tokens and their numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut vocab = BTreeMap::new();
                while let Some((token, id)) = map.next_entry::<String, u64>()? {
                    if vocab.insert(token, id).is_some() {
                        return Err(A::Error::custom("a token stands there twice"));
                    }
                    if MAX_VOCAB < vocab.len() as u64 {
                        return Err(A::Error::custom("too many tokens"));
                    }
                }
                Ok(Vocab(vocab))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// Pairs, in the order in which they are merged: `"a b"` or `["a", "b"]`.
#[derive(Default)]
struct Merges(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Merge {
            Pair(String, String),
            Text(String),
        }
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of pairs")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Merges, A::Error> {
                let mut merges = Vec::new();
                while let Some(merge) = seq.next_element::<Merge>()? {
                    let pair = match merge {
                        Merge::Pair(left, right) => Some((left, right)),
                        Merge::Text(text) => text
                            .split_once(' ')
                            .filter(|(_, right)| !right.contains(' '))
                            .map(|(left, right)| (left.to_owned(), right.to_owned())),
                    };
                    let pair = pair.filter(|(left, right)| !left.is_empty() && !right.is_empty());
                    merges.push(pair.ok_or_else(|| A::Error::custom("a merge is not a pair"))?);
                    if MAX_MERGES < merges.len() {
                        return Err(A::Error::custom("too many merges"));
                    }
                }
                Ok(Merges(merges))
            }
        }
        deserializer.deserialize_seq(Visit)
    }
}

#[cfg(test)]
mod tests;

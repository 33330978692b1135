//! Recognises how a tokenizer takes text apart, without running any of it.

use hive_api::EngineError;
use serde::Deserialize;

use super::TokenizerJson;
use crate::error::unsupported;
use crate::tokenizer;

/// The expression that a byte-level step splits by when it is told to use its own.
const BYTE_LEVEL: &str = tokenizer::GPT2;
/// What a step that takes digits apart does.
const DIGITS: &str = tokenizer::DIGIT;
/// How SentencePiece writes a space.
const SPACE: &str = "\u{2581}";

/// A normalizer, pre-tokenizer or post-processor: the fields of all of them, most absent.
#[derive(Default, Deserialize)]
pub(crate) struct Step {
    #[serde(rename = "type", default)]
    pub(crate) kind: String,
    #[serde(alias = "pretokenizers", alias = "normalizers", alias = "processors", default)]
    steps: Vec<Step>,
    pattern: Option<Pattern>,
    content: Option<String>,
    behavior: Option<String>,
    #[serde(default)]
    invert: bool,
    prepend: Option<String>,
    add_prefix_space: Option<bool>,
    use_regex: Option<bool>,
    individual_digits: Option<bool>,
    replacement: Option<String>,
    prepend_scheme: Option<String>,
    split: Option<bool>,
    #[serde(default)]
    single: Vec<Piece>,
    pub(crate) clean_text: Option<bool>,
    pub(crate) handle_chinese_chars: Option<bool>,
    pub(crate) strip_accents: Option<bool>,
    pub(crate) lowercase: Option<bool>,
}

/// What a step looks for.
#[derive(Deserialize)]
struct Pattern {
    #[serde(rename = "String")]
    text: Option<String>,
    #[serde(rename = "Regex")]
    expression: Option<String>,
}

/// A part of a template: a token, or the text.
#[derive(Deserialize)]
pub(crate) struct Piece {
    #[serde(rename = "SpecialToken")]
    token: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// A pipeline that this crate has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipeline {
    /// Byte-level BPE; its splitting, as GGUF calls it. `composed`: the text is brought into the
    /// normal form C first.
    Bytes { pre: &'static str, composed: bool },
    /// SentencePiece's. `prefix`: text begins with a space of its own; `once`: not again behind a
    /// special token; `sparing`: not if it begins with one anyway.
    Spaces { prefix: bool, once: bool, sparing: bool },
}

impl Pipeline {
    pub(super) fn read(file: &TokenizerJson, whole_first: bool) -> Result<Self, EngineError> {
        let splits = file.pre_tokenizer.as_ref().map(flat).unwrap_or_default();
        let normal = file.normalizer.as_ref().map(flat).unwrap_or_default();
        if splits.iter().any(|step| step.kind == "ByteLevel") {
            bytes(&splits, &normal, whole_first)
        } else if file.model.byte_fallback {
            spaces(&splits, &normal)
        } else {
            Err(unsupported(
                "a tokenizer that is neither of bytes (`ByteLevel`) nor falls back to them \
                 (`byte_fallback`)",
            ))
        }
    }
}

fn bytes(splits: &[&Step], normal: &[&Step], whole_first: bool) -> Result<Pipeline, EngineError> {
    let composed = match normal {
        [] => false,
        [step] if step.kind == "NFC" => true,
        steps => return Err(unknown("normalizer", steps[0])),
    };
    let mut expressions = Vec::new();
    let mut last = false;
    for step in splits {
        match step.kind.as_str() {
            _ if last => return Err(unknown("pre_tokenizer", step)),
            "Digits" if step.individual_digits == Some(true) => expressions.push(DIGITS),
            "Split" if step.behavior.as_deref() == Some("Isolated") && !step.invert => {
                let pattern = step.pattern.as_ref().and_then(|p| p.expression.as_deref());
                expressions.push(pattern.ok_or_else(|| unknown("pre_tokenizer", step))?);
            }
            "ByteLevel" if step.add_prefix_space != Some(true) => {
                last = true;
                if step.use_regex != Some(false) {
                    expressions.push(BYTE_LEVEL);
                }
            }
            _ => return Err(unknown("pre_tokenizer", step)),
        }
    }
    let pre = tokenizer::splitting(&expressions, whole_first).ok_or_else(|| {
        let shown: Vec<String> = expressions
            .iter()
            .map(|expression| expression.chars().take(200).flat_map(char::escape_debug).collect())
            .collect();
        unsupported(format!(
            "the tokenizer splits text by {shown:?}, which is none of the known expressions; they \
             are not run from a file, since one can be made to take for ever"
        ))
    })?;
    Ok(Pipeline::Bytes { pre, composed })
}

fn spaces(splits: &[&Step], normal: &[&Step]) -> Result<Pipeline, EngineError> {
    let (mut prefix, mut once, mut sparing, mut marked) = (false, false, false, false);
    for step in normal {
        match step.kind.as_str() {
            "Prepend" if step.prepend.as_deref() == Some(SPACE) && !marked => prefix = true,
            "Replace"
                if step.content.as_deref() == Some(SPACE)
                    && step.pattern.as_ref().is_some_and(|p| p.text.as_deref() == Some(" ")) =>
            {
                marked = true;
            }
            _ => return Err(unknown("normalizer", step)),
        }
    }
    for step in splits {
        match step.kind.as_str() {
            // Spaces are marks by now, so it finds none.
            "Split"
                if marked
                    && step.pattern.as_ref().is_some_and(|p| p.text.as_deref() == Some(" ")) => {}
            "Metaspace"
                if !marked
                    && step.split == Some(false)
                    && step.replacement.as_deref() == Some(SPACE) =>
            {
                (marked, sparing) = (true, true);
                match step.prepend_scheme.as_deref() {
                    Some("never") => {}
                    Some("first") => (prefix, once) = (true, true),
                    Some("always") => prefix = true,
                    _ => return Err(unknown("pre_tokenizer", step)),
                }
            }
            _ => return Err(unknown("pre_tokenizer", step)),
        }
    }
    if marked {
        Ok(Pipeline::Spaces { prefix, once, sparing: sparing && prefix })
    } else {
        Err(unsupported("a tokenizer of SentencePiece that does not mark spaces"))
    }
}

/// The token that texts begin with, if a template says so. One that adds tokens elsewhere is not
/// ours.
pub(super) fn begins_with(step: Option<&Step>) -> Result<Option<&str>, EngineError> {
    let mut begin = None;
    for step in step.map(flat).unwrap_or_default() {
        match step.kind.as_str() {
            "ByteLevel" => {}
            "TemplateProcessing" => {
                let tokens =
                    |pieces: &'_ [Piece]| pieces.iter().filter(|p| p.token.is_some()).count();
                let named = step.single.first().and_then(|piece| piece.token.as_ref());
                if tokens(&step.single) != usize::from(named.is_some()) || begin.is_some() {
                    return Err(unsupported(
                        "a tokenizer that adds tokens behind a text (`post_processor`)",
                    ));
                }
                begin = named.map(|named| named.id.as_str());
            }
            _ => return Err(unknown("post_processor", step)),
        }
    }
    Ok(begin)
}

/// The steps of a sequence, or the one step. Sequences in sequences are steps of the same.
fn flat(step: &Step) -> Vec<&Step> {
    match step.kind.as_str() {
        "Sequence" => step.steps.iter().flat_map(flat).collect(),
        _ => vec![step],
    }
}

fn unknown(place: &str, step: &Step) -> EngineError {
    unsupported(format!(
        "the step `{}` of the tokenizer's `{place}`, or its options",
        step.kind.chars().take(64).flat_map(char::escape_debug).collect::<String>()
    ))
}

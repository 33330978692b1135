//! Text to tokens and back, from what the model's file says.
//!
//! A file holds one of two kinds of vocabulary: SentencePiece's, whose tokens have scores
//! ([`spm`]), or a byte-level BPE's, which has a list of merges ([`bpe`]). Both are cut first at
//! special tokens, leftmost and longest first, and both know the bytes of each token, so text comes
//! back as bytes and [`crate::stop`] makes characters of them.
//!
//! Special tokens in a prompt are special: that is how chat templates are written. Who builds
//! prompts from somebody else's text has to take them out of it.

mod bpe;
mod spm;
mod vocabulary;

use std::borrow::Cow;

use hive_api::EngineError;
use hive_protocol::gguf::{Array, Header};

use crate::chat::{Specials, unmarked};
use crate::error::{invalid, unsupported};
pub(crate) use bpe::{DIGIT, GPT2, splitting};
use vocabulary::{Role, Vocabulary};

/// Texts of tokens that end an answer, whatever id the file calls the end.
const ENDS: [&str; 9] = [
    "<end_of_turn>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end|>",
    "<EOT>",
    "</s>",
];

/// The tokenizer of a model.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    vocabulary: Vocabulary,
    model: Model,
    /// The token that every text begins with.
    begin: Option<u32>,
    /// What the file calls the beginning and the end, for templates that write them.
    named_begin: Option<u32>,
    named_end: Option<u32>,
    ends: Vec<u32>,
    /// The space that texts begin with is not put behind special tokens.
    space_once: bool,
}

#[derive(Debug)]
enum Model {
    Spm(spm::Spm),
    Bpe(Box<bpe::Bpe>),
}

impl Tokenizer {
    /// Reads the tokenizer from a header.
    pub(crate) fn read(header: &Header) -> Result<Self, EngineError> {
        let vocabulary = Vocabulary::read(header)?;
        let (model, begins) = match header.str("tokenizer.ggml.model") {
            Some("llama") => (Model::Spm(spm::Spm::read(header, &vocabulary)?), true),
            Some("gpt2") => {
                let bpe = bpe::Bpe::read(header, &vocabulary)?;
                let begins = bpe.begins();
                (Model::Bpe(Box::new(bpe)), begins)
            }
            Some(model) => {
                return Err(unsupported(format!(
                    "the tokenizer model `{model}`; supported are `llama` and `gpt2`"
                )));
            }
            None => return Err(invalid("the value `tokenizer.ggml.model` is missing")),
        };
        let token = |key: &str| -> Result<Option<u32>, EngineError> {
            let key = format!("tokenizer.ggml.{key}");
            if header.get(&key).is_none() {
                return Ok(None);
            }
            let id = header.u32(&key).filter(|&id| (id as usize) < vocabulary.len());
            id.map(Some).ok_or_else(|| invalid(format!("`{key}` is not a token")))
        };
        let named_begin = token("bos_token_id")?;
        let named_end = token("eos_token_id")?;
        let mut ends: Vec<u32> = [named_end, token("eot_token_id")?]
            .into_iter()
            .flatten()
            .chain(more_ends(header, &vocabulary)?)
            .chain(ENDS.iter().filter_map(|text| vocabulary.special(text)))
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let begins = header.bool("tokenizer.ggml.add_bos_token").unwrap_or(begins);
        let begin = named_begin.filter(|_| begins);
        let space_once = header.bool("hive.tokenizer.space_prefix_once").unwrap_or(false);
        Ok(Self { vocabulary, model, begin, named_begin, named_end, ends, space_once })
    }

    /// Returns the tokens of a text, with the one that begins every text unless it is there.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.encode_parts(text, &|part| Cow::Borrowed(part))
    }

    /// Like [`encode`](Self::encode) for a chat that was written out: what a marker breaks is no
    /// special token, and markers are dropped ([`crate::chat`]).
    pub(crate) fn encode_marked(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        self.encode_parts(text, &unmarked)
    }

    fn encode_parts(
        &self,
        text: &str,
        clean: &dyn Fn(&str) -> Cow<'_, str>,
    ) -> Result<Vec<u32>, EngineError> {
        let mut tokens = Vec::new();
        let mut after_special = true;
        for part in self.vocabulary.split(text) {
            match part {
                vocabulary::Part::Special(id) => {
                    tokens.push(id);
                    after_special = !self.space_once;
                }
                vocabulary::Part::Text(text) => {
                    let text = clean(text);
                    if text.is_empty() {
                        continue;
                    }
                    match &self.model {
                        Model::Spm(spm) => {
                            spm.encode(&self.vocabulary, &text, after_special, &mut tokens);
                        }
                        Model::Bpe(bpe) => bpe.encode(&text, &mut tokens)?,
                    }
                    after_special = false;
                }
            }
        }
        if let Some(begin) = self.begin
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }

    /// Returns the bytes that a token stands for; none for special ones.
    pub(crate) fn bytes(&self, id: u32) -> Cow<'_, [u8]> {
        let Some((text, role)) = self.vocabulary.get(id) else { return Cow::Borrowed(&[]) };
        match (role, &self.model) {
            (Role::Control | Role::Unknown | Role::Unused, _) => Cow::Borrowed(&[]),
            (Role::UserDefined, _) => Cow::Borrowed(text.as_bytes()),
            (Role::Normal | Role::Byte, Model::Spm(_)) => spm::bytes(text, role),
            (Role::Normal | Role::Byte, Model::Bpe(_)) => Cow::Owned(bpe::Bpe::bytes(text)),
        }
    }

    /// Returns the text of a token, special ones included.
    pub(crate) fn text(&self, id: u32) -> Option<&str> {
        self.vocabulary.get(id).map(|(text, _)| text)
    }

    /// Whether a token has a meaning and no text.
    pub(crate) fn is_control(&self, id: u32) -> bool {
        matches!(self.vocabulary.get(id), Some((_, Role::Control)))
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Tokens that end the text.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns the special tokens by text, for chats.
    pub(crate) fn specials(&self) -> Specials {
        let (mut control, mut added) = (Vec::new(), Vec::new());
        for id in 0..self.vocabulary.len() as u32 {
            match self.vocabulary.get(id) {
                Some((text, Role::Control)) => control.push(text.to_owned()),
                Some((text, Role::UserDefined)) => added.push(text.to_owned()),
                _ => {}
            }
        }
        let text = |id: Option<u32>| id.and_then(|id| self.text(id)).unwrap_or_default().to_owned();
        Specials::new(text(self.named_begin), text(self.named_end), control, added)
    }

    /// Whether a token ends the text.
    pub(crate) fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Bytes that no token is longer than: a text has at least its length over this in tokens.
    pub(crate) fn longest(&self) -> usize {
        self.vocabulary.longest()
    }
}

/// The ends that a model has beyond the two that GGUF has names for; a directory may list any
/// number.
fn more_ends(header: &Header, vocabulary: &Vocabulary) -> Result<Vec<u32>, EngineError> {
    const KEY: &str = "hive.tokenizer.end_ids";
    match header.array(KEY) {
        None => Ok(Vec::new()),
        Some(Array::U32(ids)) if ids.iter().all(|&id| (id as usize) < vocabulary.len()) => {
            Ok(ids.clone())
        }
        Some(_) => Err(invalid(format!("`{KEY}` is not a list of tokens"))),
    }
}

#[cfg(test)]
mod tests;

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
use hive_protocol::gguf::Header;

use crate::error::{invalid, unsupported};
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
    ends: Vec<u32>,
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
        let begin = token("bos_token_id")?;
        let mut ends: Vec<u32> = [token("eos_token_id")?, token("eot_token_id")?]
            .into_iter()
            .flatten()
            .chain(ENDS.iter().filter_map(|text| vocabulary.special(text)))
            .collect();
        ends.sort_unstable();
        ends.dedup();
        let begins = header.bool("tokenizer.ggml.add_bos_token").unwrap_or(begins);
        let begin = begin.filter(|_| begins);
        Ok(Self { vocabulary, model, begin, ends })
    }

    /// Returns the tokens of a text, with the one that begins every text unless it is there.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let mut tokens = Vec::new();
        let mut after_special = true;
        for part in self.vocabulary.split(text) {
            match part {
                vocabulary::Part::Special(id) => {
                    tokens.push(id);
                    after_special = true;
                }
                vocabulary::Part::Text(text) => {
                    match &self.model {
                        Model::Spm(spm) => {
                            spm.encode(&self.vocabulary, text, after_special, &mut tokens);
                        }
                        Model::Bpe(bpe) => bpe.encode(text, &mut tokens)?,
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

    /// Whether a token ends the text.
    pub(crate) fn is_end(&self, id: u32) -> bool {
        self.ends.binary_search(&id).is_ok()
    }

    /// Bytes that no token is longer than: a text has at least its length over this in tokens.
    pub(crate) fn longest(&self) -> usize {
        self.vocabulary.longest()
    }
}

#[cfg(test)]
mod tests;

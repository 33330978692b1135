//! The tokens of a model: their texts, what they are for, and which text has which.

use std::cmp::Reverse;

use hive_api::EngineError;
use hive_protocol::gguf::{Array, Header, Strings};

use crate::chat::MARKER;
use crate::error::invalid;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Normal,
    Unknown,
    /// Has a meaning and no text: the end of a turn.
    Control,
    /// A text that is a token wherever it stands.
    UserDefined,
    Unused,
    /// One byte of a character that has no token.
    Byte,
}

/// A stretch of text between special tokens, or one of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Special(u32),
    Text(&'a str),
}

/// All tokens. Texts are found by binary search: a hash map of 262,144 of them would take 20 MB.
#[derive(Debug)]
pub(super) struct Vocabulary {
    texts: Strings,
    roles: Vec<Role>,
    /// Tokens that text may become, by text.
    by_text: Vec<u32>,
    /// Special tokens by text, and the lengths that they have, longest first.
    specials: Vec<u32>,
    special_lens: Vec<usize>,
    /// Bytes that a special token begins with.
    special_starts: [bool; 256],
    longest: usize,
}

impl Vocabulary {
    pub(super) fn read(header: &Header) -> Result<Self, EngineError> {
        let texts = header
            .strings("tokenizer.ggml.tokens")
            .ok_or_else(|| invalid("the value `tokenizer.ggml.tokens` is missing"))?
            .clone();
        let roles = match header.array("tokenizer.ggml.token_type") {
            None => vec![Role::Normal; texts.len()],
            Some(Array::I32(roles)) if roles.len() == texts.len() => roles
                .iter()
                .map(|&role| {
                    Some(match role {
                        0 | 1 => Role::Normal,
                        2 => Role::Unknown,
                        3 => Role::Control,
                        4 => Role::UserDefined,
                        5 => Role::Unused,
                        6 => Role::Byte,
                        _ => return None,
                    })
                })
                .collect::<Option<_>>()
                .ok_or_else(|| invalid("`tokenizer.ggml.token_type` has unknown roles"))?,
            Some(_) => return Err(invalid("`tokenizer.ggml.token_type` does not fit the tokens")),
        };
        Ok(Self::new(texts, roles))
    }

    pub(super) fn new(texts: Strings, roles: Vec<Role>) -> Self {
        let text = |id: u32| texts.get(id as usize).unwrap_or_default();
        let ids = |wanted: &dyn Fn(Role) -> bool| {
            let mut ids: Vec<u32> = (0..texts.len() as u32)
                .filter(|&id| wanted(roles[id as usize]) && !text(id).is_empty())
                .collect();
            ids.sort_by_key(|&id| text(id));
            // The first of those that share a text has it.
            ids.dedup_by_key(|id| text(*id));
            ids
        };
        let by_text = ids(&|role| matches!(role, Role::Normal | Role::UserDefined | Role::Byte));
        let specials = ids(&|role| matches!(role, Role::Control | Role::UserDefined));
        let mut special_lens: Vec<usize> = specials.iter().map(|&id| text(id).len()).collect();
        special_lens.sort_unstable_by_key(|&len| Reverse(len));
        special_lens.dedup();
        let mut special_starts = [false; 256];
        for &id in &specials {
            special_starts[usize::from(text(id).as_bytes()[0])] = true;
        }
        let longest = texts.iter().map(str::len).max().unwrap_or_default().max(1);
        Self { texts, roles, by_text, specials, special_lens, special_starts, longest }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn texts(&self) -> &Strings {
        &self.texts
    }

    pub(super) fn get(&self, id: u32) -> Option<(&str, Role)> {
        let index = id as usize;
        Some((self.texts.get(index)?, *self.roles.get(index)?))
    }

    /// The token that a piece of text is.
    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.search(&self.by_text, text)
    }

    /// The special token with a text.
    pub(super) fn special(&self, text: &str) -> Option<u32> {
        self.search(&self.specials, text)
    }

    fn search(&self, ids: &[u32], text: &str) -> Option<u32> {
        let at =
            ids.binary_search_by(|&id| self.texts.get(id as usize).unwrap_or_default().cmp(text));
        at.ok().map(|at| ids[at])
    }

    /// Cuts a text at its special tokens: the leftmost first, of those the longest.
    pub(super) fn split<'a>(&self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let (mut start, mut at) = (0, 0);
        while at < text.len() {
            match self.special_at(text, at) {
                Some((id, len)) => {
                    if start < at {
                        parts.push(Part::Text(&text[start..at]));
                    }
                    parts.push(Part::Special(id));
                    at += len;
                    start = at;
                }
                None => at += 1,
            }
        }
        if start < text.len() {
            parts.push(Part::Text(&text[start..]));
        }
        parts
    }

    fn special_at(&self, text: &str, at: usize) -> Option<(u32, usize)> {
        // Tokens are UTF-8, so none begins inside a character.
        if !self.special_starts[usize::from(text.as_bytes()[at])] {
            return None;
        }
        self.special_lens.iter().find_map(|&len| {
            let end = at.checked_add(len)?;
            let piece = text.get(at..end)?;
            // A marker breaks a token behind its first character; of a token of one it is the end.
            let broken = text[end..].starts_with(MARKER) && piece.chars().nth(1).is_none();
            Some((self.special(piece)?, len)).filter(|_| !broken)
        })
    }
}

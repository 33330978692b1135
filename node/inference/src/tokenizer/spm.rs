//! SentencePiece's merges: the two neighbours whose union has the best score become one, again and
//! again; of equals the leftmost.
//!
//! A list of merges is not needed: the vocabulary's scores say which union comes first. That is
//! how llama.cpp reads the same files, and a test compares the tokens.

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use hive_api::EngineError;
use hive_protocol::gguf::{Array, Header};

use super::vocabulary::{Role, Vocabulary};
use crate::error::invalid;

/// How SentencePiece writes a space.
const SPACE: &str = "\u{2581}";

/// What the merges need beyond the vocabulary.
#[derive(Debug)]
pub(super) struct Spm {
    scores: Vec<f32>,
    bytes: Box<[Option<u32>; 256]>,
    unknown: Option<u32>,
    add_space: bool,
    /// No space is added to a text that begins with one: Transformers' way with newer models.
    sparing: bool,
}

/// A stretch of text that is one token so far; neighbours are linked.
struct Symbol {
    start: usize,
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that could become one.
struct Union {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

impl Spm {
    pub(super) fn read(header: &Header, vocabulary: &Vocabulary) -> Result<Self, EngineError> {
        let scores = match header.array("tokenizer.ggml.scores") {
            Some(Array::F32(scores)) if scores.len() == vocabulary.len() => scores.clone(),
            _ => return Err(invalid("`tokenizer.ggml.scores` does not fit the tokens")),
        };
        let mut bytes = Box::new([None; 256]);
        for id in 0..vocabulary.len() as u32 {
            if let Some((text, Role::Byte)) = vocabulary.get(id) {
                let byte = byte(text)
                    .ok_or_else(|| invalid(format!("the token `{text}` is not a byte")))?;
                bytes[usize::from(byte)] = Some(id);
            }
        }
        Ok(Self {
            scores,
            bytes,
            unknown: header
                .u32("tokenizer.ggml.unknown_token_id")
                .filter(|&id| (id as usize) < vocabulary.len()),
            add_space: header.bool("tokenizer.ggml.add_space_prefix").unwrap_or(true),
            sparing: header.bool("hive.tokenizer.space_prefix_sparing").unwrap_or(false),
        })
    }

    /// Adds the tokens of a text without special ones.
    pub(super) fn encode(
        &self,
        vocabulary: &Vocabulary,
        text: &str,
        after_special: bool,
        tokens: &mut Vec<u32>,
    ) {
        let spared = self.sparing && (text.starts_with(' ') || text.starts_with(SPACE));
        let prefix = if self.add_space && after_special && !spared { SPACE } else { "" };
        let text = format!("{prefix}{}", text.replace(' ', SPACE));
        let mut symbols: Vec<Symbol> = text
            .char_indices()
            .enumerate()
            .map(|(index, (start, character))| Symbol {
                start,
                len: character.len_utf8(),
                previous: index.checked_sub(1),
                next: Some(index + 1),
            })
            .collect();
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }

        let mut unions = BinaryHeap::new();
        let union = |symbols: &[Symbol], left: usize, right: usize| {
            let len = symbols[left].len + symbols[right].len;
            let start = symbols[left].start;
            let id = vocabulary.id(&text[start..start + len])?;
            Some(Union { score: self.scores[id as usize], left, right, len })
        };
        unions.extend((1..symbols.len()).filter_map(|right| union(&symbols, right - 1, right)));
        while let Some(Union { left, right, len, .. }) = unions.pop() {
            // One of the two has become part of another meanwhile.
            if symbols[left].len == 0
                || symbols[right].len == 0
                || symbols[left].len + symbols[right].len != len
            {
                continue;
            }
            symbols[left].len = len;
            symbols[right].len = 0;
            let next = symbols[right].next;
            symbols[left].next = next;
            if let Some(next) = next {
                symbols[next].previous = Some(left);
                unions.extend(union(&symbols, left, next));
            }
            if let Some(previous) = symbols[left].previous {
                unions.extend(union(&symbols, previous, left));
            }
        }
        for symbol in symbols.iter().filter(|symbol| 0 < symbol.len) {
            let piece = &text[symbol.start..symbol.start + symbol.len];
            match vocabulary.id(piece) {
                Some(id) => tokens.push(id),
                None => tokens.extend(
                    piece.bytes().filter_map(|b| self.bytes[usize::from(b)].or(self.unknown)),
                ),
            }
        }
    }
}

/// The bytes that a token stands for.
pub(super) fn bytes(text: &str, role: Role) -> Cow<'_, [u8]> {
    match byte(text) {
        Some(byte) if role == Role::Byte => Cow::Owned(vec![byte]),
        _ if text.contains(SPACE) => Cow::Owned(text.replace(SPACE, " ").into_bytes()),
        _ => Cow::Borrowed(text.as_bytes()),
    }
}

/// Reads `<0x0A>`.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

impl Ord for Union {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_score = self.score.total_cmp(&other.score);
        by_score.then_with(|| Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Union {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Union {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Union {}

//! Keeps the text of messages from passing for special tokens.
//!
//! A user who writes `<|im_end|>` must not end his turn. So before a template sees a message, every
//! text of a special token in it, and every beginning of one at its end, gets a marker behind its
//! first character. The template may trim, cut and join what it gets: the marker stays where it is.
//! The tokenizer then finds special tokens only in what the template wrote itself, and drops the
//! markers ([`Tokenizer::encode_marked`](crate::tokenizer::Tokenizer::encode_marked)).

use std::borrow::Cow;
use std::collections::BTreeSet;

/// What breaks the text of a token: a code point that Unicode keeps for the inside of programs, so
/// no text means anything by it. Those in messages are dropped.
pub(crate) const MARKER: char = '\u{fdd0}';

/// The special tokens of a vocabulary, by their texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Specials {
    /// What every text begins with; empty if there is no such token.
    pub(crate) bos: String,
    /// What ends a text; empty if there is no such token.
    pub(crate) eos: String,
    /// Tokens with a meaning and no text.
    control: Texts,
    /// Tokens with a text that somebody added to the vocabulary.
    added: Vec<String>,
}

impl Specials {
    pub(crate) fn new(bos: String, eos: String, control: Vec<String>, added: Vec<String>) -> Self {
        let control = Texts::new(control);
        // Runs of spaces and lines are ordinary text.
        let added = added.into_iter().filter(|text| text.starts_with(['<', '['])).collect();
        Self { bos, eos, control, added }
    }

    /// Whether there is a token with this text.
    pub(crate) fn has(&self, text: &str) -> bool {
        self.control.texts.contains(text) || self.added.iter().any(|added| added == text)
    }

    /// What to break in texts that come from outside: control tokens, and of the others those that
    /// the template itself writes (`<tool_response>`). The rest (`<h1>`) is ordinary text.
    pub(super) fn foreign(&self, template: &str) -> Texts {
        let own = self.added.iter().filter(|text| template.contains(text.as_str()));
        Texts::new(self.control.texts.iter().chain(own).cloned())
    }

    /// What to break in texts that the model wrote. It marks its thoughts and calls itself, and
    /// templates look for those marks.
    pub(super) fn own(&self) -> &Texts {
        &self.control
    }
}

/// Texts that are looked for together.
#[derive(Debug, Clone, Default)]
pub(super) struct Texts {
    texts: BTreeSet<String>,
    starts: BTreeSet<char>,
    longest: usize,
}

impl Texts {
    fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let texts: BTreeSet<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        let starts = texts.iter().filter_map(|text| text.chars().next()).collect();
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        Self { texts, starts, longest }
    }

    /// Breaks the texts wherever they occur in `text`, or begin at its end.
    pub(super) fn mark(&self, text: &str) -> String {
        let text = unmarked(text);
        let end = text.trim_end().len();
        let mut out = String::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            out.push(character);
            if self.starts.contains(&character) && self.begins(&text[at..], end.saturating_sub(at))
            {
                out.push(MARKER);
            }
        }
        out
    }

    /// Whether `rest` begins with a text, or its first `end` bytes are the beginning of one.
    fn begins(&self, rest: &str, end: usize) -> bool {
        let mut longest = rest.len().min(self.longest);
        while !rest.is_char_boundary(longest) {
            longest -= 1;
        }
        let window = &rest[..longest];
        // The texts that begin like this one stand together in the order of texts.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let like = self.texts.range(rest[..first].to_owned()..);
        let mut like = like.take_while(|text| text.starts_with(&rest[..first]));
        like.any(|text| {
            window.starts_with(text.as_str())
                || (end < text.len() && 0 < end && text.starts_with(&rest[..end]))
        })
    }
}

/// A text without markers.
pub(crate) fn unmarked(text: &str) -> Cow<'_, str> {
    if text.contains(MARKER) { Cow::Owned(text.replace(MARKER, "")) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Texts {
        Texts::new(["<|im_start|>", "<|im_end|>", "<s>", "§"].map(str::to_owned))
    }

    fn shown(text: &str) -> String {
        texts().mark(text).replace(MARKER, "·")
    }

    #[test]
    fn texts_of_tokens_are_broken_behind_their_first_character() {
        for (text, marked) in [
            ("plain", "plain"),
            ("a<|im_end|>b", "a<·|im_end|>b"),
            ("<<|im_end|>", "<<·|im_end|>"),
            ("<s><s>", "<·s><·s>"),
            ("a § b", "a §· b"),
            ("a < b", "a < b"),
            // What comes behind it may complete it.
            ("a <|im_e", "a <·|im_e"),
            ("a <  \n", "a <·  \n"),
            ("a <\u{fdd0}s>", "a <·s>"),
            ("", ""),
        ] {
            assert_eq!(shown(text), marked, "{text}");
        }
    }
}

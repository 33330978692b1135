//! Keys and values of texts that ended, kept for prompts that begin like them.
//!
//! An entry is a text and all that was read of it. A new prompt [copies](Cache::prefix) what it has
//! in common with the best entry, so one entry serves any number of prompts, also at once. A layer
//! with a window keeps the end of a text only: an entry then serves prompts that part from it
//! there, and a prompt that parts from it earlier leaves an entry of its own at that place.
//!
//! Owns the bound: what is kept never takes more bytes than allowed, and what was of no use for the
//! longest time goes first. Never computes anything.
//!
//! Invariant: no entry is the beginning of another that could serve in its place.

use crate::decoder::Cache;

/// Texts that were read, least recently of use first.
#[derive(Debug)]
pub(super) struct Prefixes {
    bound: u64,
    n_bytes: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    tokens: Vec<u32>,
    cache: Cache,
    n_bytes: u64,
}

/// What a prompt has in common with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Common {
    /// Tokens that both begin with.
    pub(super) len: usize,
    /// Whether the text's keys and values are there for all of them.
    pub(super) complete: bool,
}

impl Common {
    /// Compares a prompt with a text. The last token of a prompt is always read, for its logits.
    pub(super) fn new(prompt: &[u32], tokens: &[u32], cache: &Cache) -> Self {
        let len = common(&prompt[..prompt.len().saturating_sub(1)], &tokens[..cache.len()]);
        Self { len, complete: cache.holds(len) }
    }
}

/// The number of tokens that two texts begin with alike.
pub(super) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Prefixes {
    pub(super) fn new(bound: u64) -> Self {
        Self { bound, n_bytes: 0, entries: Vec::new() }
    }

    /// Bytes that all entries take.
    #[cfg(test)]
    pub(super) fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// The longest beginnings that a prompt shares with texts: one that it can start from, and one
    /// that it could if all of it were still there.
    pub(super) fn find(&mut self, prompt: &[u32]) -> (Option<(&Cache, usize)>, usize) {
        let mut longest = 0;
        let mut best: Option<(usize, usize)> = None;
        for (index, entry) in self.entries.iter().enumerate() {
            let common = Common::new(prompt, &entry.tokens, &entry.cache);
            longest = longest.max(common.len);
            // Of equals the one that was of use last: what all texts begin with keeps none of them.
            if common.complete && best.is_none_or(|(_, len)| len <= common.len) {
                best = Some((index, common.len));
            }
        }
        let Some((index, len)) = best.filter(|&(_, len)| 0 < len) else { return (None, longest) };
        let entry = self.entries.remove(index);
        self.entries.push(entry);
        (self.entries.last().map(|entry| (&entry.cache, len)), longest)
    }

    /// Keeps what was read of a text: the keys and values of its first tokens.
    pub(super) fn keep(&mut self, tokens: &[u32], mut cache: Cache) -> candle_core::Result<()> {
        let tokens = tokens[..cache.len()].to_vec();
        if tokens.is_empty() || self.bound == 0 {
            return Ok(());
        }
        cache.shrink()?;
        let n_bytes = cache.n_bytes() + size_of_val(&tokens[..]) as u64;
        if self.bound < n_bytes {
            return Ok(());
        }
        let serves = |text: &[u32], cache: &Cache, other: &[u32]| {
            text.starts_with(other) && cache.holds(other.len())
        };
        if let Some(at) = self.entries.iter().position(|e| serves(&e.tokens, &e.cache, &tokens)) {
            let entry = self.entries.remove(at);
            self.entries.push(entry);
            return Ok(());
        }
        self.entries.retain(|entry| !serves(&tokens, &cache, &entry.tokens));
        self.entries.push(Entry { tokens, cache, n_bytes });
        self.n_bytes = self.entries.iter().map(|entry| entry.n_bytes).sum();
        while self.bound < self.n_bytes {
            self.n_bytes -= self.entries.remove(0).n_bytes;
        }
        Ok(())
    }
}

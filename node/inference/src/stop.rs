//! Makes text of bytes as they come: whole characters only, and nothing of a stop string.
//!
//! A character may take several tokens, and so may a stop string. So bytes are held back while they
//! could be the beginning of either.

/// The largest share of text that is held back, and what ends it.
#[derive(Debug)]
pub(crate) struct Output {
    stops: Vec<Vec<u8>>,
    held: Vec<u8>,
    /// Bytes that were let go so far.
    shown: usize,
}

/// What a token added to the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// Text that may be shown; perhaps none yet.
    Text(String),
    /// The last text: a stop string follows it.
    Stopped(String),
}

impl Output {
    /// An empty stop string stops nothing.
    pub(crate) fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty());
        Self {
            stops: stops.map(|stop| stop.clone().into_bytes()).collect(),
            held: Vec::new(),
            shown: 0,
        }
    }

    /// Adds the bytes of a token.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Added {
        self.held.extend_from_slice(bytes);
        let found = self.stops.iter().filter_map(|stop| find(&self.held, stop)).min();
        if let Some(at) = found {
            self.held.truncate(at);
            return Added::Stopped(self.finish());
        }
        let stop_len = self.stops.iter().map(|stop| overlap(&self.held, stop)).max();
        let free = self.held.len() - stop_len.unwrap_or(0);
        let free = free - unfinished(&self.held[..free]);
        let ready: Vec<u8> = self.held.drain(..free).collect();
        self.shown += free;
        Added::Text(String::from_utf8_lossy(&ready).into_owned())
    }

    /// Bytes of all tokens that were let go so far.
    pub(crate) fn shown(&self) -> usize {
        self.shown
    }

    /// Returns what was held back: no stop string will follow.
    pub(crate) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        self.shown += held.len();
        String::from_utf8_lossy(&held).into_owned()
    }
}

fn find(text: &[u8], stop: &[u8]) -> Option<usize> {
    text.windows(stop.len()).position(|window| window == stop)
}

/// The length of the longest end of `text` that `stop` begins with.
fn overlap(text: &[u8], stop: &[u8]) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest).rev().find(|&len| text.ends_with(&stop[..len])).unwrap_or(0)
}

/// The number of bytes at the end of `text` that begin a character without ending it.
fn unfinished(text: &[u8]) -> usize {
    match text.utf8_chunks().last() {
        Some(chunk) if !chunk.invalid().is_empty() => {
            let invalid = chunk.invalid();
            let needed = match invalid[0] {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                // Nothing can make a character of it.
                _ => return 0,
            };
            // `invalid` is a prefix of a character only if more bytes could complete it.
            if text.ends_with(invalid) && invalid.len() < needed { invalid.len() } else { 0 }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests;

//! What a node sends, by protocol: counted where links may have faults, which is on testnets only.
//!
//! A stream is known by the protocol's name, which both sides write while they agree on it. What was
//! written before it was known is counted with it, and that of a stream that ends before with
//! everything else.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a stream in which the name of its protocol has to come.
const START: usize = 160;

/// What was written to streams of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Writes: one for each message, unless it is long.
    pub writes: u64,
    /// Bytes before encryption.
    pub bytes: u64,
}

/// What a node has written to the streams of all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Questions and answers of the DHT.
    pub dht: Written,
    /// Gossip, with all that keeps its mesh up.
    pub gossip: Written,
    /// Everything else.
    pub other: Written,
}

#[derive(Debug, Default)]
struct Count {
    writes: AtomicU64,
    bytes: AtomicU64,
}

impl Count {
    fn add(&self, n_bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(n_bytes as u64, Ordering::Relaxed);
    }

    fn written(&self) -> Written {
        Written {
            writes: self.writes.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

/// The counts of a node.
#[derive(Debug, Default)]
pub(super) struct Counts {
    dht: Count,
    gossip: Count,
    other: Count,
}

impl Counts {
    pub(super) fn tally(&self) -> Tally {
        Tally {
            dht: self.dht.written(),
            gossip: self.gossip.written(),
            other: self.other.written(),
        }
    }

    fn of(&self, kind: Kind) -> &Count {
        match kind {
            Kind::Dht => &self.dht,
            Kind::Gossip => &self.gossip,
            Kind::Other => &self.other,
        }
    }
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Dht,
    Gossip,
    Other,
}

/// What one stream carries, as far as that is known.
#[derive(Debug)]
pub(super) enum Carries {
    /// The beginning of what was written.
    Unknown(Vec<u8>),
    /// Its protocol was named.
    Known(Kind),
}

impl Default for Carries {
    fn default() -> Self {
        Self::Unknown(Vec::new())
    }
}

impl Carries {
    /// These bytes were written.
    pub(super) fn wrote(&mut self, bytes: &[u8], counts: &Counts) {
        let (kind, n_bytes) = match self {
            Self::Known(kind) => (*kind, bytes.len()),
            Self::Unknown(start) => {
                let before = start.len();
                start.extend(bytes.iter().take(START - start.len()));
                let says = |name: &[u8]| start.windows(name.len()).any(|part| part == name);
                let kind = match () {
                    () if says(b"/kad/1\n") => Kind::Dht,
                    () if says(b"/meshsub/") => Kind::Gossip,
                    () if start.len() >= START => Kind::Other,
                    () => return,
                };
                *self = Self::Known(kind);
                (kind, before + bytes.len())
            }
        };
        counts.of(kind).add(n_bytes);
    }

    /// The stream has ended.
    pub(super) fn end(&mut self, counts: &Counts) {
        if let Self::Unknown(start) = std::mem::take(self)
            && !start.is_empty()
        {
            counts.other.add(start.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrote(pieces: &[&[u8]]) -> Tally {
        let (counts, mut carries) = (Counts::default(), Carries::default());
        for piece in pieces {
            carries.wrote(piece, &counts);
        }
        carries.end(&counts);
        counts.tally()
    }

    #[test]
    fn a_stream_is_counted_by_the_name_of_its_protocol() {
        let dht = wrote(&[b"\x13/multistream/1.0.0\n", b"\x10/hive/main/kad/1\n", b"what?"]);
        assert_eq!(dht.dht, Written { writes: 2, bytes: 20 + 18 + 5 });
        let gossip = wrote(&[b"\x13/multistream/1.0.0\n\x0f/meshsub/1.2.0\n", &[7; 1_000]]);
        assert_eq!(gossip.gossip, Written { writes: 2, bytes: 20 + 16 + 1_000 });
        let other = Tally { other: Written { writes: 2, bytes: 8_000 }, ..Tally::default() };
        assert_eq!(wrote(&[&[7; 4_000], &[7; 4_000]]), other);
    }

    /// A ping, a question to `model/1`: most streams are shorter than what it takes to know.
    #[test]
    fn a_short_stream_of_another_protocol_is_counted_when_it_ends() {
        let ping = wrote(&[b"\x13/multistream/1.0.0\n", b"\x11/ipfs/ping/1.0.0\n", &[7; 32]]);
        let other = Written { writes: 1, bytes: 20 + 18 + 32 };
        assert_eq!(ping, Tally { other, ..Tally::default() });
        assert_eq!(wrote(&[]), Tally::default());
    }
}

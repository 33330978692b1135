//! What must hold for any bytes that a stranger sends, a function for each kind of bytes.
//!
//! A [`Target`] gives bytes to a decoder of hive and panics if a promise is broken: a panic inside, a
//! value that does not encode back to its bytes, a size past its limit, more memory than the bytes
//! justify. `scripts/fuzz.sh` lets libFuzzer look for such bytes; the tests of this crate replay what
//! it kept (`corpus/`) in every `cargo test`, without any of its tools.
//!
//! Never reads a file or a clock, so that bytes that broke a promise once break it again.
//!
//! Invariant: each target says of its input whether the decoder took it, and its corpus has both
//! kinds, so that none is green because nothing gets past its first check.

#[cfg(feature = "local")]
mod api;
mod blocks;
mod canary;
mod files;
mod members;
mod memory;
mod messages;
#[cfg(feature = "models")]
mod models;
mod names;
mod statements;
#[cfg(feature = "swarm")]
mod wire;

pub use canary::CANARY;
pub use memory::Memory;

/// Whether a decoder took its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It was read, and everything that is promised of what is read held.
    Accepted,
    /// It was refused, in an orderly way.
    Refused,
}

impl Verdict {
    /// Accepted if `accepted`.
    pub(crate) fn of(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }

    /// Gives an input to several decoders of one kind; accepted if one of them took it.
    pub(crate) fn of_any(input: &[u8], decoders: &[fn(&[u8]) -> Self]) -> Self {
        // All of them: what one takes may break another.
        let taken = decoders.iter().filter(|decode| decode(input) == Self::Accepted).count();
        Self::of(taken > 0)
    }
}

/// A decoder and what is promised of it.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// What it reads, and what is checked beyond that it does not panic.
    pub promise: &'static str,
    /// What an input may make it allocate.
    pub memory: Memory,
    run: fn(&[u8]) -> Verdict,
}

impl Target {
    /// Gives an input to the decoder.
    ///
    /// # Panics
    ///
    /// If a promise is broken.
    pub fn check(&self, input: &[u8]) -> Verdict {
        self.memory.hold(input.len(), || (self.run)(input))
    }
}

/// Every target but the [`CANARY`].
pub fn targets() -> impl Iterator<Item = &'static Target> {
    [
        blocks::TARGETS,
        messages::TARGETS,
        statements::TARGETS,
        members::TARGETS,
        names::TARGETS,
        files::TARGETS,
        #[cfg(feature = "models")]
        models::TARGETS,
        #[cfg(feature = "local")]
        api::TARGETS,
        #[cfg(feature = "swarm")]
        wire::TARGETS,
    ]
    .into_iter()
    .flatten()
}

/// Every target and the [`CANARY`].
pub fn all() -> impl Iterator<Item = &'static Target> {
    targets().chain([&CANARY])
}

/// Returns the target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    all().find(|target| target.name == name)
}

//! What an input makes a decoder allocate.
//!
//! Everything that is allocated is counted, not what is held at once: that is the same in every run,
//! whatever the allocator and the build, and what is held is never more.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that an input may make a decoder allocate, the target's own checks included.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// For any input.
    pub fixed: usize,
    /// And for each of its bytes.
    pub per_byte: usize,
}

impl Memory {
    /// Runs a decoder on an input of `len` bytes.
    ///
    /// # Panics
    ///
    /// If more is allocated than allowed.
    pub(crate) fn hold<T>(self, len: usize, decode: impl FnOnce() -> T) -> T {
        let region = Region::new(ALLOCATOR);
        let decoded = decode();
        let used = region.change().bytes_allocated;
        let allowed = self.fixed + self.per_byte * len;
        assert!(
            used <= allowed,
            "{len} bytes of input made it allocate {used} bytes, {allowed} are allowed"
        );
        decoded
    }
}

//! What an attack costs its victim, and what it may.
//!
//! Bounds are made of the product's own limits. What no limit speaks of has a name here, and a
//! reason.

use std::time::{Duration, Instant};

use anyhow::ensure;
use hive_swarm::Limits;

use super::MIB;
use crate::figures::Figures;
use crate::victim::Victim;

/// Memory that no limit speaks of: what allocators keep, and what an honest node needs meanwhile.
pub(super) const SLACK: u64 = 32 * MIB;

/// Descriptors that an honest node opens meanwhile: its index, files, timers.
const OTHERS: u64 = 32;

/// Processor time for a stranger's message: its signature is checked before anything else is known
/// of it, which is 50 µs, and twice that where it is slow.
pub(super) const SIGNATURE: Duration = Duration::from_micros(100);

/// What may be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Bytes, beside [`SLACK`].
    pub(super) memory: u64,
    /// Connections that may stand; those that are being set up come on top.
    pub(super) connections: u32,
    /// Processor time.
    pub(super) cpu: Duration,
}

impl Most {
    /// Bytes in all.
    pub(super) fn bytes(&self) -> u64 {
        self.memory + SLACK
    }

    fn descriptors(&self) -> u64 {
        u64::from(self.connections + 2 * Limits::default().pending) + OTHERS
    }
}

/// What a victim has used since an attack began.
#[derive(Debug)]
pub(super) struct Cost {
    before: Figures,
    began: Instant,
    /// The most bytes.
    pub(super) memory: u64,
    /// The most descriptors.
    pub(super) descriptors: u64,
    /// Processor seconds.
    pub(super) cpu: f64,
}

impl Cost {
    /// Begins to count.
    pub(super) fn begin(victim: &Victim) -> anyhow::Result<Self> {
        victim.forget_peak()?;
        let before = victim.figures()?;
        Ok(Self { before, began: Instant::now(), memory: 0, descriptors: 0, cpu: 0.0 })
    }

    /// Looks at the victim: of descriptors only those are seen that are open at such a moment.
    pub(super) fn look(&mut self, victim: &Victim) -> anyhow::Result<()> {
        let now = victim.figures()?;
        self.memory = self.memory.max(now.peak.saturating_sub(self.before.memory));
        let descriptors = now.descriptors.saturating_sub(self.before.descriptors);
        self.descriptors = self.descriptors.max(descriptors);
        self.cpu = now.cpu - self.before.cpu;
        Ok(())
    }

    /// What it has not given back.
    pub(super) fn kept(&self, victim: &Victim) -> anyhow::Result<u64> {
        Ok(victim.figures()?.memory.saturating_sub(self.before.memory))
    }

    /// The part of a core that it has had.
    pub(super) fn of_a_core(&self) -> f64 {
        self.cpu / self.began.elapsed().as_secs_f64()
    }

    /// Fails if it was more than it may be.
    pub(super) fn require(&self, what: &str, most: &Most) -> anyhow::Result<()> {
        let (bytes, descriptors) = (most.bytes(), most.descriptors());
        ensure!(
            self.memory <= bytes,
            "{what} took {} bytes of memory, at most {bytes} are fine",
            self.memory
        );
        ensure!(
            self.descriptors <= descriptors,
            "{what} took {} descriptors, at most {descriptors} are fine",
            self.descriptors
        );
        ensure!(
            self.cpu <= most.cpu.as_secs_f64(),
            "{what} took {:.2} s of processor, at most {:.2} s are fine",
            self.cpu,
            most.cpu.as_secs_f64()
        );
        Ok(())
    }
}

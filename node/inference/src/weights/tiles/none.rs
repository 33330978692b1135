//! What stands for the kernels on processors that they were not written for: a proof that nobody has.

use super::{Bits, Digits, ROWS, Score, Tile};

/// Proof of something that is not so.
#[derive(Debug, Clone, Copy)]
pub(super) enum Vnni {}

impl Vnni {
    pub(super) fn detect() -> Option<Self> {
        None
    }

    pub(super) fn products<const M: usize>(
        self,
        _: Bits,
        _: Tile<'_>,
        _: &[&Digits; M],
    ) -> [[f32; ROWS]; M] {
        match self {}
    }

    pub(super) fn scores<const M: usize>(self, _: Tile<'_>, _: &[&Digits; M]) -> [Score; M] {
        match self {}
    }
}

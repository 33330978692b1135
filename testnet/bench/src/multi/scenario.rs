//! The scenarios.

mod far;
mod sources;

use super::stage::Setting;
use super::table::Outcome;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Four providers at 100 Mbit/s each
    Four,
    /// Eight providers, one of them at a hundredth of the others' rate
    Uneven,
    /// One provider 80 ms away, with and without loss, over TCP and QUIC
    Far,
    /// Providers that come and go each five seconds
    Churn,
    /// Sixteen readers of one provider behind 40 Mbit/s
    Readers,
}

impl Scenario {
    pub(super) const ALL: [Self; 5] =
        [Self::Four, Self::Uneven, Self::Far, Self::Churn, Self::Readers];

    /// As it is called on the command line and in the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Four => "four",
            Self::Uneven => "uneven",
            Self::Far => "far",
            Self::Churn => "churn",
            Self::Readers => "readers",
        }
    }

    /// The place of a scenario in the document, if there is one of this name.
    pub(super) fn rank(name: &str) -> Option<usize> {
        Self::ALL.iter().position(|known| known.name() == name)
    }

    /// Bytes that make it some ten to thirty seconds long.
    pub(super) fn size(self) -> u64 {
        let mib = match self {
            Self::Four | Self::Churn => 512,
            Self::Uneven => 384,
            Self::Far | Self::Readers => 128,
        };
        mib << 20
    }

    /// Measures once.
    pub(super) fn run(self, setting: &Setting) -> anyhow::Result<Vec<Outcome>> {
        match self {
            Self::Four => sources::four(setting),
            Self::Uneven => sources::uneven(setting),
            Self::Far => far::run(setting),
            Self::Churn => sources::churn(setting),
            Self::Readers => sources::readers(setting),
        }
    }
}

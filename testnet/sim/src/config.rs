//! What is simulated: how many, for how long, and how they behave. Every figure has its source here.

use std::time::Duration;

/// Which claim of the simulation is broken on purpose, so that a test can see it fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// None.
    Nothing,
    /// Readers take forged groups for good ones.
    TrustsLiars,
    /// Readers ask the first peer that they hear of and never another.
    AsksOnce,
    /// Every fourth fetch takes nothing that comes.
    Stalls,
}

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Config {
    /// Decides everything.
    pub seed: u64,
    /// Homes. How many of them are online follows from their sessions.
    pub nodes: u32,
    /// Virtual time.
    pub time: Duration,
    /// Models that exist.
    pub models: usize,
    /// The time online between two wishes of a node for a model it has not, in the mean.
    pub wish: Duration,
    /// The share of nodes that lie.
    pub liars: f64,
    /// Of how many heads that say something new one is followed hop by hop.
    pub floods: u32,
    /// What is broken.
    pub broken: Broken,
}

impl Config {
    /// So many nodes for so long.
    pub fn new(seed: u64, nodes: u32, time: Duration) -> Self {
        Self {
            seed,
            nodes,
            time,
            models: (nodes / 40).clamp(20, 250) as usize,
            wish: Duration::from_hours(4),
            liars: 0.1,
            floods: (nodes / 150).max(8),
            broken: Broken::Nothing,
        }
    }
}

/// A kind of home: how long it is online and away, in the median, and how many are of it.
///
/// Half of all peers of a large public network were gone within two hours (RFM2, 2021), the median
/// life was 20 minutes in July 2023, and a third of all peers was hardly ever there. Servers that
/// stay were 55 to 60 % of what is online in 2021 and are 85 to 90 % today; here they are a quarter
/// of the homes, which is harder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) share: f64,
    pub(crate) online_secs: f64,
    pub(crate) away_secs: f64,
}

/// Servers, desktops, laptops, and those who look in now and then.
pub(crate) const KINDS: [Kind; 4] = [
    Kind { share: 0.25, online_secs: 12.0 * 3600.0, away_secs: 300.0 },
    Kind { share: 0.20, online_secs: 2.0 * 3600.0, away_secs: 1_800.0 },
    Kind { share: 0.35, online_secs: 20.0 * 60.0, away_secs: 1_200.0 },
    Kind { share: 0.20, online_secs: 20.0 * 60.0, away_secs: 4.0 * 3600.0 },
];

/// The share of nodes behind routers that cannot be punched through, whatever the other end is.
pub(crate) const UNPUNCHABLE: f64 = 0.3;
/// The share of nodes that anybody can dial. Servers come first.
pub(crate) const PUBLIC: f64 = 0.25;
/// Hole punches that succeed: 70 ± 7.1 % of 4.4 million attempts (arXiv 2510.27500).
pub(crate) const PUNCHED: f64 = 0.7;

/// Lines: share, megabit a second down and up. Home lines by their common products, the last one a
/// server's or a fibre's.
pub(crate) const LINES: [(f64, f64, f64); 5] = [
    (0.15, 16.0, 2.0),
    (0.30, 50.0, 10.0),
    (0.30, 100.0, 40.0),
    (0.15, 250.0, 100.0),
    (0.10, 1_000.0, 1_000.0),
];

/// Milliseconds one way between regions: America east and west, south, Europe, India, Asia south and
/// east, Australia; about half of the round trips that cloud providers publish.
pub(crate) const LATENCY_MS: [[u64; 8]; 8] = [
    [8, 33, 58, 40, 95, 110, 78, 100],
    [33, 8, 88, 70, 112, 86, 55, 70],
    [58, 88, 8, 95, 150, 165, 130, 155],
    [40, 70, 95, 8, 60, 85, 115, 130],
    [95, 112, 150, 60, 8, 32, 65, 75],
    [110, 86, 165, 85, 32, 8, 36, 47],
    [78, 55, 130, 115, 65, 36, 8, 55],
    [100, 70, 155, 130, 75, 47, 55, 8],
];
/// Shares of nodes by region, in that order.
pub(crate) const REGIONS: [f64; 8] = [0.22, 0.14, 0.05, 0.30, 0.08, 0.08, 0.10, 0.03];

/// Groups of a model: the least and the most; the logarithm is drawn evenly.
pub(crate) const GROUPS: (f64, f64) = (48.0, 768.0);
/// Groups in a chunk, between the least (4) and the most (64).
pub(crate) const CHUNK_GROUPS: u64 = 16;
/// Models of the first minute: of each so many copies at honest nodes, one for sure at a server.
pub(crate) const SEEDS: (u32, u32) = (3, 20);
/// Models that a liar says to have.
pub(crate) const LIES: usize = 12;

/// How long a dial takes that nobody answers.
pub(crate) const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a punch takes that fails: the time that bulk waits for one.
pub(crate) const PUNCH_WAIT: Duration = Duration::from_secs(15);
/// How long a fetch goes on with nobody to ask, which is the node's default.
pub(crate) const PROVIDER_TIMEOUT: Duration = Duration::from_secs(20);
/// A fetch that brings nothing for so long, while somebody honest could be asked, has failed.
pub(crate) const HUNG: Duration = Duration::from_mins(10);
/// A fetch to which nothing comes for so long, while somebody honest could be asked, has stalled: when
/// its user leaves then, or the simulation ends, it has failed. Far more than a request may be silent.
pub(crate) const STALLED: Duration = Duration::from_mins(1);
/// Neighbours that a node dials when it joins and that it refills to: gossipsub's mesh.
pub(crate) const MESH: usize = 6;
/// Neighbours at most.
pub(crate) const MESH_MAX: usize = 12;

//! The nodes and the models: who they are, where they are, and who reaches whom.

use std::sync::Arc;

use hive_fetch::{Dice, slots::Slots};
use hive_protocol::{Bitfield, ChunkId, Geometry, limits::GROUP_LEN};

use crate::config::{
    CHUNK_GROUPS, Config, DIAL_TIMEOUT, GROUPS, KINDS, LATENCY_MS, LIES, LINES, PUBLIC, PUNCH_WAIT,
    PUNCHED, REGIONS, SEEDS, UNPUNCHABLE,
};
use crate::queue::Moment;

/// How a node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nat {
    /// Anybody dials it.
    Public,
    /// It is punched through to, most of the time.
    Punchable,
    /// Only those who can be dialed themselves meet it.
    Closed,
}

/// What a liar does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Forges every group.
    Always,
    /// Forges every group after so many good ones.
    After(u32),
    /// Grants everything and sends nothing.
    Silent,
}

/// A home.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: u8,
    region: u8,
    pub(crate) nat: Nat,
    /// Microseconds of its own line, one way.
    mile: u64,
    /// Bytes a second.
    pub(crate) up: f64,
    pub(crate) down: f64,
    pub(crate) lie: Option<Lie>,
    /// Groups that a liar has sent.
    pub(crate) n_sent: u32,
    pub(crate) online: bool,
    pub(crate) session: u32,
    pub(crate) since: Moment,
    /// Models that are here whole, or said to be.
    pub(crate) holds: Vec<u16>,
    /// Models of which a part was left by a fetch that ended early.
    pub(crate) parts: Vec<(u16, Bitfield)>,
    pub(crate) fetches: Vec<u32>,
    /// Peers that are not asked, and until when.
    pub(crate) bans: Vec<(u32, Moment)>,
    pub(crate) slots: Slots<u32, u64>,
    /// Fetches of others that this node takes part in.
    pub(crate) readers: Vec<u32>,
    /// Transfers that wait or are being sent.
    pub(crate) serving: Vec<u64>,
    /// Transfers that are being sent, and their rates together.
    pub(crate) n_out: u32,
    pub(crate) out_rate: f64,
    pub(crate) n_in: u32,
    pub(crate) in_rate: f64,
    pub(crate) neighbours: Vec<u32>,
}

/// A model.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) geometry: Arc<Geometry>,
    /// Who has it or says so, online or not, in order.
    pub(crate) holders: Vec<u32>,
    /// Nodes that answer in the DHT, the nearest to the model's key first.
    pub(crate) nearest: Vec<u32>,
    /// Where the popularity of all up to this one ends, from 0 to 1.
    popular_to: f64,
}

/// All nodes and models.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) models: Vec<Model>,
    pub(crate) dice: Dice,
    seed: u64,
}

/// A number that looks like chance and follows from two others.
fn mix(seed: u64, one: u64) -> u64 {
    Dice::new(seed ^ one.wrapping_mul(0x9e37_79b9_7f4a_7c15)).roll()
}

/// The place among shares that a fraction falls on.
fn place(shares: impl IntoIterator<Item = f64>, mut fraction: f64) -> usize {
    let mut last = 0;
    for (at, share) in shares.into_iter().enumerate() {
        last = at;
        if fraction < share {
            break;
        }
        fraction -= share;
    }
    last
}

impl World {
    pub(crate) fn new(config: &Config) -> Self {
        let mut dice = Dice::new(config.seed);
        let nodes = (0..config.nodes).map(|_| node(&mut dice, config)).collect();
        let mut world = Self { nodes, models: Vec::new(), dice, seed: config.seed };
        world.models = world.make_models(config);
        world.seed_models();
        world
    }

    fn make_models(&mut self, config: &Config) -> Vec<Model> {
        // Zipf's law with exponent 0.9, as downloads of models and films have it.
        let weight = |rank: usize| 1.0 / (rank as f64 + 1.0).powf(0.9);
        let all: f64 = (0..config.models).map(weight).sum();
        let mut popular_to = 0.0;
        let mut models = Vec::new();
        for rank in 0..config.models {
            let (least, most) = GROUPS;
            let n_groups = (least.ln() + self.dice.fraction() * (most / least).ln()).exp() as u64;
            let chunks = (0..n_groups.div_ceil(CHUNK_GROUPS)).map(|at| {
                let id = ChunkId::of(&[&rank.to_le_bytes()[..], &at.to_le_bytes()].concat());
                (id, CHUNK_GROUPS.min(n_groups - at * CHUNK_GROUPS) * GROUP_LEN)
            });
            popular_to += weight(rank) / all;
            let key = mix(self.seed, rank as u64 | 1 << 40);
            let mut nearest: Vec<u32> = (0..self.nodes.len() as u32)
                .filter(|&node| self.nodes[node as usize].nat == Nat::Public)
                .collect();
            nearest.sort_by_key(|&node| key ^ mix(self.seed, u64::from(node) | 1 << 41));
            let geometry = Arc::new(Geometry::new(chunks));
            models.push(Model { geometry, holders: Vec::new(), nearest, popular_to });
        }
        models
    }

    fn seed_models(&mut self) {
        let n_nodes = self.nodes.len() as u32;
        for model in 0..self.models.len() as u16 {
            let n_copies = SEEDS.0 + self.dice.below(SEEDS.1 - SEEDS.0 + 1);
            let mut n_given = 0;
            while n_given < n_copies {
                let node = self.dice.below(n_nodes);
                let home = &self.nodes[node as usize];
                let fits = home.lie.is_none() && (n_given > 0 || home.kind == 0);
                n_given += u32::from(fits && self.keep(node, model));
            }
        }
        for node in 0..n_nodes {
            let lies = if self.nodes[node as usize].lie.is_some() { LIES } else { 0 };
            for _ in 0..lies {
                let model = self.popular();
                self.keep(node, model);
            }
        }
    }

    /// A node has a model, or says so. Whether that is new.
    pub(crate) fn keep(&mut self, node: u32, model: u16) -> bool {
        let home = &mut self.nodes[node as usize];
        if home.holds.contains(&model) {
            return false;
        }
        home.holds.push(model);
        let holders = &mut self.models[model as usize].holders;
        if let Err(at) = holders.binary_search(&node) {
            holders.insert(at, node);
        }
        true
    }

    /// A model by popularity.
    pub(crate) fn popular(&mut self) -> u16 {
        let fraction = self.dice.fraction();
        let at = self.models.partition_point(|model| model.popular_to < fraction);
        at.min(self.models.len() - 1) as u16
    }

    /// A time with this median: log-normal with a spread of e, cut at its ends.
    pub(crate) fn about(&mut self, median_secs: f64) -> Moment {
        // Twelve evenly drawn numbers less six are normal enough.
        let normal: f64 = (0..12).map(|_| self.dice.fraction()).sum::<f64>() - 6.0;
        let secs = median_secs * normal.exp();
        (secs.clamp(median_secs / 50.0, median_secs * 50.0) * 1e6) as Moment
    }

    /// A time with this mean, as between events that know nothing of each other.
    pub(crate) fn until_next(&mut self, mean_secs: f64) -> Moment {
        (-(1.0 - self.dice.fraction()).ln() * mean_secs * 1e6) as Moment
    }

    /// Microseconds one way.
    pub(crate) fn latency(&self, one: u32, other: u32) -> Moment {
        let (one, other) = (&self.nodes[one as usize], &self.nodes[other as usize]);
        let ms = LATENCY_MS[usize::from(one.region)][usize::from(other.region)];
        ms * 1_000 + one.mile + other.mile
    }

    /// Whether two nodes that are online can have a direct connection.
    pub(crate) fn meets(&self, one: u32, other: u32) -> bool {
        let (a, b) = (self.nodes[one as usize].nat, self.nodes[other as usize].nat);
        match (a, b) {
            (Nat::Public, _) | (_, Nat::Public) => true,
            (Nat::Closed, _) | (_, Nat::Closed) => false,
            (Nat::Punchable, Nat::Punchable) => {
                // The routers decide, so it is the same each time and both ways.
                let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
                (mix(self.seed, pair) >> 11) as f64 / (1_u64 << 53) as f64 <= PUNCHED
            }
        }
    }

    /// How long it takes until a peer has answered a question, or until it is given up.
    pub(crate) fn ask(&self, from: u32, to: u32) -> Result<Moment, Moment> {
        if !self.nodes[to as usize].online {
            return Err(DIAL_TIMEOUT.as_micros() as Moment);
        }
        if !self.meets(from, to) {
            return Err(PUNCH_WAIT.as_micros() as Moment);
        }
        let round = 2 * self.latency(from, to);
        // TCP, TLS with its muxer, the question; through a relay first where no one can dial.
        let dialed = self.nodes[to as usize].nat == Nat::Public;
        Ok(if dialed { 3 * round } else { 7 * round })
    }
}

fn node(dice: &mut Dice, config: &Config) -> Node {
    let kind = place(KINDS.iter().map(|kind| kind.share), dice.fraction());
    let line = place(LINES.iter().map(|line| line.0), dice.fraction());
    let (_, down, up) = LINES[line];
    // Most who can be dialed are servers: half of these, and some of the others.
    let public = if kind == 0 { 0.6 } else { (PUBLIC - 0.15) / 0.75 };
    let closed = UNPUNCHABLE / (1.0 - PUBLIC);
    let nat = match (dice.fraction() < public, dice.fraction() < closed) {
        (true, _) => Nat::Public,
        (false, true) => Nat::Closed,
        (false, false) => Nat::Punchable,
    };
    let lie = (dice.fraction() < config.liars).then(|| match dice.below(10) {
        0..=5 => Lie::Always,
        6..=7 => Lie::After(dice.below(64)),
        _ => Lie::Silent,
    });
    Node {
        kind: kind as u8,
        region: place(REGIONS, dice.fraction()) as u8,
        nat,
        mile: 2_000 + u64::from(dice.below(18_000)),
        up: up * 125_000.0,
        down: down * 125_000.0,
        lie,
        n_sent: 0,
        online: false,
        session: 0,
        since: 0,
        holds: Vec::new(),
        parts: Vec::new(),
        fetches: Vec::new(),
        bans: Vec::new(),
        slots: Slots::new(hive_fetch::slots::SLOTS),
        readers: Vec::new(),
        serving: Vec::new(),
        n_out: 0,
        out_rate: 0.0,
        n_in: 0,
        in_rate: 0.0,
        neighbours: Vec::new(),
    }
}

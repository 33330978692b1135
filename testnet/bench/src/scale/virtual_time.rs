//! The process of one simulation.

use std::time::{Duration, Instant};

use hive_sim::{Config, Report};
use serde::{Deserialize, Serialize};

use crate::machine;

/// Which simulation.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Args {
    seed: u64,
    nodes: u32,
    minutes: u64,
}

/// What it says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) report: Report,
    /// Seconds that it took.
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    /// Bytes of memory for each node: the process's peak, less what it had before.
    pub(crate) memory: u64,
}

/// Simulates and says what came of it.
pub(crate) fn simulate(args: Args) -> anyhow::Result<()> {
    let (begun, before) = (Instant::now(), machine::memory());
    let time = Duration::from_secs(args.minutes * 60);
    let report = hive_sim::run(&Config::new(args.seed, args.nodes, time));
    let memory = machine::peak_memory().saturating_sub(before) / u64::from(args.nodes.max(1));
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), machine::cpu_seconds());
    println!("{}", serde_json::to_string(&Outcome { report, seconds, cpu, memory })?);
    Ok(())
}

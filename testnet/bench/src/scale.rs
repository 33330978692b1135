//! `scale`: ten thousand nodes in virtual time, a hundred real ones on this machine, and what the DHT
//! and gossip cost a node as the network grows.
//!
//! Each simulation and each live network is a process of its own, this program started again, so
//! that its memory and processor time are its own. What is measured and what is a model is said in
//! the tables and in the plots ([`plot`]): beyond the largest live network there are models only.

pub(crate) mod live;
mod model;
mod plot;
mod text;
pub(crate) mod virtual_time;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;

use crate::args::Output;
use crate::machine;

/// Many nodes: simulated, and real ones in one process
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Seed of the simulation
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Nodes of the simulation
    #[arg(long, default_value_t = 10_000)]
    nodes: u32,

    /// Hours of the simulation
    #[arg(long, default_value_t = 24)]
    hours: u64,

    /// Sizes of live networks, of 10, 25, 50 and 100
    #[arg(long, default_value = "10,25,50,100", value_delimiter = ',')]
    live: Vec<usize>,

    /// Bytes of the model that all live nodes fetch
    #[arg(long, default_value = "16MiB", value_parser = crate::args::size)]
    size: u64,

    /// Seconds in which live nodes are left alone to see what they cost
    #[arg(long, default_value_t = 60)]
    idle: u64,

    /// A minute's worth: 1,000 nodes for two hours, and 10 live ones
    #[arg(long)]
    quick: bool,

    /// Plots go to `img` beside the document
    #[command(flatten)]
    output: Output,
}

/// Runs all of it.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (nodes, hours, live, idle) = if args.quick {
        (1_000, 2, vec![10], 10)
    } else {
        (args.nodes, args.hours, args.live.clone(), args.idle)
    };
    let sim = |seed: u64, nodes: u32, minutes: u64| -> anyhow::Result<virtual_time::Outcome> {
        eprintln!("simulating {nodes} nodes for {minutes} minutes from seed {seed} …");
        let numbers = [seed, u64::from(nodes), minutes].map(|number| number.to_string());
        child("scale-sim", &numbers)
    };
    // It takes one core; the live networks have the others meanwhile.
    let (large, networks) = std::thread::scope(|scope| {
        let large = scope.spawn(|| sim(args.seed, nodes, hours * 60));
        let networks = live_networks(&live, args.size, idle);
        (large.join(), networks)
    });
    let large = large.ok().context("the simulation ended early")??;
    let networks = networks?;
    // The same again, and another: the trace shows whether a seed decides everything.
    let small = [args.seed, args.seed, args.seed + 1].map(|seed| sim(seed, 300, 60));
    let [one, same, other] = small;
    let (one, same, other) = (one?, same?, other?);
    ensure!(one.report == same.report, "seed {} gave two different runs", args.seed);
    ensure!(one.report.trace != other.report.trace, "two seeds gave one run");

    let costs = model::Costs::of(&networks);
    let images = Path::new("img");
    let section = text::section(args.seed, &large, &networks, &costs, images);
    if let Some(beside) = args.output.beside("img") {
        std::fs::create_dir_all(&beside).with_context(|| format!("`{}`", beside.display()))?;
        for (name, svg) in plot::all(&networks, &costs) {
            let path = beside.join(name);
            std::fs::write(&path, svg).with_context(|| format!("`{}`", path.display()))?;
        }
    }
    let text = format!("hive {}, {}.\n\n{section}", env!("CARGO_PKG_VERSION"), machine::describe());
    args.output.write("scale", &text)
}

fn live_networks(sizes: &[usize], size: u64, idle: u64) -> anyhow::Result<Vec<live::Outcome>> {
    sizes
        .iter()
        .map(|&n| {
            eprintln!("starting {n} nodes …");
            let numbers = [n as u64, size, idle].map(|number| number.to_string());
            child("scale-nodes", &numbers)
        })
        .collect()
}

/// Runs this program again with a hidden subcommand, and reads the line of JSON that it prints last.
fn child<T: DeserializeOwned>(command: &str, args: &[String]) -> anyhow::Result<T> {
    let program = std::env::current_exe().context("the path of this program")?;
    let output = Command::new(program)
        .arg(command)
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting `{command}`"))?;
    ensure!(output.status.success(), "`{command} {}` failed: {}", args.join(" "), output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().context("it printed nothing")?;
    serde_json::from_str(last).with_context(|| format!("what `{command}` printed: {last}"))
}

//! One simulation: `cargo run --release -p hive-sim --example day -- SEED [NODES [HOURS]]`.
//!
//! Prints what came of it, its trace first: the same three numbers give the same trace.

#![expect(clippy::print_stdout, reason = "a command for people")]

use std::time::Duration;

use hive_sim::{Config, run};

fn main() {
    let number = |at: usize, otherwise: u64| {
        std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let (seed, nodes, hours) = (number(1, 1), number(2, 10_000), number(3, 24));
    let report = run(&Config::new(seed, nodes as u32, Duration::from_hours(hours)));
    println!("seed {seed}, {nodes} nodes, {hours} hours: trace {:016x}", report.trace);
    println!("{report:#?}");
    println!(
        "completion {:.5} (of all that ended {:.5}), lookups {:.5}, duplicates {:.5}",
        report.completion(),
        report.completion_of_ended(),
        report.lookup_success(),
        report.duplicates()
    );
}

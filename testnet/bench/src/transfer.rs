//! `transfer`: one reader, some providers, all the bytes verified and on disk.

use std::rc::Rc;

use crate::args::{self, Output, Place};
use crate::files;
use crate::goals::{self, Goal, ratio};
use crate::hive::{Providers, Warm};
use crate::machine;
use crate::measure::{Run, measure};
use crate::report::{self, Row, spread};

/// Fetch random bytes over the loopback: encrypted, verified, on disk
#[derive(Debug, clap::Args)]
pub(crate) struct TransferArgs {
    /// Bytes to fetch, as in `1GiB`
    #[arg(long, default_value = "2GiB", value_parser = args::size)]
    size: u64,

    /// Numbers of providers, separated by commas
    #[arg(long, default_value = "1,4", value_delimiter = ',')]
    providers: Vec<usize>,

    /// Runs with each number of providers
    #[arg(long, default_value_t = 5)]
    runs: usize,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    output: Output,
}

/// Measures, prints, and writes the document.
pub(crate) fn run(args: &TransferArgs) -> anyhow::Result<()> {
    let work = args.place.work()?;
    let file = work.path().join("bench.bin");
    eprintln!("writing {} random bytes", args.size);
    machine::touch_memory(4 * args.size);
    files::write_random(&file, 0, args.size)?;
    eprintln!("adding the file at {} providers", args.providers.iter().sum::<usize>());
    let providers = Providers::start(work.path(), &file, args.size, &args.providers)?;
    let providers = Rc::new(providers);
    let mut hive = Warm(Rc::clone(&providers));
    let mut rows: Vec<Row> = args
        .providers
        .iter()
        .map(|&n_sources| Row { name: "hive".to_owned(), n_sources, runs: Vec::new(), why: None })
        .collect();
    let mut copies = Vec::new();
    for number in 1..=args.runs {
        for row in &mut rows {
            let run = measure(&mut hive, &file, row.n_sources, args.place.patience())?;
            eprintln!("  run {number} from {}: {run}", row.n_sources);
            row.runs.push(run);
        }
        copies.push(files::copy_seconds(work.path(), &file)?);
    }
    let rate = |seconds: f64| args.size as f64 / 1e6 / seconds;
    let section = format!(
        "{}\n\n{}\n\n{}\n\nAdding the file (one pass of BLAKE3 and SHA-256): {} MB/s.\nA plain copy of \
         it (read and write, no sync), after each run: {} MB/s.",
        report::headline(args.size),
        report::table(&rows),
        goals::table(&goals(&rows)),
        spread(providers.add_seconds().map(rate), 0),
        spread(copies.into_iter().map(rate), 0),
    );
    args.output.write("transfer", &section)
}

/// What is wanted of hive, whoever else is measured.
pub(crate) fn goals(rows: &[Row]) -> Vec<Goal> {
    let find = |n_sources| {
        rows.iter().find(|row| row.name.starts_with("hive") && row.n_sources == n_sources)
    };
    let (one, four) = (find(1), find(4));
    let middle = |row: Option<&Row>, of: fn(&Run) -> f64| row.and_then(|row| row.middle(of));
    let first = |row: Option<&Row>| {
        row.and_then(|row| report::middle(row.runs.iter().filter_map(|run| run.first_ms)))
    };
    let memory = |run: &Run| run.memory as f64 / (1 << 20) as f64;
    let rate = |row| middle(row, |run| run.rate);
    vec![
        Goal::at_most("CPU-s/GB, both ends, one source", 3.5, middle(one, Run::cpu)),
        Goal::at_most("CPU-s/GB, both ends, four sources", 3.5, middle(four, Run::cpu)),
        Goal::at_least("MB/s from one source", 520.0, rate(one)).digits(0),
        Goal::at_least("MB/s from four for each from one", 0.95, ratio(rate(four), rate(one))),
        Goal::at_most("first verified bytes, ms, one source", 20.0, first(one)).digits(1),
        Goal::at_most("first verified bytes, ms, four sources", 20.0, first(four)).digits(1),
        Goal::at_most("reader's peak memory, MiB, one source", 128.0, middle(one, memory))
            .digits(0),
        Goal::at_most("reader's peak memory, MiB, four sources", 128.0, middle(four, memory))
            .digits(0),
    ]
}

//! `multi`: many sources, uneven, far, lossy, coming and going; and many readers of one.
//!
//! Each scenario is a network of its own in namespaces ([`hive_natlab`]), in which a plain TCP copy
//! and hive fetch the same bytes one after the other, so that every goal is held against what that
//! very line gives to a program that does nothing else. The lines' dice come from a seed.

mod allowed;
mod counters;
mod member;
mod plain;
mod scenario;
mod stage;
mod table;

use anyhow::ensure;
use hive_natlab::Janitor;

pub(crate) use self::allowed::restore;
pub(crate) use self::member::{MemberArgs, run as member};
use self::scenario::Scenario;
use self::stage::Setting;
use self::table::Table;
use crate::args::{Output, Quiet, size};
use crate::document::Part;
use crate::machine;

/// What stands above all scenarios.
const PREFACE: &str = "Each scenario as it was measured last. Each cell: least / median / most; whether \
    a goal is met is said of the median. *Sent in vain* is what all nodes handed to their connections \
    beyond the bytes that were needed, unless something else is said.";

/// Fetch from many sources over slow, far and lossy lines, beside plain TCP (Linux, root)
#[derive(Debug, clap::Args)]
pub(crate) struct MultiArgs {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,

    /// Runs of each
    #[arg(long, default_value_t = 3)]
    runs: u64,

    /// What decides the dice of the lines in the first run; the next has the next number
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Bytes to fetch in each scenario, as in `64MiB` [default: what each of them needs]
    #[arg(long, value_parser = size)]
    size: Option<u64>,

    #[command(flatten)]
    quiet: Quiet,

    #[command(flatten)]
    output: Output,
}

/// Measures, prints, and writes the document.
pub(crate) fn run(args: &MultiArgs) -> anyhow::Result<()> {
    hive_natlab::check()?;
    let _janitor = Janitor::start()?;
    let is_wanted =
        |scenario: &&Scenario| args.scenarios.is_empty() || args.scenarios.contains(scenario);
    let (mut parts, mut n_failed) = (Vec::new(), 0);
    for &scenario in Scenario::ALL.iter().filter(is_wanted) {
        let table = measure(args, scenario);
        n_failed += table.n_failed();
        let text = format!(
            "**{}**: hive {}, {}.\n\n{table}",
            scenario.name(),
            env!("CARGO_PKG_VERSION"),
            machine::describe(),
        );
        parts.push(Part { name: scenario.name().to_owned(), text });
    }
    args.output.write_parts("multi", PREFACE, &parts, Scenario::rank)?;
    ensure!(n_failed == 0, "{n_failed} runs failed; their rows say why");
    Ok(())
}

/// Measures one scenario. A run that fails is a row, and the next one begins.
fn measure(args: &MultiArgs, scenario: Scenario) -> Table {
    let mut table = Table::default();
    for run in 0..args.runs {
        let setting = Setting {
            seed: args.seed + run,
            size: args.size.unwrap_or_else(|| scenario.size()),
            quiet: args.quiet,
        };
        match scenario.run(&setting) {
            Ok(outcomes) => {
                for outcome in outcomes {
                    eprintln!("{outcome}");
                    table.add(outcome);
                }
            }
            Err(error) => {
                eprintln!("{}, seed {}: {error:#}", scenario.name(), setting.seed);
                table.fail(setting.seed, format!("{error:#}"));
            }
        }
    }
    table
}

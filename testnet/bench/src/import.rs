//! `import`: what it takes to take a file in, beside tools that hash it, and tools that share it.

use std::path::Path;
use std::process::Command;

use crate::args::{self, Output, Place};
use crate::files;
use crate::hive::Provider;
use crate::machine::{self, Others};
use crate::peers::{self, Tools};
use crate::process;
use crate::report::{self, spread};
use crate::worker::Added;

/// Add a file, beside tools that hash it or share it
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Bytes of the file, as in `1GiB`
    #[arg(long, default_value = "2GiB", value_parser = args::size)]
    size: u64,

    /// Runs of each tool
    #[arg(long, alias = "rounds", default_value_t = 3)]
    runs: usize,

    /// Where `scripts/get-peers.sh` has put the tools
    #[arg(long, value_name = "DIR")]
    peers: Option<std::path::PathBuf>,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    output: Output,
}

/// The tools, in the order of their turns, and what each does.
const TOOLS: [(&str, &str); 6] = [
    (
        "hive add",
        "BLAKE3 of every MiB and SHA-256 in one pass; a link, no copy; indexed and synced",
    ),
    ("sha256sum", "SHA-256"),
    ("b3sum", "BLAKE3, all cores, mapped"),
    ("b3sum, one thread", "BLAKE3, mapped"),
    ("sendme send", "BLAKE3 of every 16 KiB; a reference, no copy; from its start to its ticket"),
    ("libtorrent", "SHA-1 of every 4 MiB; from the start of Python to the torrent"),
];

/// One tool's runs.
struct Row {
    name: &'static str,
    what: &'static str,
    runs: Vec<(Added, f64)>,
    why: Option<String>,
}

/// Measures, prints, and writes the document.
pub(crate) fn run(args: &ImportArgs) -> anyhow::Result<()> {
    let work = args.place.work()?;
    let file = work.path().join("bench.bin");
    eprintln!("writing {} random bytes", args.size);
    machine::touch_memory(2 * args.size);
    files::write_random(&file, 0, args.size)?;
    let tools = Tools::find(args.peers.clone());
    let mut rows: Vec<Row> =
        TOOLS.iter().map(|&(name, what)| Row { name, what, runs: Vec::new(), why: None }).collect();
    for run in 1..=args.runs {
        for row in rows.iter_mut().filter(|row| row.why.is_none()) {
            args.place.wait();
            let dir = tempfile::tempdir_in(work.path())?;
            let others = Others::start();
            match import(row.name, dir.path(), &file, args.size, &tools) {
                Ok(added) => {
                    let others = others.share(added.cpu);
                    eprintln!("  run {run}, {}: {:.2} s", row.name, added.seconds);
                    row.runs.push((added, others));
                }
                Err(error) => {
                    eprintln!("  {}: {error:#}", row.name);
                    row.why = Some(format!("{error:#}"));
                }
            }
        }
    }
    let section = format!(
        "{}\nThe file is in the page cache.\n\n{}",
        report::headline(args.size),
        table(&rows, args.size)
    );
    args.output.write("import", &section)
}

fn import(name: &str, dir: &Path, file: &Path, size: u64, tools: &Tools) -> anyhow::Result<Added> {
    let ran = match name {
        "hive add" => return Ok(Provider::start(dir, "bench", &[file])?.add().clone()),
        "sendme send" => return peers::import_with_sendme(tools, dir, file),
        "sha256sum" => process::run(name, Command::new("sha256sum").arg(file))?,
        "b3sum" => process::run(name, Command::new(tools.built("b3sum")?).arg(file))?,
        "b3sum, one thread" => {
            let mut command = Command::new(tools.built("b3sum")?);
            process::run(name, command.args(["--num-threads", "1"]).arg(file))?
        }
        "libtorrent" => peers::import_with_libtorrent(tools, dir, file, size)?,
        other => return Err(anyhow::anyhow!("no tool is called `{other}`")),
    };
    Ok(Added { seconds: ran.seconds, cpu: ran.cpu, memory: ran.memory })
}

fn table(rows: &[Row], size: u64) -> String {
    let mut lines = vec![
        "| | MB/s | CPU-s/GB | peak memory, MiB | runs | others on the machine, % | what it does |"
            .to_owned(),
        "|---|---|---|---|---|---|---|".to_owned(),
    ];
    for row in rows {
        let of = |value: &dyn Fn(&Added) -> f64, digits| {
            spread(row.runs.iter().map(|(added, _)| value(added)), digits)
        };
        let what = row.why.as_deref().unwrap_or(row.what).replace(['|', '\n'], " ");
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {what} |",
            row.name,
            of(&|added| size as f64 / 1e6 / added.seconds, 0),
            of(&|added| added.cpu / (size as f64 / 1e9), 2),
            of(&|added| added.memory as f64 / (1 << 20) as f64, 0),
            row.runs.len(),
            spread(row.runs.iter().map(|(_, others)| others * 100.0), 0),
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_failed_says_why_in_its_row() {
        let added = Added { seconds: 2.0, cpu: 1.0, memory: 8 << 20 };
        let rows = [
            Row { name: "one", what: "all", runs: vec![(added, 0.01)], why: None },
            Row { name: "two", what: "all", runs: Vec::new(), why: Some("not here".to_owned()) },
        ];
        let text = table(&rows, 1_000_000_000);
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(
            lines[0],
            "| one | 500 / 500 / 500 | 1.00 / 1.00 / 1.00 | 8 / 8 / 8 | 1 | 1 / 1 / 1 | all |"
        );
        assert_eq!(lines[1], "| two | - | - | - | 0 | - | not here |");
    }
}

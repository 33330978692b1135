//! `arrive`: how long after the last byte of a model the first token of its answer comes.
//!
//! A provider in this process is limited to a link's rate. A reader, each time a new process with an
//! empty home and its model in a process of its own, answers a prompt while the model arrives; and
//! beside it as people do today: download, hash again, load, run. Both have to say the same.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use hive_api::{FetchEvent, FetchRequest, Hive, RunEvent, RunRequest, Sampling, Visibility};
use hive_node::{Config, Node};
use hive_testnet::TestNode;
use serde::{Deserialize, Serialize};

use crate::args::{Output, Place};
use crate::goals::{self, Goal};
use crate::machine::{self, Others};
use crate::report::spread;

/// Tokens of the answer: enough to compare.
const TOKENS: u32 = 12;
/// Seconds from the last byte to the first token at most.
const GOAL: f64 = 1.0;

/// Answer with a model that is not here, while it arrives
#[derive(Debug, clap::Args)]
pub(crate) struct ArriveArgs {
    /// A model that generates: a GGUF file
    model: PathBuf,

    /// Bits a second that the provider sends at most
    #[arg(long, default_value_t = 100_000_000, value_name = "BITS")]
    rate: u64,

    /// What to continue
    #[arg(long, default_value = "The capital of France is")]
    prompt: String,

    /// Runs of each way
    #[arg(long, default_value_t = 3)]
    runs: usize,

    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    output: Output,
}

/// What a reader is to do.
#[derive(Debug, clap::Args)]
pub(crate) struct AnswerArgs {
    /// Its home
    home: PathBuf,
    /// The model
    id: String,
    /// From whom
    from: String,
    /// What to continue
    prompt: String,
    /// Fetch it whole and hash it before it is run
    #[arg(long)]
    whole: bool,
}

/// How an answer came. All seconds count from the command.
#[derive(Debug, Serialize, Deserialize)]
struct Answered {
    /// When all of the model was here and verified.
    last_byte: f64,
    /// Seconds that hashing the file again took.
    hash: f64,
    first_token: f64,
    /// Bytes that were here at the first token.
    bytes: u64,
    size: u64,
    text: String,
}

impl Answered {
    /// Seconds that somebody waited after the last byte; none if the answer came before.
    fn waited(&self) -> f64 {
        self.first_token - self.last_byte
    }
}

/// Measures, prints, and writes the document.
pub(crate) async fn run(args: &ArriveArgs) -> anyhow::Result<()> {
    let work = args.place.work()?;
    let limit = args.rate / 8;
    let provider =
        TestNode::start(Config { upload_limit: Some(limit), ..hive_testnet::config("bench") })
            .await?;
    let id = provider.add_path(&args.model, Visibility::Public).await?.cid;
    let (mut arriving, mut whole, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..args.runs {
        for (is_whole, runs) in [(false, &mut arriving), (true, &mut whole)] {
            tokio::task::block_in_place(|| args.place.wait());
            let (others, ours) = (Others::start(), machine::tree_cpu());
            let from = provider.address();
            let answered = read(work.path(), &id, &from, &args.prompt, is_whole).await?;
            shares.push(others.share(machine::tree_cpu() - ours));
            let way = if is_whole { "download, hash, load, run" } else { "while it arrives" };
            eprintln!(
                "run {}, {way}: last byte {:.2} s, first token {:.2} s",
                number + 1,
                answered.last_byte,
                answered.first_token
            );
            runs.push(answered);
        }
    }
    let said = &whole.first().context("no runs")?.text;
    let is_same = arriving.iter().chain(&whole).all(|answered| answered.text == *said);
    ensure!(is_same, "the answers differ: {arriving:?}, {whole:?}");
    let name = args.model.file_name().unwrap_or_default().display();
    let text = format!(
        "hive {}, `{name}` ({} MiB) from one provider that sends at most {} Mbit/s (its own limit on \
         uploads, over the loopback), {} runs of each way in turns, each after a wait for other \
         programs to be quiet, {}; others had {} % of the machine. Seconds from the command; each \
         cell: least / median / most.\n\n{}\n\nThe text is the same in all runs.\n\n{}",
        env!("CARGO_PKG_VERSION"),
        whole[0].size >> 20,
        args.rate / 1_000_000,
        args.runs,
        machine::describe(),
        spread(shares.iter().map(|share| share * 100.0), 0),
        table(&arriving, &whole),
        goals::table(&goals(&arriving)),
    );
    args.output.write("arrive", &text)
}

fn table(arriving: &[Answered], whole: &[Answered]) -> String {
    let row = |way: &str, runs: &[Answered], hashed: bool| {
        let of = |value: &dyn Fn(&Answered) -> f64| spread(runs.iter().map(value), 2);
        let less = |run: &Answered| if hashed { 0.0 } else { run.hash };
        format!(
            "| {way} | {} | {} | {} | {} |\n",
            of(&|run| run.last_byte),
            of(&|run| run.first_token - less(run)),
            of(&|run| run.waited() - less(run)),
            spread(runs.iter().map(|run| 100.0 * run.bytes as f64 / run.size as f64), 1),
        )
    };
    let mut table =
        "| way | last byte | first token | first token after last byte | of the bytes here at the first token, % |\n\
         |---|---|---|---|---|\n"
            .to_owned();
    table += &row("`hive run` while it arrives", arriving, true);
    table += &row("`hive fetch`, then `hive run`", whole, false);
    table += &row("download, SHA-256 again, load, run", whole, true);
    table.trim_end().to_owned()
}

/// The first token comes soon after the last byte. An answer that came before the last byte says
/// nothing of that, since it did not need it: which byte it waited for last is not seen from outside
/// of the node. So it is of no run then, and the goal is held against none.
fn goals(arriving: &[Answered]) -> Vec<Goal> {
    let after = arriving.iter().map(Answered::waited).filter(|waited| *waited > 0.0);
    let worst = after.reduce(f64::max);
    let before = arriving.iter().filter(|run| run.waited() <= 0.0).count();
    let mut goals = Vec::new();
    if before < arriving.len() {
        let what = format!(
            "s from the model's last byte to the first token, the slowest of {} runs that waited \
             for it",
            arriving.len() - before
        );
        goals.push(Goal::at_most(what, GOAL, worst));
    }
    if before > 0 {
        let what = format!(
            "s from the last byte that was needed to the first token, of {before} runs that answered \
             before the last byte"
        );
        goals.push(Goal::at_most(what, GOAL, None));
    }
    goals
}

/// Has a new process answer.
async fn read(
    dir: &Path,
    id: &str,
    from: &str,
    prompt: &str,
    whole: bool,
) -> anyhow::Result<Answered> {
    let home = tempfile::tempdir_in(dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("answer").arg(home.path()).args([id, from, prompt]);
    command.args(whole.then_some("--whole")).stderr(Stdio::inherit());
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    ensure!(output.status.success(), "the reader failed");
    serde_json::from_slice(&output.stdout).context("what the reader said")
}

/// The reader: answers, and says on stdout how it went.
pub(crate) async fn answer(args: AnswerArgs) -> anyhow::Result<()> {
    let config = Config {
        home: args.home,
        worker: Some(std::env::current_exe()?),
        ..hive_testnet::config("bench")
    };
    let node = Node::start(config).await?;
    let hive = node.hive();
    hive.connect(&args.from).await?;
    let start = Instant::now();
    let mut clock = Clock { start, last_byte: None, bytes: 0, size: 0 };
    let hash = if args.whole { fetch(&*hive, &args.id, &mut clock).await? } else { 0.0 };
    let request = RunRequest {
        max_tokens: Some(TOKENS),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        fetch: true,
        ..RunRequest::new(&args.id, args.prompt.as_str())
    };
    let mut events = hive.run(request).await?;
    let (mut text, mut first, mut is_done) = (String::new(), None, false);
    while let Some(event) = events.next().await {
        match event? {
            RunEvent::Fetching { progress } => clock.see(&progress),
            RunEvent::Text { text: more, .. } => {
                first.get_or_insert((start.elapsed().as_secs_f64(), clock.bytes));
                text += &more;
            }
            RunEvent::Done(_) => is_done = true,
            _ => {}
        }
    }
    ensure!(is_done, "an answer without an end");
    drop(events);
    if clock.last_byte.is_none() {
        fetch(&*hive, &args.id, &mut clock).await?;
    }
    let (first_token, bytes) = first.context("no text")?;
    let last_byte = clock.last_byte.context("the model never came")?;
    let answered = Answered { last_byte, hash, first_token, bytes, size: clock.size, text };
    println!("{}", serde_json::to_string(&answered)?);
    node.shutdown().await;
    Ok(())
}

/// Takes note of when what was here.
struct Clock {
    start: Instant,
    last_byte: Option<f64>,
    bytes: u64,
    size: u64,
}

impl Clock {
    fn see(&mut self, event: &FetchEvent) {
        match *event {
            FetchEvent::Progress { bytes, size, .. } => (self.bytes, self.size) = (bytes, size),
            FetchEvent::Done { bytes, .. } => (self.bytes, self.size) = (bytes, bytes),
            _ => return,
        }
        if self.bytes == self.size {
            self.last_byte.get_or_insert(self.start.elapsed().as_secs_f64());
        }
    }
}

/// Fetches a model to its end and hashes its file again, as those do who cannot trust what they
/// got. Returns the seconds of the latter.
async fn fetch(hive: &dyn Hive, id: &str, clock: &mut Clock) -> anyhow::Result<f64> {
    let request = FetchRequest { model: id.to_owned(), ..FetchRequest::default() };
    let mut events = hive.fetch(request).await?;
    while let Some(event) = events.next().await {
        let event = event?;
        clock.see(&event);
        if let FetchEvent::Done { path, .. } = event {
            let start = Instant::now();
            let hashing = tokio::process::Command::new("sha256sum").arg(path).output().await?;
            ensure!(hashing.status.success(), "sha256sum failed");
            return Ok(start.elapsed().as_secs_f64());
        }
    }
    bail!("a fetch without an end")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(last_byte: f64, first_token: f64) -> Answered {
        let (hash, bytes, size, text) = (0.0, 10, 10, "a".to_owned());
        Answered { last_byte, hash, first_token, bytes, size, text }
    }

    #[test]
    fn the_goal_is_held_against_the_slowest_run_that_waited_for_the_last_byte() {
        let goals = |runs: &[Answered]| super::goals(runs);
        let met = goals(&[answered(2.0, 2.5), answered(2.0, 2.9)]);
        assert!(met.len() == 1 && met[0].is_met(), "{met:?}");
        let missed = goals(&[answered(2.0, 2.5), answered(2.0, 3.5)]);
        assert!(missed.len() == 1 && !missed[0].is_met(), "{missed:?}");
    }

    #[test]
    fn an_answer_before_the_last_byte_proves_nothing() {
        let goals = super::goals(&[answered(2.0, 1.5)]);
        assert!(goals.len() == 1 && !goals[0].is_met(), "{goals:?}");
    }
}

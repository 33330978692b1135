//! `run`: a model decodes and reads, here and in llama.cpp, one after the other in the same minutes.
//!
//! Each is a process of its own for every round, which says in a line of JSON what its work took; they
//! take turns, so that a busy minute hits both. What is compared is the median of the rounds.

mod ours;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::args::{Output, Quiet};
use crate::goals::{self, Goal, ratio};
use crate::machine::{self, Others};
use crate::peers::Tools;
use crate::report::{middle, spread};

pub(crate) use ours::decode;

/// What is continued.
const PROMPT: &str = "The capital of France is";
/// Threads that are compared.
const THREADS: [usize; 2] = [1, 2];
/// Long prompts in a round.
const LONG: usize = 3;

/// Decode and read beside llama.cpp
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// A GGUF file
    model: PathBuf,

    /// Rounds with each number of threads
    #[arg(long, default_value_t = 3)]
    runs: usize,

    /// Tokens that are decoded
    #[arg(long, default_value_t = 128)]
    tokens: u32,

    /// Directory of `scripts/get-peers.sh`; by default ~/.cache/hive-peers
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,

    #[command(flatten)]
    quiet: Quiet,

    #[command(flatten)]
    output: Output,
}

/// What some work took.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Took {
    tokens: f64,
    seconds: f64,
    cpu: f64,
}

impl Took {
    fn rate(self) -> f64 {
        self.tokens / self.seconds
    }

    fn cpu_rate(self) -> f64 {
        self.tokens / self.cpu
    }
}

/// What a process says of its round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Said {
    version: String,
    text: String,
    decoded: Took,
    read: Vec<Took>,
    peak: u64,
}

/// Rounds of one of the two.
#[derive(Debug, Default)]
struct Rounds(Vec<Said>);

impl Rounds {
    fn decoded(&self, of: fn(Took) -> f64) -> Vec<f64> {
        self.0.iter().map(|said| of(said.decoded)).collect()
    }

    fn read(&self, of: fn(Took) -> f64) -> Vec<f64> {
        self.0.iter().flat_map(|said| said.read.iter().map(|&took| of(took))).collect()
    }

    fn peak(&self) -> Vec<f64> {
        self.0.iter().map(|said| said.peak as f64 / f64::from(1 << 20)).collect()
    }
}

/// The rounds with one number of threads.
#[derive(Debug, Default)]
struct Pair {
    ours: Rounds,
    theirs: Rounds,
}

/// Measures, prints, and writes the document.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let tools = Tools::find(args.peers.clone());
    let mut pairs = Vec::new();
    let mut others = Vec::new();
    for threads in THREADS {
        let mut pair = Pair::default();
        for round in 0..args.runs {
            eprintln!("{threads} threads, round {}", round + 1);
            let prompts = prompts(round);
            args.quiet.wait();
            let (watch, before) = (Others::start(), machine::tree_cpu());
            let mut ours = Command::new(std::env::current_exe()?);
            ours.arg("decode").arg(&args.model).arg(args.tokens.to_string()).arg(PROMPT);
            ours.args(&prompts);
            for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
                ours.env(name, threads.to_string());
            }
            let ours = hear("hive", &mut ours)?;
            let mut theirs = tools.python(include_str!("../peers/llama.py"))?;
            theirs.arg(&args.model);
            theirs.args([threads.to_string(), args.tokens.to_string()]).arg(PROMPT).args(&prompts);
            let theirs = hear("llama.cpp", &mut theirs)?;
            others.push(100.0 * watch.share(machine::tree_cpu() - before));
            pair.ours.0.push(ours);
            pair.theirs.0.push(theirs);
        }
        pairs.push((threads, pair));
    }
    let text = table(&pairs, &others, &args.model, args.tokens);
    args.output.write("run", &text)
}

/// Prompts of some 560 tokens that do not begin alike.
fn prompts(round: usize) -> Vec<String> {
    let text = "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, \
                France. It is named after the engineer Gustave Eiffel. ";
    (0..LONG).map(|at| format!("{round}.{at}: {}", text.repeat(19))).collect()
}

fn hear(name: &str, command: &mut Command) -> anyhow::Result<Said> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}"))?;
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().rfind(|line| !line.trim().is_empty()).map(str::to_owned).unwrap_or_default()
    };
    ensure!(output.status.success(), "{name} failed: {}", last(&output.stderr));
    let line = last(&output.stdout);
    serde_json::from_str(&line).with_context(|| format!("{name} said `{line}`"))
}

fn table(pairs: &[(usize, Pair)], others: &[f64], model: &Path, tokens: u32) -> String {
    let mut text = String::new();
    let model = model.file_name().unwrap_or_default().display();
    let n_rounds = pairs.first().map_or(0, |(_, pair)| pair.ours.0.len());
    let theirs = pairs.iter().flat_map(|(_, pair)| &pair.theirs.0).next();
    let _ = writeln!(
        text,
        "hive {}, {}, `{model}`, {}; {} rounds, others had {} % of the machine. Each cell: least / \
         median / most.\n",
        env!("CARGO_PKG_VERSION"),
        theirs.map_or_else(String::new, |said| said.version.clone()),
        machine::describe(),
        n_rounds,
        spread(others.iter().copied(), 0),
    );
    text.push_str(
        "| threads | | decoded, tokens/s | tokens/CPU-s | read, tokens/s | tokens/CPU-s | peak \
         memory, MiB |\n|---|---|---|---|---|---|---|\n",
    );
    for (threads, pair) in pairs {
        for (name, rounds) in [("hive", &pair.ours), ("llama.cpp", &pair.theirs)] {
            let _ = writeln!(
                text,
                "| {threads} | {name} | {} | {} | {} | {} | {} |",
                spread(rounds.decoded(Took::rate).into_iter(), 1),
                spread(rounds.decoded(Took::cpu_rate).into_iter(), 1),
                spread(rounds.read(Took::rate).into_iter(), 0),
                spread(rounds.read(Took::cpu_rate).into_iter(), 0),
                spread(rounds.peak().into_iter(), 0),
            );
        }
    }
    let texts = |of: fn(&Pair) -> &Rounds| -> Vec<&str> {
        pairs.iter().flat_map(|(_, pair)| &of(pair).0).map(|said| said.text.as_str()).collect()
    };
    let (ours, theirs) = (texts(|pair| &pair.ours), texts(|pair| &pair.theirs));
    let _ = write!(
        text,
        "\nGreedy text of {tokens} tokens: {}.\n\n{}",
        compared(&ours, &theirs),
        goals::table(&goals(pairs)),
    );
    text
}

/// Whether all rounds of both said the same, and if not, who differs from whom.
fn compared(ours: &[&str], theirs: &[&str]) -> String {
    let same = |texts: &[&str]| texts.windows(2).all(|pair| pair[0] == pair[1]);
    let (Some(one), Some(other)) = (ours.first(), theirs.first()) else {
        return "of neither".to_owned();
    };
    if !same(ours) || !same(theirs) {
        let who = if same(ours) { "llama.cpp's" } else { "hive's" };
        return format!("**not the same** in {who} own rounds");
    }
    if one == other {
        return "the same in every round of both".to_owned();
    }
    let common = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    format!(
        "**not the same**: hive's is the same in all its rounds, llama.cpp's too, and they agree in \
         the first {common} of {} characters",
        one.chars().count()
    )
}

/// What is wanted beside llama.cpp, with each number of threads.
fn goals(pairs: &[(usize, Pair)]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (threads, pair) in pairs {
        let of = |rounds: Vec<f64>| middle(rounds.into_iter());
        let beside = |of_rounds: &dyn Fn(&Rounds) -> Vec<f64>| {
            ratio(of(of_rounds(&pair.ours)), of(of_rounds(&pair.theirs)))
        };
        let n = format!("{threads} thread{}", if *threads == 1 { "" } else { "s" });
        let rates = [("a second", Took::rate as fn(Took) -> f64), ("a CPU-second", Took::cpu_rate)];
        for (what, rate) in rates {
            let decoded = beside(&|rounds| rounds.decoded(rate));
            let name = format!("decoding, {n}: tokens {what}, × llama.cpp");
            goals.push(Goal::at_least(name, 1.0, decoded));
            let read = beside(&|rounds| rounds.read(rate));
            let name = format!("reading, {n}: tokens {what}, × llama.cpp");
            goals.push(Goal::at_least(name, 0.8, read));
        }
        let memory = beside(&Rounds::peak);
        goals.push(Goal::at_most(format!("memory, {n}, × llama.cpp"), 1.3, memory));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(rate: f64, text: &str) -> Said {
        let took = Took { tokens: rate, seconds: 1.0, cpu: 2.0 };
        let (version, text) = ("v".to_owned(), text.to_owned());
        Said { version, text, decoded: took, read: vec![took], peak: 100 << 20 }
    }

    fn tell(ours: Said, theirs: Said) -> String {
        let pair = Pair { ours: Rounds(vec![ours]), theirs: Rounds(vec![theirs]) };
        table(&[(1, pair)], &[0.0], Path::new("m.gguf"), 8)
    }

    #[test]
    fn a_goal_is_met_at_its_bound_and_missed_below() {
        let text = tell(said(50.0, "a"), said(50.0, "a"));
        assert!(text.contains("tokens a second, × llama.cpp | ≥ 1 | 1.00 | met |"), "{text}");
        let text = tell(said(45.0, "a"), said(50.0, "a"));
        assert!(text.contains("| ≥ 1 | 0.90 | **missed** |"), "{text}");
        assert!(text.contains("| ≥ 0.8 | 0.90 | met |"), "{text}");
    }

    #[test]
    fn another_text_is_said_so() {
        assert!(tell(said(1.0, "a"), said(1.0, "a")).contains("the same in every round of both."));
        assert!(tell(said(1.0, "abc"), said(1.0, "abd")).contains("the first 2 of 3 characters."));
        assert!(compared(&["a", "b"], &["a", "a"]).contains("in hive's own rounds"));
    }

    #[test]
    fn long_prompts_do_not_begin_alike() {
        let all: Vec<String> = (0..3).flat_map(prompts).collect();
        let mut starts: Vec<&str> = all.iter().map(|prompt| &prompt[..4]).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), all.len());
    }
}

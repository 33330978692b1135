//! `serve`: a model that answers several people at once.
//!
//! The node is in this process and the model in a worker of its own, as `hive join` has it. A chat
//! here is a stretch of text that is continued greedily, so that every run does the same work.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use hive_api::{EmbedRequest, Hive, Prompt, RunEvent, RunRequest, Sampling};
use hive_node::{Config, Node};

use crate::goals::{self, Goal, ratio};
use crate::machine::{self, Others};
use crate::report::{middle, spread};

/// Tokens that each chat generates.
const TOKENS: u32 = 96;
/// Sentences in the prefix that prompts share: about 500 tokens.
const PREFIX: usize = 60;
/// Chats at once: one alone, as many as there are places, twice as many.
const CHATS: [usize; 3] = [1, 4, 8];

/// How one text went.
struct Run {
    first: f64,
    tokens: u32,
    cached: u32,
}

/// All figures.
#[derive(Default)]
struct Figures {
    cold: Vec<f64>,
    loaded: Vec<f64>,
    rates: [Vec<f64>; 3],
    firsts: [Vec<f64>; 3],
    fresh_prefix: Vec<f64>,
    known_prefix: Vec<f64>,
    prefix_tokens: u32,
    memory: u64,
    embed: Vec<f64>,
    others: Vec<f64>,
}

/// Measures, prints, and writes the document.
pub(crate) async fn run(args: &crate::ServeArgs) -> anyhow::Result<()> {
    let home = tempfile::tempdir()?;
    let config = Config {
        home: home.path().to_owned(),
        online: false,
        reserve: Some(0),
        worker: Some(std::env::current_exe()?),
        ..Config::default()
    };
    let node = Node::start(config).await?;
    let hive = node.hive();
    let model = args.model.to_str().context("the model's path is not UTF-8")?;
    let mut figures = Figures::default();
    for number in 0..args.runs {
        eprintln!("run {}", number + 1);
        args.quiet.wait();
        measure(&hive, model, number, &mut figures).await?;
        if let Some(hive) = &args.hive {
            figures.cold.push(cold(hive, &args.model)?);
        }
    }
    for loaded in hive.loaded().await? {
        let peak = loaded.pid.map_or(0, machine::peak_of_process);
        figures.memory = figures.memory.max(peak);
    }
    if let Some(embedder) = &args.embed {
        let embedder = embedder.to_str().context("the model's path is not UTF-8")?;
        figures.embed = embeddings(&hive, embedder).await?;
    }
    drop(hive);
    node.shutdown().await;
    let text = format!("{}\n\n{}", table(&figures, args), goals::table(&goals(&figures)));
    args.output.write("serve", &text)
}

async fn measure(
    hive: &Arc<dyn Hive>,
    model: &str,
    round: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    // The first request loads it.
    generate(hive, model, format!("Round {round}. The capital of France is"), 8).await?;
    let run = generate(hive, model, format!("Round {round}: the sea is"), 4).await?;
    figures.loaded.push(run.first * 1e3);
    for (at, &n_chats) in CHATS.iter().enumerate() {
        let others = Others::start();
        let (cpu, started) = (cpu_seconds(hive).await?, Instant::now());
        let chats = (0..n_chats).map(|chat| {
            let prompt = format!("{round}/{n_chats}/{chat}: once upon a time there was a");
            generate(hive, model, prompt, TOKENS)
        });
        let runs = futures::future::try_join_all(chats).await?;
        let seconds = started.elapsed().as_secs_f64();
        let tokens: u32 = runs.iter().map(|run| run.tokens).sum();
        figures.rates[at].push(f64::from(tokens) / seconds);
        figures.firsts[at].extend(runs.iter().map(|run| run.first * 1e3));
        figures.others.push(others.share(cpu_seconds(hive).await? - cpu));
    }
    let rules: Vec<_> = (0..PREFIX).map(|at| format!("Rule {round}.{at}: be brief. ")).collect();
    let prefix = rules.concat();
    let fresh = generate(hive, model, format!("{prefix}One, two,"), 2).await?;
    let known = generate(hive, model, format!("{prefix}Red, green,"), 2).await?;
    ensure!(known.cached > 0, "the prefix was not remembered");
    figures.fresh_prefix.push(fresh.first * 1e3);
    figures.known_prefix.push(known.first * 1e3);
    figures.prefix_tokens = known.cached;
    Ok(())
}

/// Processor seconds that this process and those of its models have used.
async fn cpu_seconds(hive: &Arc<dyn Hive>) -> anyhow::Result<f64> {
    let mut seconds = machine::cpu_seconds();
    for pid in hive.loaded().await?.into_iter().filter_map(|loaded| loaded.pid) {
        seconds += machine::process_cpu(pid);
    }
    Ok(seconds)
}

async fn generate(
    hive: &Arc<dyn Hive>,
    model: &str,
    prompt: String,
    tokens: u32,
) -> anyhow::Result<Run> {
    let request = RunRequest {
        max_tokens: Some(tokens),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..RunRequest::new(model, prompt.as_str())
    };
    let started = Instant::now();
    let mut first = None;
    let mut events = hive.run(request).await?;
    while let Some(event) = events.next().await {
        match event? {
            RunEvent::Text { .. } => {
                first.get_or_insert_with(|| started.elapsed().as_secs_f64());
            }
            RunEvent::Done(done) => {
                let seconds = started.elapsed().as_secs_f64();
                return Ok(Run {
                    first: first.unwrap_or(seconds),
                    tokens: done.generated_tokens,
                    cached: done.cached_tokens,
                });
            }
            _ => {}
        }
    }
    bail!("a run without an end")
}

/// Milliseconds from the start of the command to its first byte of text.
fn cold(hive: &Path, model: &PathBuf) -> anyhow::Result<f64> {
    use std::io::Read as _;
    let home = tempfile::tempdir()?;
    let started = Instant::now();
    let mut child = Command::new(hive)
        .arg("--home")
        .arg(home.path())
        .arg("run")
        .arg(model)
        .args(["--raw", "--temperature", "0", "--max-tokens", "2", "The capital of France is"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("`{}`", hive.display()))?;
    let mut stdout = child.stdout.take().context("no stdout")?;
    let mut byte = [0];
    stdout.read_exact(&mut byte).context("the command printed nothing")?;
    let first = started.elapsed().as_secs_f64() * 1e3;
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest)?;
    ensure!(child.wait()?.success(), "the command failed");
    Ok(first)
}

/// Milliseconds of a short text, one after another, after the first.
async fn embeddings(hive: &Arc<dyn Hive>, model: &str) -> anyhow::Result<Vec<f64>> {
    let mut times = Vec::new();
    for at in 0..101 {
        let text = format!("What is the capital of country number {at}?");
        let input = vec![Prompt::Text(text)];
        let started = Instant::now();
        let request =
            EmbedRequest { model: model.to_owned(), input, dimensions: None, keep_alive: None };
        let answer = hive.embed(request).await?;
        ensure!(answer.vectors.len() == 1, "one text, one vector");
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times.split_off(1))
}

fn table(figures: &Figures, args: &crate::ServeArgs) -> String {
    let of = |values: &[f64], digits| spread(values.iter().copied(), digits);
    let model = args.model.file_name().unwrap_or_default().to_string_lossy();
    let mut lines = vec![
        format!(
            "hive {}, `{model}`, {}. Each cell: least / median / most of {} runs.\n",
            env!("CARGO_PKG_VERSION"),
            machine::describe(),
            args.runs
        ),
        "| | |".to_owned(),
        "|---|---|".to_owned(),
    ];
    let mut row = |name: &str, value: String| lines.push(format!("| {name} | {value} |"));
    if !figures.cold.is_empty() {
        row("first text of `hive run FILE PROMPT`, ms", of(&figures.cold, 0));
    }
    row("first text when loaded, ms", of(&figures.loaded, 0));
    for (at, n_chats) in CHATS.iter().enumerate() {
        row(
            &format!("{n_chats} at once, {TOKENS} tokens each: tokens a second, all together"),
            of(&figures.rates[at], 1),
        );
        row(&format!("{n_chats} at once: first text, ms"), of(&figures.firsts[at], 0));
    }
    let tokens = figures.prefix_tokens;
    row(&format!("first text after {tokens} new tokens, ms"), of(&figures.fresh_prefix, 0));
    row(&format!("first text after the same {tokens} again, ms"), of(&figures.known_prefix, 0));
    row("worker's peak memory, MiB", format!("{:.0}", figures.memory as f64 / (1 << 20) as f64));
    if !figures.embed.is_empty() {
        row("a short text embedded, one at a time, ms", of(&figures.embed, 1));
    }
    let others = figures.others.iter().map(|share| share * 100.0);
    row("others on the machine, %", spread(others, 0));
    lines.join("\n")
}

/// What is wanted of a model that serves several people. What was not measured, because no embedder or
/// no program was named, is no goal.
fn goals(figures: &Figures) -> Vec<Goal> {
    let of = |values: &[f64]| middle(values.iter().copied());
    let most = |values: &[f64]| values.iter().copied().reduce(f64::max);
    let [one, four, _] = &figures.rates;
    let gib = figures.memory as f64 / f64::from(1 << 30);
    let sooner = ratio(of(&figures.fresh_prefix), of(&figures.known_prefix));
    let mut goals = vec![
        Goal::at_least("tokens a second, four at once, × one alone", 1.5, ratio(of(four), of(one))),
        Goal::at_most("worker's peak memory with eight chats, GiB", 1.2, Some(gib)),
        Goal::at_least("a known beginning of 500 tokens starts so many times sooner", 5.0, sooner)
            .digits(1),
        Goal::at_most("first text when loaded, ms, the slowest", 150.0, most(&figures.loaded))
            .digits(0),
    ];
    if !figures.cold.is_empty() {
        let what = "first text of `hive run FILE PROMPT`, ms, the slowest";
        goals.push(Goal::at_most(what, 1000.0, most(&figures.cold)).digits(0));
    }
    if !figures.embed.is_empty() {
        let what = "a short text embedded, ms, all cores";
        goals.push(Goal::at_most(what, 10.0, of(&figures.embed)).digits(1));
    }
    goals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_of_what_was_measured() {
        let figures = Figures {
            rates: [vec![30.0], vec![60.0], vec![60.0]],
            fresh_prefix: vec![2000.0],
            known_prefix: vec![1000.0],
            loaded: vec![60.0, 160.0],
            memory: 1 << 30,
            ..Figures::default()
        };
        let met: Vec<bool> = goals(&figures).iter().map(Goal::is_met).collect();
        assert_eq!(met, [true, true, false, false]);
        let figures = Figures { embed: vec![9.0], cold: vec![900.0], ..figures };
        assert_eq!(goals(&figures).iter().filter(|goal| goal.is_met()).count(), 4);
    }
}

//! `hive demo`: a swarm of four processes on this machine, from nothing to generated text.
//!
//! Three nodes add the same model under three names; a fourth, which knows one address, fetches it
//! by its id from all of them, checks every byte against the original, and runs it. Needs no
//! network but the loopback interface, and leaves nothing behind unless asked to.

mod nodes;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::StreamExt as _;
use futures::future::try_join_all;
use hive_api::{
    AddEvent, AddRequest, Added, ErrorKind, FetchRequest, HiveError, RunEvent, RunRequest,
    Sampling, Visibility,
};
use serde_json::json;
use tempfile::TempDir;

use crate::commands::fetch::{self, Fetched};
use crate::failure::usage;
use crate::printer::Printer;
use crate::session::Session;
use crate::text::{Table, short_peer};
use crate::units;
use nodes::DemoNode;

/// What each provider calls its copy: the id depends on the bytes alone.
const FILE_NAMES: [&str; 3] = ["tiny-hive.gguf", "a-model-of-mine.gguf", "bees.gguf"];
/// How long the reader may take to meet the providers through the one node it knows.
const MEETING: Duration = Duration::from_secs(15);
/// How often to look whether it has.
const MEETING_STEP: Duration = Duration::from_millis(100);
/// Tokens to generate: enough to see that it works.
const TOKENS: u32 = 48;

/// Show it all on this machine: three providers, one reader, a model fetched, verified and run
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// GGUF file to share [default: the small model inside this program]
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Text to continue
    #[arg(long, default_value = "Once upon a time")]
    prompt: String,

    /// Keep the nodes' directories
    #[arg(long)]
    keep: bool,
}

/// The demo's outcome.
struct Outcome {
    cid: String,
    fetched: Fetched,
    text: String,
    start: f64,
    add: f64,
    run: f64,
}

/// Runs the demo.
pub(crate) async fn demo(args: DemoArgs, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let mut dir = TempDir::with_prefix("hive-demo-").context("cannot make a directory")?;
    if args.keep {
        dir.disable_cleanup(true);
        printer.talk(format_args!("keeping everything in {}", dir.path().display()));
    }
    let model = args.model.as_deref().map(std::path::absolute).transpose();
    let model = model.context("the model's path is no path")?;
    if let Some(model) = &model
        && !model.is_file()
    {
        return Err(usage(format!("`{}` is not a file", model.display())).into());
    }
    // The nodes are children of this future: whatever ends it ends them, and then the directory goes.
    let outcome = session.stop.unless_wanted(swarm(&args, model, dir.path(), printer)).await;
    drop(dir);
    outcome?
}

async fn swarm(
    args: &DemoArgs,
    model: Option<PathBuf>,
    dir: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    let link = model.is_some();
    let files = lay_out(model, dir).context("cannot lay out the model's copies")?;

    printer.talk("starting three providers and a reader, each a process with a home of its own");
    let started = Instant::now();
    let first = DemoNode::start(dir, "provider-1", None).await?;
    let knows = Some(first.address()?);
    let others =
        ["provider-2", "provider-3", "reader"].map(|name| DemoNode::start(dir, name, knows));
    let mut others = try_join_all(others).await?;
    let reader = others.pop().context("three were started")?;
    let providers: Vec<DemoNode> = std::iter::once(first).chain(others).collect();
    let start = started.elapsed().as_secs_f64();

    let started = Instant::now();
    let adding = providers.iter().zip(&files).map(|(node, file)| add(node, file, link));
    let added = try_join_all(adding).await?;
    let cid = added[0].cid.clone();
    if let Some(other) = added.iter().find(|other| other.cid != cid) {
        return Err(HiveError::new(
            ErrorKind::Failed,
            format!("the same bytes have two ids, {cid} and {}", other.cid),
        )
        .into());
    }
    let add = started.elapsed().as_secs_f64();
    let size = units::bytes(added[0].size);
    printer.talk(format_args!("three names, one id: {cid} ({size})"));

    meet(&reader, providers.len()).await?;
    printer.talk("the reader knows one address and the id; it fetches");
    let request = FetchRequest { model: cid.clone(), ..FetchRequest::default() };
    let fetched = fetch::follow(request, reader.hive(), printer, false).await?;
    let (original, copy) = (files[0].clone(), fetched.path.clone());
    let same = tokio::task::spawn_blocking(move || are_equal(&original, &copy)).await;
    if !same.context("the comparison fell over")?.context("cannot compare the files")? {
        let message = "the fetched file differs from the original";
        return Err(HiveError::new(ErrorKind::Verification, message).into());
    }

    let started = Instant::now();
    let text = run(args, &cid, &reader).await?;
    let run = started.elapsed().as_secs_f64();

    let outcome = Outcome { cid, fetched, text, start, add, run };
    report(args, &outcome, &providers, printer)?;
    DemoNode::end_all(providers.into_iter().chain([reader])).await;
    Ok(())
}

/// Three files of the same bytes under three names; a large model is not copied.
fn lay_out(model: Option<PathBuf>, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in FILE_NAMES {
        let path = dir.join(name);
        match &model {
            None => fs::write(&path, crate::node::TINY_MODEL)?,
            Some(model) => alias(model, &path)?,
        }
        files.push(path);
    }
    Ok(files)
}

/// A second name for a file.
fn alias(file: &Path, name: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::symlink(file, name);
    #[cfg(not(unix))]
    fs::hard_link(file, name).or_else(|_| fs::copy(file, name).map(drop))
}

async fn add(node: &DemoNode, file: &Path, link: bool) -> anyhow::Result<Added> {
    let request = AddRequest {
        path: file.to_owned(),
        name: None,
        visibility: Some(Visibility::Public),
        link,
        license: None,
    };
    let mut events = node.hive().add(request).await?;
    while let Some(event) = events.next().await {
        if let AddEvent::Done(added) = event? {
            return Ok(added);
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how adding ended").into())
}

/// Waits until the reader has met the providers, so that it can ask all of them from the start.
/// Fewer are no failure: it fetches from those it met.
async fn meet(reader: &DemoNode, n_providers: usize) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + MEETING;
    while tokio::time::Instant::now() < deadline {
        if reader.hive().status().await?.connected >= n_providers as u64 {
            break;
        }
        tokio::time::sleep(MEETING_STEP).await;
    }
    Ok(())
}

fn are_equal(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut of_a, mut of_b) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let n = a.read(&mut of_a)?;
        if n == 0 {
            return Ok(true);
        }
        b.read_exact(&mut of_b[..n])?;
        if of_a[..n] != of_b[..n] {
            return Ok(false);
        }
    }
}

async fn run(args: &DemoArgs, cid: &str, reader: &DemoNode) -> anyhow::Result<String> {
    let request = RunRequest {
        max_tokens: Some(TOKENS),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..RunRequest::new(cid, args.prompt.as_str())
    };
    let mut events = reader.hive().run(request).await?;
    let mut text = String::new();
    while let Some(event) = events.next().await {
        match event? {
            RunEvent::Text { text: more, .. } => text += &more,
            RunEvent::Done(_) => return Ok(text),
            _ => {}
        }
    }
    Err(HiveError::new(ErrorKind::Failed, "the node did not say how the generation ended").into())
}

fn report(
    args: &DemoArgs,
    outcome: &Outcome,
    providers: &[DemoNode],
    printer: &Printer,
) -> anyhow::Result<()> {
    let Outcome { cid, fetched, text, start, add, run } = outcome;
    let from = |node: &DemoNode| fetched.peers.iter().find(|peer| peer.peer == node.peer());
    let bytes = |node: &DemoNode| from(node).map_or(0, |peer| peer.bytes);
    if printer.json() {
        let peers: Vec<_> = providers
            .iter()
            .zip(FILE_NAMES)
            .map(|(node, file)| json!({ "peer": node.peer(), "file": file, "bytes": bytes(node) }))
            .collect();
        let seconds = json!({ "start": start, "add": add, "fetch": fetched.seconds, "run": run });
        return Ok(printer.object(&json!({
            "cid": cid, "bytes": fetched.bytes, "identical": true, "peers": peers,
            "prompt": args.prompt, "text": text, "seconds": seconds,
        }))?);
    }
    let mut table = Table::new(["FROM", "PEER", "ITS FILE", "BYTES", "PART"]);
    for (node, file) in providers.iter().zip(FILE_NAMES) {
        table.row([
            node.name().to_owned(),
            short_peer(node.peer()),
            file.to_owned(),
            units::bytes(bytes(node)),
            format!("{:.0} %", 100.0 * bytes(node) as f64 / fetched.bytes.max(1) as f64),
        ]);
    }
    printer.data(table)?;
    printer.data("")?;
    printer.data("identical to the original, byte for byte")?;
    printer.data(format_args!(
        "start {}, add {}, fetch {}, load and run {}",
        units::seconds(*start),
        units::seconds(*add),
        units::seconds(fetched.seconds),
        units::seconds(*run)
    ))?;
    printer.data("")?;
    printer.text(&format!("{}{}\n", args.prompt, text))?;
    Ok(())
}

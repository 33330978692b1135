//! The process that is attacked, so that what an attack costs can be told from what it takes to
//! attack: a hive node, or its gullible twin.
//!
//! It prints its address, answers a line of JSON on stdin with one on stdout, and ends when stdin
//! does. A panic in any of its threads ends it: whatever a peer says, there must be none.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::future::join_all;
use hive_api::Visibility;
use hive_node::Config;
use hive_protocol::catalog::Capability;
use hive_protocol::signed;
use hive_testnet::attack::{Depth, Gullible};
use hive_testnet::{TestNode, config};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::figures::{Figures, forget_peak};
use crate::scenario::Context;

/// The first argument that makes this program a victim.
const VICTIM: &str = "victim";

/// How long a victim may take to come up, or to answer.
const DEADLINE: Duration = Duration::from_mins(1);

/// How long a process that panicked may take to be gone.
const FALL: Duration = Duration::from_secs(5);

/// How often a victim is asked for what takes it a moment.
const LOOK: Duration = Duration::from_millis(20);

/// How long a victim looks for somebody who has what it fetches.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A hive node that takes private addresses for addresses, as one of one machine has to.
    Node,
    /// One that does not, as in the network of all.
    Public,
    /// A peer without bounds.
    Gullible,
    /// The same, with a multiplexer of its own.
    GullibleFrames,
}

/// What a victim is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// To add a file and offer it.
    Add(PathBuf),
    /// To fetch a model from a peer that is there, or from whomever it finds if none is named; the
    /// answer says where it is, or why not.
    Fetch { id: String, from: String },
    /// The same of many at once.
    FetchAll(Vec<(String, String)>),
    /// How many models a peer says to offer, as far as the victim believes it.
    Models(String),
    /// Whether a connected peer has said who it is.
    Heard(String),
    /// How many addresses it keeps of a peer that has gone.
    Kept(String),
    /// To end its node and start it again in the same home.
    Restart,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Ready { peer: String, address: String },
    Added(String),
    Fetched(PathBuf),
    All(Vec<Answer>),
    Models(Option<u64>),
    Heard(bool),
    Kept(Option<usize>),
    Refused(String),
}

/// Runs this process as a victim, if its arguments say so. Call it first thing.
pub(crate) fn called() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(VICTIM) {
        return None;
    }
    let arguments: Vec<String> = arguments.collect();
    let kind = arguments.first().and_then(|kind| serde_json::from_str(kind).ok());
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // A gullible one is to fall over; nobody needs to read where.
        match kind {
            Some(Kind::Gullible | Kind::GullibleFrames) => eprintln!("the twin: {panic}"),
            _ => report(panic),
        }
        std::process::abort();
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served =
        runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(&arguments)));
    Some(match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("victim: {error:#}");
            ExitCode::FAILURE
        }
    })
}

async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [kind, network] = arguments else { bail!("a victim has a kind and a network") };
    let mut questions = BufReader::new(tokio::io::stdin()).lines();
    match serde_json::from_str(kind)? {
        kind @ (Kind::Node | Kind::Public) => {
            let listen = vec!["/ip4/0.0.0.0/tcp/0".to_owned()];
            let (allow_private, provider_timeout) = (kind == Kind::Node, PATIENCE);
            let config = Config { listen, provider_timeout, allow_private, ..config(network) };
            let mut node = TestNode::start(config).await?;
            say(&ready(&node))?;
            while let Some(line) = questions.next_line().await? {
                let answer = answer(&mut node, serde_json::from_str(&line)?).await;
                say(&answer.unwrap_or_else(|error| Answer::Refused(format!("{error:#}"))))?;
            }
            node.shutdown().await
        }
        kind => {
            let depth = match kind {
                Kind::GullibleFrames => Depth::Frames,
                _ => Depth::Streams,
            };
            let gullible = Gullible::listen(network, depth).await?;
            say(&Answer::Ready { peer: gullible.peer(), address: gullible.address()? })?;
            let (announced, addresses) = (gullible.announced(), gullible.addresses());
            let running = tokio::spawn(gullible.run());
            while let Some(line) = questions.next_line().await? {
                say(&match serde_json::from_str(&line)? {
                    Ask::Models(peer) => {
                        let said = announced(&peer).and_then(|said| of_any_day(&said, network));
                        Answer::Models(said.map(|capability| capability.models))
                    }
                    Ask::Heard(_) => Answer::Heard(true),
                    Ask::Kept(peer) => Answer::Kept(Some(addresses(&peer))),
                    Ask::Fetch { id, from } => taken(network, &id, &from).await,
                    Ask::FetchAll(all) => {
                        let taking = all.iter().map(|(id, from)| taken(network, id, from));
                        Answer::All(join_all(taking).await)
                    }
                    _ => Answer::Refused("it has no store".to_owned()),
                })?;
            }
            running.abort();
            Ok(())
        }
    }
}

fn say(answer: &Answer) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

fn ready(node: &TestNode) -> Answer {
    Answer::Ready { peer: node.peer().to_owned(), address: node.address() }
}

async fn answer(node: &mut TestNode, ask: Ask) -> anyhow::Result<Answer> {
    Ok(match ask {
        Ask::Add(path) => Answer::Added(node.add_path(&path, Visibility::Public).await?.cid),
        Ask::Fetch { id, from } => fetch(node, &id, &from).await?,
        Ask::FetchAll(all) => {
            let node = &*node;
            let fetching = all.into_iter().map(async |(id, from)| {
                let fetched = fetch(node, &id, &from).await;
                fetched.unwrap_or_else(|error| Answer::Refused(format!("{error:#}")))
            });
            Answer::All(join_all(fetching).await)
        }
        Ask::Models(peer) => {
            let known = node.knows(&peer).await?;
            Answer::Models(known.and_then(|known| known.capability).map(|said| said.models))
        }
        Ask::Heard(peer) => {
            Answer::Heard(node.knows(&peer).await?.is_some_and(|known| known.agent.is_some()))
        }
        Ask::Kept(peer) => {
            let gone = node.knows(&peer).await?.filter(|known| !known.connected);
            Answer::Kept(gone.map(|known| known.addresses.len()))
        }
        Ask::Restart => {
            node.shutdown().await?;
            node.restart().await?;
            ready(node)
        }
    })
}

async fn fetch(node: &TestNode, id: &str, from: &str) -> anyhow::Result<Answer> {
    let fetch = match from {
        "" => node.fetch(id).await?,
        from => node.fetch_from(id, from).await?,
    };
    Ok(Answer::Fetched(fetch.finish().await?.path))
}

/// A gullible peer's fetch: what has the hash that was asked for is good.
async fn taken(network: &str, id: &str, from: &str) -> Answer {
    match crate::peers::naive::block(network, id, from).await {
        Ok(()) => Answer::Fetched(PathBuf::from(id)),
        Err(error) => Answer::Refused(format!("{error:#}")),
    }
}

/// What a statement says, whichever day it was meant for.
fn of_any_day(bytes: &[u8], network: &str) -> Option<Capability> {
    const HOUR: u64 = 3_600;
    let days = crate::hostile::now().saturating_sub(96 * HOUR)..;
    let mut times = days.step_by(6 * HOUR as usize).take(32);
    times.find_map(|now| signed::verify(bytes, network, now).ok()).map(|said| said.statement)
}

/// The same port and peer at another address of this machine.
fn at(host: &str, address: &str) -> anyhow::Result<String> {
    let mut parts: Vec<&str> = address.split('/').collect();
    let old = parts.get_mut(2).with_context(|| format!("`{address}` is no address"))?;
    *old = host;
    Ok(parts.join("/"))
}

/// An address of this machine that does not count as this machine itself.
pub(crate) fn outside() -> anyhow::Result<Ipv4Addr> {
    #[cfg(target_os = "linux")]
    if crate::isolation::dir().is_some() {
        return Ok(crate::isolation::OUTSIDE);
    }
    bail!("this needs a network of its own: run it as root, on Linux")
}

/// A victim, as whoever attacks it sees it. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Victim {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) peer: String,
    pub(crate) address: String,
    pub(crate) network: String,
    /// Homes and temporary files of the child, which cannot clear up if it is killed.
    dir: TempDir,
}

impl Victim {
    /// Starts one, alone in a network of its own.
    pub(crate) async fn start(context: &Context, kind: Kind) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir_in(&context.dir)?;
        let network = format!("faults-{}", std::process::id());
        let mut child = Command::new(std::env::current_exe()?)
            .args([VICTIM, &serde_json::to_string(&kind)?, &network])
            .env("TMPDIR", dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the victim")?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdin = stdin.context("a victim without stdin")?;
        let lines = BufReader::new(stdout.context("a victim without stdout")?).lines();
        let (peer, address) = (String::new(), String::new());
        let mut this = Self { child, stdin, lines, peer, address, network, dir };
        let ready = this.hear().await?;
        this.be(ready)?;
        Ok(this)
    }

    fn be(&mut self, ready: Answer) -> anyhow::Result<()> {
        let Answer::Ready { peer, address } = ready else { bail!("it said {ready:?} first") };
        (self.peer, self.address) = (peer, at("127.0.0.1", &address)?);
        Ok(())
    }

    /// Its address for whoever shall not count as this machine itself, of which every peer may have
    /// as many connections as it likes.
    pub(crate) fn address_from_outside(&self) -> anyhow::Result<String> {
        at(&outside()?.to_string(), &self.address)
    }

    async fn hear(&mut self) -> anyhow::Result<Answer> {
        let line = tokio::time::timeout(DEADLINE, self.lines.next_line()).await;
        let line = line.context("the victim does not answer")??;
        Ok(serde_json::from_str(&line.context("the victim has ended")?)?)
    }

    /// Asks it something.
    pub(crate) async fn ask(&mut self, ask: Ask) -> anyhow::Result<Answer> {
        let line = format!("{}\n", serde_json::to_string(&ask)?);
        self.stdin.write_all(line.as_bytes()).await.context("the victim has ended")?;
        self.hear().await
    }

    /// Has it fetch a model, which it must do.
    pub(crate) async fn fetch(&mut self, id: &str, from: &str) -> anyhow::Result<PathBuf> {
        match self.ask(Ask::Fetch { id: id.to_owned(), from: from.to_owned() }).await? {
            Answer::Fetched(path) => Ok(path),
            other => bail!("an honest fetch ended with {other:?}"),
        }
    }

    /// Has it fetch models, each from a peer, all at once.
    pub(crate) async fn fetch_all(
        &mut self,
        wanted: Vec<(String, String)>,
    ) -> anyhow::Result<Vec<Answer>> {
        match self.ask(Ask::FetchAll(wanted)).await? {
            Answer::All(answers) => Ok(answers),
            other => bail!("the victim said {other:?}"),
        }
    }

    /// Has it add a file.
    pub(crate) async fn add(&mut self, path: &Path) -> anyhow::Result<String> {
        match self.ask(Ask::Add(path.to_owned())).await? {
            Answer::Added(id) => Ok(id),
            other => bail!("a file was not added: {other:?}"),
        }
    }

    /// How many models it believes a peer to offer.
    pub(crate) async fn models(&mut self, peer: &str) -> anyhow::Result<Option<u64>> {
        match self.ask(Ask::Models(peer.to_owned())).await? {
            Answer::Models(models) => Ok(models),
            other => bail!("the victim said {other:?}"),
        }
    }

    /// Waits until a peer has said who it is.
    pub(crate) async fn has_heard(&mut self, peer: &str) -> anyhow::Result<()> {
        let heard = |answer| (answer == Answer::Heard(true)).then_some(());
        self.until(Ask::Heard(peer.to_owned()), heard).await
    }

    /// How many addresses it keeps of a peer, once that has gone.
    pub(crate) async fn kept_of(&mut self, peer: &str) -> anyhow::Result<usize> {
        let kept = |answer| match answer {
            Answer::Kept(addresses) => addresses,
            _ => None,
        };
        self.until(Ask::Kept(peer.to_owned()), kept).await
    }

    /// Asks until the answer is what is waited for.
    async fn until<T>(
        &mut self,
        ask: Ask,
        wanted: impl Fn(Answer) -> Option<T>,
    ) -> anyhow::Result<T> {
        let asking = async {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                looks.tick().await;
                if let Some(found) = wanted(self.ask(ask.clone()).await?) {
                    return anyhow::Ok(found);
                }
            }
        };
        let found = tokio::time::timeout(DEADLINE, asking).await;
        found.with_context(|| format!("the victim says nothing else to {ask:?}"))?
    }

    /// Has it start again.
    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        let ready = self.ask(Ask::Restart).await?;
        self.be(ready)
    }

    /// What the kernel says of it.
    pub(crate) fn figures(&self) -> anyhow::Result<Figures> {
        let id = self.child.id().context("the victim has ended")?;
        Figures::of(id)
    }

    /// Makes the peak of its memory what it has now.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        let id = self.child.id().context("the victim has ended")?;
        forget_peak(id)
    }

    /// What stands in the directories of models of its homes, partial ones too.
    pub(crate) fn models_on_disk(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for home in std::fs::read_dir(self.dir.path())? {
            let models = home?.path().join("models");
            let entries = std::fs::read_dir(models).into_iter().flatten();
            for entry in entries {
                let path = entry?.path();
                // An empty directory for what is not whole is there from the start.
                let is_empty = path.is_dir() && std::fs::read_dir(&path)?.next().is_none();
                if !is_empty {
                    found.push(path);
                }
            }
        }
        Ok(found)
    }

    /// A place for files that go with it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Waits for the end of one whose connections broke, and fails with it.
    pub(crate) async fn falls(&mut self) -> anyhow::Result<()> {
        // Its last words may come before its end.
        let _ = tokio::time::timeout(FALL, self.child.wait()).await;
        self.is_alive()
    }

    /// Fails if it has ended.
    pub(crate) fn is_alive(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "the victim fell over: {ended:?}");
        Ok(())
    }
}

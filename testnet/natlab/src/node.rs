//! A node of hive on a machine of the lab: its process, its home, and the commands that ask it.
//!
//! The lab knows hive as a user does, by its command line. Every process is in its machine's
//! namespace, sees nothing of the environment that the lab was started in, and dies with the lab.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::lab::Lab;
use crate::limits::{COMMAND, GOODBYE, READY};
use crate::netns;
use crate::wait::within;

/// The program under test.
#[derive(Debug, Clone)]
pub(crate) struct Hive {
    /// The binary.
    pub(crate) program: PathBuf,
    /// What nodes log, in the language of `HIVE_LOG`.
    pub(crate) log: String,
    /// Where logs are kept; in the lab's directory, which ends with it, if nowhere.
    pub(crate) logs: Option<PathBuf>,
}

/// Where commands of one user run: a machine and a home there.
#[derive(Debug, Clone)]
pub(crate) struct User {
    hive: Hive,
    /// The machine's name in the topology.
    pub(crate) machine: String,
    space: String,
    home: PathBuf,
    log: PathBuf,
}

/// A node that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) user: User,
    args: Vec<String>,
    child: Child,
    /// Held so that the node can go on printing.
    _stdout: Lines<BufReader<ChildStdout>>,
    pub(crate) ready: Ready,
}

/// What a node prints once it can be dialed.
#[derive(Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) peer: String,
    pub(crate) addresses: Vec<String>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What it said last, for a table.
    pub(crate) fn last_words(&self) -> &str {
        self.stderr.trim().lines().last().unwrap_or("nothing")
    }
}

impl User {
    /// A user with an empty home at `machine`.
    pub(crate) fn new(lab: &Lab, hive: &Hive, machine: &str) -> anyhow::Result<Self> {
        let home = lab.dir().join(machine);
        std::fs::create_dir_all(&home)
            .with_context(|| format!("cannot make {}", home.display()))?;
        let logs = hive.logs.as_deref().unwrap_or(lab.dir());
        std::fs::create_dir_all(logs).with_context(|| format!("cannot make {}", logs.display()))?;
        Ok(Self {
            hive: hive.clone(),
            machine: machine.to_owned(),
            space: lab.at(machine)?.name().to_owned(),
            log: logs.join(format!("{machine}.log")),
            home,
        })
    }

    /// The directory of the node's home, for files beside it.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    fn command(&self, args: &[&str]) -> anyhow::Result<tokio::process::Command> {
        let mut command = netns::command(&self.space, &self.hive.program)?;
        command.args(args);
        command.env_clear().current_dir(&self.home).env("HOME", &self.home);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HIVE_HOME", self.home.join("hive")).env("HIVE_LOG", &self.hive.log);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        Ok(command)
    }

    /// Runs a command of hive to its end, which it has to come to within `time`.
    pub(crate) async fn run_within(&self, args: &[&str], time: Duration) -> anyhow::Result<Ended> {
        let what = format!("`hive {}` at {}", args.join(" "), self.machine);
        let mut command = self.command(args)?;
        let output = within(&what, time, async {
            command.output().await.with_context(|| format!("cannot run {what}"))
        });
        let output = output.await?;
        Ok(Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a short command that has to succeed, and reads its JSON.
    pub(crate) async fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let mut all = vec!["--json"];
        all.extend(args);
        let ended = self.run_within(&all, COMMAND).await?;
        let what = format!("`hive {}` at {}", all.join(" "), self.machine);
        ensure!(ended.code == Some(0), "{what} failed with {:?}: {}", ended.code, ended.stderr);
        serde_json::from_str(&ended.stdout)
            .with_context(|| format!("{what} printed no JSON: {}", ended.stdout))
    }

    /// Starts a command whose lines of JSON on stdout are read as they come.
    pub(crate) fn follow(&self, args: &[&str]) -> anyhow::Result<Followed> {
        let mut all = vec!["--json"];
        all.extend(args);
        let mut command = self.command(&all)?;
        command.stderr(self.log_file()?);
        let mut child = command.spawn().context("cannot start hive")?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(Followed { child, lines: BufReader::new(stdout).lines() })
    }

    fn log_file(&self) -> anyhow::Result<std::fs::File> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        file.with_context(|| format!("cannot open {}", self.log.display()))
    }

    /// Starts a node: `hive join …` or `hive relay …`.
    pub(crate) async fn start(self, args: &[String]) -> anyhow::Result<Node> {
        let words: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut followed = self.follow(&words)?;
        let what = format!("`hive {}` at {} to be ready", args.join(" "), self.machine);
        let ready = within(&what, READY, async {
            match followed.next().await? {
                Some(event) => {
                    serde_json::from_value(event.clone()).with_context(|| format!("{event}"))
                }
                None => bail!("it ended: {}", self.said()),
            }
        });
        let ready: Ready = ready.await.with_context(|| what.clone())?;
        let Followed { child, lines } = followed;
        Ok(Node { user: self, args: args.to_vec(), child, _stdout: lines, ready })
    }

    /// What it logged.
    pub(crate) fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of that.
    pub(crate) fn said(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Whether its log has `words`.
    pub(crate) fn logged(&self, words: &str) -> bool {
        self.log_text().contains(words)
    }
}

/// A command that prints lines of JSON.
#[derive(Debug)]
pub(crate) struct Followed {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Followed {
    /// The next line; none when there are no more.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        let Some(line) = self.lines.next_line().await? else { return Ok(None) };
        serde_json::from_str(&line).map(Some).with_context(|| format!("`{line}` is no JSON"))
    }

    /// Its exit code.
    pub(crate) async fn code(mut self) -> anyhow::Result<Option<i32>> {
        Ok(self.child.wait().await?.code())
    }
}

impl Node {
    pub(crate) fn peer(&self) -> &str {
        &self.ready.peer
    }

    /// Sends its process a signal.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid as i32));
        let pid = pid.with_context(|| format!("the node at {} has ended", self.user.machine))?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it and starts it again in the same home, with the same command.
    pub(crate) async fn restart(mut self) -> anyhow::Result<Self> {
        self.child.kill().await?;
        self.user.start(&self.args).await
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let what = format!("the node at {} to end", self.user.machine);
        within(&what, GOODBYE, async { Ok(self.child.wait().await?) }).await?;
        Ok(())
    }
}

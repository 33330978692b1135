//! A home with the binary `hive` over it, as a user has it: arguments in; stdout, stderr and an exit
//! code out. Every process is waited for, with a deadline, and ends with its owner.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

use super::shim::Injection;

/// The network of all homes.
pub(crate) const NETWORK: &str = "faults";

/// What no command may take longer than.
const DEADLINE: Duration = Duration::from_mins(3);

/// How much of what a command said is told of it: its last lines, and the beginnings of these.
const LINES: usize = 4;
const LINE_LEN: usize = 300;

/// A home directory and the program that works on it.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    hive: PathBuf,
    path: PathBuf,
    /// What stands before the program on its command line.
    before: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// A home at a path that need not exist.
    pub(crate) fn new(hive: &Path, path: PathBuf) -> Self {
        Self { hive: hive.to_owned(), path, before: Vec::new(), environment: Vec::new() }
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same home with one more variable in the environment of its commands.
    pub(crate) fn with(&self, name: &'static str, value: impl Into<OsString>) -> Self {
        let mut home = self.clone();
        home.environment.push((name, value.into()));
        home
    }

    /// The same home with something done to its commands' calls.
    pub(crate) fn under(&self, injection: &Injection) -> Self {
        let mut home = self.clone();
        home.environment.extend(injection.environment());
        home
    }

    /// The same home with its commands run by another program.
    pub(crate) fn behind(&self, before: Vec<OsString>) -> Self {
        Self { before, ..self.clone() }
    }

    /// A command that sees this home and no network but the loopback interface.
    fn command(&self, args: &[&str]) -> Command {
        let mut words = self.before.iter().map(OsString::as_os_str);
        let mut command = match words.next() {
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(&self.hive);
                command
            }
            None => Command::new(&self.hive),
        };
        let above = self.path.parent().unwrap_or(Path::new("/"));
        command.args(args).env_clear().current_dir(above).stdin(Stdio::null());
        command.env("HOME", above).env("HIVE_HOME", &self.path);
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let settings = [
            ("HIVE_LISTEN", "/ip4/127.0.0.1/tcp/0"),
            ("HIVE_API", "127.0.0.1:0"),
            ("HIVE_MDNS", "off"),
            ("HIVE_ALLOW_PRIVATE", "on"),
            ("HIVE_UPNP", "off"),
            ("HIVE_NETWORK", NETWORK),
            ("HIVE_RESERVE", "0"),
            ("HIVE_PROVIDER_TIMEOUT", "10s"),
        ];
        command.envs(settings);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command.
    pub(crate) fn start(&self, args: &[&str]) -> anyhow::Result<Process> {
        let mut child = self
            .command(args)
            .spawn()
            .with_context(|| format!("cannot run `{}`", self.hive.display()))?;
        let stderr = child.stderr.take().context("a pipe for stderr was asked for")?;
        let stdout = child.stdout.take().context("a pipe for stdout was asked for")?;
        let stderr = std::thread::spawn(move || text(stderr));
        Ok(Process { child, stdout: Some(stdout), heard: Vec::new(), stderr: Some(stderr) })
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> anyhow::Result<Ended> {
        self.start(args)?.end().with_context(|| format!("`hive {}`", args.join(" ")))
    }

    /// Runs a command that has to end well, and reads the last line of its stdout as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> anyhow::Result<Value> {
        let ended = self.run(args)?;
        ended.value().with_context(|| format!("`hive {}`", args.join(" ")))
    }

    /// Adds and shares a file or a directory, and returns its id.
    pub(crate) fn add(&self, path: &Path) -> anyhow::Result<String> {
        let path = path.to_str().context("a path of ours is text")?;
        let added = self.json(&["--json", "add", path, "--share"])?;
        Ok(added["cid"].as_str().context("`hive add` tells an id")?.to_owned())
    }

    /// Looks at every byte of everything that the index knows.
    pub(crate) fn verify(&self) -> anyhow::Result<Value> {
        self.json(&["--json", "verify"])
    }

    /// Starts a node and waits until it is ready.
    pub(crate) fn join(&self, more: &[&str]) -> anyhow::Result<Node> {
        let mut args = vec!["--json", "join"];
        args.extend_from_slice(more);
        let mut process = self.start(&args)?;
        match process.line()?.map(|line| serde_json::from_str::<Value>(&line)) {
            Some(Ok(ready)) if ready["event"] == "ready" => Ok(Node { process, ready }),
            _ => bail!("no node: {}", process.end()?),
        }
    }
}

fn text(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What a process that dies leaves unread is not missed.
    let _ = from.read_to_end(&mut bytes);
    of_bytes(&bytes)
}

fn of_bytes(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether something can be read, or has come to its end, within a time.
fn is_ready(fd: impl AsFd, time: Duration) -> anyhow::Result<bool> {
    let (tv_sec, tv_nsec) = (time.as_secs() as i64, i64::from(time.subsec_nanos()));
    let timeout = Timespec { tv_sec, tv_nsec };
    Ok(poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout))? > 0)
}

/// A process; it is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdout: Option<ChildStdout>,
    /// What it said and nobody has taken.
    heard: Vec<u8>,
    stderr: Option<JoinHandle<String>>,
}

impl Process {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its stdout; `None` at the end. It has to come within a while.
    pub(crate) fn line(&mut self) -> anyhow::Result<Option<String>> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let rest = self.heard.split_off(end + 1);
                return Ok(Some(of_bytes(&std::mem::replace(&mut self.heard, rest))));
            }
            let Some(stdout) = &mut self.stdout else { return Ok(None) };
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(is_ready(&*stdout, left)?, "it said nothing for {DEADLINE:?}");
            let mut piece = [0; 8 << 10];
            let len = stdout.read(&mut piece)?;
            self.heard.extend_from_slice(&piece[..len]);
            if len == 0 {
                let last = std::mem::take(&mut self.heard);
                return Ok((!last.is_empty()).then(|| of_bytes(&last)));
            }
        }
    }

    /// The next line of its stdout as JSON; `None` at the end.
    pub(crate) fn event(&mut self) -> anyhow::Result<Option<Value>> {
        let Some(line) = self.line()? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&line).with_context(|| format!("a line `{line}`"))?))
    }

    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        Ok(self.child.kill()?)
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Whether it ends within a time.
    pub(crate) fn ends_within(&self, time: Duration) -> anyhow::Result<bool> {
        is_ready(pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?, time)
    }

    /// Waits until it has ended, and kills it if that takes too long.
    pub(crate) fn end(mut self) -> anyhow::Result<Ended> {
        let heard = std::mem::take(&mut self.heard);
        let stdout = self.stdout.take();
        let stdout =
            stdout.map(|rest| std::thread::spawn(move || text(Read::chain(&heard[..], rest))));
        let in_time = self.ends_within(DEADLINE)?;
        if !in_time {
            self.kill()?;
        }
        let status = self.child.wait()?;
        let read = |thread: Option<JoinHandle<String>>| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        let ended = Ended { status, stdout: read(stdout), stderr: read(self.stderr.take()) };
        ensure!(in_time, "did not end within {DEADLINE:?}: {ended}");
        ensure!(!ended.stderr.contains("panicked at"), "it panicked: {ended}");
        Ok(ended)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.status)?;
        for text in [&self.stdout, &self.stderr] {
            // How far it was is not what anybody asks.
            let is_news = |line: &&str| !line.contains("\"event\":\"progress\"");
            let lines: Vec<&str> = text.trim_end().lines().filter(is_news).collect();
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                write!(f, " / {}", line.chars().take(LINE_LEN).collect::<String>())?;
            }
        }
        Ok(())
    }
}

impl Ended {
    /// The last line of stdout as JSON, if it ended well.
    pub(crate) fn value(&self) -> anyhow::Result<Value> {
        ensure!(self.status.success(), "{self}");
        let line = self.stdout.lines().last().context("it said nothing")?;
        serde_json::from_str(line).with_context(|| format!("it said `{line}`"))
    }

    /// What it failed with: one error, told once, with an exit code of its own.
    pub(crate) fn refusal(&self) -> anyhow::Result<String> {
        ensure!(self.status.code().is_some_and(|code| (1..=7).contains(&code)), "{self}");
        let errors: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| line.starts_with("error:") || line.starts_with("{\"error\":"))
            .collect();
        ensure!(errors.len() == 1, "{} errors were told: {self}", errors.len());
        Ok(errors[0].to_owned())
    }
}

/// A node in a process of its own.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    ready: Value,
}

impl Node {
    /// Where it listens.
    pub(crate) fn address(&self) -> anyhow::Result<&str> {
        self.ready["addresses"][0].as_str().context("a node listens somewhere")
    }

    /// Asks it to end, and waits for that.
    pub(crate) fn stop(self) -> anyhow::Result<Ended> {
        self.process.signal(Signal::TERM)?;
        self.process.end()
    }

    /// Ends it without asking.
    pub(crate) fn kill(mut self) -> anyhow::Result<Ended> {
        self.process.kill()?;
        self.process.end()
    }
}

//! A line between two namespaces, as a process of its own: `hive-natlab link`.
//!
//! The process owns a TAP device at each end and a [`crate::link::Line`] for each direction. It takes
//! orders on stdin, one a line, and answers each with a line of JSON; the end of stdin is its end.
//! [`Cable`] is the lab's side of that.

mod run;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

pub use self::run::CableArgs;
pub(crate) use self::run::run;
use crate::link::{Counts, Shape};

/// What became of the frames of a line, seen from the internet.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Told {
    /// From the internet to the host or router.
    pub down: Counts,
    /// From the host or router to the internet.
    pub up: Counts,
}

impl Told {
    /// Bytes that arrived, both ways.
    pub(crate) fn delivered_bytes(&self) -> u64 {
        self.down.delivered_bytes + self.up.delivered_bytes
    }
}

/// An answer of the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Told),
    Failed(String),
}

/// A line that is laid. It ends with this.
#[derive(Debug)]
pub struct Cable {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// One end: a namespace, and the device to make there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End<'a> {
    pub(crate) space: &'a str,
    pub(crate) device: &'a str,
}

impl Cable {
    /// Lays a line from the internet's side to the other and returns when both devices are there.
    pub(crate) fn lay(
        internet: End<'_>,
        other: End<'_>,
        shape: Shape,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe().context("who am I?")?)
            .arg("link")
            .args([internet.space, internet.device, other.space, other.device])
            .args(["--shape", &shape.to_string(), "--seed", &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a line's process")?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("a line's process without pipes");
        };
        let mut cable = Self { child, orders, answers: BufReader::new(answers) };
        cable.answer().with_context(|| format!("the line of {} was not laid", other.space))?;
        Ok(cable)
    }

    /// What became of the frames so far.
    pub fn count(&mut self) -> anyhow::Result<Told> {
        self.order("count")
    }

    /// Swallows every frame from now on, in silence.
    pub(crate) fn cut(&mut self) -> anyhow::Result<Told> {
        self.order("cut")
    }

    /// Carries again.
    pub(crate) fn heal(&mut self) -> anyhow::Result<Told> {
        self.order("heal")
    }

    /// Changes what the line is like.
    pub(crate) fn reshape(&mut self, shape: Shape) -> anyhow::Result<Told> {
        self.order(&format!("shape {shape}"))
    }

    /// Writes every frame that comes, from now on, into a file.
    pub(crate) fn capture(&mut self, path: &Path) -> anyhow::Result<Told> {
        self.order(&format!("capture {}", path.display()))
    }

    /// Ends the capture; the file is whole then.
    pub(crate) fn end_capture(&mut self) -> anyhow::Result<Told> {
        self.order("release")
    }

    fn order(&mut self, order: &str) -> anyhow::Result<Told> {
        writeln!(self.orders, "{order}").context("a line's process is gone")?;
        self.answer().with_context(|| format!("the order `{order}`"))
    }

    fn answer(&mut self) -> anyhow::Result<Told> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if line.is_empty() {
            bail!("a line's process ended; it says why above");
        }
        match serde_json::from_str(&line).with_context(|| format!("`{line}` is no answer"))? {
            Answer::Done(told) => Ok(told),
            Answer::Failed(reason) => bail!("{reason}"),
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

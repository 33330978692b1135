//! The only way out: stdout is data, stderr is talk.
//!
//! Nothing else in the binary writes to either. What is said while progress bars are up goes above
//! them. A reader of stdout that went away shows as an `io::Error`, which `main` takes for success.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;

use hive_api::{ErrorKind, HiveError};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::env;
use crate::text::{plain, plain_lines};

/// Writes for the user.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    quiet: bool,
    verbose: u8,
    color: bool,
    live: bool,
    bars: MultiProgress,
}

impl Printer {
    /// A printer for the flags that were given and the terminal that is there.
    pub(crate) fn new(json: bool, quiet: bool, verbose: u8) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os(env::TERM).is_some_and(|term| term == "dumb");
        let terminal = io::stderr().is_terminal() && !dumb;
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let color = terminal && !is_set(env::NO_COLOR);
        Self { json, quiet, verbose, color, live: terminal && !json && !quiet, bars }
    }

    /// Whether programs read stdout.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// How much more the user wants to know.
    pub(crate) fn verbose(&self) -> u8 {
        self.verbose
    }

    /// Whether stderr shows colours.
    pub(crate) fn color(&self) -> bool {
        self.color
    }

    /// The place for progress bars, if somebody watches.
    pub(crate) fn bars(&self) -> Option<&MultiProgress> {
        self.live.then_some(&self.bars)
    }

    /// Whether to tell of progress at all.
    pub(crate) fn talks(&self) -> bool {
        !self.json && !self.quiet
    }

    /// A line of data.
    pub(crate) fn data(&self, line: impl Display) -> io::Result<()> {
        self.stdout(format!("{line}\n").as_bytes())
    }

    /// A value as one line of JSON.
    pub(crate) fn object(&self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.stdout(&line)
    }

    /// A piece of data as it is.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        self.stdout(bytes)
    }

    /// A piece of a model's text, shown at once. A terminal does not get to obey it.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        if io::stdout().is_terminal() {
            self.stdout(plain_lines(text).as_bytes())
        } else {
            self.stdout(text.as_bytes())
        }
    }

    fn stdout(&self, bytes: &[u8]) -> io::Result<()> {
        self.beside_bars(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        })
    }

    /// A line for the person at the terminal; programs and the quiet do without.
    pub(crate) fn talk(&self, line: impl Display) {
        if !self.quiet {
            self.stderr(format!("{line}\n").as_bytes());
        }
    }

    /// A line for whoever asked for more.
    pub(crate) fn more(&self, line: impl Display) {
        if self.verbose > 0 {
            self.talk(line);
        }
    }

    /// What may surprise.
    pub(crate) fn warning(&self, line: impl Display) {
        self.talk(format!("{} {line}", self.paint(YELLOW, "warning:")));
    }

    /// Why the command ends: one message, its causes, and what to do next.
    pub(crate) fn error(&self, error: &HiveError) {
        if self.json {
            // A struct of strings always is JSON.
            let line = serde_json::json!({ "error": error });
            self.stderr(format!("{line}\n").as_bytes());
            return;
        }
        let mut messages = error.messages.iter().map(|message| plain(message));
        let first = messages.next().unwrap_or_default();
        let mut lines = vec![if error.kind == ErrorKind::Interrupted {
            first
        } else {
            format!("{} {first}", self.paint(RED, "error:"))
        }];
        lines.extend(messages.map(|cause| format!("  caused by: {cause}")));
        if let Some(hint) = &error.hint {
            lines.push(format!("{} {}", self.paint(CYAN, "hint:"), plain(hint)));
        }
        self.stderr(format!("{}\n", lines.join("\n")).as_bytes());
    }

    /// Takes log lines.
    pub(crate) fn log_sink(&self) -> hive_telemetry::Sink {
        let bars = self.live.then(|| self.bars.clone());
        Arc::new(move |line| match &bars {
            Some(bars) => bars.suspend(|| to_stderr(line)),
            None => to_stderr(line),
        })
    }

    fn stderr(&self, bytes: &[u8]) {
        self.beside_bars(|| to_stderr(bytes));
    }

    fn beside_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.live { self.bars.suspend(write) } else { write() }
    }

    fn paint(&self, color: &str, text: &str) -> String {
        if self.color { format!("\x1b[1;{color}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const RED: &str = "31";
const YELLOW: &str = "33";
const CYAN: &str = "36";

fn to_stderr(bytes: &[u8]) {
    // Nobody is left to tell when stderr is gone.
    let _ = io::stderr().lock().write_all(bytes);
}

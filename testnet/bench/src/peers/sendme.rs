//! sendme: iroh's blobs, over QUIC.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{Given, tools};
use crate::measure::{Fetched, Peer};
use crate::process::{self, Meter, Process};

/// A sender that runs. sendme gives to whoever has its ticket, and takes from one.
pub(crate) struct Sendme {
    program: PathBuf,
    version: String,
    sender: Process,
    ticket: String,
    file: PathBuf,
    dir: PathBuf,
    size: u64,
}

/// Neither relays nor name services: the ticket has the sender's addresses.
fn alone(program: &Path, word: &str, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(word).args(["--relay", "disabled", "--no-progress"]).current_dir(dir);
    command
}

/// Starts a sender; it has read the file when this returns, and the ticket is there.
pub(crate) fn send(program: &Path, dir: &Path, file: &Path) -> anyhow::Result<(Process, String)> {
    let mut command = alone(program, "send", dir);
    command.args(["--ticket-type", "addresses"]).arg(file);
    let mut sender = Process::start("sendme", &mut command)?;
    loop {
        if let Some(ticket) = ticket_in(&sender.line()?) {
            return Ok((sender, ticket));
        }
    }
}

fn ticket_in(line: &str) -> Option<String> {
    line.trim().strip_prefix("sendme receive ").map(str::to_owned)
}

impl Sendme {
    /// Starts the sender.
    pub(crate) fn start(given: &Given<'_>) -> anyhow::Result<Self> {
        let program = given.tools.built("sendme")?;
        let version = tools::version(Command::new(&program).arg("--version"))?;
        let (sender, ticket) = send(&program, &given.dir, given.file)?;
        let (file, dir) = (given.file.to_owned(), given.dir.clone());
        Ok(Self { program, version, sender, ticket, file, dir, size: given.size })
    }
}

impl Peer for Sendme {
    fn name(&self) -> &'static str {
        "sendme"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn manner(&self) -> String {
        "encrypted (TLS 1.3 in QUIC), every 16 KiB verified (BLAKE3); no relay, the sender's \
         addresses in the ticket; the clock runs from the start of `sendme receive` to its end, \
         which has the file under its name; it does not tell when the first bytes are verified"
            .to_owned()
    }

    fn refuses(&self, n_sources: usize) -> Option<&'static str> {
        (n_sources > 1).then_some("`sendme receive` takes one ticket, from one sender")
    }

    fn fetch(&mut self, _n_sources: usize) -> anyhow::Result<Fetched> {
        let out = tempfile::tempdir_in(&self.dir)?;
        let sources = [&self.sender];
        let meter = Meter::start(&sources);
        let mut command = alone(&self.program, "receive", out.path());
        let ran = process::run("sendme", command.arg(&self.ticket))?;
        let (sources_cpu, others) = meter.end(ran.cpu);
        let path = out.path().join(self.file.file_name().context("a file without a name")?);
        ensure!(path.exists(), "sendme has left no file: {}", ran.stdout.trim());
        Ok(Fetched {
            path,
            size: self.size,
            seconds: ran.seconds,
            first_ms: None,
            reader_cpu: ran.cpu,
            sources_cpu,
            memory: ran.memory,
            others,
            n_sources: None,
            remove: out,
        })
    }
}

impl Drop for Sendme {
    fn drop(&mut self) {
        // It ends by Ctrl-C alone, and what it would tidy up goes with the directory.
        let _ = self.sender.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::ticket_in;

    #[test]
    fn the_ticket_is_what_the_other_side_is_told_to_type() {
        assert_eq!(ticket_in("sendme receive blobabc\n").as_deref(), Some("blobabc"));
        assert_eq!(ticket_in("to get this data, use\n"), None);
    }
}

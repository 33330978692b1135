//! Processes that are measured. What they took is the kernel's word, not theirs.
//!
//! A [`Process`] lives while it is measured: it says lines of JSON on stdout, is told lines on stdin,
//! and ends when its stdin does. [`run`] is for a program that does one thing and ends. Both are
//! ended when they take too long or their owner is gone, and an error quotes the last that they
//! said on stderr.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{WaitId, WaitIdOptions};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::machine::{self, Others};

/// Nothing that is measured takes longer.
const DEADLINE: Duration = Duration::from_mins(4);
/// How long a process has to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// Lines that a process may have said before anybody asked.
const UNHEARD: usize = 64;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Looks at a process: keeps the most memory that it had, and ends it at the deadline.
struct Watch {
    stop: SyncSender<()>,
    thread: JoinHandle<u64>,
}

impl Watch {
    fn over(pid: u32) -> Self {
        let (stop, stopped) = sync_channel(1);
        let start = Instant::now();
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            loop {
                peak = machine::peak_of_process(pid).max(peak);
                match stopped.recv_timeout(LOOK) {
                    Err(RecvTimeoutError::Timeout) if start.elapsed() < DEADLINE => {}
                    Err(RecvTimeoutError::Timeout) => {
                        kill(pid);
                        return peak;
                    }
                    _ => return peak,
                }
            }
        });
        Self { stop, thread }
    }

    fn peak(self) -> u64 {
        drop(self.stop);
        self.thread.join().unwrap_or(0)
    }
}

fn kill(pid: u32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
        // It may have ended by itself just now.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// What a program said last on stderr.
fn last_words(log: &mut File) -> String {
    let mut text = String::new();
    let read = log.seek(SeekFrom::Start(0)).and_then(|_| log.read_to_string(&mut text));
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match (read, last) {
        (Ok(_), Some(last)) => last.to_owned(),
        _ => "it said nothing".to_owned(),
    }
}

/// A process that lives while it is measured.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: File,
}

impl Process {
    /// Starts it.
    pub(crate) fn start(name: impl Into<String>, command: &mut Command) -> anyhow::Result<Self> {
        let (name, log) = (name.into(), tempfile::tempfile()?);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        // One that says more than is asked for waits in its pipe.
        let (said, lines) = sync_channel(UNHEARD);
        // Ends with the process, whose death closes the pipe.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name, child, stdin, lines, log })
    }

    /// The next line that it says, or none if it says none within the time.
    fn line_within(&mut self, time: Duration) -> anyhow::Result<Option<String>> {
        match self.lines.recv_timeout(time) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                // It has closed its stdout, and may not have ended by itself.
                kill(self.child.id());
                let status = self.child.wait()?;
                anyhow::bail!("{} ended ({status}): {}", self.name, last_words(&mut self.log))
            }
        }
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        if let Some(line) = self.line_within(DEADLINE)? {
            return Ok(line);
        }
        self.kill()?;
        anyhow::bail!("{} said nothing for {DEADLINE:?}: {}", self.name, last_words(&mut self.log))
    }

    fn read<T: DeserializeOwned>(&self, line: &str) -> anyhow::Result<T> {
        serde_json::from_str(line).with_context(|| format!("{} said `{}`", self.name, line.trim()))
    }

    /// The next line that it says, read.
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.line()?;
        self.read(&line)
    }

    /// The same, or none if it says none within the time.
    pub(crate) fn hear_within<T: DeserializeOwned>(
        &mut self,
        time: Duration,
    ) -> anyhow::Result<Option<T>> {
        self.line_within(time)?.map(|line| self.read(&line)).transpose()
    }

    /// Tells it a line; its answer is to be asked for.
    pub(crate) fn tell(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        let stdin = self.stdin.as_mut().context("its stdin is closed")?;
        // Who has ended is told of by what it said, not by the pipe that broke.
        let _ = stdin.write_all(text.as_bytes());
        Ok(())
    }

    /// Tells it a line, and hears the answer.
    pub(crate) fn ask<T: DeserializeOwned>(&mut self, line: &impl Serialize) -> anyhow::Result<T> {
        self.tell(line)?;
        self.hear()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Its processor seconds so far.
    pub(crate) fn cpu(&self) -> f64 {
        machine::family_cpu(self.child.id())
    }

    /// The most memory that it has had.
    pub(crate) fn peak(&self) -> u64 {
        machine::peak_of_process(self.child.id())
    }

    /// Bytes that it has written so far.
    pub(crate) fn bytes_written(&self) -> u64 {
        machine::bytes_written(self.child.id())
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let pid = self.child.id();
        let (ended, waiting) = sync_channel::<()>(0);
        let killer = std::thread::spawn(move || {
            if waiting.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
                kill(pid);
            }
        });
        let _ = self.child.wait();
        drop(ended);
        let _ = killer.join();
    }
}

/// What a program took that did one thing and ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) seconds: f64,
    pub(crate) cpu: f64,
    pub(crate) memory: u64,
    pub(crate) stdout: String,
}

/// Runs a program to its end.
pub(crate) fn run(name: &str, command: &mut Command) -> anyhow::Result<Ran> {
    let mut log = tempfile::tempfile()?;
    let mut said = tempfile::tempfile()?;
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(said.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let watch = Watch::over(child.id());
    wait_for_end(&child)?;
    let seconds = start.elapsed().as_secs_f64();
    // The kernel keeps its figures until it is waited for.
    let (cpu, memory) = (machine::family_cpu(child.id()), watch.peak());
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "{name} failed ({status}): {}", last_words(&mut log));
    let mut stdout = String::new();
    said.seek(SeekFrom::Start(0))?;
    said.read_to_string(&mut stdout)?;
    Ok(Ran { seconds, cpu, memory, stdout })
}

/// Waits until a program has ended, and leaves it to be waited for.
fn wait_for_end(child: &Child) -> anyhow::Result<()> {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).context("a pid of zero")?;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the others took while somebody fetched.
pub(crate) struct Meter<'a> {
    sources: &'a [&'a Process],
    before: f64,
    others: Others,
}

impl<'a> Meter<'a> {
    /// Starts to measure these sources.
    pub(crate) fn start(sources: &'a [&'a Process]) -> Self {
        let before = sources.iter().map(|source| source.cpu()).sum();
        Self { sources, before, others: Others::start() }
    }

    /// Processor seconds of the sources, and the share of the machine that neither they nor a
    /// reader with so many processor seconds had.
    pub(crate) fn end(self, reader: f64) -> (f64, f64) {
        let sources = self.sources.iter().map(|source| source.cpu()).sum::<f64>() - self.before;
        (sources, self.others.share(sources + reader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error =
            run("sh", Command::new("sh").args(["-c", "echo first >&2; echo why >&2; exit 3"]));
        let error = format!("{:#}", error.unwrap_err());
        assert!(
            error.contains("why") && error.contains('3') && !error.contains("first"),
            "{error}"
        );
    }

    #[test]
    fn a_process_is_asked_and_answers_and_one_that_ends_is_quoted() -> anyhow::Result<()> {
        let script = "echo 1; read line; echo \"$line\"; echo because >&2";
        let mut process = Process::start("sh", Command::new("sh").args(["-c", script]))?;
        assert_eq!(process.hear::<u32>()?, 1);
        assert_eq!(process.ask::<u32>(&42)?, 42);
        let error = process.hear::<u32>().unwrap_err().to_string();
        assert!(error.contains("because"), "{error}");
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_and_memory_of_a_program_are_its_own() -> anyhow::Result<()> {
        let ran = run(
            "sh",
            Command::new("sh")
                .args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo $i"]),
        )?;
        assert_eq!(ran.stdout.trim(), "200000");
        assert!(ran.cpu > 0.0 && ran.memory > 0, "{ran:?}");
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_program_that_takes_less_than_a_tick_has_taken_something() -> anyhow::Result<()> {
        let ran = run("true", &mut Command::new("true"))?;
        assert!(ran.cpu > 0.0 && ran.cpu < ran.seconds + 0.1, "{ran:?}");
        Ok(())
    }

    #[test]
    fn a_process_that_says_nothing_in_time_is_waited_for_no_longer() -> anyhow::Result<()> {
        let mut process = Process::start("cat", &mut Command::new("cat"))?;
        assert_eq!(process.hear_within::<u32>(Duration::from_millis(1))?, None);
        process.tell(&7)?;
        assert_eq!(process.hear::<u32>()?, 7);
        assert!(!process.has_ended());
        process.kill()
    }
}

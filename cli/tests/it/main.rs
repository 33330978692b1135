//! The binary as a user has it: arguments in; stdout, stderr and an exit code out.

#![expect(clippy::unwrap_used, reason = "a test")]

#[cfg(target_os = "linux")]
mod chat;
mod comfort;
mod config;
mod demo;
mod doctor;
mod fake;
mod join;
mod kill;
mod local;
mod names;
mod network;
mod private;
mod pull;
mod relay;
mod usage;
#[cfg(target_os = "linux")]
mod worker;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A user with a home of his own and nothing in his environment.
struct User {
    dir: TempDir,
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl User {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// A file outside the home.
    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    /// The small model as a file.
    fn model(&self) -> String {
        self.file("tiny.gguf", hive_node::TINY_MODEL)
    }

    /// A command that sees this home and no network but the loopback interface.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hive"));
        command.args(args).env_clear().current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("HOME", self.dir.path()).env("HIVE_HOME", self.home());
        command.env("HIVE_LISTEN", "/ip4/127.0.0.1/tcp/0").env("HIVE_API", "127.0.0.1:0");
        command.env("HIVE_MDNS", "off").env("HIVE_ALLOW_PRIVATE", "on").env("HIVE_UPNP", "off");
        command.env("HIVE_NETWORK", "test-of-cli");
        command
    }

    fn run(&self, args: &[&str]) -> Ended {
        self.command(args).output().unwrap().into()
    }

    /// Runs a command that has to end well, and reads its stdout as JSON.
    fn json(&self, args: &[&str]) -> Value {
        let ended = self.run(args);
        assert_eq!(ended.code, Some(0), "{args:?}: {ended:?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    /// Starts a node and waits until it is ready.
    fn join(&self, more: &[&str]) -> Running {
        self.node("join", more)
    }

    /// Starts a node with a command that runs one, and waits until it is ready.
    fn node(&self, command: &str, more: &[&str]) -> Running {
        let mut args = vec![command, "--json"];
        args.extend_from_slice(more);
        let mut child =
            self.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let Ok(ready) = serde_json::from_str(&line) else {
            panic!("no node: {:?}", Ended::from(child.wait_with_output().unwrap()));
        };
        Running { child, ready }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// The one message on stderr of a command that failed.
    #[track_caller]
    fn failed(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        let told: Vec<_> = self.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
        assert_eq!(told.len(), 1, "{self:?}");
        &self.stderr
    }

    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.stdout
    }
}

/// A node in a process of its own.
struct Running {
    child: Child,
    ready: Value,
}

impl Running {
    fn address(&self) -> &str {
        self.ready["addresses"][0].as_str().unwrap()
    }

    /// Asks it to end, and says how it did.
    #[cfg(unix)]
    fn terminate(mut self) -> Ended {
        signal(&self.child, rustix::process::Signal::TERM);
        let code = self.child.wait().unwrap().code();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended { code, stdout: String::new(), stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The names of an object's fields, sorted.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

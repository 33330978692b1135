//! Plain HTTP from nginx: aria2, which verifies the whole file when it is there, and curl, which
//! verifies nothing and so is the ceiling.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use super::{Given, Tools, tools};
use crate::measure::{Fetched, Peer};
use crate::process::{self, Meter, Process, Ran};
use crate::watch;

/// How long nginx may take until it listens.
const START: Duration = Duration::from_secs(10);
/// How often ports are looked for.
const ATTEMPTS: usize = 3;
/// Where nginx writes its number, and what it has sent.
const PID: &str = "nginx.pid";
const ACCESS_LOG: &str = "access.log";

/// nginx in one process, on as many ports as there are sources.
pub(crate) struct Nginx {
    process: Process,
    version: String,
    ports: Vec<u16>,
    log: PathBuf,
}

impl Nginx {
    /// Starts it; it serves the directory that the file is in.
    pub(crate) fn start(dir: &Path, file: &Path, n_ports: usize) -> anyhow::Result<Self> {
        let program = Tools::installed("nginx")?;
        let version = tools::version(Command::new(&program).arg("-v"))?;
        let root = file.parent().context("a file without a directory")?;
        let (mut nginx, ports, home) = on_free_ports(n_ports, |ports| {
            let home = tempfile::Builder::new().prefix("nginx-").tempdir_in(dir)?.keep();
            let process = listening(&program, &home, root, ports)?;
            Ok(process.map(|process| (process, ports.to_vec(), home)))
        })?;
        anyhow::ensure!(!nginx.has_ended(), "nginx has ended");
        Ok(Self { process: nginx, version, ports, log: home.join(ACCESS_LOG) })
    }

    /// Where a file is to be had, once for each port.
    pub(crate) fn urls(&self, file: &Path, n_sources: usize) -> anyhow::Result<Vec<String>> {
        let name = file.file_name().context("a file without a name")?.to_string_lossy();
        let ports = self.ports.get(..n_sources).context("too few ports")?;
        Ok(ports.iter().map(|port| format!("http://127.0.0.1:{port}/{name}")).collect())
    }

    /// Bytes that it has sent, by its log: a line for each request that has ended.
    pub(crate) fn sent(&self) -> anyhow::Result<u64> {
        Ok(std::fs::read_to_string(&self.log)?
            .lines()
            .filter_map(|line| line.parse::<u64>().ok())
            .sum())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It does not look at its stdin.
        let _ = self.process.kill();
    }
}

/// Starts nginx and waits until it listens; none if somebody else has one of the ports.
fn listening(
    program: &Path,
    home: &Path,
    root: &Path,
    ports: &[u16],
) -> anyhow::Result<Option<Process>> {
    let (conf, pid, errors) = (home.join("nginx.conf"), home.join(PID), home.join("error.log"));
    std::fs::write(&conf, config(home, root, ports))?;
    let mut command = Command::new(program);
    command.arg("-p").arg(home).arg("-c").arg(&conf).args(["-e", "error.log"]);
    let mut nginx = Process::start("nginx", &mut command)?;
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    // It writes its number down once it listens, and complains when it cannot.
    let taken = || read(&errors).contains("bind() to");
    let what = format!("nginx does not listen on the ports {ports:?}");
    watch::until(home, START, &what, || !read(&pid).trim().is_empty() || taken())?;
    if taken() {
        nginx.kill()?;
        return Ok(None);
    }
    Ok(Some(nginx))
}

/// Tries ports that are free now: somebody may take one before the program does that is to listen
/// there and that cannot be told to take any. `start` says with `None` that this was so.
pub(crate) fn on_free_ports<T>(
    n: usize,
    mut start: impl FnMut(&[u16]) -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    for _ in 0..ATTEMPTS {
        if let Some(started) = start(&free_ports(n)?)? {
            return Ok(started);
        }
    }
    anyhow::bail!("{ATTEMPTS} times somebody else took a port that was free")
}

/// Ports that are free now.
fn free_ports(n: usize) -> anyhow::Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..n).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    Ok(listeners
        .iter()
        .map(|it| it.local_addr().map(|address| address.port()))
        .collect::<Result<_, _>>()?)
}

/// One process, no file outside `home`.
fn config(home: &Path, root: &Path, ports: &[u16]) -> String {
    let home = home.display();
    let mut text = format!(
        "daemon off;\nmaster_process off;\npid {home}/{PID};\nevents {{ worker_connections 64; }}\n\
         http {{\n  log_format sent '$body_bytes_sent';\n  access_log {home}/{ACCESS_LOG} sent;\n  \
         sendfile on;\n  tcp_nopush on;\n"
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "  {kind}_temp_path {home}/{kind};");
    }
    for port in ports {
        let root = root.display();
        let _ = writeln!(text, "  server {{ listen 127.0.0.1:{port}; root {root}; }}");
    }
    text.push_str("}\n");
    text
}

/// The SHA-256 of a file, by the tool that everybody has.
pub(crate) fn sha256(file: &Path) -> anyhow::Result<(String, Ran)> {
    let ran = process::run("sha256sum", Command::new("sha256sum").arg(file))?;
    let digest = ran.stdout.split_whitespace().next().context("sha256sum says nothing")?;
    Ok((digest.to_owned(), ran))
}

/// aria2, from nginx.
pub(crate) struct Aria2 {
    program: PathBuf,
    version: String,
    nginx: Nginx,
    sha256: String,
    file: PathBuf,
    dir: PathBuf,
    size: u64,
}

impl Aria2 {
    /// Starts nginx.
    pub(crate) fn start(given: &Given<'_>) -> anyhow::Result<Self> {
        let program = Tools::installed("aria2c")?;
        let aria2 = tools::version(Command::new(&program).arg("--version"))?;
        let nginx = Nginx::start(&given.dir, given.file, given.most())?;
        let version = format!("{aria2}, nginx {}", nginx.version);
        let (sha256, _) = sha256(given.file)?;
        let (file, dir) = (given.file.to_owned(), given.dir.clone());
        Ok(Self { program, version, nginx, sha256, file, dir, size: given.size })
    }

    /// The command that fetches into a directory.
    pub(crate) fn command(&self, out: &Path, n_sources: usize) -> anyhow::Result<Command> {
        let mut command = Command::new(&self.program);
        command.args([
            "--no-conf",
            "--quiet",
            "--allow-overwrite=true",
            "--file-allocation=falloc",
        ]);
        command.args(["--max-connection-per-server=1", "--min-split-size=1M", "--disk-cache=64M"]);
        command.arg(format!("--split={n_sources}")).arg("--dir").arg(out);
        command.arg(format!("--checksum=sha-256={}", self.sha256));
        command.args(self.nginx.urls(&self.file, n_sources)?);
        Ok(command)
    }

    /// Its server.
    pub(crate) fn nginx(&self) -> &Nginx {
        &self.nginx
    }
}

impl Peer for Aria2 {
    fn name(&self) -> &'static str {
        "aria2"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn manner(&self) -> String {
        "clear text, verified by a second pass over the whole file (`--checksum=sha-256`), one \
         connection to each port of nginx; the clock runs from its start to its end; nothing is \
         verified before the end"
            .to_owned()
    }

    fn refuses(&self, n_sources: usize) -> Option<&'static str> {
        (n_sources > self.nginx.ports.len()).then_some("so many ports were not opened")
    }

    fn fetch(&mut self, n_sources: usize) -> anyhow::Result<Fetched> {
        let out = tempfile::tempdir_in(&self.dir)?;
        let mut command = self.command(out.path(), n_sources)?;
        plain("aria2", &mut command, &self.nginx, &self.file, self.size, out)
    }
}

/// curl, from nginx.
pub(crate) struct Curl {
    version: String,
    nginx: Nginx,
    file: PathBuf,
    dir: PathBuf,
    size: u64,
}

impl Curl {
    /// Starts nginx.
    pub(crate) fn start(given: &Given<'_>) -> anyhow::Result<Self> {
        let curl = tools::version(Command::new(Tools::installed("curl")?).arg("--version"))?;
        let nginx = Nginx::start(&given.dir, given.file, 1)?;
        let version = format!("{curl}, nginx {}", nginx.version);
        Ok(Self {
            version,
            nginx,
            file: given.file.to_owned(),
            dir: given.dir.clone(),
            size: given.size,
        })
    }
}

impl Peer for Curl {
    fn name(&self) -> &'static str {
        "curl"
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn manner(&self) -> String {
        "clear text, nothing verified: the ceiling; the clock runs from its start to its end"
            .to_owned()
    }

    fn refuses(&self, n_sources: usize) -> Option<&'static str> {
        (n_sources > 1).then_some("curl fetches a file from one server")
    }

    fn fetch(&mut self, n_sources: usize) -> anyhow::Result<Fetched> {
        let out = tempfile::tempdir_in(&self.dir)?;
        let name = self.file.file_name().context("a file without a name")?;
        let mut command = Command::new("curl");
        command.args(["--disable", "--silent", "--show-error", "--fail", "--noproxy", "*"]);
        command.arg("--output").arg(out.path().join(name));
        command.args(self.nginx.urls(&self.file, n_sources)?);
        plain("curl", &mut command, &self.nginx, &self.file, self.size, out)
    }
}

fn plain(
    name: &str,
    command: &mut Command,
    nginx: &Nginx,
    file: &Path,
    size: u64,
    out: TempDir,
) -> anyhow::Result<Fetched> {
    let sources = [&nginx.process];
    let meter = Meter::start(&sources);
    let ran = process::run(name, command)?;
    let (sources_cpu, others) = meter.end(ran.cpu);
    Ok(Fetched {
        path: out.path().join(file.file_name().context("a file without a name")?),
        size,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_listens_on_the_loopback_and_writes_below_its_home() {
        let text = config(Path::new("/a/home"), Path::new("/b"), &[1, 2]);
        assert_eq!(text.matches("listen 127.0.0.1:").count(), 2);
        let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
        assert!(paths.clone().count() > 2);
        assert!(
            paths.into_iter().all(|path| path.starts_with("/a/home") || path.starts_with("/b;"))
        );
    }

    #[test]
    fn ports_that_are_free_differ() -> anyhow::Result<()> {
        let ports = free_ports(4)?;
        assert_eq!(ports.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        Ok(())
    }

    #[test]
    fn ports_that_were_taken_are_tried_again_but_not_for_ever() {
        let mut tries = 0;
        let second = on_free_ports(1, |ports| {
            tries += 1;
            Ok((tries == 2).then_some(ports.len()))
        });
        assert_eq!(second.unwrap(), 1);
        assert!(on_free_ports(1, |_| Ok(None::<()>)).is_err());
    }
}

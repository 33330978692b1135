//! The relay, in a process of its own: it says where it is, and how it stands whenever it is asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hive_swarm::{Budget, Config, NodeIdentity, RelayServer, ServerMode};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{AnyError, PATIENCE};

/// What a peer may move over the relay in this test.
const BUDGET: u64 = 4 << 20;

/// What the process does.
pub(crate) async fn serve() -> Result<(), AnyError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let per_peer = Budget { bytes: BUDGET, ..RelayServer::default().per_peer };
    let server = RelayServer { per_peer, ..RelayServer::default() };
    let config = Config {
        network: "test".to_owned(),
        listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
        allow_private: true,
        dht_server: ServerMode::Always,
        limits: server.connection_limits(),
        relay_server: Some(server),
        ..Config::default()
    };
    let identity = NodeIdentity::from_ed25519_secret(rand::random());
    let started = hive_swarm::start(&identity, config, CancellationToken::new())?;
    let address = started.client.listen_addrs().await.remove(0);
    println!("{address}");
    let (asked, mut asks) = mpsc::channel(1);
    std::thread::spawn(move || {
        // Ends with whoever started this process.
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if asked.blocking_send(line).is_err() {
                break;
            }
        }
    });
    while asks.recv().await.is_some() {
        let state = started.client.relay_state().await.ok_or("no relay")?;
        println!("reservations {}", state.reservations);
        println!("circuits {}", state.circuits);
        println!("circuits_opened {}", state.circuits_opened);
        println!("bytes_relayed {}", state.bytes_relayed);
        println!("peers_over_budget {}", state.peers_over_budget);
        for (reason, n) in state.refused {
            println!("refused:{} {n}", reason.name());
        }
        println!();
    }
    Ok(())
}

/// The process.
pub(crate) struct Relay {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    log: Arc<Mutex<Vec<String>>>,
    pub(crate) address: String,
}

impl Relay {
    pub(crate) fn start() -> Result<Self, AnyError> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--relay")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let mut stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let stderr = BufReader::new(child.stderr.take().ok_or("no stderr")?);
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let mut address = String::new();
        stdout.read_line(&mut address)?;
        let address = address.trim().to_owned();
        Ok(Self { child, stdin, stdout, log, address })
    }

    /// How it stands.
    pub(crate) fn state(&mut self) -> Result<BTreeMap<String, u64>, AnyError> {
        writeln!(self.stdin, "state")?;
        let mut state = BTreeMap::new();
        loop {
            let mut line = String::new();
            self.stdout.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(' ') else { return Ok(state) };
            state.insert(name.to_owned(), value.parse()?);
        }
    }

    pub(crate) async fn until(
        &mut self,
        what: &str,
        fine: impl Fn(&BTreeMap<String, u64>) -> bool,
    ) -> Result<BTreeMap<String, u64>, AnyError> {
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        let started = Instant::now();
        loop {
            let state = self.state()?;
            if fine(&state) {
                return Ok(state);
            }
            if started.elapsed() > PATIENCE {
                return Err(format!("{what} did not happen: {state:?}").into());
            }
            pause.tick().await;
        }
    }

    /// Memory now and at most, in bytes.
    pub(crate) fn memory(&self) -> Result<(u64, u64), AnyError> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Result<u64, AnyError> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no field")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    pub(crate) fn logged(&self, words: &[&str]) -> Option<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().find(|line| words.iter().all(|word| line.contains(word))).cloned()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

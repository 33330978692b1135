//! A hub in this process, for tests and for trying things without the internet.
//!
//! Speaks the few endpoints that [`Hub`](crate::Hub) asks, and misbehaves on demand. Every fault
//! that happened is on record, so that a test can say that its fault did. Threads of its own, one
//! for each connection; no clock.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

mod answer;

/// Bytes in a request's head at most.
const HEAD_LEN: usize = 16 << 10;

/// A way to misbehave, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A status, and the seconds of `Retry-After`.
    Status(u16, Option<u64>),
    /// The body ends after so many bytes, short of its announced length.
    Truncate(usize),
    /// The connection is reset after so many bytes of the body.
    Reset(usize),
    /// Nothing comes after so many bytes of the body, until the client leaves.
    Stall(usize),
    /// The body goes on without end, without having said how long it is.
    Endless,
    /// A body of the right length with other bytes.
    OtherBytes,
    /// The whole file, whatever part was asked for.
    Whole,
    /// A redirect.
    Redirect(String),
    /// This body in place of the right one.
    Body(Vec<u8>),
    /// Headers beside the right ones, which they replace.
    Header(&'static str, String),
}

/// A request that came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// A stand-in for a model hub, on the loopback interface. Dropping it stops it.
#[derive(Debug)]
pub struct TestHub {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    repos: BTreeMap<String, TestRepo>,
    files: BTreeMap<String, Arc<[u8]>>,
    faults: VecDeque<(String, Fault)>,
    happened: Vec<Fault>,
    asked: Vec<Asked>,
    page: Option<usize>,
    cdn: Option<String>,
    stopping: bool,
}

#[derive(Debug, Clone, Default)]
struct TestRepo {
    files: BTreeMap<String, Arc<[u8]>>,
    commit: String,
    license: Option<String>,
    token: Option<String>,
}

impl TestHub {
    /// Starts on a free port.
    pub fn start() -> io::Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts on an address.
    pub fn start_on(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let for_accepting = Arc::clone(&shared);
        let accepting = std::thread::Builder::new()
            .name("test-hub".into())
            .spawn(move || accept(&listener, &for_accepting))?;
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Its address, as `HF_ENDPOINT` has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Puts a file into a repository, which gets another commit by that.
    pub fn put(&self, repo: &str, path: &str, bytes: &[u8]) {
        let mut now = self.shared.lock();
        let repo = now.repos.entry(repo.to_owned()).or_default();
        repo.files.insert(path.to_owned(), bytes.into());
        let mut hash = Sha1::new();
        for (path, bytes) in &repo.files {
            hash.update(path);
            hash.update(git_blob(bytes));
        }
        repo.commit = hex::encode(hash.finalize());
    }

    /// Puts every file below a directory into repositories: `<owner>/<repo>/<path>`.
    pub fn put_dir(&self, dir: &Path) -> io::Result<()> {
        for owner in std::fs::read_dir(dir)? {
            let owner = owner?.path();
            if !owner.is_dir() {
                continue;
            }
            for repo in std::fs::read_dir(&owner)? {
                let repo = repo?.path();
                let id = format!("{}/{}", base(&owner), base(&repo));
                self.put_below(&id, &repo, "")?;
            }
        }
        Ok(())
    }

    fn put_below(&self, repo: &str, dir: &Path, prefix: &str) -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let inside = format!("{prefix}{}", base(&path));
            if path.is_dir() {
                self.put_below(repo, &path, &format!("{inside}/"))?;
            } else {
                self.put(repo, &inside, &std::fs::read(&path)?);
            }
        }
        Ok(())
    }

    /// Puts a file that is in no repository at `/files/<name>`.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        self.shared.lock().files.insert(name.to_owned(), bytes.into());
    }

    /// Gives a repository a licence.
    pub fn license(&self, repo: &str, license: &str) {
        let mut now = self.shared.lock();
        now.repos.entry(repo.to_owned()).or_default().license = Some(license.to_owned());
    }

    /// Gives a repository only to who shows a token.
    pub fn gate(&self, repo: &str, token: &str) {
        let mut now = self.shared.lock();
        now.repos.entry(repo.to_owned()).or_default().token = Some(token.to_owned());
    }

    /// The commit of a repository.
    pub fn commit(&self, repo: &str) -> String {
        self.shared.lock().repos.get(repo).map(|repo| repo.commit.clone()).unwrap_or_default()
    }

    /// Lists so many files on a page.
    pub fn pages_of(&self, n_files: usize) {
        self.shared.lock().page = Some(n_files);
    }

    /// Sends whoever wants a large file to another server: `<cdn>/blob/<sha256>`.
    pub fn send_to_cdn(&self, cdn: &str) {
        self.shared.lock().cdn = Some(cdn.to_owned());
    }

    /// Misbehaves at the next request whose path contains a text. Faults for one text happen one
    /// after another.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.shared.lock().faults.push_back((path.to_owned(), fault));
    }

    /// The faults that happened.
    pub fn happened(&self) -> Vec<Fault> {
        self.shared.lock().happened.clone()
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept() else { return };
        if shared.lock().stopping {
            return;
        }
        let shared = Arc::clone(shared);
        // A client that leaves early is what some tests are about.
        std::thread::spawn(move || serve(stream, &shared));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    // Looked at and not taken: a socket that is closed with unread bytes is reset.
    let mut head = vec![0; HEAD_LEN];
    let len = loop {
        let n = stream.peek(&mut head)?;
        if let Some(at) = head[..n].windows(4).position(|end| end == b"\r\n\r\n") {
            break at + 4;
        }
        if n == 0 || n == HEAD_LEN {
            return Ok(());
        }
        std::thread::yield_now();
    };
    let Some(mut asked) = parse(&head[..len]) else { return Ok(()) };
    let (fault, answer) = {
        let mut now = shared.lock();
        let at = now.faults.iter().position(|(path, _)| asked.path.contains(path.as_str()));
        let fault = at.and_then(|at| now.faults.remove(at)).map(|(_, fault)| fault);
        now.happened.extend(fault.clone());
        now.asked.push(asked.clone());
        if fault == Some(Fault::Whole) {
            asked.headers.remove("range");
        }
        (fault, now.answer(&asked))
    };
    if !matches!(fault, Some(Fault::Reset(_))) {
        stream.read_exact(&mut head[..len])?;
    }
    answer.send(&mut stream, fault)
}

fn parse(head: &[u8]) -> Option<Asked> {
    let text = std::str::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some(Asked { path, headers: lines.filter_map(header).collect() })
}

fn git_blob(bytes: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hex::encode(hash.finalize())
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn base(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn wait_for_end(stream: &mut TcpStream) {
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest), Ok(n) if n > 0) {}
}

fn write_body(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

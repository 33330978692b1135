//! Starts the other side: a process with its files, or a thread with the same loop.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use hive_api::{Device, Engine, Failure, FailureKind, Gate, Part, Ticket};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::backend::{Backend, Input, Program};
use crate::frame::{self, FrameError};
use crate::limits::{self, LAST_BREATH, LINE_LEN, LINES};
use crate::message::{Job, Loaded, Order, PartAt, Report, Start, VERSION};
use crate::serve::{Gone, serve};

/// Environment that a child keeps, by the beginnings of names: how candle computes, and where a
/// dynamically linked program finds its libraries.
const KEPT: &[&str] = &["CANDLE_", "MISTRALRS_FORCE_", "LD_LIBRARY_PATH", "SystemRoot"];
/// And for a GPU's driver.
const KEPT_FOR_GPU: &[&str] = &["CUDA_", "NVIDIA_", "HOME", "PATH", "TMPDIR"];

/// `CREATE_NEW_PROCESS_GROUP`.
#[cfg(windows)]
const NEW_PROCESS_GROUP: u32 = 0x0000_0200;

/// The other side, from which reports come.
pub(crate) enum Reader {
    Pipe(ChildStdout),
    Thread(mpsc::Receiver<(Ticket, Report)>),
}

/// The other side, to which orders go.
pub(crate) enum Writer {
    Pipe(ChildStdin),
    Thread(mpsc::Sender<(Ticket, Order)>),
}

/// The other side, as something that ends.
pub(crate) enum Life {
    Process { child: Box<Child>, talk: Option<JoinHandle<()>>, _spawner: Spawner },
    Thread(oneshot::Receiver<()>),
}

/// What was started.
pub(crate) struct Started {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) life: Life,
}

impl Reader {
    /// The next report; none when the other side has ended. Not cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<(Ticket, Report)>, FrameError> {
        match self {
            Self::Pipe(pipe) => match frame::read_async(pipe).await? {
                Some(frame) => Ok(Some((frame.ticket, frame.decode()?))),
                None => Ok(None),
            },
            Self::Thread(reports) => Ok(reports.recv().await),
        }
    }
}

impl Writer {
    /// Whether the other side has the very gates of this one.
    pub(crate) fn shares_gates(&self) -> bool {
        matches!(self, Self::Thread(_))
    }

    /// Sends an order; fails if it is too long, or with [`FrameError::Pipe`] when the other side is
    /// gone.
    pub(crate) async fn send(&mut self, ticket: Ticket, order: Order) -> Result<(), FrameError> {
        match self {
            Self::Pipe(pipe) => {
                let frame = frame::encode(ticket, &order)?;
                pipe.write_all(&frame).await.map_err(FrameError::Pipe)
            }
            Self::Thread(orders) => orders
                .send((ticket, order))
                .await
                .map_err(|_| FrameError::Pipe(std::io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl Life {
    pub(crate) fn pid(&self) -> Option<u32> {
        match self {
            Self::Process { child, .. } => child.id(),
            Self::Thread(_) => None,
        }
    }

    /// Ends it and waits until it is gone. A thread cannot be ended in the middle of a step.
    pub(crate) async fn kill(&mut self) {
        match self {
            Self::Process { child, talk, .. } => {
                let _ = child.kill().await;
                hear_out(talk).await;
            }
            Self::Thread(ended) => {
                let _ = tokio::time::timeout(LAST_BREATH, ended).await;
            }
        }
    }

    /// Waits for what has closed its pipe to end, for a moment.
    pub(crate) async fn exit(&mut self) -> Option<std::process::ExitStatus> {
        let Self::Process { child, talk, .. } = self else { return None };
        let exited = tokio::time::timeout(LAST_BREATH, child.wait()).await;
        let status = exited.ok().and_then(Result::ok);
        if status.is_none() {
            let _ = child.kill().await;
        }
        hear_out(talk).await;
        status
    }
}

/// Lets the last words of a process that is gone into the log: they explain its end.
async fn hear_out(talk: &mut Option<JoinHandle<()>>) {
    if let Some(talk) = talk.take() {
        let _ = tokio::time::timeout(LAST_BREATH, talk).await;
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure { kind: FailureKind::Io, message: format!("cannot start {what}: {error}") }
}

/// Starts the other side and gives it its files.
pub(crate) async fn start(
    program: &Program,
    job: Job,
    inputs: Vec<Input>,
    result: Option<(File, PathBuf)>,
    memory: Option<u64>,
) -> Result<Started, Failure> {
    if inputs.len() > limits::PARTS {
        let message =
            format!("the model has {} files, at most {} can be run", inputs.len(), limits::PARTS);
        return Err(Failure { kind: FailureKind::Unsupported, message });
    }
    match program {
        Program::InThisProcess(backend) => {
            start_thread(backend.clone(), job, inputs, result.map(|(file, _)| file))
        }
        Program::Command { path, args } => {
            let mut command = std::process::Command::new(path);
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            environment(&mut command, &job);
            let places = (inputs.iter())
                .map(|input| PartAt {
                    path: input.path.clone(),
                    at: cfg!(not(unix)).then(|| input.at.clone()),
                    arriving: input.gate.as_ref().map(Gate::size),
                })
                .collect();
            let output_at =
                result.as_ref().filter(|_| cfg!(not(unix))).map(|(_, place)| place.clone());
            #[cfg(unix)]
            give(&mut command, inputs, result).map_err(|error| failed("a process", &error))?;
            let (mut child, spawner) =
                spawn(command).await.map_err(|error| failed("a process for the model", &error))?;
            let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(failed("a process", &"it has no pipes"));
            };
            let pid = child.id();
            let talk = child.stderr.take().map(|stderr| tokio::spawn(follow_stderr(pid, stderr)));
            let mut writer = Writer::Pipe(stdin);
            let start = Start { version: VERSION, job, parts: places, output_at, memory };
            // A child that ended already says why on stderr and by its status, which whoever reads
            // reports will see.
            let _ = writer.send(0, Order::Start(Box::new(start))).await;
            let life = Life::Process { child: Box::new(child), talk, _spawner: spawner };
            Ok(Started { reader: Reader::Pipe(stdout), writer, life })
        }
    }
}

fn environment(command: &mut std::process::Command, job: &Job) {
    let options = match job {
        Job::Serve(options) => Some(options),
        Job::Quantize(_) => None,
    };
    let gpu = options.is_some_and(|options| options.device != Device::Cpu);
    let kept = |name: &str| {
        let starts = |list: &[&str]| list.iter().any(|kept| name.starts_with(kept));
        starts(KEPT) || gpu && starts(KEPT_FOR_GPU)
    };
    command.env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(kept)));
    // The pools read these when they are first used. A child in its sandbox cannot find out itself
    // how many cores it may use.
    let cores = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let threads = options.and_then(|options| options.threads).unwrap_or_else(cores).max(1);
    command.env("RAYON_NUM_THREADS", threads.to_string());
    command.env("CANDLE_NUM_THREADS", threads.to_string());
    // A Ctrl-C at the terminal is for the node, which ends its models itself: one that died of it
    // would look like a crash.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command.current_dir("/"), 0);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(command, NEW_PROCESS_GROUP);
}

/// Opens the files in the child, from the first free descriptor on.
#[cfg(unix)]
fn give(
    command: &mut std::process::Command,
    inputs: Vec<Input>,
    result: Option<(File, PathBuf)>,
) -> Result<(), command_fds::FdMappingCollision> {
    use command_fds::{CommandFdExt as _, FdMapping};

    use crate::message::FIRST_FD;

    let files = inputs.into_iter().map(|input| input.file).chain(result.map(|(file, _)| file));
    let mappings = (FIRST_FD..)
        .zip(files)
        .map(|(child_fd, file)| FdMapping { parent_fd: file.into(), child_fd })
        .collect();
    command.fd_mappings(mappings).map(drop)
}

/// The thread that started a process. The kernel ends the process when that thread ends
/// (`PR_SET_PDEATHSIG`), so it stays for as long as the process, and goes with whoever holds this.
pub(crate) struct Spawner {
    hold: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.hold.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn spawn(command: std::process::Command) -> std::io::Result<(Child, Spawner)> {
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true);
    let (told, child) = oneshot::channel();
    let (hold, held) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Handle::current();
    let thread = std::thread::Builder::new().name("hive-spawner".to_owned()).spawn(move || {
        {
            let _entered = runtime.enter();
            let _ = told.send(command.spawn());
        }
        // Closes the descriptors that are the child's by now.
        drop(command);
        let _ = held.blocking_recv();
    })?;
    let spawner = Spawner { hold: Some(hold), thread: Some(thread) };
    let gone = || std::io::Error::other("the thread that starts it ended");
    let child = child.await.map_err(|_| gone())??;
    Ok((child, spawner))
}

/// Follows what a process writes to stderr, and tells the first of it. Ends with it.
async fn follow_stderr(pid: Option<u32>, mut stderr: ChildStderr) {
    let mut chunk = [0; 1024];
    let mut line = Vec::new();
    let mut left = LINES;
    while let Ok(n) = stderr.read(&mut chunk).await {
        if n == 0 {
            break;
        }
        for &byte in &chunk[..n] {
            if byte != b'\n' {
                if line.len() < LINE_LEN {
                    line.push(byte);
                }
                continue;
            }
            tell(pid, &line, &mut left);
            line.clear();
        }
    }
    tell(pid, &line, &mut left);
}

fn tell(pid: Option<u32>, line: &[u8], left: &mut usize) {
    if *left == 0 || line.is_empty() {
        return;
    }
    *left -= 1;
    if *left == 0 {
        tracing::warn!(pid, "a model's process says more, which is not told any more");
        return;
    }
    let text = String::from_utf8_lossy(line);
    let text: String = text.chars().filter(|char| !char.is_control()).collect();
    if !text.is_empty() {
        tracing::warn!(pid, text, "a model's process says");
    }
}

fn start_thread(
    backend: Backend,
    job: Job,
    inputs: Vec<Input>,
    result: Option<File>,
) -> Result<Started, Failure> {
    let (orders_in, orders) = mpsc::channel(limits::ORDERS_IN_CHILD);
    let (reports, reports_out) = mpsc::channel(limits::REPORTS);
    let (ends, ended) = oneshot::channel();
    let part = |input: Input| Part { path: input.path, file: input.file, gate: input.gate };
    let parts: Vec<_> = inputs.into_iter().map(part).collect();
    std::thread::Builder::new()
        .name("hive-model".to_owned())
        .spawn(move || {
            let _ends = ends;
            work(&backend, job, parts, result, orders, &reports);
        })
        .map_err(|error| failed("a thread for the model", &error))?;
    let (reader, writer) = (Reader::Thread(reports_out), Writer::Thread(orders_in));
    Ok(Started { reader, writer, life: Life::Thread(ended) })
}

/// What the thread does: the same as a child, without a sandbox.
fn work(
    backend: &Backend,
    job: Job,
    parts: Vec<Part>,
    result: Option<File>,
    mut orders: mpsc::Receiver<(Ticket, Order)>,
    reports: &mpsc::Sender<(Ticket, Report)>,
) {
    let send = |ticket, report| reports.blocking_send((ticket, report)).map_err(|_| Gone);
    let started = Instant::now();
    let ended = match (job, result) {
        (Job::Serve(options), _) => (backend.load)(parts, &options).map(|mut engine| {
            let engine: &mut dyn Engine = &mut *engine;
            let loaded = Loaded {
                version: VERSION,
                info: engine.info().clone(),
                places: engine.free() as u64,
                seconds: started.elapsed().as_secs_f64(),
                sandbox: vec!["no sandbox: it runs in the node's own process".to_owned()],
            };
            let _ = send(0, Report::Loaded(Box::new(loaded))).and_then(|()| {
                serve(engine, &mut orders, &mut |ticket, report| send(ticket, report))
            });
        }),
        (Job::Quantize(to), Some(mut file)) => {
            let mut progress = |done, total| match send(0, Report::Progress { done, total }) {
                Ok(()) => std::ops::ControlFlow::Continue(()),
                Err(Gone) => std::ops::ControlFlow::Break(()),
            };
            (backend.quantize)(parts, to, &mut file, &mut progress).map(|()| {
                let _ = send(0, Report::Quantized);
            })
        }
        (Job::Quantize(_), None) => Ok(()),
    };
    if let Err(error) = ended {
        let _ = send(0, Report::Failed((&error).into()));
    }
}

//! The child: takes its files, locks itself in, loads, serves.
//!
//! The order matters. First comes what needs freedom (descriptors, limits), then the sandbox, while
//! there is one thread, because a thread that exists already would stay outside; then a thread that
//! reads orders, then the model. The end of stdin is the end of the parent, and of this process,
//! whatever it does at that moment.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hive_api::{
    Device, EngineOptions, Failure, FailureKind, Gate, Need, Output, Part, Quantization, Ticket,
};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use crate::backend::Backend;
use crate::frame::{self, FrameError};
use crate::limits::{ORDERS_IN_CHILD, PARTS, RANGES};
use crate::message::{Job, Loaded, Order, Report, Start, VERSION};
use crate::sandbox::{self, Bounds};
use crate::serve::{Gone, serve};

/// How often progress is told at most.
const PROGRESS: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
enum ChildError {
    #[error("cannot use stdin and stdout: a parent starts this program, not a person")]
    Streams(#[source] io::Error),
    #[error("the parent's first message cannot be understood")]
    Frame(#[source] FrameError),
    #[error("the parent's first message is not the first")]
    Order,
    #[error("the parent speaks version {0}: restart the node after an upgrade")]
    Version(u32),
    #[error("the parent gave {0} files")]
    Parts(usize),
    #[cfg(not(unix))]
    #[error("cannot open `{path}`")]
    Open {
        path: String,
        #[source]
        source: io::Error,
    },
}

/// The pipe to the parent: the model reports, and threads that load it say what they need.
type Pipe = Arc<Mutex<File>>;

/// What a process does that was started to run a model: speaks with its parent over stdin and
/// stdout until the parent ends it. Call it before anything starts a thread.
pub fn child(backend: &Backend) -> ExitCode {
    // What a panic says may quote what it stumbled over, a prompt for example.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        let _ = writeln!(io::stderr(), "panicked{place}");
    }));
    let ended = streams().map_err(ChildError::Streams).and_then(|(mut input, output)| {
        let output = Arc::new(Mutex::new(output));
        let ended = run(backend, &mut input, &output);
        if let Err(error) = &ended {
            // Nothing that the model did: it is not counted against it.
            let failure = Failure { kind: FailureKind::Io, message: full(error) };
            let _ = send(&output, 0, &Report::Failed(failure));
        }
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", full(&error));
            ExitCode::FAILURE
        }
    }
}

fn full(error: &ChildError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The pipes from and to the parent. Whatever else prints to stdout prints to stderr from now on.
#[cfg(unix)]
fn streams() -> io::Result<(File, File)> {
    use std::os::fd::AsFd as _;
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((input, output))
}

#[cfg(windows)]
fn streams() -> io::Result<(File, File)> {
    use std::os::windows::io::AsHandle as _;
    let input = File::from(io::stdin().as_handle().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_handle().try_clone_to_owned()?);
    Ok((input, output))
}

fn run(backend: &Backend, input: &mut File, output: &Pipe) -> Result<(), ChildError> {
    let first = frame::read(input).map_err(ChildError::Frame)?;
    // A parent that ended before it said anything.
    let Some(first) = first else { return Ok(()) };
    let Order::Start(start) = first.decode().map_err(ChildError::Frame)? else {
        return Err(ChildError::Order);
    };
    if start.version != VERSION {
        return Err(ChildError::Version(start.version));
    }
    if start.parts.len() > PARTS {
        return Err(ChildError::Parts(start.parts.len()));
    }
    let (mut parts, result) = files(&start)?;
    let gates = gates(&start, &mut parts, output);
    let device = match &start.job {
        Job::Serve(options) => options.device,
        Job::Quantize(_) => Device::Cpu,
    };
    let bounds = Bounds { memory: start.memory, files: parts.len(), writes: result.is_some() };
    let confined = sandbox::enter(device, bounds);
    let (sender, mut orders) = channel(ORDERS_IN_CHILD);
    let orders_in = input.try_clone().map_err(ChildError::Streams)?;
    let reader = std::thread::Builder::new().name("orders".to_owned());
    let reading = reader.spawn(move || read_orders(orders_in, &sender, &gates));
    reading.map_err(ChildError::Streams)?;
    // If nobody listens any more, the reader has ended this process or is about to.
    let _ = match (&start.job, result) {
        (Job::Serve(options), _) => {
            serve_model(backend, parts, options, confined, &mut orders, output)
        }
        (Job::Quantize(to), Some(result)) => write_model(backend, parts, *to, result, output),
        (Job::Quantize(_), None) => Err(Gone),
    };
    Ok(())
}

/// The files that the parent left open for this process.
#[cfg(unix)]
#[expect(unsafe_code, reason = "std has no other way to take an inherited descriptor")]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it opens paths, which can fail")]
fn files(start: &Start) -> Result<(Vec<Part>, Option<File>), ChildError> {
    use std::os::fd::FromRawFd as _;

    use crate::message::FIRST_FD;

    let take = |at: usize| {
        // SAFETY: the parent opened descriptors for this process alone, one for each part from
        // `FIRST_FD` on and one more for a result; nothing has opened or closed any before, and
        // each number is taken once. A parent that lied makes reads fail, not memory unsafe.
        unsafe { File::from_raw_fd(FIRST_FD + at as i32) }
    };
    let parts: Vec<_> = (start.parts.iter().enumerate())
        .map(|(at, part)| Part { path: part.path.clone(), file: take(at), gate: None })
        .collect();
    let result = matches!(start.job, Job::Quantize(_)).then(|| take(parts.len()));
    Ok((parts, result))
}

#[cfg(not(unix))]
fn files(start: &Start) -> Result<(Vec<Part>, Option<File>), ChildError> {
    let at = |at: &Option<std::path::PathBuf>| at.clone().unwrap_or_default();
    let failed = |path: &std::path::Path| {
        let path = path.display().to_string();
        move |source| ChildError::Open { path, source }
    };
    let mut parts = Vec::new();
    for part in &start.parts {
        let place = at(&part.at);
        let file = File::open(&place).map_err(failed(&place))?;
        parts.push(Part { path: part.path.clone(), file, gate: None });
    }
    let result = match &start.output_at {
        None => None,
        Some(place) => {
            let opened = File::options().read(true).write(true).open(place);
            Some(opened.map_err(failed(place))?)
        }
    };
    Ok((parts, result))
}

/// Gates before the files that are still arriving: closed until the parent says more.
fn gates(start: &Start, parts: &mut [Part], output: &Pipe) -> Vec<Option<Gate>> {
    let gate = |(at, len): (usize, Option<u64>)| {
        let output = Arc::clone(output);
        let hear = move |need: &Need| {
            let ranges = need.ranges.iter().take(RANGES).cloned().collect();
            let need = Need { ranges, now: need.now };
            // If nobody listens any more, this process ends.
            let report = Report::Need { part: at as u32, need };
            let _ = send(&output, 0, &report);
        };
        len.map(|len| Gate::new(len, hear))
    };
    let gates: Vec<_> =
        start.parts.iter().map(|part| part.arriving).enumerate().map(gate).collect();
    for (part, gate) in parts.iter_mut().zip(&gates) {
        part.gate.clone_from(gate);
    }
    gates
}

fn send(output: &Pipe, ticket: Ticket, report: &Report) -> Result<(), Gone> {
    let frame = match frame::encode(ticket, report) {
        Ok(frame) => frame,
        Err(error) => {
            let failure = Failure { kind: FailureKind::Compute, message: error.to_string() };
            let failed = match report {
                Report::Output(_) => Report::Output(Output::Failed(failure)),
                _ => Report::Failed(failure),
            };
            frame::encode(ticket, &failed).map_err(|_| Gone)?
        }
    };
    // One frame after another, whoever writes it.
    output.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame).map_err(|_| Gone)
}

/// Reads orders until the parent is gone, and then ends the process, which may be in the middle of
/// a long computation.
fn read_orders(mut input: File, orders: &Sender<(Ticket, Order)>, gates: &[Option<Gate>]) {
    while let Ok(Some(frame)) = frame::read(&mut input) {
        let order = frame.decode().unwrap_or_else(|error| Order::Unreadable(error.to_string()));
        // Whoever waits for bytes takes no orders meanwhile.
        if let Order::Arrived { part, ranges } = order {
            if let Some(Some(gate)) = gates.get(part as usize) {
                for range in ranges {
                    gate.open(range);
                }
            }
            continue;
        }
        match orders.try_send((frame.ticket, order)) {
            // After the job nobody takes orders; its end is near.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(_)) => break,
        }
    }
    std::process::abort();
}

fn serve_model(
    backend: &Backend,
    parts: Vec<Part>,
    options: &EngineOptions,
    sandbox: Vec<String>,
    orders: &mut Receiver<(Ticket, Order)>,
    output: &Pipe,
) -> Result<(), Gone> {
    let started = Instant::now();
    let mut engine = match (backend.load)(parts, options) {
        Ok(engine) => engine,
        Err(error) => return send(output, 0, &Report::Failed((&error).into())),
    };
    let loaded = Loaded {
        version: VERSION,
        info: engine.info().clone(),
        places: engine.free() as u64,
        seconds: started.elapsed().as_secs_f64(),
        sandbox,
    };
    send(output, 0, &Report::Loaded(Box::new(loaded)))?;
    serve(&mut *engine, orders, &mut |ticket, report| send(output, ticket, &report))
}

fn write_model(
    backend: &Backend,
    parts: Vec<Part>,
    to: Quantization,
    mut result: File,
    output: &Pipe,
) -> Result<(), Gone> {
    let mut told = Instant::now();
    let mut progress = |done, total| {
        if told.elapsed() < PROGRESS && done < total {
            return ControlFlow::Continue(());
        }
        told = Instant::now();
        match send(output, 0, &Report::Progress { done, total }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(Gone) => ControlFlow::Break(()),
        }
    };
    let written = (backend.quantize)(parts, to, &mut result, &mut progress);
    let report = match written.and_then(|()| result.sync_all().map_err(hive_api::EngineError::Io)) {
        Ok(()) => Report::Quantized,
        Err(error) => Report::Failed((&error).into()),
    };
    send(output, 0, &report)
}

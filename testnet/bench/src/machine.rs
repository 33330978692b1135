//! What the kernel says of this machine and of this process. Linux only; elsewhere zeros.

use std::path::Path;
use std::time::Instant;

/// Clock ticks in a second, as `/proc` counts them for every program.
const TICKS: f64 = 100.0;

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

/// Processor seconds that this process has used, user and system.
pub(crate) fn cpu_seconds() -> f64 {
    cpu_of(&read("/proc/self/stat"))
}

/// The same of another process, from the text of its `stat`.
pub(crate) fn cpu_of(stat: &str) -> f64 {
    // The name in parentheses may have spaces; the fields are counted after it.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS
}

/// The most memory that this process has had at one time, in bytes.
pub(crate) fn peak_memory() -> u64 {
    peak_of(&read("/proc/self/status"))
}

/// The same of another process, from the text of its `status`.
pub(crate) fn peak_of(status: &str) -> u64 {
    let kib = field(status, "VmHWM");
    kib.and_then(|kib| kib.trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Processor seconds that everything on the machine used.
fn busy_seconds() -> f64 {
    let stat = read("/proc/stat");
    let fields: Vec<f64> = stat
        .lines()
        .next()
        .map(|line| {
            line.split_whitespace().skip(1).filter_map(|ticks| ticks.parse().ok()).collect()
        })
        .unwrap_or_default();
    // All but idle and waiting for the disk; guest time is in user time already.
    let busy = fields.iter().take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4));
    busy.map(|(_, ticks)| ticks / TICKS).sum()
}

/// Measures how much of the machine others used.
#[derive(Debug)]
pub(crate) struct Others {
    start: Instant,
    busy: f64,
}

impl Others {
    /// Starts to measure.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), busy: busy_seconds() }
    }

    /// The share of all cores that others had, when we had used so many processor seconds.
    pub(crate) fn share(&self, ours: f64) -> f64 {
        let all = self.start.elapsed().as_secs_f64() * cores() as f64;
        ((busy_seconds() - self.busy - ours) / all).clamp(0.0, 1.0)
    }
}

/// Processor cores.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The machine in a line: processor, cores, memory, kernel.
pub(crate) fn describe() -> String {
    let cpu = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.and_then(|kib| kib.trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!(
        "{cpu}, {} cores, {} GiB, {} {}",
        cores(),
        kib.div_ceil(1 << 20),
        std::env::consts::OS,
        kernel.trim()
    )
}

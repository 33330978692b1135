//! What the kernel says of this machine and of processes. Linux only; elsewhere zeros.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

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
    process_cpu(std::process::id())
}

/// The same of another process, also of one that has ended and was not waited for yet.
///
/// Its `stat` has the time of threads that have ended too, but cuts it to hundredths of a second; the
/// scheduler counts each thread's time in nanoseconds, and forgets it with the thread. Neither tells
/// too much, so the larger one is the better one.
pub(crate) fn process_cpu(pid: u32) -> f64 {
    cpu_of(&read(format!("/proc/{pid}/stat"))).max(threads_cpu(pid))
}

/// Processor seconds of the threads that a process has now.
fn threads_cpu(pid: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|thread| scheduled(&read(thread.path().join("schedstat")))).sum()
}

/// Seconds in the text of a `schedstat`: the first field, in nanoseconds.
fn scheduled(schedstat: &str) -> f64 {
    let nanos = schedstat.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.unwrap_or(0.0) / 1e9
}

/// Processor seconds in the text of a `stat`.
fn cpu_of(stat: &str) -> f64 {
    ticks(stat, 11) + ticks(stat, 12)
}

/// Seconds in a field of a `stat`, counted after the name, which may have spaces.
fn ticks(stat: &str, field: usize) -> f64 {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks = after.split_whitespace().nth(field).and_then(|ticks| ticks.parse::<f64>().ok());
    ticks.unwrap_or(0.0) / TICKS
}

/// Processor seconds of a process and of those of its children that it has waited for.
pub(crate) fn family_cpu(pid: u32) -> f64 {
    process_cpu(pid) + children_of(&read(format!("/proc/{pid}/stat")))
}

fn children_of(stat: &str) -> f64 {
    ticks(stat, 13) + ticks(stat, 14)
}

/// Processor seconds of this process and of all that it has started, whoever waited for them.
pub(crate) fn tree_cpu() -> f64 {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        if let Some(pid) = pid {
            parents.insert(pid, parent_of(&read(entry.path().join("stat"))));
        }
    }
    let root = std::process::id();
    tree(&parents, root).into_iter().map(family_cpu).sum()
}

/// The parent in the text of a `stat`.
fn parent_of(stat: &str) -> u32 {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    after.split_whitespace().nth(1).and_then(|pid| pid.parse().ok()).unwrap_or(0)
}

/// A process and all below it.
fn tree(parents: &BTreeMap<u32, u32>, root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&parent) = found.get(at) {
        found.extend(parents.iter().filter(|&(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found
}

/// The most memory that a process has had at one time, in bytes; 0 when it has ended.
pub(crate) fn peak_of_process(pid: u32) -> u64 {
    peak_of(&read(format!("/proc/{pid}/status")))
}

/// Bytes that a process has read, from files and from what is read as files are.
pub(crate) fn bytes_read(pid: u32) -> u64 {
    io(pid, "rchar")
}

/// Bytes that a process has written, likewise.
pub(crate) fn bytes_written(pid: u32) -> u64 {
    io(pid, "wchar")
}

fn io(pid: u32, name: &str) -> u64 {
    let bytes = field(&read(format!("/proc/{pid}/io")), name);
    bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// The most memory that this process has had at one time, in bytes.
pub(crate) fn peak_memory() -> u64 {
    peak_of(&read("/proc/self/status"))
}

/// The memory that this process has now, in bytes.
pub(crate) fn memory() -> u64 {
    kib_of(&read("/proc/self/status"), "VmRSS")
}

/// The same of another process, from the text of its `status`.
fn peak_of(status: &str) -> u64 {
    kib_of(status, "VmHWM")
}

fn kib_of(status: &str, name: &str) -> u64 {
    let kib = field(status, name);
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

/// Others are quiet when they have less than this share of the cores …
const QUIET: f64 = 0.05;
/// … in each of so many windows one after another …
const WINDOWS: usize = 2;
/// … of this length.
const WINDOW: Duration = Duration::from_secs(1);

/// Waits until other programs are quiet, at most so long.
pub(crate) fn wait_until_quiet(patience: Duration) {
    let (start, mut quiet) = (Instant::now(), 0);
    while quiet < WINDOWS && start.elapsed() < patience {
        let (others, ours) = (Others::start(), tree_cpu());
        std::thread::sleep(WINDOW);
        let share = others.share(tree_cpu() - ours);
        quiet = if share < QUIET { quiet + 1 } else { 0 };
    }
}

/// Touches memory once, and gives it back. A virtual machine gets its memory from its host page by
/// page, at the first touch; without this, whoever is measured first would pay for it.
pub(crate) fn touch_memory(bytes: u64) {
    let free = field(&read("/proc/meminfo"), "MemAvailable");
    let kib = free.and_then(|kib| kib.trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0);
    let memory = vec![1_u8; bytes.min(kib * 1024 / 2) as usize];
    std::hint::black_box(&memory);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_after_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 1000 200 20 0 4 0 99 1 1";
        assert!((cpu_of(stat) - 2.0).abs() < 1e-9);
        assert!((children_of(stat) - 12.0).abs() < 1e-9);
        assert!(cpu_of("").abs() < 1e-9);
        assert_eq!(parent_of(stat), 1);
    }

    #[test]
    fn a_thread_is_counted_in_nanoseconds() {
        assert!((scheduled("1500000 9000000 2\n") - 0.0015).abs() < 1e-12);
        assert!(scheduled("").abs() < 1e-12);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn work_that_is_shorter_than_a_tick_is_seen() {
        // Of this thread alone: others of the process end meanwhile.
        let own = || scheduled(&read("/proc/thread-self/schedstat"));
        let before = own();
        let mut sum = 0_u64;
        for number in 0..100_000_u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        // What runs is counted when it stops for a moment.
        std::thread::yield_now();
        let after = own();
        assert!(after > before, "{before} {after}");
    }

    #[test]
    fn those_below_a_process_are_found_however_deep() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 9)]);
        assert_eq!(tree(&parents, 2), [2, 3, 4]);
    }

    #[test]
    fn the_peak_is_in_bytes() {
        assert_eq!(peak_of("VmPeak:\t  900 kB\nVmHWM:\t     300 kB\n"), 300 * 1024);
        assert_eq!(peak_of(""), 0);
    }
}

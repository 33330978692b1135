//! What the kernel says of a process: the only place that reads `/proc`. Linux only.

use anyhow::Context as _;

/// Clock ticks in a second, as `/proc` counts them for every program.
const TICKS: f64 = 100.0;

/// What a process uses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    /// Bytes of memory now.
    pub(crate) memory: u64,
    /// The most of it since the peak was forgotten.
    pub(crate) peak: u64,
    /// Descriptors that are open.
    pub(crate) descriptors: u64,
    /// Processor seconds so far.
    pub(crate) cpu: f64,
}

impl Figures {
    /// Looks.
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{process}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("`{path}`"))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        };
        let memory = kib("VmRSS:").context("no VmRSS")? << 10;
        let peak = kib("VmHWM:").context("no VmHWM")? << 10;
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
        // The name in parentheses may have spaces; the fields are counted after it.
        let (_, after) = stat.rsplit_once(')').context("no stat")?;
        let ticks: f64 = after
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<f64>().ok())
            .sum();
        Ok(Self { memory, peak, descriptors, cpu: ticks / TICKS })
    }
}

/// Makes the peak of a process's memory what it has now.
pub(crate) fn forget_peak(process: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{process}/clear_refs");
    std::fs::write(&path, "5").with_context(|| format!("`{path}`"))
}

/// Bytes that a process has read by `read`: files, not what is mapped and not sockets. 0 when it has
/// ended.
pub(crate) fn read_from_files(process: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let rchar = io.lines().find_map(|line| line.strip_prefix("rchar: "));
    rchar.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

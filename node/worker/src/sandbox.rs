//! What a child may still do once it has its files: compute, and speak with its parent.
//!
//! On Linux: resource limits, no new privileges, Landlock without a single rule (no file can be
//! opened, no TCP port reached, no process outside signalled), and a seccomp filter that allows
//! what memory, threads and open files need. Elsewhere resource limits, where there are some. What
//! a system lacks is said and not hidden: [`enter`] returns it for people to read.
//!
//! A GPU's driver opens devices and files for as long as it is used, so a model on one only may not
//! leave a core dump; its parent still watches its memory.

#[cfg(target_os = "linux")]
mod seccomp;

use hive_api::Device;

/// What a child needs; all else is taken away.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(unix), expect(dead_code, reason = "there are no limits to set"))]
pub(crate) struct Bounds {
    /// Bytes of memory that it may take.
    pub(crate) memory: Option<u64>,
    /// Files that are open for it.
    pub(crate) files: usize,
    /// Whether it writes one.
    pub(crate) writes: bool,
}

/// Descriptors beyond those of the model: the pipes, and what a thread's start needs.
#[cfg(unix)]
const SPARE_FILES: u64 = 16;

/// Address space beyond the memory allowed: stacks and allocation arenas are reserved and mostly
/// never touched. The parent counts what is touched; this stops a single wild allocation.
#[cfg(target_os = "linux")]
const SPARE_ADDRESSES: u64 = 8 << 30;

/// Locks the process in, for good. Says what holds it, and what this system lacks. Call it while
/// there is one thread.
pub(crate) fn enter(device: Device, bounds: Bounds) -> Vec<String> {
    let mut told = Vec::new();
    #[cfg(unix)]
    limits(device, bounds, &mut told);
    #[cfg(not(unix))]
    let _ = bounds;
    if device != Device::Cpu {
        told.push("no sandbox: the driver of a GPU opens devices and files".to_owned());
        return told;
    }
    #[cfg(target_os = "linux")]
    confine(&mut told);
    #[cfg(not(target_os = "linux"))]
    told.push("no sandbox: this system has none that a program can put on itself".to_owned());
    told
}

#[cfg(unix)]
fn limits(device: Device, bounds: Bounds, told: &mut Vec<String>) {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let mut wanted = vec![("core dumps", Resource::Core, 0)];
    // A driver reserves more addresses than there is memory, opens a file for each of its devices
    // and keeps compiled kernels in a cache.
    let is_alone = device == Device::Cpu;
    if is_alone {
        wanted.push(("files", Resource::Nofile, bounds.files as u64 + SPARE_FILES));
    }
    if is_alone && !bounds.writes {
        wanted.push(("bytes written to files", Resource::Fsize, 0));
    }
    #[cfg(target_os = "linux")]
    if let Some(memory) = bounds.memory.filter(|_| is_alone) {
        wanted.push(("memory", Resource::As, memory.saturating_add(SPARE_ADDRESSES)));
    }
    let (mut set, mut lacking) = (Vec::new(), Vec::new());
    for (name, resource, limit) in wanted {
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        if setrlimit(resource, limit).is_ok() { set.push(name) } else { lacking.push(name) }
    }
    told.push(format!("limits: {}", set.join(", ")));
    if !lacking.is_empty() {
        told.push(format!("no limits: {}", lacking.join(", ")));
    }
}

#[cfg(target_os = "linux")]
fn confine(told: &mut Vec<String>) {
    use rustix::process::{
        DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
    };

    // The parent holds the thread that started this process for as long as it lives. A parent that
    // is gone by now is noticed at the end of stdin.
    match set_parent_process_death_signal(Some(Signal::KILL)) {
        Ok(()) => told.push("ends with its parent".to_owned()),
        Err(error) => told.push(format!("may outlive its parent by a moment: {error}")),
    }
    // Nor may another program of the same user look into its memory.
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        told.push(format!("can be traced: {error}"));
    }
    told.push(landlock());
    told.push(match seccomp::enter() {
        Ok(()) => "seccomp: memory, threads and open files only".to_owned(),
        Err(error) => format!("no seccomp: {error}"),
    });
}

/// Takes all files, ports and outside processes away, as far as the kernel knows how.
#[cfg(target_os = "linux")]
fn landlock() -> String {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, LandlockStatus, Ruleset, RulesetAttr as _,
        RulesetStatus, Scope,
    };

    let restricted = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(ABI::V5)))
        .and_then(|rules| rules.scope(Scope::from_all(ABI::V6)))
        .and_then(landlock::Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self);
    match restricted {
        Ok(status) => match (status.ruleset, status.landlock) {
            (RulesetStatus::FullyEnforced, _) => {
                "landlock: no files, no network, no other processes".to_owned()
            }
            (RulesetStatus::PartiallyEnforced, LandlockStatus::Available { effective_abi, .. }) => {
                format!("landlock: what version {} of it can forbid", effective_abi as i32)
            }
            (_, LandlockStatus::NotEnabled) => "no landlock: it is turned off here".to_owned(),
            _ => "no landlock: this kernel has none".to_owned(),
        },
        Err(error) => format!("no landlock: {error}"),
    }
}

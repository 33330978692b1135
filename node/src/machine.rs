//! What this machine has: memory, cores, load. Zero stands for what the system does not tell.

/// A look at the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Bytes of memory that programs could have.
    pub(crate) memory_free: u64,
    /// Cores.
    pub(crate) cores: u64,
    /// Load: 1000 is all cores busy.
    pub(crate) load: u64,
}

/// Looks now.
pub(crate) fn look() -> Machine {
    let cores = std::thread::available_parallelism().map_or(0, |n| n.get() as u64);
    let (memory, memory_free) = sysinfo::System::new().map_or((0, 0), |mut system| {
        system.refresh_memory();
        (system.total_memory(), system.available_memory())
    });
    let busy = sysinfo::System::load_average().map_or(0.0, |load| load.one);
    let load = (busy / cores.max(1) as f64 * 1000.0).clamp(0.0, 1_000_000.0) as u64;
    Machine { memory, memory_free, cores, load }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_has_memory_and_a_core() {
        let machine = super::look();
        assert!(machine.memory >= machine.memory_free && machine.cores > 0);
    }
}

//! Which system calls a child may make.
//!
//! Three filters; the kernel takes the strictest answer. What only an attacker calls ends the
//! process. What is not on the list of what memory, threads and open files need fails with EPERM,
//! because libraries try things and live without them. `clone3` fails with ENOSYS: its arguments
//! lie behind a pointer where no filter can see them, and libc then takes `clone`, which may make
//! threads and not processes.

use std::collections::BTreeMap;

#[cfg_attr(
    not(test),
    expect(clippy::wildcard_imports, reason = "a hundred numbers, each named where it stands")
)]
use libc::*;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule as Rule, TargetArch, apply_filter,
};

type Rules = BTreeMap<i64, Vec<Rule>>;

/// What isatty asks; libc's type for it differs among systems.
#[expect(clippy::unnecessary_cast, reason = "not on every system")]
const TCGETS_NUMBER: u64 = TCGETS as u64;

/// Needed, whatever the arguments.
const ALLOWED: &[c_long] = &[
    // Open files and pipes.
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_preadv,
    SYS_write,
    SYS_writev,
    SYS_pwrite64,
    SYS_lseek,
    SYS_close,
    SYS_dup,
    SYS_fcntl,
    SYS_fstat,
    SYS_ftruncate,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fallocate,
    SYS_fadvise64,
    SYS_copy_file_range,
    // Memory; executable memory is below.
    SYS_brk,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_mincore,
    SYS_membarrier,
    SYS_get_mempolicy,
    SYS_mbind,
    // Threads. `clone3` has to pass here to be answered by its own filter.
    SYS_clone3,
    SYS_futex,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_set_tid_address,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_setaffinity,
    SYS_gettid,
    SYS_getpid,
    SYS_getcpu,
    SYS_exit,
    SYS_exit_group,
    SYS_restart_syscall,
    // Signals that it gives itself; whom they reach is below.
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    // Time, randomness, and what the machine is.
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_uname,
    SYS_sysinfo,
    SYS_getrusage,
    SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    SYS_poll,
    #[cfg(target_arch = "x86_64")]
    SYS_time,
    // AMX has to be asked for.
    #[cfg(target_arch = "x86_64")]
    SYS_arch_prctl,
];

/// Nothing that computes ever calls these.
const DEADLY: &[c_long] = &[
    SYS_execve,
    SYS_execveat,
    SYS_ptrace,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_socket,
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept,
    SYS_accept4,
    SYS_sendto,
    SYS_sendmsg,
    SYS_mount,
    SYS_umount2,
    SYS_pivot_root,
    SYS_chroot,
    SYS_setns,
    SYS_unshare,
    SYS_bpf,
    SYS_perf_event_open,
    SYS_userfaultfd,
    SYS_io_uring_setup,
    SYS_init_module,
    SYS_finit_module,
    SYS_delete_module,
    SYS_kexec_load,
    SYS_keyctl,
    SYS_add_key,
    SYS_request_key,
    SYS_setuid,
    SYS_setgid,
    SYS_setresuid,
    SYS_setresgid,
    SYS_pidfd_getfd,
    #[cfg(target_arch = "x86_64")]
    SYS_fork,
    #[cfg(target_arch = "x86_64")]
    SYS_vfork,
];

/// Puts the filters on. They hold for this thread and those that it starts.
pub(super) fn enter() -> Result<(), seccompiler::Error> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let on = |numbers: &[c_long]| -> Rules { numbers.iter().map(|&n| (n, Vec::new())).collect() };
    let filter = |rules, otherwise, matched| -> Result<BpfProgram, BackendError> {
        SeccompFilter::new(rules, otherwise, matched, arch)?.try_into()
    };
    let no_clone3 = filter(on(&[SYS_clone3]), SeccompAction::Allow, errno(ENOSYS))?;
    let deadly = filter(on(DEADLY), SeccompAction::Allow, SeccompAction::KillProcess)?;
    let mut allowed = on(ALLOWED);
    allowed.extend(conditional()?);
    let allowed = filter(allowed, errno(EPERM), SeccompAction::Allow)?;
    // The last one forbids what the others need to be put on.
    apply_filter(&no_clone3)?;
    apply_filter(&deadly)?;
    apply_filter(&allowed)
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number as u32)
}

/// Allowed with some arguments only.
fn conditional() -> Result<Rules, BackendError> {
    let rule = |arg, len, op, value| Rule::new(vec![Condition::new(arg, len, op, value)?]);
    let unset = |arg, bits: i32| rule(arg, Len::Dword, Op::MaskedEq(bits as u64), 0);
    let equal = |arg, value: i32| rule(arg, Len::Dword, Op::Eq, value as u64);
    let me = std::process::id() as i32;
    let thread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND;
    Ok(Rules::from([
        // No memory that was written becomes code.
        (SYS_mmap, vec![unset(2, PROT_EXEC)?]),
        (SYS_mprotect, vec![unset(2, PROT_EXEC)?]),
        // Threads, no processes.
        (SYS_clone, vec![rule(0, Len::Dword, Op::MaskedEq(thread as u64), thread as u64)?]),
        // `abort` and `raise`.
        (SYS_tgkill, vec![equal(0, me)?]),
        // Reading a limit, which the start of a thread does; setting none.
        (SYS_prlimit64, vec![rule(2, Len::Qword, Op::Eq, 0)?]),
        // `fstat` as newer versions of libc spell it.
        (SYS_newfstatat, vec![equal(3, AT_EMPTY_PATH)?]),
        // The names of threads, and of memory.
        (SYS_prctl, vec![equal(0, PR_SET_NAME)?, equal(0, PR_SET_VMA)?]),
        // What isatty asks, for whoever would write in colours.
        (SYS_ioctl, vec![rule(1, Len::Dword, Op::Eq, TCGETS_NUMBER)?]),
    ]))
}

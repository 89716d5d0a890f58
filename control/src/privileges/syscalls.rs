//! The system calls that forwarding and live changes need; no thread has others.
//!
//! One list of what is allowed. What is not on it fails with ENOSYS, as on a kernel that doesn't have it: the C
//! library has another way for what an old kernel lacks, and none round EPERM. Four things are allowed only
//! in part: threads but no processes, network namespaces but no others, memory that is executable or
//! writable but never both in turn, and sockets of the families that are in use.
//!
//! A second list is of what nobody needs who has not lost control of the process: it ends the process, so
//! that the service manager starts a sound one.

use libc::{
    AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, AF_XDP, CLONE_NEWNET, CLONE_THREAD,
    PROT_EXEC, PROT_WRITE,
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};
use std::collections::BTreeMap;

/// Files: configuration, state, sockets, sysfs, procfs, hugepages.
const FILES: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_readlinkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_umask,
    libc::SYS_fcntl,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_memfd_create,
    // Taps, terminals, VFIO, interfaces.
    libc::SYS_ioctl,
];

/// The older names of some of them, which x86-64 has beside the newer.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// Waiting, and being woken.
const WAITING: &[i64] = &[
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_futex,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
];

/// Sockets, once they are there.
const SOCKETS: &[i64] = &[
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
];

/// Memory: guests' is mapped, hugepages are, and NUMA nodes chosen.
const MEMORY: &[i64] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_msync,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_brk,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_move_pages,
    libc::SYS_membarrier,
];

/// Threads and the process itself.
const PROCESS: &[i64] = &[
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_getcpu,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Names of threads; and to give capabilities away, with the next two.
    libc::SYS_prctl,
    libc::SYS_capget,
    libc::SYS_capset,
];

/// Nobody who needs these is the appliance any more.
const ENDING: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
];

/// The filters could not be made or set.
#[derive(Debug, thiserror::Error)]
#[error("system calls can't be restricted: {0}")]
pub struct ConfineError(#[from] seccompiler::Error);

/// What a port of the configuration needs beyond the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    /// A port on net_af_xdp loads its program by bpf(2).
    pub bpf: bool,
}

/// Holds every thread of the process, and those made from now on, to the system calls listed here. Sets
/// no_new_privs.
///
/// # Errors
/// The kernel has no seccomp filters, or a thread has filters of its own.
pub fn confine(extras: Extras) -> Result<(), ConfineError> {
    let (allowing, ending) = filters(extras).map_err(seccompiler::Error::from)?;
    apply_filter_all_threads(&ending)?;
    apply_filter_all_threads(&allowing)?;
    Ok(())
}

fn filters(extras: Extras) -> Result<(BpfProgram, BpfProgram), BackendError> {
    let arch = std::env::consts::ARCH.try_into()?;
    let whole = |calls: &[i64]| -> BTreeMap<i64, Vec<SeccompRule>> {
        calls.iter().map(|call| (*call, Vec::new())).collect()
    };
    let mut allowed = partly_allowed()?;
    for calls in [FILES, OLDER, WAITING, SOCKETS, MEMORY, PROCESS] {
        allowed.extend(whole(calls));
    }
    if extras.bpf {
        allowed.extend(whole(&[libc::SYS_bpf]));
    }
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let allowing = SeccompFilter::new(allowed, unknown, SeccompAction::Allow, arch)?;
    let ending =
        SeccompFilter::new(whole(ENDING), SeccompAction::Allow, SeccompAction::KillProcess, arch)?;
    Ok((allowing.try_into()?, ending.try_into()?))
}

/// Calls that are allowed with some arguments: with those of any one of the rules.
fn partly_allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, BackendError> {
    // The bits of an argument that are in the mask have this value.
    let rule = |argument: u8, mask: i32, value: i32| {
        let (mask, value) = (u64::from(mask.cast_unsigned()), u64::from(value.cast_unsigned()));
        let bits = SeccompCmpOp::MaskedEq(mask);
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, bits, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let families = [AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_XDP];
    let any_family =
        || families.iter().map(|family| rule(0, -1, *family)).collect::<Result<Vec<_>, _>>();
    Ok(BTreeMap::from([
        // clone3(2) keeps its flags where no filter sees them, so it is not there, and the C library takes
        // clone(2).
        (libc::SYS_clone, vec![rule(0, CLONE_THREAD, CLONE_THREAD)?]),
        (libc::SYS_setns, vec![rule(1, -1, CLONE_NEWNET)?]),
        (libc::SYS_mmap, vec![rule(2, PROT_EXEC, 0)?, rule(2, PROT_WRITE, 0)?]),
        (libc::SYS_mprotect, vec![rule(2, PROT_EXEC, 0)?]),
        (libc::SYS_socket, any_family()?),
        (libc::SYS_socketpair, any_family()?),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_no_call_is_on_two_lists() {
        let (allowing, ending) = filters(Extras { bpf: true }).unwrap();
        assert!(!allowing.is_empty() && !ending.is_empty());
        let partly = partly_allowed().unwrap();
        let mut all: Vec<i64> = partly.keys().copied().collect();
        for calls in [FILES, OLDER, WAITING, SOCKETS, MEMORY, PROCESS, ENDING] {
            all.extend(calls);
        }
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}

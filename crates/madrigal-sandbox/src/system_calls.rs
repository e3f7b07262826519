//! Which system calls a program may use: what CPython 3.9 to 3.13 needs, and nothing else.
//!
//! Two filters, of whose answers the kernel takes the stricter one. The first knows what is allowed; everything else
//! does not exist (`ENOSYS`), so that libraries take their other ways. The second kills who tries to get out.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

/// Allowed whatever their arguments are.
const ALLOWED: &[i64] = &[
    // Files and descriptors.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fadvise64,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_umask,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    // Memory.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Signals to itself, and waiting.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_restart_syscall,
    // Threads.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // The program itself has to begin. What it executes then keeps all limits.
    libc::SYS_execve,
    // Who and when it is.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_times,
    libc::SYS_getrusage,
    libc::SYS_gettimeofday,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_getrandom,
    libc::SYS_getpriority,
];

/// The older forms of what is allowed, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_readlink,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

/// Changes of files, for programs that may write somewhere: Landlock knows nothing of modes and times, and its first
/// versions nothing of lengths.
const WRITING: &[i64] = &[
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_fchmod,
    libc::SYS_utimensat,
];
#[cfg(target_arch = "x86_64")]
const WRITING_HERE: &[i64] = &[libc::SYS_unlink, libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_rename];
#[cfg(not(target_arch = "x86_64"))]
const WRITING_HERE: &[i64] = &[libc::SYS_renameat];

/// What may be done with a descriptor. Locks and signals by descriptors reach others.
const FCNTLS: &[i32] =
    &[libc::F_DUPFD, libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_SETFD, libc::F_GETFL, libc::F_SETFL];

/// Whoever calls these wants to get out, to last, or to reach others.
const DEADLY: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_setsid,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
];
#[cfg(target_arch = "x86_64")]
const DEADLY_HERE: &[i64] = &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const DEADLY_HERE: &[i64] = &[];

/// Questions about terminals and pipes. The others are refused; putting words into a terminal is deadly.
const IOCTLS: &[u64] = &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIOCLEX, libc::FIONCLEX, libc::FIONBIO, libc::FIONREAD];
const DEADLY_IOCTLS: &[u64] = &[libc::TIOCSTI, TIOCLINUX];
/// Linux's number of it; the C library does not name it.
const TIOCLINUX: u64 = 0x541C;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Filters this process's system calls from now on.
pub(crate) fn confine(writes: bool) -> Result<(), String> {
    let filter = |rules: Rules, others, these| -> Result<BpfProgram, String> {
        let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
        let filter = SeccompFilter::new(rules, others, these, architecture).map_err(|error| error.to_string())?;
        BpfProgram::try_from(filter).map_err(|error| error.to_string())
    };
    let build = || {
        let missing = SeccompAction::Errno(libc::ENOSYS as u32);
        let allowed = filter(allowed(writes).map_err(|error| error.to_string())?, missing, SeccompAction::Allow)?;
        let deadly =
            filter(deadly().map_err(|error| error.to_string())?, SeccompAction::Allow, SeccompAction::KillProcess)?;
        // The deadly one first: the other does not allow a process to add filters.
        seccompiler::apply_filter(&deadly).map_err(|error| error.to_string())?;
        seccompiler::apply_filter(&allowed).map_err(|error| error.to_string())
    };
    build().map_err(|error: String| format!("filter system calls: {error}"))
}

fn allowed(writes: bool) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = ALLOWED.iter().chain(ALLOWED_HERE).map(|&call| (call, Vec::new())).collect();
    if writes {
        rules.extend(WRITING.iter().chain(WRITING_HERE).map(|&call| (call, Vec::new())));
    }
    let fcntls = FCNTLS.iter().map(|&command| rule(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command as u64));
    rules.insert(libc::SYS_fcntl, fcntls.collect::<Result<_, _>>()?);
    if !writes {
        // Emptying a file while it is opened to be read: Landlock's first versions allow it.
        let read_only = |flags: u8| {
            let kept = (libc::O_TRUNC | libc::O_CREAT) as u64;
            rule(flags, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(kept), 0)
        };
        rules.insert(libc::SYS_openat, vec![read_only(2)?]);
        #[cfg(target_arch = "x86_64")]
        rules.insert(libc::SYS_open, vec![read_only(1)?]);
    }
    let ioctls = IOCTLS.iter().map(|&request| rule(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ioctl, ioctls.collect::<Result<_, _>>()?);
    // Threads; `deadly` sees to it that no process is made.
    rules.insert(libc::SYS_clone, Vec::new());
    // A thread's name.
    let name = rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?;
    rules.insert(libc::SYS_prctl, vec![name]);
    // Its own limits.
    rules.insert(libc::SYS_prlimit64, vec![rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, 0)?]);
    // Signals to itself, as `abort` sends them.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, own)?]);
    Ok(rules)
}

fn deadly() -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = DEADLY.iter().chain(DEADLY_HERE).map(|&call| (call, Vec::new())).collect();
    let process = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpArgLen::Qword, process, 0)?]);
    let ioctls = DEADLY_IOCTLS.iter().map(|&request| rule(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ioctl, ioctls.collect::<Result<_, _>>()?);
    Ok(rules)
}

fn rule(
    argument: u8,
    length: SeccompCmpArgLen,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, length, compare, value)?])
}

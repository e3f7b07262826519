//! What runs inside, before the program: it gives up all rights but a few, and becomes the program.
//!
//! Owns the order: descriptors are closed, limits set, paths ruled out, system calls filtered, then it executes. It tells
//! over a pipe whether everything was done; the program never has that pipe.

use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    Scope, path_beneath_rules,
};
use serde::{Deserialize, Serialize};

use crate::system_calls;

/// Where the shim finds the pipe on which it tells how it went.
pub(crate) const STATUS: RawFd = 3;

/// What it says when everything was done and only the program itself is left to be executed.
pub(crate) const READY: &[u8] = b"ready\n";

/// What the shim does. It comes as JSON in the first argument; the program and its arguments follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    pub(crate) cpu_seconds: u64,
    pub(crate) memory: u64,
    pub(crate) file_size: u64,
    /// Threads, where only this program's are counted.
    pub(crate) threads: Option<u64>,
    /// Paths that may be read and executed.
    pub(crate) read: Vec<PathBuf>,
    /// Paths below which anything may be done.
    pub(crate) write: Vec<PathBuf>,
}

/// Confines this process as its first argument says and becomes the program that the others name. Returns only when
/// that fails.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let problem = match confine_and_execute(arguments.into_iter().collect()) {
        Ok(never) => match never {},
        Err(problem) => problem,
    };
    tell(problem.as_bytes());
    ExitCode::from(125)
}

fn confine_and_execute(arguments: Vec<OsString>) -> Result<std::convert::Infallible, String> {
    let mut arguments = arguments.into_iter();
    let policy = arguments.next().unwrap_or_default();
    let policy: Policy =
        serde_json::from_slice(&policy.into_vec()).map_err(|error| format!("read the policy: {error}"))?;
    let strings: Result<Vec<CString>, _> = arguments.map(|argument| CString::new(argument.into_vec())).collect();
    let strings = strings.map_err(|_| "read the command: it has a NUL".to_owned())?;
    let program = strings.first().ok_or("read the command: there is none")?;
    let mut pointers: Vec<*const libc::c_char> = strings.iter().map(|string| string.as_ptr()).collect();
    pointers.push(std::ptr::null());

    close_others().map_err(|error| format!("close inherited descriptors: {error}"))?;
    limit(&policy).map_err(|error| format!("set resource limits: {error}"))?;
    die_with_parent().map_err(|error| format!("die with the parent: {error}"))?;
    rule_out_paths(&policy)?;
    system_calls::confine(!policy.write.is_empty())?;
    tell(READY);
    // SAFETY: the strings and the list of pointers to them live until here, and the list ends with a null pointer.
    #[expect(unsafe_code, reason = "the standard library would look for the program and change signal masks")]
    unsafe {
        libc::execv(program.as_ptr(), pointers.as_ptr());
    }
    Err(format!("execute {}: {}", program.to_string_lossy(), io::Error::last_os_error()))
}

/// Writes to whoever launched the shim. If nobody listens nothing can be done.
fn tell(text: &[u8]) {
    // SAFETY: the launcher opened this descriptor for the shim, and nothing else here uses it.
    #[expect(unsafe_code, reason = "the descriptor comes from the launcher by its number")]
    let pipe = unsafe { std::fs::File::from_raw_fd(STATUS) };
    let mut pipe = std::mem::ManuallyDrop::new(pipe);
    let _ = pipe.write_all(text);
}

/// Closes what was inherited, but for the standard streams and the status pipe, which closes when the program begins.
fn close_others() -> io::Result<()> {
    // SAFETY: both calls take numbers only; no object of this process owns these descriptors.
    #[expect(unsafe_code, reason = "there is no safe way to close descriptors that nobody here opened")]
    unsafe {
        let first = libc::c_long::from(STATUS) + 1;
        check(libc::syscall(libc::SYS_close_range, first, libc::c_long::from(u32::MAX), 0) as libc::c_int)?;
        check(libc::fcntl(STATUS, libc::F_SETFD, libc::FD_CLOEXEC))
    }
}

fn limit(policy: &Policy) -> io::Result<()> {
    let set = |resource, soft: u64, hard: u64| {
        let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
        // SAFETY: `limit` is a whole rlimit, and is only read.
        #[expect(unsafe_code, reason = "a system call")]
        unsafe {
            check(libc::setrlimit(resource, &raw const limit))
        }
    };
    set(libc::RLIMIT_CPU, policy.cpu_seconds, policy.cpu_seconds + 1)?;
    set(libc::RLIMIT_AS, policy.memory, policy.memory)?;
    set(libc::RLIMIT_FSIZE, policy.file_size, policy.file_size)?;
    set(libc::RLIMIT_CORE, 0, 0)?;
    set(libc::RLIMIT_NOFILE, 64, 64)?;
    set(libc::RLIMIT_MEMLOCK, 0, 0)?;
    set(libc::RLIMIT_MSGQUEUE, 0, 0)?;
    if let Some(threads) = policy.threads {
        set(libc::RLIMIT_NPROC, threads, threads)?;
    }
    Ok(())
}

fn die_with_parent() -> io::Result<()> {
    // SAFETY: the call takes numbers only.
    #[expect(unsafe_code, reason = "a system call")]
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))
    }
}

/// Landlock: its first version must be there whole; what newer kernels add is taken where there is one.
fn rule_out_paths(policy: &Policy) -> Result<(), String> {
    let rule_out = || {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V6))?
            .handle_access(AccessNet::from_all(ABI::V6))?
            .scope(Scope::from_all(ABI::V6))?
            .create()?
            .add_rules(path_beneath_rules(&policy.read, AccessFs::from_read(ABI::V6)))?
            .add_rules(path_beneath_rules(&policy.write, AccessFs::from_all(ABI::V6)))?;
        ruleset.restrict_self()
    };
    match rule_out() {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            Err("rule out paths: this kernel has no Landlock".to_owned())
        }
        Ok(status) if !status.no_new_privs => Err("rule out paths: new privileges are still possible".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(format!("rule out paths: {error}")),
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

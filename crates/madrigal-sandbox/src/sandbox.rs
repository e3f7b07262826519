//! How a program is launched at each level.
//!
//! Owns the command lines, the user that the program runs as and what it inherits. What happens inside is the shim's
//! business, what becomes of the program `running`'s.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::interpreter::Interpreter;
use crate::level::Level;
use crate::limits::Limits;
use crate::running::{Output, Running};
use crate::self_test;
use crate::shim::{Policy, STATUS};

/// The user and group that programs run as where the launcher is root: `nobody` and `nogroup` of Debian.
const NOBODY: u32 = 65_534;

/// Where the launcher puts the shim's own file for bubblewrap.
const SHIM_FILE: RawFd = 4;

/// Threads of one program.
const THREADS: u64 = 64;

/// Paths of the system that programs read.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/alternatives"];

/// Devices that programs have.
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/urandom"];

/// The program that confines itself and becomes another: its path and the arguments that make it the shim.
#[derive(Debug, Clone)]
pub struct Shim {
    /// Its file.
    pub program: PathBuf,
    /// What makes it call [`crate::shim::run`] with the arguments that follow.
    pub arguments: Vec<OsString>,
}

/// The program that makes namespaces.
pub(crate) const BUBBLEWRAP: &str = "bwrap";

/// A program to run: the interpreter's arguments.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Behind the interpreter, as in `-c` and the source.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// A Python program, isolated from user and site packages.
    #[must_use]
    pub fn source(text: &str) -> Self {
        Self { arguments: ["-I", "-S", "-c", text].map(OsString::from).to_vec() }
    }
}

/// Why nothing can be run, or why what ran says nothing about the program. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Bubblewrap is missing.
    #[error(
        "confine programs at level full: bubblewrap does not run ({0}); install it with `apt-get install bubblewrap`, \
         or choose level reduced"
    )]
    Bubblewrap(String),
    /// The level does not do what it promises.
    #[error("confine programs at level {level}: {problem}")]
    DoesNotHold {
        /// The level.
        level: Level,
        /// Which of the hostile programs of the self-test got further than it may, or what does not work.
        problem: String,
    },
    /// The program could not be launched.
    #[error("launch a confined program: {0}")]
    Launch(String),
}

/// A place where programs run.
#[derive(Debug, Clone)]
pub struct Sandbox {
    level: Level,
    shim: Arc<Shim>,
    interpreter: Arc<Interpreter>,
}

impl Sandbox {
    /// A sandbox whose level holds: hostile programs have tried it.
    ///
    /// # Errors
    /// When something is missing, or a hostile program got out.
    pub fn open(shim: Shim, interpreter: Interpreter, level: Level) -> Result<Self, SandboxError> {
        let sandbox = Self { level, shim: Arc::new(shim), interpreter: Arc::new(interpreter) };
        if level == Level::Full {
            let version = Command::new(BUBBLEWRAP).arg("--version").stdin(Stdio::null()).output();
            let version = version.map_err(|error| SandboxError::Bubblewrap(error.to_string()))?;
            if !version.status.success() {
                return Err(SandboxError::Bubblewrap(version.status.to_string()));
            }
        }
        self_test::run(&sandbox)?;
        Ok(sandbox)
    }

    /// How strongly programs are confined here.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// What runs them.
    #[must_use]
    pub fn interpreter(&self) -> &Interpreter {
        &self.interpreter
    }

    /// Runs a program to its end, `input` being its standard input.
    ///
    /// # Errors
    /// When it could not be launched, or the confinement failed. That says nothing about the program.
    pub fn run(&self, program: &Program, input: &[u8], limits: &Limits) -> Result<Output, SandboxError> {
        self.launch(program, limits)?.finish(input)
    }

    /// Starts a program.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn launch(&self, program: &Program, limits: &Limits) -> Result<Running, SandboxError> {
        let launch = |error: io::Error| SandboxError::Launch(error.to_string());
        if self.level == Level::None {
            let mut command = Command::new(&self.interpreter.program);
            command.args(&program.arguments);
            return Running::start(command, None, limits).map_err(launch);
        }
        let file = File::open(&self.shim.program)
            .map_err(|error| SandboxError::Launch(format!("open {}: {error}", self.shim.program.display())))?;
        let (status, told) = pipe().map_err(launch)?;
        let mut command = match self.level {
            Level::Full => self.in_namespaces(limits),
            _ => Command::new(format!("/proc/self/fd/{SHIM_FILE}")),
        };
        command.args(&self.shim.arguments).arg(self.policy(limits)).arg(&self.interpreter.program);
        command.args(&program.arguments);
        give(&mut command, told, file.into());
        Running::start(command, Some(status), limits).map_err(launch)
    }

    /// Bubblewrap around the shim, up to the shim's own arguments.
    fn in_namespaces(&self, limits: &Limits) -> Command {
        let mut command = Command::new(BUBBLEWRAP);
        // The program itself is the first process of its namespace: bubblewrap's own would keep from us what it took.
        command.args(["--unshare-all", "--as-pid-1", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
        command.args(["--uid", &NOBODY.to_string(), "--gid", &NOBODY.to_string(), "--hostname", "sandbox"]);
        for path in SYSTEM.map(Path::new) {
            match std::fs::read_link(path) {
                Ok(target) => command.arg("--symlink").arg(target).arg(path),
                Err(_) if path.exists() => command.arg("--ro-bind").arg(path).arg(path),
                Err(_) => continue,
            };
        }
        for folder in &self.interpreter.folders {
            command.arg("--ro-bind").arg(folder).arg(folder);
        }
        for device in DEVICES {
            command.args(["--dev-bind", device, device]);
        }
        // By its descriptor, for the user who runs bubblewrap may not be allowed to go where the file lies.
        command.arg("--ro-bind").arg(format!("/proc/self/fd/{SHIM_FILE}")).arg("/shim");
        command.arg("--size").arg(limits.scratch.max(4096).to_string()).args(["--tmpfs", "/tmp"]);
        command.args(["--remount-ro", "/", "--chdir", "/tmp", "/shim"]);
        command
    }

    /// What the shim is told, as JSON.
    fn policy(&self, limits: &Limits) -> OsString {
        let full = self.level == Level::Full;
        let existing = SYSTEM.iter().chain(&DEVICES).map(PathBuf::from).filter(|path| path.exists());
        let policy = Policy {
            // Whole seconds, and one more than allowed: what counts is measured at the end.
            cpu_seconds: limits.cpu.as_secs() + 1,
            memory: limits.memory,
            file_size: if full { limits.scratch } else { 0 },
            threads: full.then_some(THREADS),
            read: existing.chain(self.interpreter.folders.iter().cloned()).collect(),
            write: if full { vec![PathBuf::from("/tmp")] } else { Vec::new() },
        };
        serde_json::to_string(&policy).unwrap_or_default().into()
    }
}

/// Both ends of a pipe, the reading one first; no other child inherits them.
fn pipe() -> io::Result<(File, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for two descriptors.
    #[expect(unsafe_code, reason = "a system call")]
    let made = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both descriptors are new, and nobody else owns them.
    #[expect(unsafe_code, reason = "the descriptors come from a system call")]
    unsafe {
        Ok((File::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}

/// Lets a command inherit the status pipe and the shim's file, at the places where they are expected; as root, also
/// makes it run as nobody.
fn give(command: &mut Command, status: OwnedFd, file: OwnedFd) {
    // SAFETY: the call has no arguments.
    #[expect(unsafe_code, reason = "a system call")]
    let root = unsafe { libc::geteuid() } == 0;
    if root {
        // The standard library drops all other groups as well.
        command.uid(NOBODY).gid(NOBODY);
    }
    let place = move || {
        // Copies far above first: one of the two may lie where the other one has to be.
        let [status, file] =
            [status.as_raw_fd(), file.as_raw_fd()].map(|from| duplicate(from, libc::F_DUPFD_CLOEXEC, 64));
        for (from, to) in [(status?, STATUS), (file?, SHIM_FILE)] {
            // SAFETY: the call takes numbers only, and both descriptors are open.
            #[expect(unsafe_code, reason = "a system call")]
            if unsafe { libc::dup2(from, to) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure only duplicates descriptors; it allocates nothing and takes no lock.
    #[expect(unsafe_code, reason = "there is no other way to hand over descriptors by their numbers")]
    unsafe {
        command.pre_exec(place);
    }
}

fn duplicate(from: RawFd, how: libc::c_int, lowest: RawFd) -> io::Result<RawFd> {
    // SAFETY: the call takes numbers only.
    #[expect(unsafe_code, reason = "a system call")]
    let copy = unsafe { libc::fcntl(from, how, lowest) };
    if copy < 0 { Err(io::Error::last_os_error()) } else { Ok(copy) }
}

/// The environment of every program: nothing of the launcher's.
pub(crate) const ENVIRONMENT: [(&str, &str); 5] = [
    ("HOME", "/tmp"),
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/bin:/bin"),
    ("PYTHONDONTWRITEBYTECODE", "1"),
    ("PYTHONHASHSEED", "0"),
];

/// Sets [`ENVIRONMENT`] and nothing else.
pub(crate) fn clear_environment(command: &mut Command) {
    command.env_clear();
    // Bubblewrap is looked for by this process.
    command.envs(ENVIRONMENT.map(|(name, value)| (OsStr::new(name), OsStr::new(value))));
}

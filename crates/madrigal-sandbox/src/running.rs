//! A program that runs: its streams, its deadline, and what becomes of it.
//!
//! Owns the clock and the kill. Whatever happens, nothing of the program is left when [`Running::finish`] returns.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::sandbox::{BUBBLEWRAP, SandboxError, clear_environment};
use crate::shim::READY;

/// Bubblewrap, like a shell, tells a signal by an exit status above this. A program that ends itself with such a status
/// looks the same.
const SIGNALLED: i32 = 128;

/// The longest that a program is waited for to be in place before it is killed.
const STARTING: Duration = Duration::from_secs(5);

/// The longest that the processes around a dead program are waited for.
const LINGERING: Duration = Duration::from_secs(5);

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal; `SIGSYS` (31) where it asked for what it may not do.
    Signalled(i32),
    /// It took more processor time than it had.
    CpuTime,
    /// It took too long by the clock.
    WallTime,
    /// It said more than it may.
    TooMuchOutput,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub end: End,
    /// Standard output, as far as the limit allows.
    pub stdout: Vec<u8>,
    /// Standard error, as far as the limit allows.
    pub stderr: Vec<u8>,
    /// Processor time of it and of what confined it; nothing where it was killed.
    pub cpu: Option<Duration>,
    /// Time by the clock.
    pub wall: Duration,
}

/// A program that has been launched. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    handle: OwnedFd,
    /// What the shim tells, and what it has told.
    status: Option<File>,
    told: Vec<u8>,
    limits: Limits,
    /// Whether bubblewrap tells how the program ended.
    by_bubblewrap: bool,
    started: Instant,
    finished: bool,
}

/// Kills a program that has begun: it must have said something already.
pub(crate) struct Killer(OwnedFd);

impl Killer {
    /// Kills it, if it still runs.
    pub(crate) fn kill(&self) {
        kill(&self.0);
    }
}

/// What a watcher of a running program tells.
enum News {
    Ended(ExitStatus, Duration),
    TooMuch,
    Failed(io::Error),
}

impl Running {
    /// Starts `command`, which tells on `status` whether it is confined.
    pub(crate) fn start(mut command: Command, status: Option<File>, limits: &Limits) -> io::Result<Self> {
        let by_bubblewrap = command.get_program() == BUBBLEWRAP;
        clear_environment(&mut command);
        if status.is_none() {
            // Without confinement a group is all that tells its processes from others.
            command.process_group(0);
        }
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        // The command holds the other end of the status pipe.
        drop(command);
        match process_handle(child.id()) {
            Ok(handle) => {
                let (told, limits) = (Vec::new(), *limits);
                Ok(Self { child, handle, status, told, limits, by_bubblewrap, started, finished: false })
            }
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Its standard input, to speak with it while it runs. [`Self::finish`] writes nothing then.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Its standard output, to listen to it while it runs. [`Self::finish`] then collects nothing of it.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// What kills it from elsewhere, while another thread waits for it.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn killer(&self) -> io::Result<Killer> {
        self.handle.try_clone().map(Killer)
    }

    /// Gives it its whole input and waits for its end, or makes one.
    ///
    /// # Errors
    /// When the confinement failed, or the system did.
    pub fn finish(mut self, input: &[u8]) -> Result<Output, SandboxError> {
        let (news, heard) = mpsc::channel();
        let (stdin, stdout, stderr) = (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let limit = self.limits.output;
        let ended = thread::scope(|scope| {
            if let Some(mut stdin) = stdin {
                // Whether it reads its input is its own business.
                scope.spawn(move || drop(stdin.write_all(input)));
            }
            let stdout = {
                let news = news.clone();
                scope.spawn(move || collect(stdout, limit, &news))
            };
            let stderr = {
                let news = news.clone();
                scope.spawn(move || collect::<ChildStderr>(stderr, limit, &news))
            };
            let pid = self.child.id();
            scope.spawn(move || {
                let _ = news.send(wait(pid).map_or_else(News::Failed, |(status, cpu)| News::Ended(status, cpu)));
            });
            let deadline = self.started + self.limits.wall;
            let ended = self.watch(&heard, deadline);
            // What it has left behind would keep its streams open.
            self.kill_group();
            let streams = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
            (ended, streams)
        });
        self.finished = true;
        let (ended, (stdout, stderr)) = ended;
        let (end, cpu) = ended.map_err(|error| SandboxError::Launch(error.to_string()))?;
        self.check_status(&stderr)?;
        Ok(Output { end, stdout, stderr, cpu, wall: self.started.elapsed() })
    }

    /// Waits for the end. Kills the program where it goes on for too long or says too much.
    fn watch(&mut self, heard: &mpsc::Receiver<News>, deadline: Instant) -> io::Result<(End, Option<Duration>)> {
        let mut killed = None;
        loop {
            let news = match killed {
                // What is killed ends at once.
                Some(_) => heard.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                None => heard.recv_timeout(deadline.saturating_duration_since(Instant::now())),
            };
            let reason = match news {
                Ok(News::Ended(status, cpu)) => {
                    return Ok(match killed {
                        Some(end) => (end, None),
                        None => (self.end(status, cpu), Some(cpu)),
                    });
                }
                Ok(News::Failed(error)) => return Err(error),
                Ok(News::TooMuch) => End::TooMuchOutput,
                Err(mpsc::RecvTimeoutError::Timeout) => End::WallTime,
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(io::Error::other("its watchers are gone")),
            };
            if killed.is_none() {
                killed = Some(reason);
                self.kill();
            }
        }
    }

    fn end(&self, status: ExitStatus, cpu: Duration) -> End {
        let end = match (status.code(), status.signal()) {
            (Some(code), _) if self.by_bubblewrap && code > SIGNALLED => End::Signalled(code - SIGNALLED),
            (Some(code), _) => End::Exited(code),
            (None, signal) => End::Signalled(signal.unwrap_or(0)),
        };
        if end == End::Signalled(libc::SIGXCPU) || cpu > self.limits.cpu { End::CpuTime } else { end }
    }

    /// Whether the shim has told that everything is in place. Waits until nobody is left who could tell more: the processes
    /// around the program are gone then.
    fn check_status(&mut self, stderr: &[u8]) -> Result<(), SandboxError> {
        if self.status.is_none() {
            return Ok(());
        }
        self.listen(LINGERING, false);
        match self.told.strip_prefix(READY) {
            Some([]) => Ok(()),
            Some(problem) => Err(SandboxError::Launch(String::from_utf8_lossy(problem).into_owned())),
            None => {
                let reason = if self.told.is_empty() { stderr } else { &self.told };
                Err(SandboxError::Launch(String::from_utf8_lossy(reason).trim().to_owned()))
            }
        }
    }

    /// Hears what the shim tells, until nobody is left who could tell anything, or, if that is enough, until all is in place;
    /// at most for so long.
    fn listen(&mut self, patience: Duration, ready_is_enough: bool) {
        let Some(status) = &mut self.status else { return };
        let deadline = Instant::now() + patience;
        while !(ready_is_enough && self.told.starts_with(READY)) {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let mut poll = libc::pollfd { fd: status.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: there is one entry, and it lives until the call returns.
            #[expect(unsafe_code, reason = "a system call")]
            let ready =
                unsafe { libc::poll(&raw mut poll, 1, libc::c_int::try_from(left).unwrap_or(libc::c_int::MAX)) };
            let mut bytes = [0; 512];
            match ready {
                1 => match status.read(&mut bytes) {
                    Ok(read) if read > 0 && self.told.len() < 4096 => self.told.extend_from_slice(&bytes[..read]),
                    _ => return,
                },
                _ => return,
            }
        }
    }

    /// Kills the program and whatever it has started: in namespaces of its own everything dies with the first process.
    fn kill(&mut self) {
        // Before they are all in place, some would not notice that the first one is dead.
        self.listen(STARTING, true);
        kill(&self.handle);
        self.kill_group();
    }

    /// Kills what an unconfined program has started, unless that has left the group.
    fn kill_group(&self) {
        if self.status.is_none() {
            // SAFETY: the call takes numbers only. The group's number is not used anew while a process is in it.
            #[expect(unsafe_code, reason = "a system call")]
            unsafe {
                libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.finished {
            self.kill();
            let _ = self.child.wait();
            self.listen(LINGERING, false);
        }
    }
}

/// Reads a stream to its end, keeps the beginning and tells when it is too long.
fn collect<R: Read>(stream: Option<R>, limit: u64, news: &mpsc::Sender<News>) -> Vec<u8> {
    let Some(mut stream) = stream else { return Vec::new() };
    let mut kept = Vec::new();
    // What cannot be read has ended.
    let _ = stream.by_ref().take(limit).read_to_end(&mut kept);
    let mut more = [0; 1];
    if matches!(stream.read(&mut more), Ok(1)) {
        let _ = news.send(News::TooMuch);
        let _ = io::copy(&mut stream, &mut io::sink());
    }
    kept
}

/// Waits for a child; returns its status, and the processor time of it and of its children.
fn wait(pid: u32) -> io::Result<(ExitStatus, Duration)> {
    loop {
        let mut status = 0;
        // SAFETY: all zeros are a valid rusage.
        #[expect(unsafe_code, reason = "a system call fills it")]
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both places live until the call returns.
        #[expect(unsafe_code, reason = "the standard library tells no processor time")]
        let waited = unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, 0, &raw mut usage) };
        if waited >= 0 {
            let time = |time: libc::timeval| {
                Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
            };
            return Ok((ExitStatus::from_raw(status), time(usage.ru_utime) + time(usage.ru_stime)));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// A descriptor that means this process, whatever becomes of its number.
fn process_handle(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes numbers only.
    #[expect(unsafe_code, reason = "a system call")]
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0) };
    if handle < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, and nobody else owns it.
    #[expect(unsafe_code, reason = "the descriptor comes from a system call")]
    unsafe {
        Ok(OwnedFd::from_raw_fd(handle as libc::c_int))
    }
}

/// Kills the process that a descriptor means, if it still is.
fn kill(handle: &OwnedFd) {
    let nothing = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and no information is passed.
    #[expect(unsafe_code, reason = "a system call")]
    unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, nothing, 0);
    }
}

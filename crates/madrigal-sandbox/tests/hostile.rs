//! Programs that mean harm, at every level: none gets out, none stays, none costs more than its limits.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use madrigal_sandbox::{End, Interpreter, Level, Limits, Output, Program, Sandbox, SandboxError, Shim};

const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;
const SIGSYS: i32 = 31;

fn shim() -> Shim {
    Shim { program: PathBuf::from(env!("CARGO_BIN_EXE_madrigal-sandbox-shim")), arguments: Vec::new() }
}

/// The system's own interpreter, which every user may read.
fn interpreter() -> Interpreter {
    Interpreter::of_command(Path::new("/usr/bin/python3")).unwrap()
}

fn sandbox(level: Level) -> Sandbox {
    Sandbox::open(shim(), interpreter(), level).unwrap()
}

/// A sandbox at the strongest level; announces that it was not tried where this machine has no bubblewrap, or gives it no
/// namespaces.
fn full() -> Option<Sandbox> {
    let problem = match Sandbox::open(shim(), interpreter(), Level::Full) {
        Ok(sandbox) => return Some(sandbox),
        Err(SandboxError::Bubblewrap(problem)) => problem,
        Err(SandboxError::DoesNotHold { problem, .. }) if problem.contains("bwrap:") => problem,
        Err(error) => panic!("{error}"),
    };
    let line = format!("SKIPPED level full: {problem}");
    eprintln!("{line}");
    if let Some(list) = std::env::var_os("MADRIGAL_SKIPPED") {
        let mut list = fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        std::io::Write::write_all(&mut list, format!("{line}\n").as_bytes()).unwrap();
    }
    None
}

fn both() -> Vec<Sandbox> {
    full().into_iter().chain([sandbox(Level::Reduced)]).collect()
}

fn limits() -> Limits {
    Limits {
        cpu: Duration::from_millis(900),
        wall: Duration::from_secs(20),
        memory: 256 << 20,
        scratch: 4 << 20,
        output: 100_000,
    }
}

fn run(sandbox: &Sandbox, source: &str) -> Output {
    sandbox.run(&Program::source(source), b"", &limits()).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Runs a program that prints what it could do and should not have; it must end by itself and have printed nothing.
fn nothing_works(source: &str) {
    for sandbox in both() {
        let output = run(&sandbox, source);
        let told = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.end, told.0.as_str()), (End::Exited(0), "done"), "{}: {told:?}", sandbox.level());
    }
}

/// Runs a program that must be killed for what it asks.
fn is_deadly(source: &str) {
    for sandbox in both() {
        let output = run(&sandbox, source);
        let told = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.end, End::Signalled(SIGSYS), "{}: {source}: {told:?}", sandbox.level());
        assert!(!told.0.contains("alive"), "{told:?}");
    }
}

/// Whether no process of this machine has `mark` in its command line; what was killed is given a moment to go.
fn are_gone(mark: &str) -> bool {
    let moments = (0..50).map(|_| std::thread::sleep(Duration::from_millis(20)));
    std::iter::once(()).chain(moments).any(|()| processes(mark) == 0)
}

fn processes(mark: &str) -> usize {
    let command_lines =
        fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    let mark = mark.as_bytes();
    command_lines.filter(|line| line.windows(mark.len()).any(|window| window == mark)).count()
}

const TRY: &str = "
import os
def tries(what, attempt):
    try: attempt()
    except (OSError, MemoryError, ValueError): return
    print('it could', what)
";

#[test]
fn programs_say_what_they_say() {
    for sandbox in both().into_iter().chain([sandbox(Level::None)]) {
        let source = "import sys, json, math, re, collections; d = sys.stdin.read(); print(d[::-1], math.pi); \
                      sys.stderr.write('err'); sys.exit(3)";
        let output = sandbox.run(&Program::source(source), "añb".as_bytes(), &limits()).unwrap();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.end, stdout.as_str(), stderr.as_str()), (End::Exited(3), "bña 3.141592653589793", "err"));
        assert!(output.cpu.unwrap() > Duration::ZERO && output.cpu.unwrap() < limits().cpu);
    }
}

#[test]
fn threads_and_files_in_tmp_are_allowed() {
    let source = "
import threading, os
done = []
threads = [threading.Thread(target=lambda: done.append(1)) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
open('/tmp/x', 'w').write('hello'); os.rename('/tmp/x', '/tmp/y')
print(len(done), open('/tmp/y').read(), os.listdir('/tmp'))";
    let Some(full) = full() else { return };
    assert_eq!(text(&run(&full, source).stdout), "8 hello ['y']");
    // The next one finds nothing of it.
    assert_eq!(text(&run(&full, "import os; print(os.listdir('/tmp'))").stdout), "[]");
}

#[test]
fn no_process_can_be_made() {
    is_deadly("import os\nwhile True: os.fork()\nprint('alive')");
    is_deadly("import os; os.posix_spawn('/usr/bin/true', ['true'], {}); print('alive')");
    is_deadly("import subprocess; subprocess.run(['/usr/bin/true']); print('alive')");
    is_deadly("import os; os.setsid(); print('alive')");
}

#[test]
fn memory_is_bounded() {
    for sandbox in both() {
        for source in ["x = 'a' * (1 << 30)", "x = []\nwhile True: x.append(bytearray(1 << 20))", "x = [0] * (1 << 31)"]
        {
            let output = run(&sandbox, source);
            assert!(matches!(output.end, End::Exited(1)), "{:?}", output.end);
            assert!(text(&output.stderr).contains("MemoryError"), "{}", text(&output.stderr));
        }
    }
    is_deadly("import os; os.memfd_create('x'); print('alive')");
}

#[test]
fn disks_cannot_be_filled() {
    let source = "
import os
def fill(folder):
    written = 0
    for number in range(50):
        try:
            with open(f'{folder}/{number}', 'wb') as file:
                for _ in range(8): written += file.write(bytes(1 << 20))
        except OSError: pass
    return written
print([fill(folder) >> 20 for folder in ['/tmp', '/dev/shm', '/', '/dev', '/var/tmp', '/run']])";
    if let Some(full) = full() {
        let filled = text(&run(&full, source).stdout);
        assert!(["[4, 0, 0, 0, 0, 0]", "[3, 0, 0, 0, 0, 0]"].contains(&filled.as_str()), "{filled}");
    }
    assert_eq!(text(&run(&sandbox(Level::Reduced), source).stdout), "[0, 0, 0, 0, 0, 0]");
}

#[test]
fn output_without_end_is_cut() {
    for sandbox in both() {
        for stream in ["stdout", "stderr"] {
            let started = Instant::now();
            let output = run(&sandbox, &format!("import sys\nwhile True: sys.{stream}.write('x' * 4096)"));
            assert_eq!(output.end, End::TooMuchOutput);
            assert!(output.stdout.len().max(output.stderr.len()) == 100_000, "{}", output.stdout.len());
            assert!(started.elapsed() < Duration::from_secs(10));
        }
    }
}

#[test]
fn nobody_goes_on_for_ever() {
    for sandbox in both() {
        for source in [
            "import signal\nfor s in (15, 2, 24, 14):\n    signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
            "import re; re.match(r'(a+)+$', 'a' * 40 + 'b')",
            "str(10 ** 10_000_000 + 1) if not hasattr(__import__('sys'), 'set_int_max_str_digits') else None\n\
             __import__('sys').set_int_max_str_digits(0); print(len(str(7 ** 30_000_000)))",
        ] {
            let output = run(&sandbox, source);
            assert!(
                matches!(output.end, End::CpuTime | End::Signalled(SIGKILL)),
                "{}: {source}: {:?} {}",
                sandbox.level(),
                output.end,
                text(&output.stderr)
            );
        }
        let short = Limits { wall: Duration::from_millis(500), ..limits() };
        let output = sandbox.run(&Program::source("import time; time.sleep(60)"), b"", &short).unwrap();
        assert_eq!((output.end, output.cpu), (End::WallTime, None));
        assert!(output.wall < Duration::from_secs(3), "{:?}", output.wall);
    }
}

#[test]
fn processor_time_is_told() {
    let source = "import time\nwhile time.process_time() < 0.5: pass\nprint('done')";
    for sandbox in both() {
        let output = run(&sandbox, source);
        assert_eq!(text(&output.stdout), "done", "{:?}", sandbox.level());
        let cpu = output.cpu.unwrap();
        assert!(cpu >= Duration::from_millis(400) && cpu < Duration::from_secs(2), "{:?}: {cpu:?}", sandbox.level());
    }
}

#[test]
fn more_processor_time_than_there_is_ends_every_program() {
    let sources = [
        "import time\nwhile time.process_time() < 1.5: pass",
        "import signal, time\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    ];
    for sandbox in both() {
        for source in sources {
            let limits = Limits { cpu: Duration::from_millis(600), ..limits() };
            let output = sandbox.run(&Program::source(source), b"", &limits).unwrap();
            assert_eq!(output.end, End::CpuTime, "{:?}: {source}: {output:?}", sandbox.level());
        }
    }
}

#[test]
fn crashes_are_ends_like_others() {
    for sandbox in both() {
        let recursion = run(&sandbox, "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()");
        assert!(
            matches!(recursion.end, End::Signalled(SIGSEGV) | End::Exited(1) | End::CpuTime),
            "{:?} {}",
            recursion.end,
            text(&recursion.stderr)
        );
        let parser = run(
            &sandbox,
            "for text in ['(' * 10**5 + ')' * 10**5, '-' * 10**5 + '1', 'a' + '.a' * 10**5, '[' * 90 + ']' * 90]:\n    \
             try: compile(text, 'x', 'eval')\n    except (SyntaxError, MemoryError, RecursionError): pass",
        );
        assert!(matches!(parser.end, End::Signalled(SIGSEGV) | End::Exited(0)), "{:?}", parser.end);
        let abort = run(&sandbox, "import os; os.abort()");
        // The first process of a namespace cannot be ended by a signal of its own; the C library goes on to crash.
        assert!(matches!(abort.end, End::Signalled(6 | SIGSEGV)), "{:?}", abort.end);
        let status = run(&sandbox, "import os; os._exit(130)");
        let told = if sandbox.level() == Level::Full { End::Signalled(2) } else { End::Exited(130) };
        assert_eq!(status.end, told);
        let bytes = run(&sandbox, "import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\x00ok')");
        assert_eq!((bytes.end, bytes.stdout.as_slice()), (End::Exited(0), &b"\xff\xfe\0ok"[..]));
    }
}

#[test]
fn there_is_no_network() {
    is_deadly("import socket; socket.create_connection(('127.0.0.1', 80)); print('alive')");
    is_deadly("import socket; s = socket.socket(socket.AF_UNIX); s.connect('\\0abstract'); print('alive')");
    is_deadly("import socket; socket.socketpair(); print('alive')");
}

#[test]
fn secrets_stay_outside() {
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("secret");
    fs::write(&file, "hush").unwrap();
    let folder = secret.path().display();
    let home = std::env::var("HOME").unwrap();
    nothing_works(&format!(
        "{TRY}
tries('read a secret', lambda: open('{folder}/secret').read())
tries('list its folder', lambda: os.listdir('{folder}'))
tries('write beside it', lambda: open('{folder}/written', 'w'))
tries('link to it', lambda: (os.symlink('{folder}/secret', '/tmp/link'), open('/tmp/link').read()))
tries('link it hard', lambda: os.link('{folder}/secret', '/tmp/hard'))
tries('list the home folder', lambda: os.listdir('{home}'))
tries('read users', lambda: open('/etc/passwd').read())
for process in ['1', '2', 'self', str(os.getppid())]:
    tries('read an environment', lambda: open(f'/proc/{{process}}/environ', 'rb').read())
    tries('read memory', lambda: open(f'/proc/{{process}}/mem', 'rb').read(1))
for device in ['/dev/mem', '/dev/kmsg', '/dev/tty', '/dev/vda', '/dev/sda', '/dev/ptmx']:
    tries('open a device', lambda: open(device, 'rb').read(1))
tries('change the program', lambda: open('/shim', 'r+b'))
tries('change the interpreter', lambda: open(os.path.realpath('/usr/bin/python3'), 'r+b'))
if any(key not in ('HOME', 'LANG', 'LC_CTYPE', 'PATH', 'PWD', 'PYTHONDONTWRITEBYTECODE', 'PYTHONHASHSEED') for key in os.environ):
    print('it could see the environment', dict(os.environ))
print('done')"
    ));
    assert_eq!(fs::read_dir(secret.path()).unwrap().count(), 1);
}

#[test]
fn modes_times_and_lengths_of_others_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "content").unwrap();
    // Everyone may change it, as far as modes go; whom it belongs to, the program is where nobody is root.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let before = fs::metadata(&file).unwrap();
    let path = file.display();
    nothing_works(&format!(
        "{TRY}
import os
tries('change its mode', lambda: os.chmod('{path}', 0o777))
tries('change its times', lambda: os.utime('{path}', (1, 1)))
tries('cut it', lambda: os.truncate('{path}', 0))
tries('empty it', lambda: os.open('{path}', os.O_RDONLY | os.O_TRUNC))
tries('write it', lambda: open('{path}', 'w'))
tries('rename it', lambda: os.rename('{path}', '{path}2'))
print('done')"
    ));
    let after = fs::metadata(&file).unwrap();
    assert_eq!((before.permissions(), before.modified().unwrap()), (after.permissions(), after.modified().unwrap()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
}

#[test]
fn nothing_is_inherited() {
    // A file that this process holds open, and that children without a sandbox would have.
    let held = tempfile::tempfile().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(&held);
    nothing_works(&format!(
        "{TRY}
for fd in list(range(3, 64)) + [{number}]:
    try: os.fstat(fd)
    except OSError: continue
    print('it has descriptor', fd)
print('done')"
    ));
}

#[test]
fn others_cannot_be_reached() {
    for source in [
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 9)",
        "os.kill(1, 9)",
        "os.killpg(0, 9)",
        "libc.ptrace(16, os.getppid(), 0, 0)",
        "libc.syscall(434, os.getppid(), 0)",
    ] {
        is_deadly(&format!("import os, ctypes\nlibc = ctypes.CDLL(None)\n{source}\nprint('alive')"));
    }
}

/// Numbers of x86-64.
#[cfg(target_arch = "x86_64")]
#[test]
fn system_calls_that_lead_out_are_deadly() {
    for (what, number) in [
        ("fork", 57),
        ("vfork", 58),
        ("clone a process", 56),
        ("socket", 41),
        ("ptrace", 101),
        ("mount", 165),
        ("umount", 166),
        ("pivot_root", 155),
        ("chroot", 161),
        ("unshare", 272),
        ("setns", 308),
        ("memfd_create", 319),
        ("bpf", 321),
        ("userfaultfd", 323),
        ("perf_event_open", 298),
        ("keyctl", 250),
        ("io_uring_setup", 425),
        ("open_tree", 428),
        ("fsopen", 430),
        ("process_vm_readv", 310),
        ("open_by_handle_at", 304),
        ("setsid", 112),
        ("shmget", 29),
    ] {
        let arguments = if number == 272 { "0x10000000" } else { "0" };
        is_deadly(&format!(
            "import ctypes; ctypes.CDLL(None).syscall({number}, {arguments}, 0, 0, 0, 0); print('alive', '{what}')"
        ));
    }
    // Words that are put into a terminal.
    is_deadly("import fcntl; fcntl.ioctl(0, 0x5412, b'x'); print('alive')");
    nothing_works(
        "import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
# clone3, seccomp, prctl(PR_SET_SECCOMP), setuid, sethostname, acct, quotactl, personality, and the other ABI's fork.
for call in [(435, 0, 0), (317, 1, 0), (157, 22, 0), (105, 0), (170, b'x', 1), (163, 0), (179, 0), (135, 8), (0x40000039,)]:
    if libc.syscall(*call) != -1 or ctypes.get_errno() != errno.ENOSYS:
        print('it could call', call, ctypes.get_errno())
print('done')",
    );
}

#[test]
fn eight_at_once_leave_nothing_behind() {
    let mark = "madrigal-sandbox-eight";
    for sandbox in both() {
        let short = Limits { wall: Duration::from_millis(700), ..limits() };
        let ends: Vec<End> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8)
                .map(|number| {
                    let (sandbox, short) = (&sandbox, &short);
                    scope.spawn(move || {
                        let source = match number % 4 {
                            0 => format!("x = '{mark}'\nwhile True: pass"),
                            1 => format!("x = '{mark}'\nimport time; time.sleep(60)"),
                            2 => format!("x = '{mark}'\nwhile True: print(x)"),
                            _ => format!("x = '{mark}'\nimport os; os.fork()"),
                        };
                        sandbox.run(&Program::source(&source), b"", short).unwrap().end
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let count = |end| ends.iter().filter(|&&other| other == end).count();
        assert_eq!((count(End::TooMuchOutput), count(End::Signalled(SIGSYS))), (2, 2), "{ends:?}");
        assert_eq!(count(End::WallTime) + count(End::CpuTime), 4, "{ends:?}");
        assert!(are_gone(mark), "{}", sandbox.level());
    }
}

#[test]
fn what_an_unconfined_program_leaves_behind_ends_with_it() {
    let sandbox = sandbox(Level::None);
    let source = "import subprocess; subprocess.Popen(['sleep', '31.4159']); print('gone')";
    let output = run(&sandbox, source);
    assert_eq!((output.end, text(&output.stdout).as_str()), (End::Exited(0), "gone"));
    assert!(output.wall < Duration::from_secs(20), "{:?}", output.wall);
    assert!(are_gone("31.4159"));
}

#[test]
fn what_is_dropped_is_killed() {
    let mark = "madrigal-sandbox-dropped";
    for sandbox in both() {
        let running =
            sandbox.launch(&Program::source(&format!("x = '{mark}'\nimport time; time.sleep(60)")), &limits());
        let mut running = running.unwrap();
        let mut stdout = running.take_stdout().unwrap();
        drop(running);
        // Its end of the stream closes when the last process that has it is gone.
        std::io::Read::read_to_end(&mut stdout, &mut Vec::new()).unwrap();
        assert!(are_gone(mark));
    }
}

#[test]
fn a_launch_that_fails_says_nothing_of_the_program() {
    let missing = Interpreter { program: PathBuf::from("/usr/bin/no-such-python"), ..interpreter() };
    for level in both().iter().map(Sandbox::level) {
        let error = Sandbox::open(shim(), missing.clone(), level).unwrap_err();
        assert!(matches!(error, SandboxError::DoesNotHold { .. }), "{error:?}");
        assert!(error.to_string().contains("execute /usr/bin/no-such-python"), "{error}");
        let no_shim = Shim { program: PathBuf::from("/no/shim"), arguments: vec![OsString::from("x")] };
        assert!(Sandbox::open(no_shim, interpreter(), level).unwrap_err().to_string().contains("/no/shim"));
        // A shim that confines nothing is found out.
        let idle = Shim { program: PathBuf::from("/usr/bin/true"), arguments: Vec::new() };
        Sandbox::open(idle, interpreter(), level).unwrap_err();
    }
    assert!(Interpreter::of_command(Path::new("/usr/bin/false")).is_err());
}

/// The same as an ordinary user, where the tests run as root.
#[test]
fn an_ordinary_user_is_confined_as_well() {
    let root = text(&Command::new("id").arg("-u").output().unwrap().stdout) == "0";
    if !root || std::env::var_os("MADRIGAL_SANDBOX_AGAIN").is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (tests, shim) = (folder.path().join("tests"), PathBuf::from(env!("CARGO_BIN_EXE_madrigal-sandbox-shim")));
    // Where the build lies, the other user may not be allowed to go.
    fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    Command::new("chmod").args(["-R", "a+rX"]).arg(folder.path()).status().unwrap();
    let reachable = Command::new("setpriv")
        .args(["--reuid", "12345", "--regid", "12345", "--clear-groups", "test", "-x"])
        .arg(&shim)
        .status()
        .unwrap();
    if !reachable.success() {
        eprintln!("SKIPPED an_ordinary_user_is_confined_as_well: {} is out of reach for other users", shim.display());
        return;
    }
    let again = Command::new("setpriv")
        .args(["--reuid", "12345", "--regid", "12345", "--clear-groups"])
        .arg(&tests)
        .args(["--test-threads", "1"])
        .env("MADRIGAL_SANDBOX_AGAIN", "1")
        .env("HOME", folder.path())
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    assert!(again.status.success(), "{}\n{}", text(&again.stdout), text(&again.stderr));
}

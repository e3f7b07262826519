//! Hostile programs that try a level before anything else runs at it.
//!
//! A level that lets one of them through is refused. What they try is little, and each for one layer; the tests of this
//! crate try much more.

use std::time::Duration;

use crate::level::Level;
use crate::limits::Limits;
use crate::running::{End, Output};
use crate::sandbox::{Program, Sandbox, SandboxError};

/// What everyone tries who is confined. Prints a line for whatever worked and should not have.
const NOSY: &str = r#"
import os
def tries(what, attempt):
    try:
        attempt()
    except (OSError, MemoryError, ValueError):
        return
    print("it could", what)
tries("read the users of this machine", lambda: open("/etc/passwd").read())
tries("look at the first process", lambda: open("/proc/1/environ", "rb").read())
tries("list the home folders", lambda: os.listdir("/home"))
tries("write into the root", lambda: open("/escaped", "w").write("x"))
tries("write into /usr", lambda: open("/usr/escaped", "w").write("x"))
tries("take 4 GiB of memory", lambda: bytearray(4 << 30))
if set(os.environ) - {"HOME", "LANG", "LC_CTYPE", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PWD"}:
    print("it could see the environment")
if os.getuid() == 0:
    print("it could be root")
print("done")
"#;

/// Programs that must die by `SIGSYS`.
const DEADLY: [(&str, &str); 3] = [
    ("open a socket", "import socket; socket.socket(); print('alive')"),
    ("make a process", "import os; os.fork(); print('alive')"),
    ("signal others", "import os; os.kill(os.getppid(), 0); print('alive')"),
];

/// Tries the level of `sandbox`.
pub(crate) fn run(sandbox: &Sandbox) -> Result<(), SandboxError> {
    let level = sandbox.level();
    let limits = Limits { cpu: Duration::from_secs(10), wall: Duration::from_secs(30), ..Limits::default() };
    let problem = |problem: String| SandboxError::DoesNotHold { level, problem };
    let run = |source: &str| -> Result<Output, SandboxError> {
        sandbox.run(&Program::source(source), &[], &limits).map_err(|error| problem(error.to_string()))
    };
    if level == Level::None {
        let output = run("print('done')")?;
        return if said(&output) == "done" { Ok(()) } else { Err(problem(unexpected(&output))) };
    }
    let output = run(NOSY)?;
    if output.end != End::Exited(0) || said(&output) != "done" {
        return Err(problem(unexpected(&output)));
    }
    for (what, source) in DEADLY {
        let output = run(source)?;
        if output.end != End::Signalled(libc::SIGSYS) {
            return Err(problem(format!("a program that tries to {what} is not killed: {}", unexpected(&output))));
        }
    }
    Ok(())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn unexpected(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr.lines().last().unwrap_or_default();
    format!("a program of the self-test says `{}` and ends with {:?} {last}", said(output), output.end)
}

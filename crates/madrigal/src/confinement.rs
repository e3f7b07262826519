//! Where programs that agents wrote may run on this machine: which interpreter, how strongly confined.
//!
//! Owns the choice. What confinement is, and the proof that it holds, is `madrigal-sandbox`'s.

#![cfg(target_os = "linux")]

use std::ffi::OsString;
use std::path::Path;

use madrigal_sandbox::{Interpreter, Level, Sandbox, Shim};

/// The hidden command that makes this program the shim.
pub(crate) const SHIM_COMMAND: &str = "sandbox-shim";

/// Interpreters in the order in which they are tried: the user's, then the system's, which every user may read.
const INTERPRETERS: [&str; 2] = ["python3", "/usr/bin/python3"];

/// What a level came to.
pub(crate) struct Tried {
    pub(crate) level: Level,
    /// A sandbox that holds, or why there is none.
    pub(crate) sandbox: Result<Sandbox, String>,
}

/// Tries the levels, the strongest first, until one holds.
pub(crate) fn strongest() -> Vec<Tried> {
    let mut tried = Vec::new();
    for level in [Level::Full, Level::Reduced] {
        let sandbox = open(level);
        let holds = sandbox.is_ok();
        tried.push(Tried { level, sandbox });
        if holds {
            break;
        }
    }
    tried
}

/// A sandbox at this level, with the first interpreter that works in it.
fn open(level: Level) -> Result<Sandbox, String> {
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let shim = Shim { program, arguments: vec![OsString::from(SHIM_COMMAND)] };
    let mut problem = String::new();
    for python in INTERPRETERS {
        let opened = Interpreter::of_command(Path::new(python))
            .map_err(|error| error.to_string())
            .and_then(|python| Sandbox::open(shim.clone(), python, level).map_err(|error| error.to_string()));
        match opened {
            Ok(sandbox) => return Ok(sandbox),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

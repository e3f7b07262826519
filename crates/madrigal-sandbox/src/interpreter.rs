//! Which Python runs programs: the interpreter itself, not a wrapper that looks for one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

/// A Python interpreter and the folders that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The program, all links followed.
    pub program: PathBuf,
    /// Its version, as in `3.11.2`.
    pub version: String,
    /// Folders outside of `/usr` that it reads.
    pub folders: Vec<PathBuf>,
}

/// No interpreter can be used.
#[derive(Debug, thiserror::Error)]
pub enum InterpreterError {
    /// There is none.
    #[error("find a Python interpreter: {0} does not run; install python3 or name one")]
    Missing(String),
    /// It is too old.
    #[error("use the Python interpreter {program}: it is {version}, 3.9 or newer is needed")]
    Old {
        /// Where it is.
        program: String,
        /// What it is.
        version: String,
    },
}

/// What an interpreter says of itself.
#[derive(Debug, Deserialize)]
struct Found {
    executable: String,
    version: (u32, u32, u32),
    prefix: String,
}

const QUESTION: &str = "import json, os, sys; \
    print(json.dumps({'executable': os.path.realpath(sys.executable), 'version': sys.version_info[:3], \
    'prefix': os.path.realpath(sys.base_prefix)}))";

impl Interpreter {
    /// Asks the command `python` what it is.
    ///
    /// # Errors
    /// When it does not run, or is older than 3.9.
    pub fn of_command(python: &Path) -> Result<Self, InterpreterError> {
        let missing = || InterpreterError::Missing(python.display().to_string());
        let told = Command::new(python).args(["-I", "-S", "-c", QUESTION]).stdin(Stdio::null()).output();
        let told = told.ok().filter(|told| told.status.success()).ok_or_else(missing)?;
        let found: Found = serde_json::from_slice(&told.stdout).map_err(|_| missing())?;
        let (major, minor, micro) = found.version;
        let version = format!("{major}.{minor}.{micro}");
        if (major, minor) < (3, 9) {
            return Err(InterpreterError::Old { program: found.executable, version });
        }
        let folders = [PathBuf::from(found.prefix)].into_iter().filter(|folder| !folder.starts_with("/usr")).collect();
        Ok(Self { program: PathBuf::from(found.executable), version, folders })
    }
}

//! The other side: llama.cpp through llama-cpp-python, in a process of its own.
//!
//! Owns finding or building it, and the talk with its script (`llama_cpp.py`): a line of JSON each way.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::consent;
use crate::failure::{Context, Failure, Result};
use crate::surroundings;

const SCRIPT: &str = include_str!("llama_cpp.py");

/// What is built where nothing is found.
const VERSION: &str = "0.3.36";

/// Compilers that make fast kernels of it, the newest first.
const COMPILERS: [u32; 5] = [23, 22, 21, 20, 19];

/// How llama.cpp is come by.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// A Python that has it, where one was named.
    pub(super) python: Option<PathBuf>,
    /// Build it without asking.
    pub(super) yes: bool,
}

/// What it must have room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Tokens of all sequences together.
    pub(super) tokens: usize,
    pub(super) sequences: usize,
    pub(super) threads: usize,
}

/// The running process. It ends when it is dropped.
pub(super) struct LlamaCpp {
    child: Child,
    /// `None` once it was told to end.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Of llama-cpp-python.
    pub(super) version: String,
    /// Seconds from the file to the first logits.
    pub(super) ready: f64,
}

impl LlamaCpp {
    /// Starts it with a model.
    pub(super) fn start(python: &Path, model: &Path, room: Room) -> Result<Self> {
        let mut side = Self::spawn(python)?;
        let answer = side.ask(&json!({
            "do": "open", "model": model, "context": room.tokens, "sequences": room.sequences, "threads": room.threads,
        }))?;
        side.ready = seconds(&answer)?;
        side.version = answer["version"].as_str().unwrap_or_default().to_owned();
        Ok(side)
    }

    fn spawn(python: &Path) -> Result<Self> {
        let what = format!("start {}", python.display());
        let mut child = Command::new(python)
            .args(["-u", "-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .doing(&what)?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::of(format_args!("{what}: it has no pipes")));
        };
        let (version, ready) = (String::new(), 0.0);
        Ok(Self { child, requests: Some(requests), answers: BufReader::new(answers), version, ready })
    }

    /// Gives it adapters, in the order of the agents that use them.
    pub(super) fn adapters(&mut self, paths: &[PathBuf]) -> Result {
        self.ask(&json!({ "do": "load_adapters", "paths": paths })).map(drop)
    }

    /// The seconds that a workload took.
    pub(super) fn time(&mut self, request: &Value) -> Result<f64> {
        seconds(&self.ask(request)?)
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        const WHAT: &str = "talk with llama-cpp-python";
        if let Some(requests) = &mut self.requests {
            writeln!(requests, "{request}").and_then(|()| requests.flush()).doing(WHAT)?;
        }
        let mut line = String::new();
        if self.answers.read_line(&mut line).doing(WHAT)? == 0 {
            return Err(Failure::of(format_args!("{WHAT}: it ended")));
        }
        let answer: Value = serde_json::from_str(&line).doing(WHAT)?;
        match answer["error"].as_str() {
            Some(error) => Err(Failure::of(format_args!("{WHAT}: {error}"))),
            None => Ok(answer),
        }
    }
}

impl Drop for LlamaCpp {
    fn drop(&mut self) {
        // Its stdin closes, so it ends.
        self.requests = None;
        // Nothing can be done about a child that cannot be waited for.
        let _ = self.child.wait();
    }
}

fn seconds(answer: &Value) -> Result<f64> {
    answer["seconds"].as_f64().ok_or("no seconds in the answer").doing("talk with llama-cpp-python")
}

impl Finding {
    /// A Python that has llama-cpp-python, built first if that is allowed.
    pub(super) fn python(&self) -> Result<PathBuf> {
        if let Some(python) = &self.python {
            return match has_it(python) {
                Ok(()) => Ok(python.clone()),
                Err(failure) => Err(Failure::of(format_args!(
                    "use {} for --against llama.cpp: {}",
                    python.display(),
                    failure.message()
                ))),
            };
        }
        let Some(folder) = surroundings::user_cache().map(|cache| cache.join("madrigal/llama-cpp-python")) else {
            return Err(Failure::of("find a folder for llama-cpp-python; name a Python that has it with --python"));
        };
        let own = folder.join("bin/python");
        if has_it(&own).is_ok() {
            return Ok(own);
        }
        if self.yes
            || consent::may_build(&format!("llama-cpp-python {VERSION} in {} (some minutes)", folder.display()))?
        {
            build(&folder)?;
            has_it(&own).map(|()| own)
        } else {
            Err(Failure::of("compare with llama.cpp: it was not built; name a Python that has it with --python"))
        }
    }
}

/// Whether a Python can import it.
fn has_it(python: &Path) -> Result {
    LlamaCpp::spawn(python)?.ask(&json!({ "do": "version" })).map(drop)
}

/// Builds it for this processor, from its source, in an environment of its own.
fn build(folder: &Path) -> Result {
    let Some(compiler) = COMPILERS.into_iter().find(|version| runs(&format!("clang-{version}"))) else {
        return Err(Failure::of(
            "build llama-cpp-python: there is no clang-19 or newer; install one (Debian: clang-19)",
        ));
    };
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).doing(format_args!("make {}", parent.display()))?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let package = format!("llama-cpp-python=={VERSION}");
    run(Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install", "--no-binary", "llama-cpp-python", &package])
        .env("CC", format!("clang-{compiler}"))
        .env("CXX", format!("clang++-{compiler}"))
        .env("CMAKE_ARGS", "-DGGML_NATIVE=ON"))
}

/// Whether a program is there.
fn runs(program: &str) -> bool {
    let run = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// Runs a program whose output goes to stderr.
fn run(command: &mut Command) -> Result {
    let what = format!("run {}", command.get_program().display());
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status().doing(&what)?;
    if status.success() { Ok(()) } else { Err(Failure::of(format_args!("{what}: {status}"))) }
}

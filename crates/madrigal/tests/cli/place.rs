//! A folder of its own to run the program in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// What a command did.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    /// The lines of JSON on stdout; the command must have succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.lines()
    }

    /// The lines of JSON on stdout, whatever the exit code.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(parse).collect()
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The program in this folder, with nothing of the tester's environment that it would heed.
    pub(crate) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_madrigal"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let heeded = name.to_string_lossy();
            if heeded.starts_with("MADRIGAL_") || heeded.ends_with("_API_KEY") || heeded.starts_with("HF_") {
                command.env_remove(&name);
            }
        }
        command.env("HOME", self.path()).env_remove("RUST_BACKTRACE").env_remove("XDG_CACHE_HOME");
        command
    }

    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Done {
        Done::of(self.command(args).output().unwrap())
    }

    /// Runs with `input` on standard input.
    pub(crate) fn run_with<'a>(&self, args: impl IntoIterator<Item = &'a str>, input: &str) -> Done {
        use std::io::Write;
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that needs no input may be gone already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Done::of(child.wait_with_output().unwrap())
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// What was said, without the last line.
pub(crate) fn messages(lines: &[Value]) -> Vec<(u64, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines[..lines.len() - 1]
        .iter()
        .map(|line| (line["turn"].as_u64().unwrap(), text(&line["agent"]), text(&line["text"])))
        .collect()
}

/// The journal of the run that `lines` tell of.
pub(crate) fn journal(place: &Place, lines: &[Value]) -> PathBuf {
    place.path().join(lines.last().unwrap()["dir"].as_str().unwrap()).join("journal.jsonl")
}

/// Messages and control words of a journal with their token ids: what must be the same when a run is made again.
pub(crate) fn substance(journal: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(journal).unwrap();
    let events = text.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| matches!(event["kind"].as_str(), Some("message" | "control" | "compaction")))
        .map(|mut event| {
            for volatile in ["seq", "hash", "at_ms"] {
                event.as_object_mut().unwrap().remove(volatile);
            }
            event
        })
        .collect()
}

/// A file of the fixtures, or `None` after saying that `test` is skipped.
pub(crate) fn fixture(test: &str, path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("MADRIGAL_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let path = root.join(path);
    if path.exists() {
        return Some(path.canonicalize().unwrap());
    }
    skip(test, &format!("{} is missing", path.display()));
    None
}

/// Says that `test` is skipped and why.
pub(crate) fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}");
    eprintln!("{line}");
    if let Some(list) = std::env::var_os("MADRIGAL_SKIPPED") {
        use std::io::Write;
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "{line}").unwrap();
    }
}

/// The small real model that babbles stories.
pub(crate) fn stories(test: &str) -> Option<String> {
    let path = fixture(test, "models/stories260K/stories260K-f16.gguf")?;
    Some(format!("file:{}", path.display()))
}

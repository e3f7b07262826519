//! Whether a program passes its tests, in a way that the program cannot forge.
//!
//! Program and tests never share an interpreter. The checker runs the tests; whatever they call of the program is a proxy
//! that sends the arguments here, and from here they go to the program in a sandbox of its own. So the program sees
//! arguments and nothing else, and what comes back are values of exact built-in types: nothing that claims to be equal
//! to everything. The verdict comes from the checker alone, with a word that the program never saw.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::limits::Limits;
use crate::running::{End, Killer, Output, Running};
use crate::sandbox::{Program, Sandbox, SandboxError};

const CANDIDATE: &str = concat!(include_str!("judge/values.py"), include_str!("judge/candidate.py"));
const CHECKER: &str = concat!(include_str!("judge/values.py"), include_str!("judge/checker.py"));

/// The longest message between the two interpreters.
const LONGEST_MESSAGE: u64 = 16 << 20;

/// Characters of a verdict's reason; a program can make them up.
const LONGEST_DETAIL: usize = 1000;

/// The longest message of a program that tells why it does not load.
const LONGEST_PROBLEM: usize = 64 << 10;

/// How long a program may take to end once its verdict is there.
const GOING: Duration = Duration::from_millis(250);

/// Tests, and what they need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Definitions that the tests use, trusted as the tests are.
    pub setup: String,
    /// The tests: Python that raises where the program is wrong.
    pub tests: String,
    /// The functions that the tests call of the program; `None` takes all names that nobody else defines.
    pub functions: Option<Vec<String>>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All tests passed.
    Passed,
    /// A test failed, or the program raised, ended or was killed for what it asked.
    Failed,
    /// It took more time than it has.
    Timeout,
    /// It took more memory than it has.
    Memory,
    /// A value cannot be carried between program and tests; that says nothing of the program.
    UnsupportedValue,
    /// The sandbox or the checker failed; that says nothing of the program.
    SandboxError,
}

/// A verdict and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people.
    pub detail: String,
    /// Processor time of the program, where it came to its end by itself.
    pub cpu: Option<Duration>,
    /// What the program printed, both streams together, as far as the limit allows.
    pub printed: Vec<u8>,
}

/// What the checker says at the end.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    nonce: String,
    verdict: Verdict,
    detail: String,
}

/// One of the two interpreters.
struct Side {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    killer: Killer,
}

impl Side {
    fn of(running: &mut Running) -> Result<Self, SandboxError> {
        let missing = || SandboxError::Launch("its streams are gone".to_owned());
        let (stdin, stdout) = (running.take_stdin().ok_or_else(missing)?, running.take_stdout().ok_or_else(missing)?);
        let killer = running.killer().map_err(|error| SandboxError::Launch(error.to_string()))?;
        Ok(Self { stdin, stdout: BufReader::new(stdout), killer })
    }

    /// Sends a line; whether anyone took it shows in what comes back.
    fn send(&mut self, line: &[u8]) {
        let _ = self.stdin.write_all(line);
        let _ = self.stdin.write_all(b"\n");
        let _ = self.stdin.flush();
    }

    /// The next line without its end; `None` where nothing whole comes any more.
    fn hear(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.stdout.by_ref().take(LONGEST_MESSAGE).read_until(b'\n', &mut line).ok()?;
        (line.pop() == Some(b'\n')).then_some(line)
    }
}

impl Sandbox {
    /// Runs the tests of `task` on the program `source`. `nonce` must be a word that nobody can guess.
    #[must_use]
    pub fn judge(&self, source: &str, task: &Task, limits: &Limits, nonce: &str) -> Judged {
        self.try_judge(source, task, limits, nonce).unwrap_or_else(|error| Judged {
            verdict: Verdict::SandboxError,
            detail: format!("failed to {error}"),
            cpu: None,
            printed: Vec::new(),
        })
    }

    fn try_judge(&self, source: &str, task: &Task, limits: &Limits, nonce: &str) -> Result<Judged, SandboxError> {
        let mut candidate = self.launch(&harness(CANDIDATE), limits)?;
        let mut checker = self.launch(&harness(CHECKER), limits)?;
        let (mut program, mut tests) = (Side::of(&mut candidate)?, Side::of(&mut checker)?);
        let (told, ended, checked) = thread::scope(|scope| {
            // They watch the clock. Whoever is killed says nothing more, which ends the talk.
            let candidate = scope.spawn(move || candidate.finish(&[]));
            let checker = scope.spawn(move || checker.finish(&[]));
            let told = talk(&mut program, &mut tests, source, task, nonce);
            // Both end by themselves when nobody speaks with them any more; whoever does not is made to.
            let killers = [program, tests].map(|Side { stdin, stdout, killer }| {
                drop((stdin, stdout));
                killer
            });
            let asked = Instant::now();
            // Without a verdict, how the program ended is what counts: on a busy machine that takes a moment to show.
            let patience = if told.is_some() { GOING } else { GOING * 8 };
            while !(candidate.is_finished() && checker.is_finished()) {
                if asked.elapsed() > patience {
                    killers.iter().for_each(Killer::kill);
                    break;
                }
                thread::sleep(Duration::from_micros(200));
            }
            let gone = || Err(SandboxError::Launch("its watcher is gone".to_owned()));
            (told, candidate.join().unwrap_or_else(|_| gone()), checker.join().unwrap_or_else(|_| gone()))
        });
        let (ended, checked) = (ended?, checked?);
        let (verdict, detail) = conclude(told, &ended, &checked, nonce);
        let detail = detail.chars().take(LONGEST_DETAIL).collect();
        Ok(Judged { verdict, detail, cpu: ended.cpu, printed: ended.stderr })
    }
}

/// A harness as a program. Without `-I`, which would take the environment's fixed seed of hashes for the user's.
fn harness(source: &str) -> Program {
    Program { arguments: ["-s", "-S", "-c", source].map(Into::into).to_vec() }
}

/// Carries calls and answers until the checker gives its verdict, or one of the two is gone.
fn talk(program: &mut Side, tests: &mut Side, source: &str, task: &Task, nonce: &str) -> Option<Told> {
    program.send(json!({ "source": source }).to_string().as_bytes());
    let Task { setup, tests: checks, functions } = task;
    let request = json!({ "setup": setup, "tests": checks, "functions": functions, "nonce": nonce });
    // A program that does not even define anything is not worth a test.
    let defined = program.hear()?;
    let defined = defined.strip_prefix(b"R")?;
    if defined != br#"{"defined": true}"# {
        let whole = Some(defined).filter(|defined| defined.len() <= LONGEST_PROBLEM);
        let failed = whole.and_then(|defined| serde_json::from_slice::<serde_json::Value>(defined).ok());
        let raised = failed.as_ref().and_then(|failed| failed["raised"][0].as_str()).unwrap_or("an error");
        let text = failed.as_ref().and_then(|failed| failed["text"].as_str()).unwrap_or_default();
        let verdict = if raised == "MemoryError" { Verdict::Memory } else { Verdict::Failed };
        let detail = format!("the program does not load: {raised}: {text}");
        return Some(Told { nonce: nonce.to_owned(), verdict, detail });
    }
    tests.send(request.to_string().as_bytes());
    loop {
        let line = tests.hear()?;
        match line.split_first()? {
            (b'C', call) => {
                program.send(call);
                let answer = program.hear()?;
                tests.send(answer.strip_prefix(b"R")?);
            }
            (b'V', verdict) => return serde_json::from_slice(verdict).ok(),
            _ => return None,
        }
    }
}

/// The verdict from what was told and how both ended.
fn conclude(told: Option<Told>, program: &Output, checker: &Output, nonce: &str) -> (Verdict, String) {
    let gone = match program.end {
        End::CpuTime => Some((Verdict::Timeout, "the program took too much processor time".to_owned())),
        End::WallTime => Some((Verdict::Timeout, "the program took too long".to_owned())),
        End::TooMuchOutput => Some((Verdict::Failed, "the program printed too much".to_owned())),
        _ => None,
    };
    match told {
        // What it took is known at the end.
        Some(told) if told.nonce == nonce && gone.is_none() => (told.verdict, told.detail),
        Some(told) if told.nonce != nonce => {
            (Verdict::SandboxError, "the checker said what it could not know".to_owned())
        }
        _ => gone.unwrap_or_else(|| match (program.end, checker.end) {
            (_, End::CpuTime | End::WallTime) => {
                (Verdict::Timeout, "comparing what the program said took too long".to_owned())
            }
            (End::Exited(status), _) => (Verdict::Failed, format!("the program ended itself with status {status}")),
            (End::Signalled(31), _) => {
                (Verdict::Failed, "the program was killed: it asked for what it may not do".to_owned())
            }
            (end, _) => (Verdict::Failed, format!("the program was killed ({end:?})")),
        }),
    }
}

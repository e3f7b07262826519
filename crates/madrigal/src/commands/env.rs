//! `madrigal env`: what this machine gives.

use clap::Args;
use madrigal_engine::Isa;
use serde_json::json;

use crate::cli::Place;
#[cfg(target_os = "linux")]
use crate::confinement;
use crate::failure::{Context, Result};
use crate::output::{self, BOLD, DIM, neutral};
use crate::surroundings::{self, Hint};
use crate::units::show_bytes;

const EXAMPLES: &str = "\
Examples:
  madrigal env
  madrigal env --json";

/// What this machine gives, each with a ready command.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EnvArgs {
    /// Print one object of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn env(args: &EnvArgs, place: &Place) -> Result {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let isas: Vec<String> = Isa::available().iter().map(ToString::to_string).collect();
    let memory = memory();
    let servers = surroundings::servers();
    let keys = surroundings::keys();
    let confinement = Confinement::of_machine();
    let files: Vec<Hint> = surroundings::model_files().iter().map(|path| surroundings::file_hint(path)).collect();
    if args.json {
        let hints = |hints: &[Hint]| -> Vec<serde_json::Value> {
            hints
                .iter()
                .map(|hint| json!({ "model": hint.model, "found": hint.what, "command": hint.command }))
                .collect()
        };
        return output::print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "platform": format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            "cores": cores,
            "isa": { "used": Isa::detect().to_string(), "available": isas },
            "memory": memory.map(|(total, available)| json!({ "total": total, "available": available })),
            "sandbox": confinement.level,
            "sandbox_problems": confinement.problems,
            "python": confinement.python,
            "runs": place.root(),
            "servers": hints(&servers),
            "keys": hints(&keys),
            "model_files": hints(&files),
        }))
        .doing("print");
    }
    let mut text = String::new();
    let mut fact =
        |name: &str, value: String| text.push_str(&format!("{BOLD}{name:<12}{BOLD:#} {}\n", neutral(&value)));
    fact("madrigal", format!("{} on {}-{}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH));
    fact("cores", cores.to_string());
    fact("isa", format!("{} (of {})", Isa::detect(), isas.join(", ")));
    fact(
        "memory",
        memory.map_or_else(
            || "unknown on this system".to_owned(),
            |(total, available)| format!("{} of {} free", show_bytes(available), show_bytes(total)),
        ),
    );
    fact("sandbox", confinement.for_people());
    fact("runs", place.root().display().to_string());
    text.push('\n');
    let mut list = |title: &str, hints: Vec<Hint>, nothing: &str| {
        text.push_str(&format!("{BOLD}{title}{BOLD:#}\n"));
        if hints.is_empty() {
            text.push_str(&format!("  {DIM}{nothing}{DIM:#}\n"));
        }
        for hint in hints {
            text.push_str(&format!("  {}\n    {}\n", neutral(&hint.what), neutral(&hint.command)));
        }
    };
    list("Servers", servers, "none answers; `ollama serve`, LM Studio or `llama-server -m FILE` would");
    list("Keys", keys, "none; set OPENAI_API_KEY or ANTHROPIC_API_KEY");
    list("Model files", files, "no .gguf here, in ./models or in the Hugging Face cache");
    output::print(text).doing("print")
}

/// How programs that agents write can be confined here.
struct Confinement {
    level: &'static str,
    python: Option<String>,
    /// Why stronger levels do not hold.
    problems: Vec<String>,
}

impl Confinement {
    #[cfg(target_os = "linux")]
    fn of_machine() -> Self {
        let mut found = Self { level: "none", python: None, problems: Vec::new() };
        for tried in confinement::strongest() {
            match tried.sandbox {
                Ok(sandbox) => {
                    let python = sandbox.interpreter();
                    found.level = tried.level.name();
                    found.python = Some(format!("Python {} ({})", python.version, python.program.display()));
                }
                Err(problem) => found.problems.push(format!("failed to {problem}")),
            }
        }
        found
    }

    #[cfg(not(target_os = "linux"))]
    fn of_machine() -> Self {
        let problem = "programs that agents write can be confined on Linux only".to_owned();
        Self { level: "none", python: None, problems: vec![problem] }
    }

    fn for_people(&self) -> String {
        let python = self.python.iter().map(|python| format!(", {python}"));
        let problems = self.problems.iter().map(|problem| format!("; {problem}"));
        std::iter::once(self.level.to_owned()).chain(python).chain(problems).collect()
    }
}

/// Total and available memory in bytes, where the system tells (Linux).
fn memory() -> Option<(u64, u64)> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some((field("MemTotal:")?, field("MemAvailable:")?))
}

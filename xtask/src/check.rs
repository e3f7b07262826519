//! `cargo xtask check`: everything that can be said about the tree without running it.
//!
//! Owns the steps and their order. Every step runs, also after one that failed; the summary comes last.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::{cargo, docs, fuzz, tidy_tree, tools, unused};

/// What a step does; whether the tree passes.
type Step = fn(&Path) -> Result<bool, Failure>;

const STEPS: &[(&str, Step)] = &[
    ("formatting", formatting),
    ("tidy", tidy_tree),
    ("clippy", clippy),
    ("rustdoc", rustdoc),
    ("fuzz targets", fuzz::check),
    ("generated documents", docs::compare),
    ("unused dependencies", unused::check),
    ("licences, bans, sources", deny),
    ("spelling", spelling),
];

/// Runs every step; whether all passed.
pub(crate) fn run(root: &Path) -> Result<bool, Failure> {
    let mut summary = Vec::new();
    for (name, step) in STEPS {
        println!("\n== {name}");
        let started = Instant::now();
        let passed = step(root).unwrap_or_else(|failure| {
            println!("failed to {failure}");
            false
        });
        let took = started.elapsed();
        println!("== {name}: {} in {}", verdict(passed), seconds(took));
        summary.push((name, passed, took));
    }
    println!("\n== summary");
    for (name, passed, took) in &summary {
        println!("{:>8}  {:>7}  {name}", verdict(*passed), seconds(*took));
    }
    Ok(summary.iter().all(|(_, passed, _)| *passed))
}

fn verdict(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Runs a command with this terminal; whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let arguments = command.get_args().collect::<Vec<_>>().join(OsStr::new(" ")).to_string_lossy().into_owned();
    println!("$ {} {arguments}", Path::new(&program).file_name().unwrap_or_default().to_string_lossy());
    let status = command.status().map_err(|error| Failure::new(format!("run {program}: {error}")))?;
    Ok(status.success())
}

fn formatting(root: &Path) -> Result<bool, Failure> {
    let workspace = succeeds(cargo::command(root).args(["fmt", "--all", "--", "--check"]))?;
    let fuzz = succeeds(cargo::command(root).args(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--", "--check"]))?;
    Ok(workspace && fuzz)
}

fn clippy(root: &Path) -> Result<bool, Failure> {
    succeeds(cargo::command(root).args([
        "clippy",
        "--quiet",
        "--keep-going",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}

fn rustdoc(root: &Path) -> Result<bool, Failure> {
    succeeds(cargo::command(root).env("RUSTDOCFLAGS", "-D warnings").args([
        "doc",
        "--quiet",
        "--keep-going",
        "--locked",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]))
}

fn deny(root: &Path) -> Result<bool, Failure> {
    let program = tools::cargo_deny(root)?;
    succeeds(Command::new(program).current_dir(root).args([
        "--locked",
        "--log-level",
        "warn",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))
}

fn spelling(root: &Path) -> Result<bool, Failure> {
    succeeds(Command::new(tools::typos(root)?).current_dir(root))
}

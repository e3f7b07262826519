//! `cargo xtask test`: every test of the workspace, on a machine that may have nothing but a Rust toolchain.
//!
//! Owns what the tests find around them (servers, fixtures) and the count at the end. The last line on standard output
//! is always `N passed, N failed, N skipped`.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::{cargo, debian, encoder, peers};

/// Environment variables that tests read.
const FIXTURES: &str = "MADRIGAL_FIXTURES";
const SKIPPED: &str = "MADRIGAL_SKIPPED";
const PEERS: &str = "MADRIGAL_PEERS";
const ENCODER: &str = "MADRIGAL_ENCODER";

/// How skipped tests are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Each reason with the number of tests.
    Counted,
    /// Each test with its reason.
    Named,
}

/// What a run of tests came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
    /// Names and reasons of tests that could not run here.
    skipped: Vec<(String, String)>,
}

/// Runs every test; whether all that could run passed, and any did.
pub(crate) fn run(root: &Path, show: Skipped) -> Result<bool, Failure> {
    debian::provide();
    let prepared = peers::install(root);
    encoder::install(root);
    let mut tally = Tally::default();
    let ran = tests(root, &mut tally).unwrap_or_else(|failure| {
        println!("failed to {failure}");
        false
    });
    println!();
    print_skipped(&tally.skipped, show);
    let Tally { passed, failed, skipped } = &tally;
    if passed + failed == 0 {
        println!("no test ran");
    }
    println!("{passed} passed, {failed} failed, {} skipped", skipped.len());
    Ok(prepared && ran && *failed == 0 && *passed > 0)
}

fn tests(root: &Path, tally: &mut Tally) -> Result<bool, Failure> {
    let target = cargo::target(root);
    let skipped = target.join("skipped-tests.txt");
    let junit = root.join("target/nextest/default/junit.xml");
    for stale in [&skipped, &junit] {
        let _ = std::fs::remove_file(stale);
    }
    std::fs::create_dir_all(&target).map_err(|error| Failure::new(format!("create {}: {error}", target.display())))?;
    let fixtures = std::env::var_os(FIXTURES).map_or_else(|| root.join("../shared/data"), Into::into);
    if !fixtures.is_dir() {
        println!("{} is no folder: tests that read fixtures from it are skipped (set {FIXTURES})", fixtures.display());
    }
    let command = |arguments: &[&str]| {
        let mut command = cargo::command(root);
        command.args(arguments).env(FIXTURES, &fixtures).env(SKIPPED, &skipped).env(PEERS, peers::folder(root));
        command.env(ENCODER, encoder::folder(root)).stdin(Stdio::null());
        command
    };
    let nextest = command(&["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let succeeded = if nextest.is_ok_and(|status| status.success()) {
        let run = ["nextest", "run", "--locked", "--workspace", "--no-fail-fast", "--no-tests=pass"];
        let status = command(&run).status().map_err(|error| Failure::new(format!("run cargo nextest: {error}")))?;
        if let Ok(report) = std::fs::read_to_string(&junit) {
            let (ran, failed) = count_junit(&report);
            tally.passed += ran - failed;
            tally.failed += failed;
        }
        let documents = libtest(&mut command(&["test", "--doc", "--locked", "--workspace", "--no-fail-fast"]), tally)?;
        status.success() && documents
    } else {
        println!("cargo-nextest is not installed: cargo test takes its place");
        libtest(&mut command(&["test", "--locked", "--workspace", "--no-fail-fast"]), tally)?
    };
    let mut unable = parse_skipped(&std::fs::read_to_string(&skipped).unwrap_or_default());
    // A test that skips itself returns early, which its runner takes for success.
    tally.passed = tally.passed.saturating_sub(unable.len());
    tally.skipped.append(&mut unable);
    Ok(succeeded)
}

/// The number of tests and of failed tests in a JUnit report: attributes of its root element.
fn count_junit(report: &str) -> (usize, usize) {
    let element = report.split_once("<testsuites").map_or("", |(_, rest)| rest.split('>').next().unwrap_or_default());
    let attribute = |name: &str| {
        let (_, rest) = element.split_once(&format!(" {name}=\""))?;
        rest.split('"').next()?.parse::<usize>().ok()
    };
    let number = |name| attribute(name).unwrap_or_default();
    let tests = number("tests");
    (tests, (number("failures") + number("errors")).min(tests))
}

/// Runs `cargo test`, shows what it prints and counts its tests.
fn libtest(command: &mut Command, tally: &mut Tally) -> Result<bool, Failure> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| Failure::new(format!("run cargo test: {error}")))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            count_line(&line, tally);
        }
    }
    let status = child.wait().map_err(|error| Failure::new(format!("wait for cargo test: {error}")))?;
    Ok(status.success())
}

/// Counts a line of libtest's output.
fn count_line(line: &str, tally: &mut Tally) {
    if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ignored")) {
        tally.skipped.push((name.to_owned(), "it is marked `ignore`".to_owned()));
    }
    let Some(counts) = line.strip_prefix("test result: ") else {
        return;
    };
    let number_before = |word: &str| -> usize {
        let before = counts.split_once(word).map_or("", |(before, _)| before);
        before.trim_end().rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    tally.passed += number_before("passed");
    tally.failed += number_before("failed");
}

/// Reads the lines that tests write when they cannot run: `SKIPPED name: reason`. One test counts once.
fn parse_skipped(text: &str) -> Vec<(String, String)> {
    let mut skipped: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let line = line.strip_prefix("SKIPPED ").unwrap_or(line);
        let (name, reason) = line.split_once(": ").unwrap_or((line, "it names no reason"));
        if !name.is_empty() && skipped.iter().all(|(known, _)| known != name) {
            skipped.push((name.to_owned(), reason.to_owned()));
        }
    }
    skipped.sort();
    skipped
}

fn print_skipped(skipped: &[(String, String)], show: Skipped) {
    match show {
        Skipped::Named => {
            for (name, reason) in skipped {
                println!("SKIPPED {name}: {reason}");
            }
        }
        Skipped::Counted => {
            let mut reasons: Vec<&str> = skipped.iter().map(|(_, reason)| reason.as_str()).collect();
            reasons.sort_unstable();
            for same in reasons.chunk_by(|a, b| a == b) {
                println!("skipped {}: {}", same.len(), same[0]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_junit_report_is_counted_by_its_root_element() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="x" timestamp="y" time="0.1">
    <testsuite name="xtask" tests="9" disabled="0" errors="0" failures="0">"#;
        assert_eq!(count_junit(report), (12, 3));
        assert_eq!(count_junit(""), (0, 0));
    }

    #[test]
    fn libtest_output_is_counted_over_all_its_binaries() {
        let output = "\
running 3 tests
test crates/a/src/lib.rs - (line 3) ... ok
test crates/a/src/lib.rs - b (line 9) ... ignored
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 4 passed; 10 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let mut tally = Tally::default();
        for line in output.lines() {
            count_line(line, &mut tally);
        }
        let ignored = ("crates/a/src/lib.rs - b (line 9)".to_owned(), "it is marked `ignore`".to_owned());
        assert_eq!(tally, Tally { passed: 6, failed: 10, skipped: vec![ignored] });
    }

    #[test]
    fn a_test_that_is_skipped_twice_counts_once() {
        let text = "SKIPPED b::c: no folder x: y\nSKIPPED a: no file\nSKIPPED b::c: no file z\n";
        let expected = [("a", "no file"), ("b::c", "no folder x: y")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(parse_skipped(text), expected);
    }
}

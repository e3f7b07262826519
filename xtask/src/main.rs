//! The project's own tasks: `cargo xtask test`, `check`, `tidy`, `docs`, `parity`, `train-embedded`,
//! `eval-embedded`, `bench` and `fuzz`.
//!
//! Owns how this repository is tested and checked, here and in CI. Nothing of the product is in here, and nothing of
//! this is in the product.
#![expect(clippy::print_stdout, reason = "this is a program for the terminal")]

mod bench;
mod cargo;
mod check;
mod debian;
mod docs;
mod embedded;
mod encoder;
mod failure;
mod fuzz;
mod parity;
mod peers;
mod python;
mod rust_text;
mod test;
mod tidy;
mod tools;
mod unused;

use std::path::Path;
use std::process::ExitCode;

use crate::failure::Failure;

const HELP: &str = "\
cargo xtask TASK

  test [--list-skipped]        every test of the workspace; --list-skipped names each skipped test with its reason
  check                        formatting, clippy, rustdoc, tidy, dependencies, spelling, generated documents
  tidy [ROOT]                  the invariants of ARCHITECTURE.md, over this tree or another one
  docs                         write the generated documents anew
  parity [--write]             tiny models, and what transformers computes from them, into target/parity/models;
                               --write puts them into testdata/parity-generated
  train-embedded               train the model that the program carries (2 cores: one to two hours); Ctrl-C keeps
                               what is done, and the next call goes on from there
  eval-embedded [--tasks N] [--seeds N] [--part NAME] [--json FILE]
                               what it can do: shares with intervals, and the bars that it has to take
  bench [FILTER]               the criterion benchmarks, or those whose names contain FILTER
  fuzz TARGET [--seconds N]    feed TARGET (a file of fuzz/src/bin/) with mutated input; without TARGET: name them
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = cargo::workspace_root();
    let done = match words.as_slice() {
        ["test"] => test::run(&root, test::Skipped::Counted),
        ["test", "--list-skipped"] => test::run(&root, test::Skipped::Named),
        ["check"] => check::run(&root),
        ["tidy"] => tidy_tree(&root),
        ["tidy", other] => tidy_tree(Path::new(other)),
        ["docs"] => docs::write(&root).map(|()| true),
        ["parity"] => parity::run(&root, false),
        ["parity", "--write"] => parity::run(&root, true),
        ["train-embedded"] => embedded::train(&root),
        ["eval-embedded", arguments @ ..] => embedded::evaluate(&root, arguments),
        ["bench"] => bench::run(&root, None),
        ["bench", filter] => bench::run(&root, Some(filter)),
        ["fuzz"] => fuzz::list(&root).map(|()| true),
        ["fuzz", target] => fuzz::run(&root, target, 60),
        ["fuzz", target, "--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::run(&root, target, seconds),
            Err(_) => return wrong_usage(),
        },
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(true)
        }
        _ => return wrong_usage(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: failed to {failure}");
            ExitCode::FAILURE
        }
    }
}

fn wrong_usage() -> ExitCode {
    eprint!("{HELP}");
    ExitCode::from(2)
}

/// Prints what the invariants forbid in the tree under `root`; whether it is clean.
fn tidy_tree(root: &Path) -> Result<bool, Failure> {
    let root =
        root.canonicalize().map_err(|error| Failure::new(format!("find the tree {}: {error}", root.display())))?;
    let findings = tidy::findings(&root)?;
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} findings", findings.len());
    Ok(findings.is_empty())
}

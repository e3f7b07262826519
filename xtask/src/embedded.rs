//! `cargo xtask train-embedded` and `eval-embedded`: the model that the program carries, from its corpus to its figures.
//!
//! Owns where the parts lie. What is learned is `madrigal-corpus`, how is `xtask/embedded/train.py` with the settings in
//! `models/embedded/training.json`, and what came of it `madrigal-evaluation` measures.

use std::path::Path;
use std::process::Command;

use crate::cargo;
use crate::check::succeeds;
use crate::failure::Failure;
use crate::python;

const SCRIPT: &str = "xtask/embedded/train.py";
const REQUIREMENTS: &str = "xtask/embedded/requirements.txt";
const SETTINGS: &str = "models/embedded/training.json";

/// What is shipped: the weights, and the log of how they came about.
const SHIPPED: [(&str, &str); 2] =
    [("embedded.gguf", "models/embedded/embedded.gguf"), ("training.jsonl", "models/embedded/training.jsonl")];

/// What the script says when it was broken off: the next call goes on from there.
const BROKEN_OFF: i32 = 3;

/// Trains the model anew, or goes on where a training was broken off; ships what comes out.
pub(crate) fn train(root: &Path) -> Result<bool, Failure> {
    let python = python::with(root, REQUIREMENTS)?;
    if !succeeds(cargo::command(root).args(["build", "--release", "--package", "madrigal-corpus"]))? {
        return Ok(false);
    }
    let target = cargo::target(root);
    let work = target.join("embedded");
    let mut training = Command::new(python);
    training.args(["-W", "ignore", SCRIPT, SETTINGS]).arg(target.join("release/madrigal-corpus")).arg(&work);
    // PyTorch gives large blocks back to the system and asks for them again, step after step, unless told not to.
    training.envs([("MALLOC_MMAP_THRESHOLD_", "4294967296"), ("MALLOC_TRIM_THRESHOLD_", "8589934592")]);
    println!("training in {}; Ctrl-C keeps what is done, and the same command goes on", work.display());
    let status = training.current_dir(root).status().map_err(|error| Failure::new(format!("run {SCRIPT}: {error}")))?;
    if status.code() == Some(BROKEN_OFF) {
        println!("broken off; `cargo xtask train-embedded` goes on");
        return Ok(false);
    }
    if !status.success() {
        return Ok(false);
    }
    for (from, to) in SHIPPED {
        let (from, to) = (work.join(from), root.join(to));
        std::fs::copy(&from, &to)
            .map_err(|error| Failure::new(format!("copy {} to {}: {error}", from.display(), to.display())))?;
        println!("{} is written anew", to.display());
    }
    Ok(true)
}

/// Measures the shipped model, and the one that it was rounded from where this tree has trained it.
pub(crate) fn evaluate(root: &Path, arguments: &[&str]) -> Result<bool, Failure> {
    let exact = cargo::target(root).join("embedded/model");
    let mut evaluation = cargo::command(root);
    evaluation.args(["run", "--release", "--package", "madrigal-evaluation", "--", "models/embedded/embedded.gguf"]);
    if exact.is_dir() {
        evaluation.arg(exact);
    }
    succeeds(evaluation.args(arguments))
}

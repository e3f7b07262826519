//! `cargo xtask parity`: tiny models with what transformers computes from them, for configurations that nobody tuned to.
//!
//! Owns where the models go. What they are is `xtask/parity/generate.py`; which versions
//! compute is `xtask/parity/requirements.txt` beside it.

use std::path::Path;
use std::process::Command;

use crate::cargo;
use crate::check::succeeds;
use crate::failure::Failure;
use crate::python;

const SCRIPT: &str = "xtask/parity/generate.py";
const REQUIREMENTS: &str = "xtask/parity/requirements.txt";

/// What the tests of the engine read.
const COMMITTED: &str = "testdata/parity-generated";

/// Makes the models in `target/parity/models`; with `write`, they replace the committed ones.
pub(crate) fn run(root: &Path, write: bool) -> Result<bool, Failure> {
    let python = python::with(root, REQUIREMENTS)?;
    let folder = cargo::target(root).join("parity");
    let models = folder.join("models");
    remove(&models)?;
    // Nothing is fetched: the models are made here.
    let offline = [("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"), ("CUDA_VISIBLE_DEVICES", "")];
    if !succeeds(Command::new(&python).arg(SCRIPT).arg(&models).envs(offline).current_dir(root))? {
        return Ok(false);
    }
    if write {
        let committed = root.join(COMMITTED);
        remove(&committed)?;
        copy(&models, &committed)?;
        println!("parity: {COMMITTED} is written anew");
    } else {
        println!("parity: {} is made; `cargo xtask parity --write` replaces {COMMITTED} by it", models.display());
    }
    Ok(true)
}

fn remove(folder: &Path) -> Result<(), Failure> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("remove {}: {error}", folder.display())))
        }
        _ => Ok(()),
    }
}

/// Copies a folder of folders of files.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("copy {} to {}: {error}", from.display(), to.display()));
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let (source, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).map_err(failed)?;
        if source.is_dir() {
            copy(&source, &target)?;
        } else {
            std::fs::copy(&source, &target).map_err(failed)?;
        }
    }
    Ok(())
}

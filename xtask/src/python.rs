//! The Python environment of tasks that compute with PyTorch.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::check::succeeds;
use crate::failure::Failure;

/// An interpreter that has what `requirements`, a file of this tree, names. All tasks share one environment.
pub(crate) fn with(root: &Path, requirements: &str) -> Result<PathBuf, Failure> {
    let environment = cargo::target(root).join("python");
    let python = environment.join("bin/python");
    if !python.exists() && !succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment))? {
        return Err(Failure::new(format!("create {}: it needs python3 with venv", environment.display())));
    }
    println!("{requirements} is installed into {}", environment.display());
    let installed = succeeds(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements])
            .current_dir(root),
    )?;
    if !installed {
        return Err(Failure::new(format!("install {requirements} from PyPI: it needs the network and 6 GB of disk")));
    }
    Ok(python)
}

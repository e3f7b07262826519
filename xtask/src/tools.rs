//! Tools that the checks need and a Rust toolchain does not bring: pinned, and kept under `target/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::check::succeeds;
use crate::failure::Failure;

/// From PyPI, where it is prebuilt.
const TYPOS: &str = "1.52.0";

/// Built from crates.io: there is no prebuilt package of a version that reads today's manifests.
const CARGO_DENY: &str = "0.20.2";

/// The spelling checker.
pub(crate) fn typos(root: &Path) -> Result<PathBuf, Failure> {
    let folder = cargo::target(root).join("tools").join(format!("typos-{TYPOS}"));
    let program = folder.join("bin/typos");
    if !program.exists() {
        let install = || -> Result<bool, Failure> {
            Ok(succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder))?
                && succeeds(Command::new(folder.join("bin/pip")).args([
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--only-binary=:all:",
                    &format!("typos=={TYPOS}"),
                ]))?)
        };
        if !install()? {
            return Err(Failure::new(format!(
                "install typos {TYPOS} from PyPI into {}: it needs python3 with venv and the network",
                folder.display()
            )));
        }
    }
    Ok(program)
}

/// The dependency checker.
pub(crate) fn cargo_deny(root: &Path) -> Result<PathBuf, Failure> {
    let tools = cargo::target(root).join("tools");
    let folder = tools.join(format!("cargo-deny-{CARGO_DENY}"));
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        // Unoptimised, it is built in half the time and checks in the same second.
        let installed = succeeds(
            cargo::command(root)
                .args(["install", "--quiet", "--locked", "--debug", "cargo-deny", "--version", CARGO_DENY, "--root"])
                .arg(&folder)
                .arg("--target-dir")
                .arg(tools.join("build")),
        )?;
        if !installed {
            return Err(Failure::new(format!("install cargo-deny {CARGO_DENY} into {}", folder.display())));
        }
        // What the build left behind is a gigabyte that nobody needs again.
        let _ = std::fs::remove_dir_all(tools.join("build"));
    }
    Ok(program)
}

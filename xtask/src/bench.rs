//! `cargo xtask bench`: the criterion benchmarks of every crate that has some, or of those whose names contain a word.
//!
//! Owns which packages have benchmarks. Whole models are measured by `madrigal model bench`.

use std::path::Path;

use crate::cargo;
use crate::check::succeeds;
use crate::failure::Failure;

/// Runs the benchmarks whose names contain `filter`; whether all ran.
pub(crate) fn run(root: &Path, filter: Option<&str>) -> Result<bool, Failure> {
    let metadata = cargo::metadata(root, &["--no-deps"])?;
    let mut command = cargo::command(root);
    command.arg("bench");
    for (package, bench) in benches(&metadata) {
        command.args(["--package", &package, "--bench", &bench]);
    }
    command.arg("--").args(filter);
    succeeds(&mut command)
}

/// Every benchmark with its package.
fn benches(metadata: &serde_json::Value) -> Vec<(String, String)> {
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap_or_default().to_owned();
    let mut benches = Vec::new();
    for package in list(&metadata["packages"]) {
        let targets = list(&package["targets"]);
        let of_package = targets.iter().filter(|target| list(&target["kind"]).contains(&"bench".into()));
        benches.extend(of_package.map(|target| (name(&package), name(target))));
    }
    benches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_benchmarks_of_this_workspace_are_found() {
        let metadata = cargo::metadata(&cargo::workspace_root(), &["--no-deps"]).unwrap();
        let benches = benches(&metadata);
        assert!(benches.contains(&("madrigal-kernels".to_owned(), "kernels".to_owned())), "{benches:?}");
    }
}

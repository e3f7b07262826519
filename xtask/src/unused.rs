//! Dependencies that nothing names: every one that a manifest declares must occur in the crate's code.
//!
//! A word that occurs is taken for a use; what is only named in a comment or a string is not. A dependency without a
//! word in the code (one that is there for its features) is listed where cargo-shear looks for it too:
//! `[package.metadata.cargo-shear] ignored = ["name"]`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cargo;
use crate::failure::Failure;
use crate::rust_text::RustText;

/// Prints the dependencies that nothing uses; whether there are none.
pub(crate) fn check(root: &Path) -> Result<bool, Failure> {
    let metadata = cargo::metadata(root, &["--locked"])?;
    let mut findings = Vec::new();
    let mut declared = BTreeSet::new();
    for package in cargo::array(&metadata, "packages") {
        if !package["source"].is_null() {
            continue;
        }
        declared.extend(cargo::array(package, "dependencies").iter().map(|dependency| cargo::text(dependency, "name")));
        findings.extend(unused_of(package, &metadata));
    }
    findings.extend(unused_of_workspace(root, &declared)?);
    for finding in &findings {
        println!("{finding}");
    }
    Ok(findings.is_empty())
}

fn unused_of(package: &Value, metadata: &Value) -> Vec<String> {
    let name = cargo::text(package, "name");
    let manifest = Path::new(cargo::text(package, "manifest_path"));
    let words = Words::of(manifest.parent().unwrap_or(manifest));
    let ignored = cargo::array(&package["metadata"]["cargo-shear"], "ignored");
    let nodes = cargo::array(&metadata["resolve"], "nodes");
    let Some(node) = nodes.iter().find(|node| node["id"] == package["id"]) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for dependency in cargo::array(node, "deps") {
        // The word for it in the code, whatever its package is called.
        let word = cargo::text(dependency, "name");
        if ignored.iter().any(|name| name.as_str().is_some_and(|name| name.replace('-', "_") == word)) {
            continue;
        }
        for kind in cargo::array(dependency, "dep_kinds") {
            let kind = kind["kind"].as_str();
            let says = match kind {
                Some("dev") if !words.anywhere.contains(word) => "nothing uses this dev-dependency",
                Some("build") if !words.build.contains(word) => "the build script does not use this build-dependency",
                None if !words.anywhere.contains(word) => "nothing uses this dependency",
                None if !words.product.contains(word) => {
                    "only tests use this dependency: it belongs to dev-dependencies"
                }
                _ => continue,
            };
            findings.push(format!("{name}: {word}: {says}"));
        }
    }
    findings
}

/// Entries of `[workspace.dependencies]` that no member takes.
fn unused_of_workspace(root: &Path, declared: &BTreeSet<&str>) -> Result<Vec<String>, Failure> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))
        .map_err(|error| Failure::new(format!("read the workspace's Cargo.toml: {error}")))?;
    let table: toml::Table =
        manifest.parse().map_err(|error| Failure::new(format!("understand the workspace's Cargo.toml: {error}")))?;
    let entries =
        table.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(toml::Value::as_table);
    let unused = entries.into_iter().flatten().filter(|(key, entry)| {
        let package = entry.get("package").and_then(toml::Value::as_str).unwrap_or(key);
        let is_member = entry.get("path").is_some();
        !is_member && !declared.contains(package)
    });
    Ok(unused.map(|(key, _)| format!("workspace: {key}: no crate takes this dependency")).collect())
}

/// The words of a crate's code, by where they stand.
#[derive(Default)]
struct Words {
    anywhere: BTreeSet<String>,
    /// Code that is compiled without tests.
    product: BTreeSet<String>,
    build: BTreeSet<String>,
}

impl Words {
    fn of(folder: &Path) -> Self {
        let mut words = Self::default();
        let mut open: Vec<PathBuf> =
            ["src", "tests", "benches", "examples", "build.rs"].iter().map(|part| folder.join(part)).collect();
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(
                    std::fs::read_dir(&path).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path()),
                );
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let in_src = path.starts_with(folder.join("src"));
                let is_build = path == folder.join("build.rs");
                let Ok(source) = std::fs::read_to_string(&path) else {
                    continue;
                };
                for token in RustText::new(&source).tokens() {
                    if in_src && !token.test {
                        words.product.insert(token.text.clone());
                    }
                    if is_build {
                        words.build.insert(token.text.clone());
                    }
                    words.anywhere.insert(token.text.clone());
                }
            }
        }
        words
    }
}

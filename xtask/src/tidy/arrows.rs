//! Which crate may depend on which: the arrows of ARCHITECTURE.md only go down.
//!
//! Looks at normal and build dependencies in the manifests; a test may use what it likes.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::Finding;
use crate::cargo;
use crate::failure::Failure;

const RULE: &str = "arrows";

/// Each crate with those right below it. A crate may also use whatever its own lower crates may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("madrigal", &["madrigal-server", "madrigal-meetup", "madrigal-swarm", "madrigal-dialogue", "madrigal-encoder"]),
    ("madrigal-server", &["madrigal-dialogue", "madrigal-swarm", "madrigal-agents", "madrigal-journal"]),
    ("madrigal-meetup", &["madrigal-dialogue", "madrigal-agents", "madrigal-journal"]),
    ("madrigal-swarm", &["madrigal-agents", "madrigal-sandbox", "madrigal-stats", "madrigal-journal"]),
    ("madrigal-dialogue", &["madrigal-agents", "madrigal-stats", "madrigal-sandbox", "madrigal-journal"]),
    ("madrigal-agents", &["madrigal-engine", "madrigal-voice", "madrigal-journal"]),
    ("madrigal-voice", &["madrigal-engine", "madrigal-journal"]),
    ("madrigal-encoder", &["madrigal-engine"]),
    ("madrigal-engine", &["madrigal-kernels"]),
    ("madrigal-kernels", &[]),
    ("madrigal-journal", &[]),
    ("madrigal-evaluation", &["madrigal-corpus", "madrigal-engine", "madrigal-sandbox"]),
    ("madrigal-corpus", &["madrigal-swarm"]),
    ("madrigal-sandbox", &[]),
    ("madrigal-stats", &[]),
];

/// Crates that bring HTTP types, and who may use them.
const HTTP: &[&str] = &["genai", "reqwest", "hyper", "axum"];
const HTTP_USERS: &[&str] = &["madrigal-agents", "madrigal-server", "madrigal"];

pub(super) fn findings(root: &Path) -> Result<Vec<Finding>, Failure> {
    if !root.join("Cargo.toml").exists() {
        return Ok(Vec::new());
    }
    let metadata = cargo::metadata(root, &["--no-deps"])?;
    let mut findings = Vec::new();
    for package in cargo::array(&metadata, "packages") {
        let name = cargo::text(package, "name");
        let manifest = Path::new(cargo::text(package, "manifest_path"));
        let path = manifest.strip_prefix(root).unwrap_or(manifest).to_string_lossy().replace('\\', "/");
        let Some(folder) = path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let mut add = |says: String| {
            findings.push(Finding { path: path.clone(), line: 0, rule: RULE, says });
        };
        if folder != name {
            add(format!("the crate is called {name}: a crate's folder bears its name, directly under crates/"));
        }
        if !ARROWS.iter().any(|(from, _)| *from == name) {
            add(format!(
                "{name} has no place among the arrows of ARCHITECTURE.md: give it one there and in xtask/src/tidy/arrows.rs"
            ));
            continue;
        }
        let allowed = below(name);
        for dependency in cargo::array(package, "dependencies") {
            if dependency.get("kind").and_then(Value::as_str) == Some("dev") {
                continue;
            }
            let on = cargo::text(dependency, "name");
            let is_ours = on == "madrigal" || on.starts_with("madrigal-");
            if is_ours && !allowed.contains(on) {
                add(format!("{name} depends on {on}: arrows only go down, and none leads there"));
            }
            if HTTP.contains(&on) && !HTTP_USERS.contains(&name) {
                add(format!("{name} depends on {on}: only {} speak HTTP", HTTP_USERS.join(", ")));
            }
        }
    }
    Ok(findings)
}

/// Every crate that can be reached from `name`.
fn below(name: &str) -> BTreeSet<&'static str> {
    let right_below = |name: &str| ARROWS.iter().find(|(from, _)| *from == name).map_or(&[][..], |(_, to)| *to);
    let mut reached = BTreeSet::new();
    let mut open: Vec<&'static str> = right_below(name).to_vec();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(right_below(next));
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_arrow_goes_up_or_round() {
        for (from, _) in ARROWS {
            assert!(!below(from).contains(from), "{from} reaches itself");
        }
    }

    #[test]
    fn what_does_arithmetic_never_reaches_the_journal() {
        for name in ["madrigal-kernels", "madrigal-engine", "madrigal-stats", "madrigal-sandbox"] {
            assert!(!below(name).contains("madrigal-journal"), "{name}");
        }
    }
}

//! What no file of the tree may say: the paths of one machine, and registries that only one network can reach.

use super::{File, Finding};

const MACHINE_PATH: &str = "machine-path";
const REGISTRY: &str = "registry";

/// Folders that mean something on one machine only. Written in two halves so that this file passes its own rule.
const HOMES: &[(&str, &str)] = &[("/ho", "me/"), ("/ro", "ot/"), ("/Us", "ers/"), ("/wo", "rk/")];

/// Where a lock file may say that its packages come from.
const REGISTRIES: &[&str] =
    &["github.com/rust-lang/crates.io-index", "registry.npmjs.org", "pypi.org", "files.pythonhosted.org"];

/// Files that say where packages come from.
const LOCKS: &[&str] =
    &["Cargo.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml", "uv.lock", "poetry.lock", ".npmrc", "pip.conf"];

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let Some(text) = &file.text else {
        return Vec::new();
    };
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let is_lock = LOCKS.contains(&name) || (name.starts_with("requirements") && name.ends_with(".txt"));
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if let Some(home) = home_path(line) {
            findings.push(file.finding(
                number,
                MACHINE_PATH,
                format!("`{home}` is a path of one machine: make it relative or configurable"),
            ));
        }
        if is_lock {
            findings.extend(foreign_hosts(file, line, number));
        }
    }
    findings
}

/// The first path in `line` that starts in a home folder.
fn home_path(line: &str) -> Option<&str> {
    for (first, second) in HOMES {
        let home = format!("{first}{second}");
        for (at, _) in line.match_indices(&home) {
            let starts_a_path = !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~/}".contains(c));
            let rest = &line[at..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "._-/".contains(c))).unwrap_or(rest.len());
            if starts_a_path && end > home.len() {
                return Some(&rest[..end]);
            }
        }
    }
    None
}

fn foreign_hosts(file: &File, line: &str, number: usize) -> Vec<Finding> {
    line.match_indices("://")
        .map(|(at, separator)| &line[at + separator.len()..])
        .filter(|address| !REGISTRIES.iter().any(|registry| address.starts_with(registry)))
        // What a package says about its own home page and sponsors is not where it comes from.
        .filter(|_| ["resolved", "source", "registry", "index"].iter().any(|word| line.contains(word)))
        .map(|address| {
            let host = address.split(['/', '"']).next().unwrap_or_default();
            file.finding(
                number,
                REGISTRY,
                format!("packages come from {host}: use the public registries ({})", REGISTRIES.join(", ")),
            )
        })
        .collect()
}

//! The invariants of ARCHITECTURE.md, checked over a tree.
//!
//! Owns reading the tree, the findings and the exceptions; the rules themselves are one file per kind of thing that
//! they look at. Does not own style that rustfmt, clippy and rustdoc know already.

mod arrows;
mod claims;
mod exceptions;
mod names;
mod source;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;
use crate::rust_text::RustText;

/// Something that an invariant forbids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, relative to the root of the tree, with forward slashes.
    path: String,
    /// The line, from 1; 0 where the whole file is meant.
    line: usize,
    /// The name of the rule, for exceptions.
    rule: &'static str,
    /// What is wrong, and what to do.
    says: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, line, rule, says } = self;
        match line {
            0 => write!(f, "{path}: {says} [{rule}]"),
            line => write!(f, "{path}:{line}: {says} [{rule}]"),
        }
    }
}

/// A file of the tree.
struct File {
    path: String,
    /// Its text; `None` for what is not UTF-8 (weights, pictures).
    text: Option<String>,
    /// Its tokens, where it is Rust.
    rust: Option<RustText>,
    /// Whether all of it is compiled for tests only.
    for_tests: bool,
}

impl File {
    /// The folder under `crates/` that the file belongs to.
    fn crate_name(&self) -> Option<&str> {
        self.path.strip_prefix("crates/")?.split('/').next()
    }

    fn finding(&self, line: usize, rule: &'static str, says: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, rule, says: says.into() }
    }
}

/// Everything in the tree under `root` that an invariant forbids.
pub(crate) fn findings(root: &Path) -> Result<Vec<Finding>, Failure> {
    let files = read(root)?;
    let mut findings = arrows::findings(root)?;
    findings.extend(claims::findings(&files));
    for file in &files {
        findings.extend(names::findings(file));
        findings.extend(text::findings(file));
        findings.extend(source::findings(file));
    }
    let mut findings = exceptions::apply(&files, findings)?;
    findings.sort();
    Ok(findings)
}

fn read(root: &Path) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    for path in paths(root)? {
        let full = root.join(&path);
        // A file that is deleted but not yet committed is still listed.
        let Ok(bytes) = std::fs::read(&full) else {
            continue;
        };
        let text = String::from_utf8(bytes).ok();
        let rust = text.as_deref().filter(|_| path.ends_with(".rs")).map(RustText::new);
        let for_tests = ["/tests/", "/benches/", "/examples/"].iter().any(|folder| {
            let beside_src = path.split_once("/src/").map_or(path.as_str(), |(before, _)| before);
            format!("{beside_src}/").contains(folder)
        });
        files.push(File { path, text, rust, for_tests });
    }
    let declared: Vec<String> = files.iter().flat_map(test_module_files).collect();
    for file in &mut files {
        file.for_tests |= declared.iter().any(|module| {
            file.path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        });
    }
    Ok(files)
}

/// The paths, without `.rs`, of the modules that a file declares for tests only.
fn test_module_files(file: &File) -> Vec<String> {
    let Some(rust) = &file.rust else {
        return Vec::new();
    };
    let folder = match file.path.rsplit_once('/') {
        Some((folder, "mod.rs" | "lib.rs" | "main.rs")) => folder,
        _ => file.path.trim_end_matches(".rs"),
    };
    rust.test_modules().iter().map(|module| format!("{folder}/{module}")).collect()
}

/// The files that belong to the tree: what git tracks or would track; without git, everything but build outputs.
fn paths(root: &Path) -> Result<Vec<String>, Failure> {
    if root.join(".git").exists() {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])
            .current_dir(root)
            .output()
            .map_err(|error| Failure::new(format!("run git ls-files in {}: {error}", root.display())))?;
        if !listed.status.success() {
            return Err(Failure::new(format!(
                "list the files of {}: {}",
                root.display(),
                String::from_utf8_lossy(&listed.stderr).trim()
            )));
        }
        let names = String::from_utf8_lossy(&listed.stdout);
        return Ok(names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect());
    }
    let mut paths = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root.join(&folder))
            .map_err(|error| Failure::new(format!("list {}: {error}", root.join(&folder).display())))?;
        for entry in entries.filter_map(Result::ok) {
            let path = folder.join(entry.file_name());
            if !entry.path().is_dir() {
                paths.push(path.to_string_lossy().replace('\\', "/"));
            } else if entry.file_name() != "target" {
                folders.push(path);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

//! Persona files on the disk: reading what is given, writing what was made, saying what could be better.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use madrigal_agents::persona::{self, Severity};
use serde_json::{Value, json};

use crate::failure::{Context, Failure, Result};
use crate::output::{self, DIM, neutral};

/// The bytes of a regular file, at most one more than `most`; `what` stands in errors.
pub(super) fn read(path: &Path, most: usize, what: &str) -> Result<Vec<u8>> {
    let doing = format!("read the {what} {}", path.display());
    // A pipe could keep us waiting for ever.
    if !fs::metadata(path).doing(&doing)?.is_file() {
        return Err(Failure::of(format_args!("{doing}: it is not a regular file")));
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes)).doing(&doing)?;
    Ok(bytes)
}

/// Where a new persona goes where nobody says: `personas/`, which is where personas are looked for.
pub(super) fn usual_path(name: &str) -> PathBuf {
    Path::new("personas").join(format!("{}.md", stem(name)))
}

/// A name as a file's name: `Dr. Ada Lovelace` becomes `dr-ada-lovelace`.
fn stem(name: &str) -> String {
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "persona".to_owned() } else { words.join("-") }
}

/// Writes a persona file, and says where it is and what could be better.
pub(super) fn write(path: &Path, markdown: &str, force: bool, notes: &[String], json: bool) -> Result {
    let shown = path.display().to_string();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).doing(format_args!("make the folder {}", folder.display()))?;
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    match options.open(path).and_then(|mut file| file.write_all(markdown.as_bytes())) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(Failure::of(format_args!(
                "write the persona {shown}: the file exists; name another one by --out"
            )));
        }
        Err(error) => return Err(Failure::of(format_args!("write the persona {shown}: {error}"))),
    }
    let findings = persona::check(markdown, &shown);
    let broken = findings.iter().any(|finding| finding.severity == Severity::Error);
    for note in notes {
        anstream::eprintln!("{DIM}note: {}{DIM:#}", neutral(note));
    }
    for finding in &findings {
        anstream::eprintln!("{DIM}{}{DIM:#}", neutral(&located(&shown, finding)));
    }
    if json {
        let findings: Vec<Value> = findings.iter().map(finding_json).collect();
        output::print_json(&json!({ "file": shown, "notes": notes, "findings": findings })).doing("print")?;
    } else {
        output::print(format!("{}\n", neutral(&shown))).doing("print")?;
        anstream::eprintln!("{DIM}seat it: madrigal talk {}@MODEL doctor{DIM:#}", neutral(&shown));
    }
    if broken {
        Err(Failure::of(format_args!("make a usable persona: see what is wrong with {shown}")))
    } else {
        Ok(())
    }
}

/// `FILE:LINE: warning: …`, as editors read it.
pub(super) fn located(file: &str, finding: &persona::Finding) -> String {
    match finding.line {
        Some(line) => format!("{file}:{line}: {}: {}", finding.severity, finding.text),
        None => format!("{file}: {}: {}", finding.severity, finding.text),
    }
}

/// A finding for machines.
pub(super) fn finding_json(finding: &persona::Finding) -> Value {
    json!({ "line": finding.line, "severity": finding.severity.to_string(), "text": finding.text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_file_names() {
        let cases = [
            ("Dr. Ada Lovelace", "dr-ada-lovelace"),
            ("../../etc/passwd", "etc-passwd"),
            ("Émile 7", "émile-7"),
            ("…", "persona"),
            ("", "persona"),
        ];
        for (name, expected) in cases {
            assert_eq!(stem(name), expected, "{name:?}");
        }
    }
}

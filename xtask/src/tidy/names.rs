//! No crate, module or file has a name that says nothing.

use super::{File, Finding};

const RULE: &str = "names";

const EMPTY: &[&str] = &["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc", "imp"];

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_code = file.rust.is_some();
    let parts: Vec<&str> = file.path.split('/').collect();
    // Data keeps the names it came with.
    let named = if parts[0] == "testdata" { 1 } else { parts.len() };
    for (part, rest) in parts[..named].iter().zip((0..parts.len()).rev()) {
        let stem = part.trim_start_matches('.').split('.').next().unwrap_or(part);
        // A document may be about a product manager.
        let empty = if rest > 0 || is_code { says_nothing(stem) } else { EMPTY.contains(&stem) };
        if empty {
            findings.push(file.finding(
                0,
                RULE,
                format!("`{part}` says nothing about what is inside: name the subject"),
            ));
        }
    }
    if let Some(rust) = &file.rust {
        for pair in rust.tokens().windows(3) {
            let [word, name, open] = pair else { continue };
            // A module in a file of its own is found by the file's name.
            if word.text == "mod" && open.text == "{" && says_nothing(&name.text) {
                findings.push(file.finding(
                    name.line,
                    RULE,
                    format!("module `{}` says nothing about what is inside: name the subject", name.text),
                ));
            }
        }
    }
    findings
}

/// Whether a name is one of the empty words, or ends in one (`string_utils`).
fn says_nothing(name: &str) -> bool {
    name.rsplit(['_', '-']).next().is_some_and(|last| EMPTY.contains(&last.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_words_count_alone_or_at_the_end() {
        let cases = [
            ("common", true),
            ("string_utils", true),
            ("madrigal-util", true),
            ("Helpers", true),
            ("common_prefix", false),
            ("utility_function", false),
            ("imported", false),
        ];
        for (name, empty) in cases {
            assert_eq!(says_nothing(name), empty, "{name}");
        }
    }
}

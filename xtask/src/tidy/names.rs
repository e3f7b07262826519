//! No crate, module or file has a name that says nothing.

use super::{File, Finding};

const RULE: &str = "names";

const EMPTY: &[&str] = &[
    "common", "util", "utils", "helper", "helpers", "manager", "managers", "misc", "imp",
];

pub(super) fn findings(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let parts: Vec<&str> = file.path.split('/').collect();
    for (at, part) in parts.iter().enumerate() {
        let is_file = at + 1 == parts.len();
        // Data keeps the names it came with.
        if parts[0] == "testdata" && at > 0 {
            break;
        }
        let stem = if is_file {
            part.split('.')
                .find(|stem| !stem.is_empty())
                .unwrap_or(part)
        } else {
            part
        };
        if says_nothing(stem) {
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
                    format!(
                        "module `{}` says nothing about what is inside: name the subject",
                        name.text
                    ),
                ));
            }
        }
    }
    findings
}

/// Whether a name is one of the empty words, or ends in one (`string_utils`).
fn says_nothing(name: &str) -> bool {
    name.rsplit(['_', '-'])
        .next()
        .is_some_and(|last| EMPTY.contains(&last.to_ascii_lowercase().as_str()))
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

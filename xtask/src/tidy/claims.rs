//! Guarantees that a document claims are shown by tests that exist.
//!
//! A Markdown table whose last column is headed `test` holds the names of test functions there, each between backticks.

use std::collections::BTreeSet;

use super::{File, Finding};

const RULE: &str = "claims";

pub(super) fn findings(files: &[File]) -> Vec<Finding> {
    let functions: BTreeSet<&str> = files
        .iter()
        .filter_map(|file| Some((file, file.rust.as_ref()?)))
        .flat_map(|(file, rust)| {
            let pairs = rust.tokens().windows(2);
            pairs
                .filter(|pair| pair[0].text == "fn" && (pair[0].test || file.for_tests))
                .map(|pair| pair[1].text.as_str())
        })
        .collect();
    let documents = files.iter().filter(|file| file.path.ends_with(".md"));
    documents.flat_map(|file| claims_without_test(file, &functions)).collect()
}

fn claims_without_test(file: &File, functions: &BTreeSet<&str>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut in_table = false;
    for (line, number) in file.text.as_deref().unwrap_or_default().lines().zip(1..) {
        let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let last = row.rsplit('|').next().unwrap_or_default().trim();
        if !in_table {
            in_table = last == "test";
            continue;
        }
        let names: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if names.is_empty() && !last.starts_with("---") {
            findings.push(file.finding(number, RULE, "no test is named that shows it"));
        }
        for name in names.iter().filter(|name| !functions.contains(*name)) {
            findings.push(file.finding(number, RULE, format!("there is no test `{name}`")));
        }
    }
    findings
}

//! The exceptions from the invariants: `xtask/exceptions.toml`, each with the rule, the file and the reason.
//!
//! An exception that nothing needs any more is a finding itself, so the list can only shrink by itself or grow in review.

use super::{File, Finding};
use crate::failure::Failure;

const LIST: &str = "xtask/exceptions.toml";
const RULE: &str = "exceptions";

/// Takes out of `findings` what the tree's list excepts, and adds what is wrong with the list.
pub(super) fn apply(files: &[File], findings: Vec<Finding>) -> Result<Vec<Finding>, Failure> {
    let Some(list) = files.iter().find(|file| file.path == LIST) else {
        return Ok(findings);
    };
    let table: toml::Table = list
        .text
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| Failure::new(format!("read {LIST}: {error}")))?;
    let mut left = findings;
    for entry in table.get("exception").and_then(toml::Value::as_array).into_iter().flatten() {
        let field = |key: &str| entry.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        let (rule, path, reason) = (field("rule"), field("path"), field("reason"));
        if rule.is_empty() || path.is_empty() || reason.is_empty() {
            left.push(list.finding(0, RULE, format!("an exception needs rule, path and reason; one has rule \"{rule}\", path \"{path}\", reason \"{reason}\"")));
            continue;
        }
        let before = left.len();
        left.retain(|finding| !(finding.rule == rule && finding.path == path));
        if left.len() == before {
            left.push(list.finding(
                0,
                RULE,
                format!("{path} no longer needs its exception from `{rule}`: take it out"),
            ));
        }
    }
    Ok(left)
}

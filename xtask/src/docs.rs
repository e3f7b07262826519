//! Documents that are generated from the program, so that they cannot drift from it.

use std::path::Path;

use crate::cargo;
use crate::failure::Failure;

/// The command line reference, written by the program itself.
const CLI_REFERENCE: &str = "docs/cli.md";

/// Writes every generated document.
pub(crate) fn write(root: &Path) -> Result<(), Failure> {
    let text = cli_reference(root)?;
    std::fs::write(root.join(CLI_REFERENCE), text)
        .map_err(|error| Failure::new(format!("write {CLI_REFERENCE}: {error}")))?;
    println!("wrote {CLI_REFERENCE}");
    Ok(())
}

/// Whether every generated document is what would be written now.
pub(crate) fn compare(root: &Path) -> Result<bool, Failure> {
    let now = cli_reference(root)?;
    let kept = std::fs::read_to_string(root.join(CLI_REFERENCE)).unwrap_or_default();
    let Some(line) = first_difference(&kept, &now) else {
        return Ok(true);
    };
    println!("{CLI_REFERENCE}:{line} is not what the program says now: run `cargo xtask docs` and commit the file");
    Ok(false)
}

fn cli_reference(root: &Path) -> Result<String, Failure> {
    let mut command = cargo::command(root);
    // Help shows the values of its variables; what happens to be set here is no part of the reference.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("MADRIGAL_")) {
        command.env_remove(name);
    }
    let output = command
        .args(["run", "--quiet", "--locked", "--package", "madrigal", "--", "cli-reference"])
        .env("NO_COLOR", "1")
        // Where no terminal says how wide it is, help is wrapped to this.
        .env("COLUMNS", "100")
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("run madrigal cli-reference: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || text.is_empty() {
        return Err(Failure::new(format!("write {CLI_REFERENCE}: `madrigal cli-reference` printed nothing or failed")));
    }
    Ok(text)
}

/// The first line, from 1, in which two texts differ.
fn first_difference(kept: &str, now: &str) -> Option<usize> {
    if kept == now {
        return None;
    }
    let same = kept.split('\n').zip(now.split('\n')).take_while(|(kept, now)| kept == now).count();
    Some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let cases =
            [("a\nb\n", "a\nb\n", None), ("", "a\n", Some(1)), ("a\nb\n", "a\nc\n", Some(2)), ("a\n", "a", Some(2))];
        for (kept, now, line) in cases {
            assert_eq!(first_difference(kept, now), line, "{kept:?} {now:?}");
        }
    }
}

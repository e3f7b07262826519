//! Asking whoever sits at the terminal before something is gone, or much is built.

use std::io::{IsTerminal, Write};

use crate::failure::{Context, Failure, Result};

/// Whether `what` may be deleted; an error where nobody can be asked.
pub(crate) fn may_delete(what: &str) -> Result<bool> {
    may(&format!("Delete {what}?"))
}

/// Whether `what` may be built; an error where nobody can be asked.
pub(crate) fn may_build(what: &str) -> Result<bool> {
    may(&format!("Build {what}?"))
}

fn may(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::wrong(format!("{question} Nobody is here to be asked; use --yes")));
    }
    anstream::eprint!("{question} [y/N] ");
    std::io::stderr().flush().doing("ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).doing("read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

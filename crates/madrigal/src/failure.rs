//! How a command fails: one clear line on stderr, and an exit code.

use std::fmt::Display;
use std::process::ExitCode;

/// What a command returns.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// `None` where everything has been said already.
    message: Option<String>,
}

impl Failure {
    /// The work failed. `error` completes "failed to …".
    pub(crate) fn of(error: impl Display) -> Self {
        Self { code: 1, message: Some(format!("failed to {error}")) }
    }

    /// The command was used wrongly. `error` completes "failed to …".
    pub(crate) fn usage(error: impl Display) -> Self {
        Self { code: 2, message: Some(format!("failed to {error}")) }
    }

    /// The command was used wrongly; the message stands as it is.
    pub(crate) fn wrong(message: impl Into<String>) -> Self {
        Self { code: 2, message: Some(message.into()) }
    }

    /// The work failed; the message stands as it is.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: 1, message: Some(message.into()) }
    }

    /// The work failed and the reason has been printed.
    pub(crate) fn said() -> Self {
        Self { code: 1, message: None }
    }

    /// The text of the failure, if it has not been printed.
    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// Prints the failure and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(message) = &self.message {
            let one_line = message.replace('\n', " ");
            anstream::eprintln!("{}error{:#}: {one_line}", crate::output::RED, crate::output::RED);
        }
        ExitCode::from(self.code)
    }
}

/// Fails with the cause and what was being done.
pub(crate) trait Context<T> {
    /// Turns the error into a [`Failure`] that says what was being done.
    fn doing(self, what: impl Display) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T> {
        self.map_err(|error| Failure::of(format!("{what}: {error}")))
    }
}

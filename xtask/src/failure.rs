//! What ends a task of this program: one sentence for the developer who ran it.

/// Completes "failed to …".
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure to do what `what` says.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

//! A text of the corpus, in parts: what is learned, and what only stands before it.

use serde::Serialize;

/// A text in parts. Markup is written as the model's chat template writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Document {
    /// Each with whether it is learned.
    segments: Vec<(String, bool)>,
}

impl Document {
    /// Adds what is given.
    pub(crate) fn given(&mut self, text: impl Into<String>) {
        self.segments.push((text.into(), false));
    }

    /// Adds what is learned.
    pub(crate) fn learned(&mut self, text: impl Into<String>) {
        self.segments.push((text.into(), true));
    }

    /// Adds a message that is given.
    pub(crate) fn hears(&mut self, role: &str, text: &str) {
        self.given(format!("<|im_start|>{role}\n{text}<|im_end|>\n"));
    }

    /// Adds a message of the model's own.
    pub(crate) fn says(&mut self, text: &str) {
        self.given("<|im_start|>assistant\n");
        self.learned(format!("{text}<|im_end|>"));
        self.given("\n");
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> String {
        self.segments.iter().map(|(text, _)| text.as_str()).collect()
    }

    #[cfg(test)]
    pub(crate) fn segments(&self) -> impl Iterator<Item = (&str, bool)> {
        self.segments.iter().map(|(text, learned)| (text.as_str(), *learned))
    }
}

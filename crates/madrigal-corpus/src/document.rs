//! A text of the corpus, in parts: what is learned, and what only stands before it.

use serde::Serialize;

/// A text in parts. Markup is written as the model's chat template writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Each with whether it is learned.
    segments: Vec<(String, bool)>,
}

impl Document {
    /// Adds what is given.
    pub fn given(&mut self, text: impl Into<String>) {
        self.segments.push((text.into(), false));
    }

    /// Adds what is learned.
    pub fn learned(&mut self, text: impl Into<String>) {
        self.segments.push((text.into(), true));
    }

    /// Adds a message that is given.
    pub fn hears(&mut self, role: &str, text: &str) {
        self.given(format!("<|im_start|>{role}\n{text}<|im_end|>\n"));
    }

    /// Adds a message of the model's own.
    pub fn says(&mut self, text: &str) {
        self.given("<|im_start|>assistant\n");
        self.learned(format!("{text}<|im_end|>"));
        self.given("\n");
    }

    /// All of it.
    #[must_use]
    pub fn text(&self) -> String {
        self.segments.iter().map(|(text, _)| text.as_str()).collect()
    }

    /// Its parts, each with whether it is learned.
    pub fn segments(&self) -> impl Iterator<Item = (&str, bool)> {
        self.segments.iter().map(|(text, learned)| (text.as_str(), *learned))
    }
}

/// A message of a talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The seat; nobody where the program itself puts it before everyone.
    pub speaker: Option<usize>,
    /// What was said.
    pub text: String,
}

/// A talk as the one in `seat` hears it: where more than two talk, others stand behind their names.
pub fn heard_by(seat: usize, prompt: &str, names: &[&str], opening: Option<&str>, messages: &[Message]) -> Document {
    let mut document = Document::default();
    document.hears("system", prompt);
    if let Some(opening) = opening {
        document.hears("user", opening);
    }
    for Message { speaker, text } in messages {
        match speaker {
            Some(speaker) if *speaker == seat => document.says(text),
            Some(speaker) if names.len() > 2 => document.hears("user", &format!("{}: {text}", names[*speaker])),
            _ => document.hears("user", text),
        }
    }
    document
}

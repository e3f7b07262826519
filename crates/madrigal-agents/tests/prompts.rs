//! The prompts of local models: against whole renderings, against other people's ids, and against hostile words.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixtures;
mod prompt;

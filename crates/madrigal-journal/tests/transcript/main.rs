//! Transcripts as their readers see them: of a small run with hostile texts, and of any run at all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod any_run;
mod formats;
mod runs;

//! Local chat models and people at the table.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixtures;
mod local;

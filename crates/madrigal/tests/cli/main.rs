//! The built program, used as people and machines use it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod crash;
mod embedded;
mod flags;
mod machine;
mod people;
mod place;
mod reproducible;

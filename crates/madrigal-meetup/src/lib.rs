//! Agents of different machines at one table.
//!
//! Owns the wire between a proxy and its agents (`docs/protocol.md`): what lines, frames and greetings mean, and what becomes of
//! connections. It opens none by itself.

pub mod agent;
pub mod connection;
pub mod frame;
pub mod greeting;
pub mod hall;
pub mod line;
pub mod lines;
pub mod meeting;
pub mod peer;

pub use frame::{Frame, FrameError};
pub use greeting::{Greeting, Iam};
pub use lines::{Lines, Received};

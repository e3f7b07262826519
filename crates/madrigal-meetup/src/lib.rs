//! Agents of different machines at one table.
//!
//! Owns the wire between a proxy and its agents (`docs/protocol.md`): what lines, frames and greetings mean. It opens no
//! connection by itself.

pub mod frame;
pub mod greeting;
pub mod lines;

pub use frame::{Frame, FrameError};
pub use greeting::{Greeting, Iam};
pub use lines::{Line, Lines};

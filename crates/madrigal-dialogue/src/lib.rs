//! The conversation loop: who speaks, what a control word does, when it stops, and what is recorded.
//!
//! Owns the order of things in a conversation. Does not own how an agent answers (`madrigal-agents`), how events are
//! written (`madrigal-journal`), or what a person sees: everything shown is derived from [`Happening`]s and events.
//!
//! Running, resuming, forking and verifying are one loop with a different [`Record`]: what the record already holds
//! is taken from it, what it does not hold is made and written.

pub mod config;
pub mod conversation;
pub mod fork;
pub mod policy;
pub mod record;
pub mod seat;
pub mod seed_prompt;
pub mod stop;
pub mod verify;

pub use config::{AgentConfig, ConversationConfig};
pub use conversation::{Conversation, ConversationError, Happening, Interrupt, Listening, Outcome};
pub use record::Record;
pub use seat::Seat;

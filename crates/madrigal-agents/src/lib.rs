//! Who takes part in a conversation: personas, chat models (local, remote, scripted, human, tape) and context windows.
//!
//! Owns what an agent *is* and how it answers. Does not own who speaks when, when a conversation stops, or how it
//! is recorded: that is `madrigal-dialogue`.

pub mod agent_spec;
pub mod base_url;
pub mod chat_model;
pub mod chat_models;
pub mod context;
pub mod control;
pub mod model_name;
pub mod persona;
pub mod sampling;

pub mod prompt;

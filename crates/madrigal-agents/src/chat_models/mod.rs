//! The implementors of [`crate::chat_model::ChatModel`], one file each.

pub mod remote;
#[doc(hidden)]
pub mod conformance;
pub mod scripted;
pub mod tape;
pub mod human;
pub mod local;

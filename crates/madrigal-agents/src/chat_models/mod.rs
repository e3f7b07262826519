//! The implementors of [`crate::chat_model::ChatModel`], one file each.

#[doc(hidden)]
pub mod conformance;
pub mod human;
pub mod local;
pub mod remote;
pub mod scripted;
pub mod tape;

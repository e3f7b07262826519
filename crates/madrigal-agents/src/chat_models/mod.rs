//! The implementors of [`crate::chat_model::ChatModel`], one file each.

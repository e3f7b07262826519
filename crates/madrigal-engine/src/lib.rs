//! One language model, many rows: weights, tokenizers, chat templates, the KV cache, the scheduler and sampling.
//!
//! The engine knows no persona, no conversation and no journal: it reads token ids and gives logits, tokens and text.

pub mod gguf;
pub mod mapped_file;

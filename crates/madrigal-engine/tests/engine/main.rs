//! What the engine promises: parity with transformers, batch invariance, forks, stop texts, sampling, clear errors.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod batching;
mod constraint;
mod embedding;
mod fixtures;
mod gguf_files;
mod kept;
mod listening;
mod mixtures;
mod model_files;
mod parity;
mod parity_generated;
mod prefixes;
mod sampling;
mod sequences;
mod voices;

//! One language model, many rows: weights, tokenizers, chat templates, the KV cache, the scheduler and sampling.
//!
//! The engine knows no persona, no conversation and no journal: it reads token ids and gives logits, tokens and text.

mod arch;
pub mod constraint;
pub mod engine;
pub mod gguf;
pub mod hyperparameters;
mod kv;
pub mod mapped_file;
pub mod model;
pub mod sampling;
pub mod template;
pub mod tokenizer;
pub mod voice;
pub mod weights;

pub use constraint::{Constraint, ConstraintError, Grammar};
pub use engine::{
    DEFAULT_PREFIX_CACHE, Engine, EngineError, EngineOptions, Finish, GenerateEvent, GenerateRequest, Generated,
    Generation, KeptKvError, Listener, MemoryBudget, MemoryReport, Pooling, Positions, Sequence, SequenceId, Surprise,
    VoiceFrom,
};
pub use madrigal_kernels::{Half, Isa, Kernels, KvType, Precision};
pub use model::{Model, ModelInfo, OpenError};
pub use sampling::{DrawKey, SamplerConfig, SamplerError};
pub use voice::{Delta, LogitFilter, Lora, Part, Routed, Voice, VoiceError};

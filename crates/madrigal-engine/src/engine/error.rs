//! Why an engine cannot start or answer.

use madrigal_kernels::KernelsError;

use crate::constraint::ConstraintError;
use crate::sampling::SamplerError;
use crate::voice::VoiceError;

/// Why an engine cannot start or answer. Completes "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The window asked for is none, or longer than the model's.
    #[error("open a window of {context} tokens: the model's has {longest}; ask for 1 to {longest}")]
    Context {
        /// What was asked for.
        context: usize,
        /// The model's window.
        longest: usize,
    },
    /// The kernels cannot run.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// There is no memory for the weights.
    #[error(transparent)]
    Packing(#[from] crate::weights::PackingError),
    /// The weights alone pass the memory limit.
    #[error(
        "load the weights: they take {weights} bytes, the memory limit is {limit}, of which {available} are left; raise it or take a smaller model"
    )]
    Weights {
        /// What they take.
        weights: u64,
        /// The limit.
        limit: u64,
        /// What other models leave of it.
        available: u64,
    },
    /// The system refused a thread.
    #[error("start the engine's thread: {source}")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },
    /// A voice was made for another model.
    #[error(transparent)]
    Voice(#[from] VoiceError),
    /// A voice acts on layers whose keys and values all voices share.
    #[error(
        "use a voice that acts from layer {first} on: the layers below {shared} are shared by all voices; start the engine with fewer shared layers"
    )]
    SharedLayers {
        /// The first layer that the voice acts on.
        first: usize,
        /// How many are shared.
        shared: usize,
    },
    /// A listener that cannot listen.
    #[error(
        "let listener {listener} listen: it must be an open sequence of this engine, not the speaker and not named twice"
    )]
    Listener {
        /// Which of the request's listeners, from 0.
        listener: usize,
    },
    /// There is nothing to continue.
    #[error("read the prompt: it has no tokens")]
    EmptyPrompt,
    /// A token that the model does not have.
    #[error("read the prompt: token {id} is outside of the vocabulary of {vocabulary}")]
    Token {
        /// The token.
        id: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// The prompt leaves no room in the window.
    #[error("read the prompt: it has {tokens} tokens, the window of {window} has room for {room}; shorten it")]
    Window {
        /// Its length.
        tokens: usize,
        /// The window.
        window: usize,
        /// The longest prompt that this request may have.
        room: usize,
    },
    /// The KV blocks would pass the memory limit.
    #[error(
        "keep the context in memory: {needed} bytes are needed and {available} are left of the memory limit; raise it, use fewer sequences or fewer tokens"
    )]
    Memory {
        /// What the request would take.
        needed: u64,
        /// What is left.
        available: u64,
    },
    /// The system has no memory for the KV blocks.
    #[error(
        "keep the context in memory: the system does not give {needed} bytes; use fewer sequences or fewer tokens, or a smaller model"
    )]
    Allocation {
        /// What all blocks would take.
        needed: u64,
    },
    /// The model computed no number.
    #[error("compute the logits after token {position}: they are not finite; the weights are damaged or overflow")]
    NotFinite {
        /// The place of the token in its sequence, from 0.
        position: usize,
    },
    /// The text cannot keep its constraint.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// No token can be drawn.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// The engine's thread is gone.
    #[error("reach the engine: its thread has stopped")]
    Stopped,
}

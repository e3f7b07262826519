//! What makes a row of a batch sound like somebody: a linear delta on some of the model's products, and a filter of its
//! logits.
//!
//! Owns the traits that a voice plugs in with, its content digest, and the check that it fits a model. Which rows have
//! which voice is decided by `engine`; where deltas are added stands in `arch`; how voices are trained is no business of
//! this crate.
//!
//! # Digests
//! Keys and values that were read under a delta serve no other delta. They are told apart by [`Voice::delta_digest`],
//! which must cover all that [`Delta::add`] depends on: weights, strength, blend.

mod bias;
mod lora;
mod peft;
mod routed;

use std::fmt::Debug;
use std::sync::Arc;

use madrigal_kernels::RowKernels;
use sha2::{Digest, Sha256};

pub use bias::BiasList;
pub use lora::{Lora, LoraError, LoraSite};
pub use peft::PeftError;
pub use routed::{HeadWeights, Routed, RoutedError};

use crate::hyperparameters::Hyperparameters;

/// A product of a layer to which a delta may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The queries of all heads, before they are rotated or normalised.
    Query,
    /// The keys of all heads, before they are rotated or normalised.
    Key,
    /// The values of all heads.
    Value,
    /// What the attention adds to the residual stream.
    Output,
    /// The gate of the feed-forward part, before its activation function.
    Gate,
    /// What the gate is multiplied with.
    Up,
    /// What the feed-forward part adds to the residual stream.
    Down,
}

/// A linear map that differs from the model's own: at some sites, `y += Δ(x)` for one row.
pub trait Delta: Send + Sync + Debug {
    /// SHA-256 over all that [`Self::add`] depends on.
    fn digest(&self) -> [u8; 32];

    /// The lowest layer that it acts on. Keys and values of the layers below are the model's own.
    fn first_layer(&self) -> usize;

    /// Whether it adds anything there.
    fn acts_on(&self, layer: usize, part: Part) -> bool;

    /// `y += Δ(x)` for one row, by one thread. `x` and `y` have the widths that [`Part::widths`] says.
    fn add(&self, kernels: RowKernels, layer: usize, part: Part, x: &[f32], y: &mut [f32]);

    /// Fails where the model has other layers or widths than the delta was made for; [`Self::add`] may panic then.
    fn fits(&self, shape: &Hyperparameters) -> Result<(), VoiceError>;
}

/// A change of the logits before anything else looks at them.
pub trait LogitFilter: Send + Sync + Debug {
    /// SHA-256 over all that [`Self::filter`] depends on.
    fn digest(&self) -> [u8; 32];

    /// Changes the logits, `[vocabulary]`, of the token that comes after `ids`.
    fn filter(&self, ids: &[u32], logits: &mut [f32]);

    /// Fails where the model has another vocabulary than the filter was made for; [`Self::filter`] may panic then.
    fn fits(&self, shape: &Hyperparameters) -> Result<(), VoiceError>;
}

/// How one agent differs from the model.
#[derive(Debug, Clone, Default)]
pub struct Voice {
    /// What is added to its rows' products.
    pub delta: Option<Arc<dyn Delta>>,
    /// What is done to its rows' logits.
    pub filter: Option<Arc<dyn LogitFilter>>,
}

/// A voice that does not fit a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("use a voice with this model: {problem}; use a voice that was made for it")]
pub struct VoiceError {
    /// What does not fit.
    pub problem: String,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Its name in digests and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::Output => "output",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Whether the model has the product: where experts are chosen, there is no one gate for all.
    #[must_use]
    pub fn exists(self, shape: &Hyperparameters) -> bool {
        shape.experts.is_none() || !matches!(self, Self::Gate | Self::Up | Self::Down)
    }

    /// Inputs and outputs of the product.
    #[must_use]
    pub fn widths(self, shape: &Hyperparameters) -> (usize, usize) {
        match self {
            Self::Query => (shape.hidden, shape.query_width()),
            Self::Key | Self::Value => (shape.hidden, shape.kv_width()),
            Self::Output => (shape.query_width(), shape.hidden),
            Self::Gate | Self::Up => (shape.hidden, shape.feed_forward),
            Self::Down => (shape.feed_forward, shape.hidden),
        }
    }
}

impl Voice {
    /// SHA-256 over all that the voice does.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix("madrigal voice 1\0");
        for part in
            [self.delta.as_ref().map(|delta| delta.digest()), self.filter.as_ref().map(|filter| filter.digest())]
        {
            hash.update([u8::from(part.is_some())]);
            hash.update(part.unwrap_or_default());
        }
        hash.finalize().into()
    }

    /// What tells keys and values apart that were read under this voice: nothing where it has no delta.
    #[must_use]
    pub fn delta_digest(&self) -> Option<[u8; 32]> {
        self.delta.as_ref().map(|delta| delta.digest())
    }

    /// Whether the voice can be used with a model of this shape.
    pub fn fits(&self, shape: &Hyperparameters) -> Result<(), VoiceError> {
        self.delta.as_ref().map_or(Ok(()), |delta| delta.fits(shape))?;
        self.filter.as_ref().map_or(Ok(()), |filter| filter.fits(shape))
    }
}

impl VoiceError {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

//! The states of a text's tokens, pooled into one embedding.
//!
//! States are added in the order of their tokens and in 64 bits, so the sum does not depend on how the text was cut into
//! batches.

use tokio::sync::oneshot;

use super::{EngineError, Pooling};

/// An embedding while its text is read.
pub(super) struct Pooled {
    pooling: Pooling,
    sum: Vec<f64>,
    states: usize,
    reply: oneshot::Sender<Result<Vec<f32>, EngineError>>,
}

impl Pooled {
    pub(super) fn new(pooling: Pooling, reply: oneshot::Sender<Result<Vec<f32>, EngineError>>) -> Self {
        Self { pooling, sum: Vec::new(), states: 0, reply }
    }

    /// Whether the state at `position` of a text of so many tokens counts.
    pub(super) fn wants(&self, position: usize, tokens: usize) -> bool {
        match self.pooling {
            Pooling::Mean => true,
            Pooling::Last => position + 1 == tokens,
        }
    }

    /// Adds the next state that counts.
    pub(super) fn add(&mut self, state: &[f32]) {
        self.sum.resize(state.len(), 0.0);
        self.states += 1;
        for (sum, &value) in self.sum.iter_mut().zip(state) {
            *sum += f64::from(value);
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Tells whoever asked the embedding. Nobody may be there any more.
    pub(super) fn finish(self, tokens: usize) {
        let states = self.states as f64;
        let embedding: Vec<f32> = self.sum.iter().map(|sum| (sum / states) as f32).collect();
        let finite = embedding.iter().all(|value| value.is_finite());
        let answer = if finite { Ok(embedding) } else { Err(EngineError::NotFinite { position: tokens - 1 }) };
        let _ = self.reply.send(answer);
    }

    pub(super) fn fail(self, error: EngineError) {
        let _ = self.reply.send(Err(error));
    }
}

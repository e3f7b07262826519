//! A generation under a constraint: which tokens it may draw, depending on whether it thinks or speaks.
//!
//! A model thinks as it likes. Its text, from the first to the last token that is said aloud, keeps the constraint. So that
//! there is such a text, thoughts do not end the generation, and no token both ends a thought and begins to speak.

use std::collections::BTreeSet;

use super::EngineError;
use super::speech::Speech;
use super::thoughts::Place;
use crate::constraint::{ConstraintError, ConstraintState, Grammar};
use crate::model::Model;
use crate::sampling::{DrawKey, SamplerConfig};

/// The token that opens a thought, where a vocabulary has one.
const OPENS: &str = "<think>";

/// Where a generation stands in its constraint.
#[derive(Debug)]
pub(super) struct Constrained {
    state: ConstraintState,
}

impl Constrained {
    pub(super) fn new(grammar: &Grammar) -> Self {
        Self { state: grammar.begin() }
    }

    /// Draws the next token and takes it.
    pub(super) fn draw(
        &mut self,
        logits: &mut [f32],
        sampling: &SamplerConfig,
        history: &[u32],
        (key, index): (DrawKey, u64),
        speech: &mut Speech,
        model: &Model,
    ) -> Result<u32, EngineError> {
        let (tokenizer, ends) = (model.tokenizer(), model.end_ids());
        let place = speech.thoughts().place();
        if place == Place::Thinking {
            let runs_on = self.state.after_bracket().filter(|(_, text)| speech.thoughts().would_run_on(text));
            let forbidden: BTreeSet<u32> = runs_on.map(|(id, _)| id).chain(ends.iter().copied()).collect();
            let allowed = |id| !forbidden.contains(&id);
            return Ok(sampling.sample_among(logits, allowed, history, key, index)?);
        }
        let opens = tokenizer.id_of(OPENS).filter(|&id| place == Place::MayThink && !tokenizer.is_control(id));
        let allowed = self.state.allowed()?;
        let id = sampling.sample_among(logits, |id| allowed.contains(id) || opens == Some(id), history, key, index)?;
        if opens != Some(id) && !ends.contains(&id) {
            self.state.advance(id)?;
            speech.speak();
        }
        Ok(id)
    }

    /// Whether nothing can follow what was said.
    pub(super) fn is_complete(&self) -> bool {
        self.state.is_complete()
    }

    /// Checks a text that the model ended where nothing asked whether it might.
    pub(super) fn check_ended(&self) -> Result<(), EngineError> {
        if self.state.has_begun() { Ok(()) } else { Err(ConstraintError::Unsaid.into()) }
    }
}

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::constraint::{Constraint, Spelling};
    use crate::tokenizer::Encode;

    /// What comes out when a model wants these texts, one after the other, each spelled as its tokens. After a forbidden
    /// token the model wants the next.
    fn said(prompt: &str, wanted: &[&str]) -> (String, Option<String>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/parity/qwen3");
        let model = Model::open(&path).unwrap();
        let tokenizer = model.tokenizer();
        let encode = |text: &str| tokenizer.encode(text, Encode { parse_special: true, ..Encode::default() }).unwrap();
        let spelling = std::sync::Arc::new(Spelling::new(tokenizer, model.end_ids()).unwrap());
        let constraint = Constraint::Choice(vec!["yes".to_owned(), "no".to_owned()]);
        let mut constrained = Constrained::new(&Grammar::new(&spelling, &constraint).unwrap());
        let mut speech = Speech::new(tokenizer, &encode(prompt), Vec::new());
        for id in wanted.iter().flat_map(|text| encode(text)) {
            if constrained.is_complete() {
                break;
            }
            let mut logits = vec![0.0; model.hyperparameters().vocabulary];
            logits[id as usize] = 9.0;
            let key = (DrawKey::default(), 0);
            let greedy = SamplerConfig::greedy();
            let mut trial = logits.clone();
            if speech.thoughts().place() == Place::Thinking && model.end_ids().contains(&id) {
                let drawn = constrained.draw(&mut trial, &greedy, &[], key, &mut speech, &model).unwrap();
                assert_ne!(drawn, id, "a thought does not end the text");
                continue;
            }
            let drawn = constrained.draw(&mut logits, &greedy, &[], key, &mut speech, &model).unwrap();
            speech.push(tokenizer, drawn);
        }
        assert!(constrained.is_complete());
        let _ = speech.rest(tokenizer);
        let spoken = speech.finish(tokenizer, None);
        (spoken.text, spoken.reasoning)
    }

    #[test]
    fn thoughts_are_free_and_what_is_said_is_not() {
        assert_eq!(said("so", &["yes"]), ("yes".to_owned(), None));
        // The first token wanted is not allowed; the likeliest of those that are is drawn in its place.
        assert!(["yes", "no"].contains(&said("so", &["maybe so", "yes", "no"]).0.as_str()));
        let thought = said("so <think>\n", &["no, perhaps maybe", "<|im_end|>", "</think>", "\n\n", "no"]);
        assert!(["yes", "no"].contains(&thought.0.as_str()), "{thought:?}");
        assert_eq!(thought.1.as_deref(), Some("no, perhaps maybe"));
    }
}

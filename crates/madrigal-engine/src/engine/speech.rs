//! From drawn tokens to a message: what was thought on one side, what was said aloud on the other.
//!
//! Owns the order of the two: a token goes through [`Thoughts`] first; what comes out of them is said ([`Aloud`]). Knows
//! nothing of models and sequences.

pub(super) use super::aloud::StopAt;

use super::aloud::Aloud;
use super::thoughts::Thoughts;
use crate::tokenizer::Tokenizer;

/// The tokens of one generation and what became of them so far.
#[derive(Debug)]
pub(super) struct Speech {
    drawn: Vec<u32>,
    thoughts: Thoughts,
    aloud: Aloud,
}

/// Text that is complete and certain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Certain {
    pub(super) text: String,
    pub(super) reasoning: String,
}

/// Why nothing more is said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// A stop text came up.
    Stop(StopAt),
    /// The message is complete, although the model has not ended its text.
    Message,
}

/// A whole generation.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spoken {
    pub(super) drawn: Vec<u32>,
    pub(super) ids: Vec<u32>,
    pub(super) text: String,
    pub(super) reasoning: Option<String>,
}

impl Speech {
    /// What is drawn after `prompt`, which may have opened a thought. Stop texts hold for what is said aloud; empty ones
    /// would end every generation before it began and are left out.
    pub(super) fn new(tokenizer: &Tokenizer, prompt: &[u32], stop: Vec<String>) -> Self {
        Self { drawn: Vec::new(), thoughts: Thoughts::after(tokenizer, prompt), aloud: Aloud::new(stop) }
    }

    /// How many tokens were drawn.
    pub(super) fn len(&self) -> usize {
        self.drawn.len()
    }

    /// The tokens that are said aloud, as far as it is certain that they are. The list only grows. What is cut off at the
    /// end (a stop text) is in it nevertheless.
    pub(super) fn ids(&self) -> &[u32] {
        self.aloud.ids()
    }

    /// Where it stands between thinking and speaking.
    pub(super) fn thoughts(&self) -> &Thoughts {
        &self.thoughts
    }

    /// What is drawn from now on is said aloud, whatever it looks like.
    pub(super) fn speak(&mut self) {
        self.thoughts.speak();
    }

    /// Takes a token and says whether it is the last.
    pub(super) fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Option<Over> {
        self.drawn.push(id);
        let step = self.thoughts.take(tokenizer, id);
        let stop = self.say(tokenizer, &step.said);
        stop.map(Over::Stop).or_else(|| step.complete.then_some(Over::Message))
    }

    fn say(&mut self, tokenizer: &Tokenizer, ids: &[u32]) -> Option<StopAt> {
        ids.iter().find_map(|&id| self.aloud.push(tokenizer, id))
    }

    /// What has become certain since the last call.
    pub(super) fn newly_certain(&mut self) -> Certain {
        Certain { text: self.aloud.newly_certain(), reasoning: self.thoughts.newly_certain() }
    }

    /// What becomes certain because nothing follows but the stop text found.
    pub(super) fn certain_before(&mut self, stop: &StopAt) -> Certain {
        Certain { text: self.aloud.certain_before(stop), reasoning: self.thoughts.rest() }
    }

    /// All the rest: nothing follows.
    pub(super) fn rest(&mut self, tokenizer: &Tokenizer) -> Certain {
        let held_back = self.thoughts.flush(tokenizer);
        let text = match self.say(tokenizer, &held_back) {
            Some(stop) => self.aloud.certain_before(&stop),
            None => self.aloud.rest(),
        };
        Certain { text, reasoning: self.thoughts.rest() }
    }

    /// The message, cut at a stop text if there was one. The tokenizer decodes its ids to exactly its text.
    pub(super) fn finish(mut self, tokenizer: &Tokenizer, stop: Option<&StopAt>) -> Spoken {
        let held_back = self.thoughts.flush(tokenizer);
        let late = self.say(tokenizer, &held_back);
        let (ids, text) = self.aloud.finish(tokenizer, stop.or(late.as_ref()));
        Spoken { drawn: self.drawn, ids, text, reasoning: self.thoughts.finish() }
    }
}

//! One request in work: what it wants of its logits, and what it tells whoever asked.
//!
//! Knows nothing of batches and KV blocks; those are `worker`'s.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

use super::speech::{Over, Speech, Spoken, StopAt};
use super::{EngineError, Finish, GenerateEvent, GenerateRequest, Generated, Positions};
use crate::model::Model;
use crate::tokenizer::Tokenizer;

pub(super) type Events = mpsc::UnboundedSender<Result<GenerateEvent, EngineError>>;

pub(super) struct Job {
    pub(super) sequence: u64,
    /// Jobs of one sequence run in this order.
    pub(super) arrival: u64,
    /// The prompt, then what was drawn.
    pub(super) ids: Vec<u32>,
    pub(super) prompt_tokens: usize,
    /// Set when the job was admitted.
    pub(super) started: Option<Started>,
    pub(super) work: Work,
}

pub(super) struct Started {
    /// Tokens of the prompt that the cache had.
    pub(super) cached: usize,
    /// Blocks kept for the job that it has not taken yet.
    pub(super) promise: usize,
}

pub(super) enum Work {
    Speak(Box<Speaking>),
    Measure { positions: Positions, logits: Vec<f32>, reply: oneshot::Sender<Result<Vec<f32>, EngineError>> },
}

pub(super) struct Speaking {
    pub(super) request: GenerateRequest,
    pub(super) speech: Speech,
    pub(super) events: Events,
    pub(super) cancelled: Arc<AtomicBool>,
}

/// How a job ends when it does not fail.
pub(super) enum End {
    Because(Finish),
    AtStop(StopAt),
    /// All logits are there.
    Measured,
}

impl Job {
    /// Whether the request can be met by a model of this vocabulary and window.
    pub(super) fn check(&self, vocabulary: usize, window: usize) -> Result<(), EngineError> {
        if self.ids.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        if let Some(&id) = self.ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(EngineError::Token { id, vocabulary });
        }
        let speaks = match &self.work {
            Work::Speak(speaking) => {
                speaking.request.sampling.validate(vocabulary)?;
                speaking.request.max_tokens > 0
            }
            Work::Measure { .. } => false,
        };
        let room = window - usize::from(speaks);
        if self.ids.len() > room {
            return Err(EngineError::Window { tokens: self.ids.len(), window, room });
        }
        Ok(())
    }

    /// The longest that the sequence can become.
    pub(super) fn longest(&self, window: usize) -> usize {
        match &self.work {
            Work::Speak(speaking) => self.ids.len().saturating_add(speaking.request.max_tokens).min(window),
            Work::Measure { .. } => self.ids.len(),
        }
    }

    pub(super) fn wants_logits(&self, position: usize) -> bool {
        let all = matches!(self.work, Work::Measure { positions: Positions::All, .. });
        all || position + 1 == self.ids.len()
    }

    /// Takes the logits of the next wanted position. Says how the job ends, if it does.
    pub(super) fn use_logits(
        &mut self,
        logits: &mut [f32],
        model: &Model,
        window: usize,
    ) -> Result<Option<End>, EngineError> {
        match &mut self.work {
            Work::Speak(speaking) => speaking.speak(logits, &mut self.ids, model, window),
            Work::Measure { positions, logits: collected, .. } => {
                let tokens = self.ids.len();
                let (position, wanted) = match positions {
                    Positions::Last => (tokens - 1, 1),
                    Positions::All => (collected.len() / logits.len(), tokens),
                };
                if !logits.iter().all(|logit| logit.is_finite()) {
                    return Err(EngineError::NotFinite { position });
                }
                collected.extend_from_slice(logits);
                Ok((collected.len() == wanted * logits.len()).then_some(End::Measured))
            }
        }
    }

    /// Tells whoever asked that it is over.
    pub(super) fn end(self, tokenizer: &Tokenizer, end: End) {
        let (prompt_tokens, cached) = (self.prompt_tokens, self.started.map(|started| started.cached));
        // Whoever asked may have stopped listening; then there is nobody to tell.
        match self.work {
            Work::Speak(speaking) => {
                let (finish, stop) = match end {
                    End::Because(finish) => (finish, None),
                    End::AtStop(stop) => (Finish::Stop(stop.text.clone()), Some(stop)),
                    End::Measured => (Finish::Length, None),
                };
                let Spoken { drawn, ids, text, reasoning } = speaking.speech.finish(tokenizer, stop.as_ref());
                let read_tokens = cached.map_or(0, |cached| prompt_tokens - cached);
                let surprise = Vec::new();
                let generated = Generated { ids, text, reasoning, drawn, finish, prompt_tokens, read_tokens, surprise };
                let _ = speaking.events.send(Ok(GenerateEvent::Done(generated)));
            }
            Work::Measure { logits, reply, .. } => {
                let _ = reply.send(Ok(logits));
            }
        }
    }

    /// Tells whoever asked why it failed.
    pub(super) fn fail(self, error: EngineError) {
        match self.work {
            Work::Speak(speaking) => drop(speaking.events.send(Err(error))),
            Work::Measure { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

impl Speaking {
    /// Draws a token and says it.
    fn speak(
        &mut self,
        logits: &mut [f32],
        ids: &mut Vec<u32>,
        model: &Model,
        window: usize,
    ) -> Result<Option<End>, EngineError> {
        let GenerateRequest { sampling, draw, max_tokens, .. } = &self.request;
        let index = self.speech.len();
        if index >= *max_tokens {
            return Ok(Some(End::Because(Finish::Length)));
        }
        let tokenizer = model.tokenizer();
        let id = sampling.sample(logits, ids, *draw, index as u64)?;
        if model.end_ids().contains(&id) {
            return Ok(Some(End::Because(Finish::EndOfText)));
        }
        ids.push(id);
        let over = self.speech.push(tokenizer, id);
        let full = index + 1 >= *max_tokens || ids.len() >= window;
        let (certain, end) = match over {
            Some(Over::Stop(stop)) => (self.speech.certain_before(&stop), Some(End::AtStop(stop))),
            Some(Over::Message) => (self.speech.rest(tokenizer), Some(End::Because(Finish::EndOfText))),
            None if full => (self.speech.rest(tokenizer), Some(End::Because(Finish::Length))),
            None => (self.speech.newly_certain(), None),
        };
        // A closed channel is noticed before the next step.
        let event = GenerateEvent::Token { id, text: certain.text, reasoning: certain.reasoning };
        let _ = self.events.send(Ok(event));
        Ok(end)
    }
}

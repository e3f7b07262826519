//! One request in work: what it wants of its logits, and what it tells whoever asked.
//!
//! Knows nothing of batches and KV blocks; those are `worker`'s. Listening has its own file (`listening`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::constrained::Constrained;
use super::listening::Listening;
use super::pooling::Pooled;
use super::speech::{Over, Speech, Spoken, StopAt};
use super::{EngineError, Finish, GenerateEvent, GenerateRequest, Generated, Positions, VoiceFrom};
use crate::kv::{Key, Promise};
use crate::model::Model;
use crate::tokenizer::Tokenizer;

pub(super) type Events = mpsc::UnboundedSender<Result<GenerateEvent, EngineError>>;

pub(super) struct Job {
    pub(super) sequence: u64,
    /// The prompt, then what was drawn or heard.
    pub(super) ids: Vec<u32>,
    pub(super) prompt_tokens: usize,
    pub(super) reader: Reader,
    /// Set when the job was admitted.
    pub(super) started: Option<Started>,
    /// Another job that is reading what this one begins with, and how far that must have come before this one starts.
    pub(super) follows: Option<(u64, usize)>,
    pub(super) work: Work,
}

/// Whose voice the tokens of a job are read under.
#[derive(Debug, Clone, Default)]
pub(super) struct Reader {
    pub(super) voice: Option<VoiceFrom>,
    /// What its delta is called in [`Key`]; 0 without one.
    pub(super) key: u32,
}

pub(super) struct Started {
    /// Tokens of the prompt that the cache had.
    pub(super) cached: usize,
    /// The place of the next token to be read.
    pub(super) next: usize,
    /// Blocks kept for the job that it has not taken yet.
    pub(super) promise: Promise,
}

pub(super) enum Work {
    Speak(Box<Speaking>),
    Measure { positions: Positions, logits: Vec<f32>, reply: oneshot::Sender<Result<Vec<f32>, EngineError>> },
    Embed(Pooled),
    Listen(Listening),
}

pub(super) struct Speaking {
    pub(super) request: GenerateRequest,
    pub(super) speech: Speech,
    /// Made of the request's constraint.
    pub(super) constrained: Option<Constrained>,
    pub(super) events: Events,
    pub(super) cancelled: Arc<AtomicBool>,
    /// The jobs of the listeners, by their arrival.
    pub(super) listeners: Vec<u64>,
}

/// How a job ends when it does not fail.
pub(super) enum End {
    Because(Finish),
    AtStop(StopAt),
    /// All logits are there.
    Measured,
}

/// A finished generation, before it is told.
pub(super) struct Farewell {
    pub(super) generated: Generated,
    pub(super) events: Events,
    pub(super) listeners: Vec<u64>,
}

impl Reader {
    /// What a token's keys and values depend on.
    pub(super) fn key(&self, position: usize, token: u32) -> Key {
        let voice = if self.acts_at(position) { self.key } else { 0 };
        Key { token, voice }
    }

    /// Whether the token at this place is read under the voice.
    pub(super) fn acts_at(&self, position: usize) -> bool {
        self.voice.as_ref().is_some_and(|voice| position >= voice.from)
    }

    /// Lets the voice change the logits of the token that comes after `ids`.
    fn filter(&self, ids: &[u32], logits: &mut [f32]) {
        let voice = self.voice.as_ref().filter(|voice| ids.len() >= voice.from);
        if let Some(filter) = voice.and_then(|voice| voice.voice.filter.as_ref()) {
            filter.filter(ids, logits);
        }
    }
}

impl Job {
    /// Whether the request can be met by a model of this vocabulary and window.
    pub(super) fn check(&self, vocabulary: usize, window: usize) -> Result<(), EngineError> {
        let speaks = match &self.work {
            Work::Speak(speaking) => {
                speaking.request.sampling.validate(vocabulary)?;
                speaking.request.max_tokens > 0
            }
            Work::Measure { .. } | Work::Embed(_) => false,
            // Listens to as much as there is room for.
            Work::Listen(_) => return check_ids(&self.ids, vocabulary),
        };
        if self.ids.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        check_ids(&self.ids, vocabulary)?;
        let room = window - usize::from(speaks);
        if self.ids.len() > room {
            return Err(EngineError::Window { tokens: self.ids.len(), window, room });
        }
        Ok(())
    }

    /// The longest that the sequence can become. Listeners are given memory as they need it.
    pub(super) fn longest(&self, window: usize) -> usize {
        match &self.work {
            Work::Speak(speaking) => self.ids.len().saturating_add(speaking.request.max_tokens).min(window),
            Work::Measure { .. } | Work::Embed(_) => self.ids.len(),
            Work::Listen(_) => 0,
        }
    }

    /// The place of the first token to be read, where `cached` tokens are there.
    pub(super) fn first(&self, cached: usize) -> usize {
        match &self.work {
            Work::Measure { positions: Positions::All, .. } | Work::Embed(_) => 0,
            // The last token is always read: its logits are wanted.
            Work::Speak(_) | Work::Measure { .. } => cached.min(self.ids.len() - 1),
            Work::Listen(listening) => listening.first(cached).min(self.ids.len()),
        }
    }

    /// Tokens that are not read yet.
    pub(super) fn unread(&self) -> usize {
        self.started.as_ref().map_or(0, |started| self.ids.len() - started.next)
    }

    /// Whether it is a listener: nobody waits for it.
    pub(super) fn listens(&self) -> bool {
        matches!(self.work, Work::Listen(_))
    }

    /// What all its positions depend on.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.ids.iter().enumerate().map(|(position, &token)| self.reader.key(position, token)).collect()
    }

    pub(super) fn wants_logits(&self, position: usize) -> bool {
        match &self.work {
            Work::Measure { positions: Positions::All, .. } => true,
            Work::Speak(_) | Work::Measure { .. } => position + 1 == self.ids.len(),
            Work::Embed(_) => false,
            Work::Listen(listening) => listening.wants_logits(position, self.ids.len()),
        }
    }

    pub(super) fn wants_state(&self, position: usize) -> bool {
        match &self.work {
            Work::Embed(pooled) => pooled.wants(position, self.ids.len()),
            Work::Speak(_) | Work::Measure { .. } | Work::Listen(_) => false,
        }
    }

    /// Whether nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match &self.work {
            Work::Speak(speaking) => speaking.cancelled.load(Ordering::Relaxed) || speaking.events.is_closed(),
            Work::Measure { reply, .. } => reply.is_closed(),
            Work::Embed(pooled) => pooled.is_abandoned(),
            Work::Listen(_) => false,
        }
    }

    /// Takes the logits of the token at `position`, the next wanted one. Says how the job ends, if it does.
    pub(super) fn use_logits(
        &mut self,
        position: usize,
        logits: &mut [f32],
        model: &Model,
        window: usize,
    ) -> Result<Option<End>, EngineError> {
        match &mut self.work {
            Work::Speak(speaking) => speaking.speak(logits, &mut self.ids, &self.reader, model, window),
            Work::Measure { positions, logits: collected, .. } => {
                let wanted = if *positions == Positions::All { self.ids.len() } else { 1 };
                if !logits.iter().all(|logit| logit.is_finite()) {
                    return Err(EngineError::NotFinite { position });
                }
                self.reader.filter(&self.ids[..=position], logits);
                collected.extend_from_slice(logits);
                Ok((collected.len() == wanted * logits.len()).then_some(End::Measured))
            }
            Work::Listen(listening) => {
                listening.use_logits(logits, self.ids.get(position + 1).copied());
                Ok(None)
            }
            Work::Embed(_) => Ok(None),
        }
    }

    /// Ends the job: what was measured is told; a generation is returned, for its listeners may have to end first.
    pub(super) fn end(self, tokenizer: &Tokenizer, end: End) -> Option<Farewell> {
        let (prompt_tokens, cached) = (self.prompt_tokens, self.started.map(|started| started.cached));
        match self.work {
            Work::Speak(speaking) => {
                let (finish, stop) = match end {
                    End::Because(finish) => (finish, None),
                    End::AtStop(stop) => (Finish::Stop(stop.text.clone()), Some(stop)),
                    End::Measured => (Finish::Length, None),
                };
                let Spoken { drawn, ids, text, reasoning } = speaking.speech.finish(tokenizer, stop.as_ref());
                let read_tokens = cached.map_or(0, |cached| prompt_tokens - cached);
                let surprise = vec![None; speaking.listeners.len()];
                let generated = Generated { ids, text, reasoning, drawn, finish, prompt_tokens, read_tokens, surprise };
                Some(Farewell { generated, events: speaking.events, listeners: speaking.listeners })
            }
            Work::Measure { logits, reply, .. } => {
                // Whoever asked may have stopped listening; then there is nobody to tell.
                let _ = reply.send(Ok(logits));
                None
            }
            Work::Embed(pooled) => {
                pooled.finish(prompt_tokens);
                None
            }
            Work::Listen(_) => None,
        }
    }

    /// Tells whoever asked why it failed. Returns the jobs of the listeners.
    pub(super) fn fail(self, error: EngineError) -> Vec<u64> {
        match self.work {
            Work::Speak(speaking) => {
                let _ = speaking.events.send(Err(error));
                speaking.listeners
            }
            Work::Measure { reply, .. } => {
                let _ = reply.send(Err(error));
                Vec::new()
            }
            Work::Embed(pooled) => {
                pooled.fail(error);
                Vec::new()
            }
            Work::Listen(_) => Vec::new(),
        }
    }
}

fn check_ids(ids: &[u32], vocabulary: usize) -> Result<(), EngineError> {
    match ids.iter().find(|&&id| id as usize >= vocabulary) {
        None => Ok(()),
        Some(&id) => Err(EngineError::Token { id, vocabulary }),
    }
}

impl Speaking {
    /// Draws a token and says it.
    fn speak(
        &mut self,
        logits: &mut [f32],
        ids: &mut Vec<u32>,
        reader: &Reader,
        model: &Model,
        window: usize,
    ) -> Result<Option<End>, EngineError> {
        let GenerateRequest { sampling, draw, max_tokens, .. } = &self.request;
        let index = self.speech.len();
        if index >= *max_tokens {
            return Ok(Some(End::Because(Finish::Length)));
        }
        let tokenizer = model.tokenizer();
        reader.filter(ids, logits);
        let key = (*draw, index as u64);
        let id = match &mut self.constrained {
            None => sampling.sample(logits, ids, key.0, key.1)?,
            Some(constrained) => constrained.draw(logits, sampling, ids, key, &mut self.speech, model)?,
        };
        if model.end_ids().contains(&id) {
            return Ok(Some(End::Because(Finish::EndOfText)));
        }
        ids.push(id);
        let over = self.speech.push(tokenizer, id);
        let full = index + 1 >= *max_tokens || ids.len() >= window;
        let (certain, end) = match over {
            Some(Over::Stop(stop)) => (self.speech.certain_before(&stop), Some(End::AtStop(stop))),
            Some(Over::Message) => {
                self.constrained.as_ref().map_or(Ok(()), Constrained::check_ended)?;
                (self.speech.rest(tokenizer), Some(End::Because(Finish::EndOfText)))
            }
            None if self.constrained.as_ref().is_some_and(Constrained::is_complete) => {
                (self.speech.rest(tokenizer), Some(End::Because(Finish::EndOfText)))
            }
            None if full => (self.speech.rest(tokenizer), Some(End::Because(Finish::Length))),
            None => (self.speech.newly_certain(), None),
        };
        // A closed channel is noticed before the next step.
        let event = GenerateEvent::Token { id, text: certain.text, reasoning: certain.reasoning };
        let _ = self.events.send(Ok(event));
        Ok(end)
    }
}

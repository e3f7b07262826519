//! What answers a chat: one streaming trait, and the words it is spoken to in.
//!
//! Owns the contract between the conversation loop and every chat model. The implementors are in
//! [`crate::chat_models`]; all of them run the conformance suite there.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use madrigal_engine::KeptKvError;
use madrigal_journal::event::{Finish, Source};

pub use crate::chat_models::local::Ear;
use crate::context::{Context, SpokenIds};
use crate::control::ControlWord;
use crate::sampling::Sampling;

/// Anything that answers a chat.
///
/// One value serves one seat of one conversation and may keep state between turns (a KV cache, a script's memory),
/// but what it says depends only on the requests it was given: asked again from a fresh value with the same
/// requests, a [`Source::Local`] or [`Source::Scripted`] one says the same.
pub trait ChatModel: Send {
    /// Its canonical name, as `ModelName` prints it.
    fn name(&self) -> String;

    /// Where its messages come from.
    fn source(&self) -> Source;

    /// Digest of the tokenizer that its spoken ids belong to, for models that tell ids.
    fn tokenizer(&self) -> Option<Arc<str>> {
        None
    }

    /// Tokens that fit its window, where there is a bound that the loop must keep.
    fn window(&self) -> Option<usize> {
        None
    }

    /// Tokens of the prompt that this request would send, reply not included; `None` where nothing is known of it. Exact
    /// for models in this process; for others by the provider's own count of what it was sent before.
    ///
    /// # Errors
    /// When the request cannot be turned into a prompt.
    fn count(&mut self, _request: &ReplyRequest<'_>) -> Result<Option<usize>, ChatError> {
        Ok(None)
    }

    /// The exact prompt of this request as text, for people; `None` where a model is not prompted.
    ///
    /// # Errors
    /// When the request cannot be turned into a prompt.
    fn prompt(&mut self, _request: &ReplyRequest<'_>) -> Result<Option<String>, ChatError> {
        Ok(None)
    }

    /// How the agent can hear the message that another one is about to say while it is being said; `None` where it can
    /// only read it afterwards. Nothing that anyone says depends on it.
    fn ear(&mut self, _expected: &Expected<'_>) -> Option<Ear> {
        None
    }

    /// Says the agent's next message. Dropping the future stops it and leaves nothing behind.
    ///
    /// While it speaks, [`ReplyEvent::Text`] carries the message piece by piece (control words and reasoning may
    /// show up in it; the returned [`Reply`] is what counts).
    fn reply<'a>(
        &'a mut self,
        request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>>;

    /// Takes a recorded reply to `request` as its own, so that its inner state is as if it had said it.
    fn adopt(&mut self, request: &ReplyRequest<'_>, recorded: &Reply);

    /// Writes what it has cached of the conversation to a file, for [`Self::restore_kv`] in another process; returns how
    /// many tokens that is, `None` for a model that has no such cache. `weights` names its weights, as digests do.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn save_kv(&self, _weights: &str, _to: File) -> Result<Option<usize>, KeptKvError> {
        Ok(None)
    }

    /// Takes what [`Self::save_kv`] wrote, so that it need not be read again. Nothing that it says depends on it.
    ///
    /// # Errors
    /// When the file cannot be used; everything is read again then.
    fn restore_kv(&mut self, _weights: &str, _from: File) -> Result<Option<usize>, KeptKvError> {
        Ok(None)
    }

    /// Inner state in a line for people (`--show-state`); `None` where there is none to show.
    fn state(&self) -> Option<String> {
        None
    }
}

/// What an agent is asked to answer.
#[derive(Debug, Clone, Copy)]
pub struct ReplyRequest<'a> {
    /// Its window onto the conversation.
    pub context: &'a Context,
    /// A control word that it receives for this turn only; no later request shows it.
    pub control: Option<ControlWord>,
    /// How the reply is drawn.
    pub sampling: &'a Sampling,
    /// What the draws are keyed by.
    pub draw: Draw,
    /// Other agents that hear the message while it is said, where both models are the same one.
    pub listeners: &'a [Ear],
}

/// A message that an agent is about to hear.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The listener's window onto the conversation, the message not yet in it.
    pub context: &'a Context,
    /// Who is about to speak.
    pub speaker: &'a str,
    /// How the listener's own replies are drawn.
    pub sampling: &'a Sampling,
    /// Whether to measure how surprising the message is to the listener.
    pub surprise: bool,
}

/// How surprising a message was to an agent that heard it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Surprise {
    /// −ln of the probability that the listener's model gave the message, token after token.
    pub nats: f64,
    /// Over so many tokens.
    pub tokens: u32,
}

/// The key of a turn's random draws; the token's index completes it. Run ids and clocks have no place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The run's seed.
    pub seed: u64,
    /// The seat of the speaker, from 0.
    pub seat: u32,
    /// The turn, from 1.
    pub turn: u32,
}

/// What happens while a reply is made.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyEvent {
    /// More of the message's text.
    Text(String),
    /// More of what the model thinks before it speaks.
    Reasoning(String),
    /// An attempt failed; another one follows after `wait`. Text streamed so far is void.
    Retry {
        /// How many attempts have failed.
        attempt: u32,
        /// Why the last one did.
        reason: String,
        /// How long until the next one.
        wait: Duration,
    },
    /// Something the reader of the run should know; see `Event::Notice` for the codes.
    Notice {
        /// A stable name.
        code: &'static str,
        /// The explanation.
        text: String,
    },
}

/// A finished message.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// What was said, without control word and reasoning, without surrounding white space.
    pub text: String,
    /// The control word that ended it, if one did.
    pub control: Option<ControlWord>,
    /// The ids of `text` as spoken, for local models.
    pub ids: Option<SpokenIds>,
    /// What the model thought aloud.
    pub reasoning: Option<String>,
    /// Why it stopped.
    pub finish: Finish,
    /// What it took.
    pub usage: Usage,
    /// For each of [`ReplyRequest::listeners`], how surprising it was to them, where that was asked for and measured to
    /// the end.
    pub surprise: Vec<Option<Surprise>>,
}

impl Reply {
    /// A reply of a model that knows text only: takes the control word out of `raw`.
    #[must_use]
    pub fn from_text(raw: &str) -> Self {
        let (said, control) = ControlWord::split(raw);
        Self {
            text: said.trim().to_owned(),
            control,
            ids: None,
            reasoning: None,
            finish: Finish::Stop,
            usage: Usage::default(),
            surprise: Vec::new(),
        }
    }
}

/// What a reply took, where it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the reply, reasoning included.
    pub completion_tokens: Option<u32>,
    /// US dollars.
    pub cost_usd: Option<f64>,
}

/// Why a chat model gave no reply. Completes "failed to …"; never holds a key or the user part of a URL.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// The prompt cannot fit, whatever is dropped.
    #[error(
        "fit the prompt into the window: it takes {needed} tokens with {reserve} kept for the reply, the window of {model} holds {window}"
    )]
    TooLong {
        /// Tokens of the prompt.
        needed: usize,
        /// Tokens kept for the reply.
        reserve: usize,
        /// Tokens of the window.
        window: usize,
        /// The chat model's name.
        model: String,
    },
    /// The provider refused for good (authentication, unknown model, malformed request).
    #[error("get a reply from {model}: {reason}")]
    Refused {
        /// The chat model's name.
        model: String,
        /// What the provider said, and what to do.
        reason: String,
    },
    /// All attempts failed.
    #[error("get a reply from {model} in {attempts} attempts: {reason}")]
    Unavailable {
        /// The chat model's name.
        model: String,
        /// How many were made.
        attempts: u32,
        /// Why the last one failed.
        reason: String,
    },
    /// The chat model itself failed.
    #[error("get a reply from {model}: {source}")]
    Failed {
        /// The chat model's name.
        model: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A person left (end of input).
    #[error("read the next message: the input has ended")]
    InputEnded,
}

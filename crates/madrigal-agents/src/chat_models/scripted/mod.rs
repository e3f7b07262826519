//! The two scripted chat models: [`Doctor`] after Weizenbaum's design of 1966 and [`Parry`] after Colby's of 1971.
//!
//! Owns what they have in common: reading a request and speaking a message. The scripts are texts of our own, under
//! `scripts/`, and are read once; how they are written is told in `scripted/script.rs`. What either says depends on the
//! requests alone: rotation, memory and feelings move with each of them, and where the rotation starts and a few
//! choices are keyed by the draw.

mod affect;
mod choices;
mod doctor;
mod parry;
mod pattern;
mod rules;
mod script;
mod words;

use futures::FutureExt;
use futures::future::BoxFuture;

pub use doctor::Doctor;
pub use parry::Parry;

use crate::chat_model::{ChatError, Reply, ReplyEvent, ReplyRequest};
use crate::context::Context;
use crate::control::ControlWord;
use rules::Answered;

/// What a scripted chat model has in front of it.
enum Prompted<'a> {
    /// A control word, for this turn only.
    Control(ControlWord),
    /// Somebody said this.
    Message(&'a str),
    /// Nothing was said yet, but this is what it is to be about.
    SeedPrompt(&'a str),
    /// Nothing was said yet.
    Nothing,
    /// Nobody answered the last message.
    Silence,
}

impl<'a> Prompted<'a> {
    fn by(request: &ReplyRequest<'a>) -> Self {
        let Context { said, seed_prompt, .. } = request.context;
        match (request.control, said.last(), seed_prompt) {
            (Some(word), ..) => Self::Control(word),
            (None, Some(last), _) if request.context.is_own(last) => Self::Silence,
            (None, Some(last), _) => Self::Message(&last.text),
            (None, None, Some(seed)) => Self::SeedPrompt(&seed.text),
            (None, None, None) => Self::Nothing,
        }
    }
}

/// The reply that says what the script answered.
fn message(answered: Option<Answered>) -> Reply {
    // Lists are never empty in the two scripts; without a word to say, saying nothing is the truth.
    let Answered { text, leaves, .. } =
        answered.unwrap_or(Answered { text: String::new(), leaves: false, about: None });
    Reply { control: leaves.then_some(ControlWord::Bye), ..Reply::from_text(&text) }
}

/// The reply that closes a conversation.
fn end() -> Reply {
    Reply { control: Some(ControlWord::End), ..Reply::from_text("") }
}

/// Whether nothing but `/end` is left to say after `reply`: one of the two has said goodbye.
fn leaves(request: &ReplyRequest<'_>, reply: &Reply) -> bool {
    request.control == Some(ControlWord::Bye)
        || matches!(reply.control, Some(ControlWord::Bye | ControlWord::End | ControlWord::Stop))
}

/// Speaks a reply word by word, then lets `commit` take what saying it has changed.
fn speak<'a>(
    reply: Reply,
    on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    commit: impl FnOnce() + Send + 'a,
) -> BoxFuture<'a, Result<Reply, ChatError>> {
    async move {
        for word in reply.text.split_inclusive(' ') {
            on_event(ReplyEvent::Text(word.to_owned()));
            tokio::task::yield_now().await;
        }
        commit();
        Ok(reply)
    }
    .boxed()
}

#[cfg(test)]
mod tests;

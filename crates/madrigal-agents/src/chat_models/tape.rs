//! `tape`: replies that were recorded, given back turn by turn. It serves where a conversation is run again and its
//! chat model cannot be asked again.
//!
//! Owns the recorded replies of one seat. Does not own where they were recorded: that is the journal.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use madrigal_journal::event::{Source, Turn};

use crate::chat_model::{ChatError, ChatModel, Reply, ReplyEvent, ReplyRequest};

/// The recorded replies of one seat.
#[derive(Debug, Clone)]
pub struct Tape {
    model: String,
    source: Source,
    replies: BTreeMap<Turn, Reply>,
}

/// Why a tape has no reply. Completes "failed to get a reply from MODEL: …".
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TapeError {
    /// Nothing is recorded for the turn.
    #[error("no reply is recorded for turn {turn}; {}", recorded(*.first, *.last))]
    NotRecorded {
        /// The turn that was asked for.
        turn: Turn,
        /// The first recorded turn.
        first: Option<Turn>,
        /// The last recorded turn.
        last: Option<Turn>,
    },
}

fn recorded(first: Option<Turn>, last: Option<Turn>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => {
            format!("this seat's recorded turns go from {first} to {last}")
        }
        _ => "no turn of this seat is recorded".to_owned(),
    }
}

impl Tape {
    /// The tape of what `model` said, which was of `source`, by turn.
    #[must_use]
    pub fn new(model: &str, source: Source, replies: impl IntoIterator<Item = (Turn, Reply)>) -> Self {
        Self { model: model.to_owned(), source, replies: replies.into_iter().collect() }
    }
}

impl ChatModel for Tape {
    fn name(&self) -> String {
        self.model.clone()
    }

    fn source(&self) -> Source {
        self.source
    }

    fn reply<'a>(
        &'a mut self,
        request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>> {
        async move {
            let turn = request.draw.turn;
            let Some(reply) = self.replies.get(&turn) else {
                let first = self.replies.keys().next().copied();
                let last = self.replies.keys().next_back().copied();
                let source = Box::new(TapeError::NotRecorded { turn, first, last });
                return Err(ChatError::Failed { model: self.model.clone(), source });
            };
            if let Some(reasoning) = &reply.reasoning {
                on_event(ReplyEvent::Reasoning(reasoning.clone()));
            }
            if !reply.text.is_empty() {
                on_event(ReplyEvent::Text(reply.text.clone()));
            }
            Ok(reply.clone())
        }
        .boxed()
    }

    fn adopt(&mut self, _request: &ReplyRequest<'_>, _recorded: &Reply) {
        // A tape has no inner state: what it says depends on the turn alone.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat_models::conformance::{Expectations, Setting, check};

    fn tape() -> Tape {
        let words = ["Good day, I am the tape.", "A tape.", "Farewell.\n/bye", "Four", "Five, with\ntwo lines", "Six"];
        Tape::new("openai:gpt", Source::Remote, (1..).zip(words.map(Reply::from_text)))
    }

    #[tokio::test]
    async fn it_gives_back_what_was_recorded() {
        let setting = Setting::new();
        let (reply, streamed) = setting.ask(&mut tape(), 5, None).await;
        assert_eq!(reply.unwrap(), Reply::from_text("Five, with\ntwo lines"));
        assert_eq!(streamed, "Five, with\ntwo lines");
        assert_eq!((tape().name(), tape().source()), ("openai:gpt".to_owned(), Source::Remote));
    }

    #[tokio::test]
    async fn a_turn_that_is_not_recorded_is_an_error_that_says_what_is() {
        let setting = Setting::new();
        let cases = [
            (tape(), "no reply is recorded for turn 9; this seat's recorded turns go from 1 to 6"),
            (
                Tape::new("openai:gpt", Source::Remote, []),
                "no reply is recorded for turn 9; no turn of this seat is recorded",
            ),
        ];
        for (mut tape, problem) in cases {
            let error = setting.ask(&mut tape, 9, None).await.0.unwrap_err();
            assert_eq!(error.to_string(), format!("get a reply from openai:gpt: {problem}"));
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract_of_chat_models() {
        let long = (1..=64).map(|turn| (turn, Reply::from_text(&format!("This is turn {turn}."))));
        let tape = Tape::new("openai:gpt", Source::Remote, long);
        let expected = Expectations { streams: true, heeds_control_words: true };
        assert_eq!(check(&|| Box::new(tape.clone()), expected).await, Ok(()));
    }
}

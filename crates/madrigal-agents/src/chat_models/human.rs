//! A person: the next line of an input is the next message.
//!
//! Owns nothing of the terminal: whoever seats a person passes the lines in.

use futures::FutureExt;
use futures::future::BoxFuture;
use madrigal_journal::event::Source;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::chat_model::{ChatError, ChatModel, Reply, ReplyEvent, ReplyRequest};

/// A person at the table.
pub struct Human {
    lines: UnboundedReceiver<String>,
}

impl Human {
    /// Seats a person whose messages are `lines`; when they end, so does the conversation.
    #[must_use]
    pub fn new(lines: UnboundedReceiver<String>) -> Self {
        Self { lines }
    }
}

impl ChatModel for Human {
    fn name(&self) -> String {
        "human".to_owned()
    }

    fn source(&self) -> Source {
        Source::Human
    }

    fn reply<'a>(
        &'a mut self,
        _request: ReplyRequest<'a>,
        on_event: &'a mut (dyn FnMut(ReplyEvent) + Send),
    ) -> BoxFuture<'a, Result<Reply, ChatError>> {
        async move {
            let line = self.lines.recv().await.ok_or(ChatError::InputEnded)?;
            on_event(ReplyEvent::Text(line.clone()));
            Ok(Reply::from_text(&line))
        }
        .boxed()
    }

    fn adopt(&mut self, _request: &ReplyRequest<'_>, _recorded: &Reply) {}
}

//! A table with a remote model at one of its seats.

use std::sync::Arc;

use madrigal_agents::chat_model::{ChatError, ChatModel, Draw, Reply, ReplyEvent, ReplyRequest};
use madrigal_agents::chat_models::remote::RemoteModel;
use madrigal_agents::context::{Context, Said};
use madrigal_agents::control::ControlWord;
use madrigal_agents::sampling::Sampling;
use madrigal_journal::event::MessageId;

/// What one agent sees, and how it is asked.
pub(crate) struct Table {
    pub(crate) context: Context,
    pub(crate) sampling: Sampling,
    pub(crate) turn: u32,
}

impl Table {
    pub(crate) fn new(seed_prompt: &str) -> Self {
        Self {
            context: Context {
                agent: "Ada".to_owned(),
                table: vec!["Ada".to_owned(), "Bob".to_owned()],
                instructions: "You are Ada.".to_owned(),
                seed_prompt: Some(said(0, None, seed_prompt)),
                said: Vec::new(),
            },
            sampling: Sampling::default(),
            turn: 0,
        }
    }

    pub(crate) fn hear(&mut self, agent: &str, text: &str) {
        let id = self.context.said.len() as u32 + 1;
        self.context.said.push(said(id, Some(agent), text));
    }

    /// Asks for the next message.
    pub(crate) async fn ask(
        &mut self,
        model: &mut RemoteModel,
        control: Option<ControlWord>,
        on_event: &mut (dyn FnMut(ReplyEvent) + Send),
    ) -> Result<Reply, ChatError> {
        self.turn += 1;
        let request = ReplyRequest {
            context: &self.context,
            control,
            sampling: &self.sampling,
            draw: Draw { seed: 7, seat: 0, turn: self.turn },
            listeners: &[],
        };
        model.reply(request, on_event).await
    }
}

fn said(id: u32, agent: Option<&str>, text: &str) -> Arc<Said> {
    Arc::new(Said { id: MessageId(id), agent: agent.map(str::to_owned), text: text.to_owned(), ids: None })
}

//! A seat at the table: an agent's chat model with its window onto the conversation.

use std::sync::Arc;

use madrigal_agents::chat_model::{ChatError, ChatModel, Draw, ReplyRequest};
use madrigal_agents::context::{Context, Said};
use madrigal_agents::control::ControlWord;
use madrigal_agents::sampling::Sampling;
use madrigal_journal::event::{Event, Turn};

/// When a window is full, compaction brings it down to this share of it, so that the next one is some turns away.
const COMPACT_TO: f64 = 0.6;

/// One agent at the table.
pub struct Seat {
    /// Its name.
    pub name: String,
    /// What answers for it.
    pub model: Box<dyn ChatModel>,
    /// How its replies are drawn.
    pub sampling: Sampling,
    /// What it knows of the conversation.
    pub context: Context,
}

impl Seat {
    /// Seats an agent. `instructions` is what its model is told about who it is; `table` are all names in seat order.
    #[must_use]
    pub fn new(
        name: String,
        model: Box<dyn ChatModel>,
        instructions: String,
        sampling: Sampling,
        table: Vec<String>,
    ) -> Self {
        let context = Context { agent: name.clone(), table, instructions, seed_prompt: None, said: Vec::new() };
        Self { name, model, sampling, context }
    }

    /// The agent hears (or has said) a message.
    pub(crate) fn hear(&mut self, said: Arc<Said>) {
        if said.agent.is_none() {
            self.context.seed_prompt = Some(said);
        } else {
            self.context.said.push(said);
        }
    }

    /// Lets the messages of a recorded compaction leave the window.
    pub(crate) fn forget(&mut self, compaction: &Event) {
        if let Event::Compaction { dropped, .. } = compaction {
            self.context.said.retain(|said| !dropped.contains(&said.id));
        }
    }

    /// Makes room for the next reply: where prompt and reply would not fit the window, the oldest messages leave it.
    /// The last message stays, for it is what is answered. Returns what left.
    ///
    /// # Errors
    /// When the last message alone does not fit, or nothing can be counted.
    pub fn make_room(
        &mut self,
        turn: Turn,
        control: Option<ControlWord>,
        draw: Draw,
    ) -> Result<Option<Event>, ChatError> {
        let Some(window) = self.model.window() else { return Ok(None) };
        let reserve = self.sampling.reply_limit(window);
        let Self { model, sampling, context, .. } = self;
        let mut count =
            |context: &Context| model.count(&ReplyRequest { context, control, sampling, draw, listeners: &[] });
        let Some(before) = count(context)? else { return Ok(None) };
        if before + reserve <= window {
            return Ok(None);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a window")]
        let target = ((window as f64 * COMPACT_TO) as usize).min(window - reserve);
        let dropped = context.drop_oldest(target, |context| Ok(count(context)?.unwrap_or(0)))?;
        let after = count(context)?.unwrap_or(0);
        if after + reserve > window {
            return Err(ChatError::TooLong { needed: after, reserve, window, model: model.name() });
        }
        Ok(Some(Event::Compaction {
            turn,
            agent: self.name.clone(),
            dropped,
            tokens_before: u32::try_from(before).unwrap_or(u32::MAX),
            tokens_after: u32::try_from(after).unwrap_or(u32::MAX),
        }))
    }
}

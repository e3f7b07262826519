//! What one agent knows of the conversation: its pinned instructions, the pinned seed prompt and the messages that
//! its window still holds.
//!
//! Owns which messages are in the window, and dropping the oldest ones by real token counts. Does not own how a
//! window becomes a prompt: each chat model does that for itself.

use std::sync::Arc;

use madrigal_journal::event::MessageId;

/// One agent's window onto the conversation.
#[derive(Debug, Clone)]
pub struct Context {
    /// The agent's own name.
    pub agent: String,
    /// The names of everyone at the table, the agent's own among them, in seat order.
    pub table: Vec<String>,
    /// Persona and shared instructions; pinned.
    pub instructions: String,
    /// The seed prompt; pinned.
    pub seed_prompt: Option<Arc<Said>>,
    /// What has been said since, oldest first; compaction takes from the front.
    pub said: Vec<Arc<Said>>,
}

/// A message as the agents hear it.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// Its number in the journal.
    pub id: MessageId,
    /// Who said it; `None` for the seed prompt.
    pub agent: Option<String>,
    /// The text, without control words and reasoning.
    pub text: String,
    /// The spoken token ids with the tokenizer they belong to, where the speaker was local.
    pub ids: Option<SpokenIds>,
}

/// Token ids and the tokenizer that gives them meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct SpokenIds {
    /// Digest of the tokenizer; listeners with another one encode the text instead.
    pub tokenizer: Arc<str>,
    /// The ids as spoken.
    pub ids: Vec<u32>,
}

impl Context {
    /// Whether names are put before what others say: with more than two agents one cannot tell otherwise.
    #[must_use]
    pub fn names_speakers(&self) -> bool {
        self.table.len() > 2
    }

    /// Whether `said` is the agent's own.
    #[must_use]
    pub fn is_own(&self, said: &Said) -> bool {
        said.agent.as_deref() == Some(self.agent.as_str())
    }

    /// Drops the oldest messages until `count` says that the window holds at most `target` tokens.
    /// Returns the messages that left.
    ///
    /// # Errors
    /// What `count` returns.
    pub fn drop_oldest<E>(
        &mut self,
        target: usize,
        mut count: impl FnMut(&Self) -> Result<usize, E>,
    ) -> Result<Vec<MessageId>, E> {
        let mut dropped = Vec::new();
        while !self.said.is_empty() && count(self)? > target {
            dropped.push(self.said.remove(0).id);
        }
        Ok(dropped)
    }
}

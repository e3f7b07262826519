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

    /// Drops the fewest oldest messages that leave at most `target` tokens by `count`, but never the last message.
    /// Returns the messages that left. `count` must not grow when a message leaves.
    ///
    /// # Errors
    /// What `count` returns.
    pub fn drop_oldest<E>(
        &mut self,
        target: usize,
        mut count: impl FnMut(&Self) -> Result<usize, E>,
    ) -> Result<Vec<MessageId>, E> {
        let all = std::mem::take(&mut self.said);
        let (mut low, mut high) = (0, all.len().saturating_sub(1));
        while low < high {
            let middle = low.midpoint(high);
            self.said = all[middle..].to_vec();
            match count(self) {
                Ok(tokens) if tokens <= target => high = middle,
                Ok(_) => low = middle + 1,
                Err(error) => {
                    self.said = all;
                    return Err(error);
                }
            }
        }
        self.said = all[low..].to_vec();
        Ok(all[..low].iter().map(|said| said.id).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_oldest_messages_leave_and_the_last_one_stays() {
        let said = |id: u32, text: &str| {
            Arc::new(Said { id: MessageId(id), agent: Some("A".to_owned()), text: text.to_owned(), ids: None })
        };
        let said = vec![said(1, "aaaa"), said(2, "bb"), said(3, "c"), said(4, "dddd")];
        let count = |context: &Context| Ok::<_, ()>(context.said.iter().map(|said| said.text.len()).sum::<usize>());
        for (target, left) in [(11, 4), (10, 3), (7, 3), (6, 2), (5, 2), (4, 1), (0, 1)] {
            let mut context = Context {
                agent: "A".to_owned(),
                table: Vec::new(),
                instructions: String::new(),
                seed_prompt: None,
                said: said.clone(),
            };
            let dropped = context.drop_oldest(target, count).unwrap();
            assert_eq!(context.said, said[4 - left..], "target {target}");
            assert_eq!(dropped.len(), 4 - left);
        }
    }
}

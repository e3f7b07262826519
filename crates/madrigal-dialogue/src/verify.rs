//! Verification: a recorded conversation is held again and compared.

use madrigal_journal::event::{Event, Turn};

use crate::conversation::{Conversation, ConversationError, Interrupt, Outcome};
use crate::record::{Difference, Record};

/// What a verification found.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// How many tokens of local agents were made again and compared.
    pub tokens_compared: u64,
    /// How many messages were taken from the record at their word.
    pub messages_from_tape: u64,
    /// Where the two differ; empty when they are identical.
    pub differences: Vec<Difference>,
}

/// Holds `conversation` again over the recorded `events` and compares: local and scripted agents speak anew, all
/// other messages, and those of turns up to `taken_until`, are taken from the record.
///
/// # Errors
/// When the conversation cannot be held.
pub async fn verify(
    conversation: &mut Conversation,
    events: Vec<Event>,
    taken_until: Turn,
    on: &mut (dyn FnMut(crate::Happening<'_>) + Send),
) -> Result<Verified, ConversationError> {
    let mut record = Record::comparing(events, taken_until);
    let (_button, interrupt) = Interrupt::new();
    let Outcome { tokens_compared, messages_from_tape, error, spent, .. } =
        conversation.hold(&mut record, interrupt, on).await?;
    let mut differences = record.differences().to_vec();
    if let Some(error) = error {
        differences.push(Difference { turn: spent.turns + 1, what: error });
    }
    Ok(Verified { tokens_compared, messages_from_tape, differences })
}

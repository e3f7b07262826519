//! Forking: the past that a new run takes over from an old one.

use madrigal_agents::control::ControlWord;
use madrigal_journal::event::{Event, Finish, Message, MessageId, Source, Turn};

use crate::policy::TurnOrder;

/// A fork that cannot be made. Completes "failed to …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// The run has no such turn.
    #[error("fork after turn {at}: the run has {turns} turns")]
    NoSuchTurn {
        /// The turn asked for.
        at: Turn,
        /// The turns there are.
        turns: Turn,
    },
    /// A name that no agent has.
    #[error("let `{name}` say it: no agent is called so; the agents are {known}")]
    NoSuchAgent {
        /// The name as given.
        name: String,
        /// The names there are.
        known: String,
    },
}

/// The events of `events` that belong to turns 1 to `at`: what a fork after turn `at` takes over.
///
/// # Errors
/// When the run has fewer turns.
pub fn past_until(events: &[Event], at: Turn) -> Result<Vec<Event>, ForkError> {
    let turns = events
        .iter()
        .filter_map(|event| match event {
            Event::Message(message) => Some(message.turn),
            _ => None,
        })
        .max()
        .unwrap_or(0);
    if at > turns {
        return Err(ForkError::NoSuchTurn { at, turns });
    }
    let kept = |event: &&Event| match event {
        Event::Message(message) => message.turn <= at,
        // The first speaker's `/start` stands before every message; it is there even when none is kept.
        Event::Control { turn: 1, from: None, word, .. } if word == "/start" => true,
        Event::Control { turn, .. }
        | Event::Compaction { turn, .. }
        | Event::Surprise { turn, .. }
        | Event::Notice { turn, .. }
        | Event::Retry { turn, .. } => *turn <= at,
        Event::Discarded { .. } | Event::Resumed { .. } | Event::RunEnded(_) => false,
    };
    Ok(events.iter().filter(kept).cloned().collect())
}

/// A message put in from outside as turn `turn`, said by the agent whose turn it is or by `as_agent`, with the control
/// word that ends it.
///
/// # Errors
/// When nobody is called `as_agent`.
pub fn put_in(
    text: &str,
    as_agent: Option<&str>,
    turn: Turn,
    names: &[String],
    order: &TurnOrder,
    at_ms: u64,
) -> Result<Vec<Event>, ForkError> {
    let (said, word) = ControlWord::split(text);
    let agent = match as_agent {
        None => names[order.speaker(turn)].clone(),
        Some(wanted) => names
            .iter()
            .find(|name| name.eq_ignore_ascii_case(wanted))
            .cloned()
            .ok_or_else(|| ForkError::NoSuchAgent { name: wanted.to_owned(), known: names.join(", ") })?,
    };
    let message = Event::Message(Message {
        id: MessageId(turn),
        turn,
        agent: Some(agent.clone()),
        text: said.trim().to_owned(),
        ids: None,
        reasoning: None,
        source: Source::Given,
        finish: Finish::Stop,
        prompt_tokens: None,
        completion_tokens: None,
        cost_usd: None,
        at_ms,
    });
    let to = (word != Some(ControlWord::Stop)).then(|| names[order.speaker(turn + 1)].clone());
    let control = word.map(|word| Event::Control { turn, from: Some(agent), to, word: word.to_string() });
    Ok(std::iter::once(message).chain(control).collect())
}

//! What happened between messages, in a line for people.

use super::clock;
use super::facts::end;
use crate::event::{Event, MessageId};

/// An event as a line of text, not yet escaped; `None` for messages, which are not told but shown, and for measurements,
/// of which there is one for every listener of every message.
pub(super) fn told(event: &Event) -> Option<String> {
    Some(match event {
        Event::Message(_) | Event::Surprise { .. } => return None,
        Event::Control { from, to, word, .. } => match (from, to) {
            (Some(from), Some(to)) => format!("{from} sends {word} to {to}"),
            (Some(from), None) => format!("{from} sends {word}"),
            (None, Some(to)) => format!("{to} receives {word}"),
            (None, None) => word.clone(),
        },
        Event::Compaction { agent, dropped, tokens_before, tokens_after, .. } => {
            let left = match dropped.as_slice() {
                [one] => format!("message {} leaves", one.0),
                many => format!("{} messages{} leave", many.len(), span(many)),
            };
            format!("{left} the window of {agent} ({tokens_before} → {tokens_after} tokens)")
        }
        Event::Notice { agent, text, .. } => match agent {
            Some(agent) => format!("{agent}: {text}"),
            None => text.clone(),
        },
        Event::Retry { agent, attempt, reason, wait_ms, .. } => format!(
            "attempt {attempt} to reach the chat model of {agent} failed ({reason}); next in {}",
            clock::length(*wait_ms)
        ),
        Event::Discarded { agent, reason, .. } => {
            format!("a message of {agent} was thrown away: {reason}")
        }
        Event::Resumed { turns, .. } => format!("the run was taken up again after turn {turns}"),
        Event::RunEnded(ended) => format!("the run ended: {}", end(ended)),
    })
}

/// ` (3 to 7)` where the messages follow each other, nothing otherwise.
fn span(ids: &[MessageId]) -> String {
    match ids {
        [first, .., last] if ids.windows(2).all(|pair| pair[0].0.checked_add(1) == Some(pair[1].0)) => {
            format!(" ({} to {})", first.0, last.0)
        }
        _ => String::new(),
    }
}

//! A transcript as lines of JSON, with every text exactly as it was said.

use serde::Serialize;

use super::{Entry, Transcript, escape};
use crate::event::{Message, Source};

/// One message.
#[derive(Serialize)]
struct Line<'j> {
    turn: u32,
    /// `null` for the seed prompt and the narrator.
    agent: Option<&'j str>,
    text: &'j str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<&'j [u32]>,
    at_ms: u64,
    source: Source,
}

/// Every message as an object on its own line, the seed prompt first.
pub(super) fn lines(of: &Transcript<'_>) -> serde_json::Result<String> {
    let said = of.entries.iter().filter_map(|entry| match entry {
        Entry::Said { message, .. } => Some(*message),
        Entry::Mark(_) => None,
    });
    let mut out = String::new();
    for message in of.seed_prompt.into_iter().chain(said) {
        out.push_str(&escape::json(&serde_json::to_string(&line(message))?));
        out.push('\n');
    }
    Ok(out)
}

fn line(message: &Message) -> Line<'_> {
    Line {
        turn: message.turn,
        agent: message.agent.as_deref(),
        text: &message.text,
        ids: message.ids.as_deref(),
        at_ms: message.at_ms,
        source: message.source,
    }
}

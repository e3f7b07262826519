//! What is to be known about a run as a whole.

use super::{Entry, Transcript, clock};
use crate::event::{Event, RunEnded, Stopped};

/// A label and what it labels.
pub(super) type Fact = (&'static str, String);

/// The facts of a run in the order in which they are shown.
pub(super) fn facts(of: &Transcript<'_>) -> Vec<Fact> {
    let header = of.header;
    let mut facts = vec![("Run", header.run.clone()), ("Started", clock::moment(header.started_ms))];
    if let Some(origin) = &header.forked_from {
        let after = format!("{} after turn {}", origin.run, origin.turn);
        facts.push(("Forked from", after));
    }
    for speaker in &of.speakers {
        let described = match speaker.model {
            Some(model) => format!("{} ({model})", speaker.name),
            None => speaker.name.to_owned(),
        };
        facts.push(("Agent", described));
    }
    let messages = of.entries.iter().filter(|entry| matches!(entry, Entry::Said { .. })).count();
    facts.push(("Messages", messages.to_string()));
    match (of.broken_line, of.events.last()) {
        (Some(line), _) => {
            facts.push(("Incomplete", format!("the journal is broken at line {line}; what follows is not shown")));
        }
        (None, Some(Event::RunEnded(ended))) => sums(&mut facts, ended),
        (None, _) => facts.push(("Ended", "not yet; this is what was said so far".to_owned())),
    }
    if let Some(seed) = header.config.get("seed").and_then(serde_json::Value::as_u64) {
        facts.push(("Seed", seed.to_string()));
    }
    facts.push(("Program", format!("{} ({})", header.program, header.isa)));
    if let Some(head) = of.head {
        facts.push(("Head hash", head.to_string()));
    }
    facts
}

/// How the run ended and what it took.
fn sums(facts: &mut Vec<Fact>, ended: &RunEnded) {
    facts.push(("Ended", end(ended)));
    facts.push(("Took", clock::length(ended.at_ms)));
    let (read, spoken) = (ended.prompt_tokens, ended.completion_tokens);
    if read > 0 || spoken > 0 {
        facts.push(("Tokens", format!("{read} read, {spoken} spoken")));
    }
    if let Some(cost) = ended.cost_usd {
        facts.push(("Cost", format!("{cost:.4} US dollars")));
    }
}

/// Why a run ended, with what went wrong if something did.
pub(super) fn end(ended: &RunEnded) -> String {
    let reason = match ended.stopped {
        Stopped::Turns => "all turns were held",
        Stopped::Tokens => "the limit of tokens was reached",
        Stopped::Time => "the limit of time was reached",
        Stopped::Cost => "the limit of cost was reached",
        Stopped::Control => "a control word closed it",
        Stopped::Phrase => "a closing phrase was said",
        Stopped::Repetition => "the agents repeated themselves",
        Stopped::Courtesy => "the agents only thanked each other or said goodbye",
        Stopped::Silence => "the replies shrank to nothing",
        Stopped::Interrupt => "a person stopped it",
        Stopped::Error => "something went wrong",
    };
    match &ended.error {
        Some(error) => format!("{reason}: {error}"),
        None => reason.to_owned(),
    }
}

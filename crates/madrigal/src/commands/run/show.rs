//! `madrigal run show`.

use clap::Args;
use madrigal_journal::Chain;
use madrigal_journal::event::Event;
use serde_json::json;

use super::{open, recorded_config, turns_held};
use crate::cli::Place;
use crate::failure::{Context, Result};
use crate::output::{self, BOLD, DIM, neutral, seat_style};
use crate::runs;
use crate::units;

/// A run's facts and what was said.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The run
    run: String,
    /// Print one object of JSON: header, events and the state of the chain
    #[arg(long)]
    json: bool,
}

pub(crate) fn show(args: &ShowArgs, place: &Place) -> Result {
    let run = runs::find(place.root(), &args.run)?;
    let (journal, header) = open(&run)?;
    let chain = match &journal.chain {
        Chain::Finished => "finished".to_owned(),
        Chain::Unfinished { torn_bytes: 0 } => "unfinished".to_owned(),
        Chain::Unfinished { torn_bytes } => format!("unfinished, {torn_bytes} bytes of a line are torn"),
        Chain::Broken { line, reason } => format!("broken at line {line}: {reason}"),
    };
    if args.json {
        let whole = json!({
            "run": run.id, "dir": run.dir, "chain": chain, "head": journal.head.to_string(),
            "header": header, "events": journal.events,
        });
        return output::print_json(&whole).doing("print");
    }
    let config = recorded_config(&header)?;
    let mut text = format!("{BOLD}Run {}{BOLD:#}  {}\n", run.id, run.dir.display());
    let mut fact = |name: &str, value: &str| text.push_str(&format!("{DIM}{name:<10}{DIM:#} {}\n", neutral(value)));
    fact("started", &format!("{} UTC by {}", runs::minute(header.started_ms), header.program));
    fact("state", &chain);
    if let Some(from) = &header.forked_from {
        fact("forked", &format!("from run {} after turn {}", from.run, from.turn));
    }
    fact("turns", &turns_held(&journal.events).to_string());
    fact("seed", &config.seed.to_string());
    fact("isa", &header.isa);
    for agent in &config.agents {
        fact("agent", &format!("{} ({}) on {}", agent.name, agent.persona, agent.model));
    }
    for file in &header.files {
        fact("file", &format!("{} {} sha256 {}", file.role, file.path, file.sha256));
    }
    fact("head", &journal.head.to_string());
    text.push('\n');
    for event in &journal.events {
        describe(event, &config, &mut text);
    }
    output::print(text).doing("print")
}

/// Adds an event as people read it.
fn describe(event: &Event, config: &madrigal_dialogue::ConversationConfig, text: &mut String) {
    match event {
        Event::Message(message) => {
            let agent = message.agent.as_deref().unwrap_or("Seed");
            let seat = config.agents.iter().position(|known| known.name == agent);
            let style = seat.map_or(DIM, seat_style);
            let said = neutral(&message.text);
            text.push_str(&format!("{style}[Turn {:02}] {}:{style:#} {said}\n\n", message.turn, neutral(agent)));
        }
        Event::Control { from, word, .. } => {
            let from = from.as_deref().unwrap_or("·");
            text.push_str(&format!("{DIM}        {} {word}{DIM:#}\n\n", neutral(from)));
        }
        Event::Compaction { agent, dropped, .. } => {
            text.push_str(&format!(
                "{DIM}        {} messages left {}'s window{DIM:#}\n\n",
                dropped.len(),
                neutral(agent)
            ));
        }
        Event::Surprise { agent, nats, tokens, .. } => {
            let heard = units::surprise(*nats, *tokens);
            text.push_str(&format!("{DIM}        {} heard {heard}{DIM:#}\n\n", neutral(agent)));
        }
        Event::Notice { text: notice, .. } => {
            text.push_str(&format!("{DIM}        note: {}{DIM:#}\n\n", neutral(notice)));
        }
        Event::Retry { agent, attempt, reason, .. } => text.push_str(&format!(
            "{DIM}        {}: attempt {attempt} failed: {}{DIM:#}\n\n",
            neutral(agent),
            neutral(reason)
        )),
        Event::Discarded { agent, .. } => {
            text.push_str(&format!("{DIM}        a message of {} was discarded{DIM:#}\n\n", neutral(agent)));
        }
        Event::Resumed { turns, .. } => text.push_str(&format!("{DIM}        resumed after turn {turns}{DIM:#}\n\n")),
        Event::RunEnded(ended) => {
            let stopped = json!(ended.stopped);
            let error = ended.error.as_deref().map_or_else(String::new, |error| format!(": {}", neutral(error)));
            text.push_str(&format!("{DIM}        stopped ({}){error}{DIM:#}\n", stopped.as_str().unwrap_or_default()));
        }
    }
}

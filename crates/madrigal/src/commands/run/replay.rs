//! `madrigal run replay`: a run as it went, without any model.

use std::time::Duration;

use clap::Args;
use madrigal_agents::chat_model::ReplyEvent;
use madrigal_dialogue::Happening;
use madrigal_journal::event::{Event, Source};

use super::{open, recorded_config};
use crate::cli::Place;
use crate::failure::{Failure, Result};
use crate::output::{self, Stdout};
use crate::runs;
use crate::stage::{Stage, View};

/// Longest silence between two words of a replay.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Show a run as it went.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  madrigal run replay latest\n  madrigal run replay latest --speed 2    at twice its pace"
)]
pub(crate) struct ReplayArgs {
    /// The run
    run: String,
    /// Replay at so many times the original pace; without it, at once
    #[arg(long, value_name = "FACTOR")]
    speed: Option<f64>,
    /// Print a line of JSON per message
    #[arg(long)]
    json: bool,
}

pub(crate) fn replay(args: &ReplayArgs, place: &Place) -> Result {
    if args.speed.is_some_and(|speed| !(speed.is_finite() && speed > 0.0)) {
        return Err(Failure::wrong("--speed must be above 0"));
    }
    let run = runs::find(place.root(), &args.run)?;
    let (journal, header) = open(&run)?;
    let names = recorded_config(&header)?.agents.into_iter().map(|agent| agent.name).collect();
    let view = if args.json { View::Machines } else { View::People };
    let mut stage = Stage::new(view, names, false);
    let mut last_ms = 0;
    for event in &journal.events {
        if let Event::Message(message) = event {
            if let Some(agent) = &message.agent {
                // The source is told as local so that nobody waits for a person's typing.
                stage.show(Happening::Speaking { turn: message.turn, agent, source: Source::Local });
                let took = Duration::from_millis(message.at_ms.saturating_sub(last_ms));
                speak(&message.text, took, args.speed, &mut stage);
            }
            last_ms = message.at_ms;
        }
        stage.show(Happening::Recorded(event));
        match output::stdout_state() {
            Stdout::Open => {}
            Stdout::Closed => break,
            Stdout::Failed => return Err(Failure::of("write the replay to standard output")),
        }
    }
    Ok(())
}

/// Shows a message word by word over the time that it took.
fn speak(text: &str, took: Duration, speed: Option<f64>, stage: &mut Stage) {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let wait = speed.map(|speed| took.div_f64(speed * words.len().max(1) as f64).min(LONGEST_WAIT));
    for word in words {
        if let Some(wait) = wait {
            std::thread::sleep(wait);
        }
        stage.show(Happening::Reply(ReplyEvent::Text(word.to_owned())));
    }
}

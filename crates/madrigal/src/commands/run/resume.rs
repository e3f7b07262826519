//! `madrigal run resume`: go on.

use clap::Args;
use madrigal_journal::JournalWriter;
use madrigal_journal::event::{Event, Stopped};

use super::{Turns, recorded_config, turn_limit, turns_held};
use crate::cli::Place;
use crate::commands::talk;
use crate::failure::{Failure, Result};
use crate::kept_kv::KeptKv;
use crate::output::DIM;
use crate::runs;
use crate::sitting::{self, Begun, Show, Sitting};

const HELP: &str = "\
A run that was killed or interrupted goes on as if nothing had happened: with the same seed, local agents say what they
would have said. A finished one needs --turns.

Examples:
  madrigal run resume latest
  madrigal run resume latest --turns +10";

/// Go on with a run.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ResumeArgs {
    /// The run
    run: String,
    /// New limit of turns: 20 in all, or +10 more than there are
    #[arg(long, value_name = "N|+N")]
    turns: Option<Turns>,
    #[command(flatten)]
    going_on: super::fork::GoingOn,
}

pub(crate) fn resume(args: &ResumeArgs, place: &Place) -> Result {
    sitting::told(args.going_on.json, prepare(args, place))?.hold()
}

/// Opens the run for writing and seats its agents; what is left is to go on.
fn prepare(args: &ResumeArgs, place: &Place) -> Result<Begun> {
    let run = runs::find(place.root(), &args.run)?;
    let (mut writer, recovered) = JournalWriter::reopen(&run.journal()).map_err(Failure::of)?;
    let mut config = recorded_config(&recovered.header)?;
    let held = turns_held(&recovered.events);
    let limit = args.turns.map(|turns| turns.limit(held));
    let finished = matches!(recovered.events.last(), Some(Event::RunEnded(ended))
        if !matches!(ended.stopped, Stopped::Error | Stopped::Interrupt));
    if finished && limit.is_none_or(|limit| limit <= held) {
        return Err(Failure::wrong(format!(
            "run {} is finished after {held} turns; say how many there may be, e.g. --turns +10",
            run.id
        )));
    }
    if recovered.cut_bytes > 0 {
        anstream::eprintln!("{DIM}cut {} bytes of an unfinished line off the journal{DIM:#}", recovered.cut_bytes);
    }
    config.stop.turns = limit.or_else(|| turn_limit(&config, &recovered.events));
    if finished {
        // What stopped it would stop it again at once; the new limit of turns stands alone.
        config.stop.tokens = None;
        config.stop.seconds = None;
        config.stop.cost_usd = None;
    }
    let seating = args.going_on.seating(&recovered.header, &config)?;
    let addresses = args.going_on.addresses(&recovered.header, &config)?;
    let mut table = seating.seat(&config, &addresses)?;
    let kept_kv = KeptKv::of(&run, &config, &table.loaded.files);
    kept_kv.restore(&mut table.seats);
    let resumed = Event::Resumed { turns: held, cut_bytes: recovered.cut_bytes, turn_limit: limit };
    writer.append(&resumed).and_then(|_| writer.sync()).map_err(Failure::of)?;
    let conversation = talk::conversation(&config, table)?;
    let show = Show { json: args.going_on.json, state: args.going_on.show_state };
    let sitting = Sitting { run, config, show, forked_from: None, kept_kv: args.going_on.keep_kv.then_some(kept_kv) };
    Ok(Begun { sitting, conversation, past: recovered.events, writer })
}

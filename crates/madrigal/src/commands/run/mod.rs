//! `madrigal run`: what was recorded.

pub(crate) mod export;
pub(crate) mod fork;
pub(crate) mod list;
pub(crate) mod replay;
pub(crate) mod resume;
pub(crate) mod rm;
pub(crate) mod show;
pub(crate) mod verify;

use clap::{Args, Subcommand};
use madrigal_dialogue::ConversationConfig;
use madrigal_journal::event::{Event, Header, Turn};

use crate::cli::Place;
use crate::failure::{Failure, Result};
use crate::runs::RunPlace;

const EXAMPLES: &str = "\
RUN is an id, a unique beginning of one, `latest`, a run's folder or its journal.jsonl.

Examples:
  madrigal run list
  madrigal run show latest
  madrigal run verify latest
  madrigal run fork latest --at 3 --say 'And if it were not so?'
  madrigal run export latest --format html --out talk.html";

/// List, show, verify, replay, resume, fork and export what was recorded.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(subcommand)]
    command: RunCommand,
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    /// The runs there are, oldest first
    List(list::ListArgs),
    /// A run's facts and what was said
    Show(show::ShowArgs),
    /// Hold a run again and compare it token by token with its record
    Verify(verify::VerifyArgs),
    /// Show a run as it went
    Replay(replay::ReplayArgs),
    /// Go on with a run that was interrupted, or make a finished one longer
    Resume(resume::ResumeArgs),
    /// Start a new run from a turn of an old one
    Fork(fork::ForkArgs),
    /// Write a transcript
    Export(export::ExportArgs),
    /// Delete runs
    Rm(rm::RmArgs),
}

pub(crate) fn run(args: RunArgs, place: &Place) -> Result {
    match args.command {
        RunCommand::List(args) => list::list(&args, place),
        RunCommand::Show(args) => show::show(&args, place),
        RunCommand::Verify(args) => verify::verify(&args, place),
        RunCommand::Replay(args) => replay::replay(&args, place),
        RunCommand::Resume(args) => resume::resume(&args, place),
        RunCommand::Fork(args) => fork::fork(&args, place),
        RunCommand::Export(args) => export::export(args, place),
        RunCommand::Rm(args) => rm::rm(&args, place),
    }
}

/// The conversation's configuration in a journal's header.
fn recorded_config(header: &Header) -> Result<ConversationConfig> {
    serde_json::from_value(header.config.clone())
        .map_err(|error| Failure::of(format_args!("read the configuration of run {}: {error}", header.run)))
}

/// The limit of turns in force after `events`: a resumption may have changed it.
fn turn_limit(config: &ConversationConfig, events: &[Event]) -> Option<Turn> {
    let changed = events.iter().rev().find_map(|event| match event {
        Event::Resumed { turn_limit, .. } => *turn_limit,
        _ => None,
    });
    changed.or(config.stop.turns)
}

/// How many turns have been held.
fn turns_held(events: &[Event]) -> Turn {
    let turn = |event: &Event| match event {
        Event::Message(message) => Some(message.turn),
        _ => None,
    };
    events.iter().filter_map(turn).max().unwrap_or(0)
}

/// `N` turns in all, or `+N` more than there are.
#[derive(Debug, Clone, Copy)]
enum Turns {
    All(Turn),
    More(Turn),
}

impl std::str::FromStr for Turns {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (more, number) = text.strip_prefix('+').map_or((false, text), |number| (true, number));
        match number.parse() {
            Ok(0) | Err(_) => Err(format!("`{text}` is no number of turns; write 20, or +10 for ten more")),
            Ok(turns) => Ok(if more { Self::More(turns) } else { Self::All(turns) }),
        }
    }
}

impl Turns {
    fn limit(self, held: Turn) -> Turn {
        match self {
            Self::All(turns) => turns,
            Self::More(turns) => held.saturating_add(turns),
        }
    }
}

/// The readable journal of a run; what is behind a break is not there.
fn open(run: &RunPlace) -> Result<(madrigal_journal::Journal, Header)> {
    let journal = madrigal_journal::Journal::open(&run.journal()).map_err(Failure::of)?;
    match journal.header.clone() {
        Some(header) => Ok((journal, header)),
        None => Err(Failure::of(format_args!(
            "read the run {}: its journal has no whole header; the run was killed as it began, or line 1 was changed",
            run.id
        ))),
    }
}

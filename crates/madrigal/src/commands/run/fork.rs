//! `madrigal run fork`: what if?

use std::path::PathBuf;

use clap::Args;
use madrigal_agents::persona::Persona;
use madrigal_dialogue::policy::TurnOrder;
use madrigal_dialogue::{ConversationConfig, fork};
use madrigal_journal::JournalWriter;
use madrigal_journal::event::{Event, ForkedFrom, Header, Turn};

use super::{Turns, open, recorded_config, turn_limit};
use crate::cli::Place;
use crate::commands::talk;
use crate::failure::{Failure, Result};
use crate::kept_kv::KeptKv;
use crate::loading::{self, Belief, LocalOptions};
use crate::personas::PersonaFolders;
use crate::runs;
use crate::seating::{self, Address, Seating};
use crate::sitting::{self, Begun, Show, Sitting};

const HELP: &str = "\
Keeps turns 1 to N of the old run and goes on from there as a new one. Without a change it ends as the original did.
What its local agents had read is not read again if it was kept (`talk --keep-kv`).

Examples:
  madrigal run fork latest --at 3
  madrigal run fork latest --at 3 --say 'And if it were not so?' --as Sceptic
  madrigal run fork latest --at 0 --seed 8
  madrigal run fork latest --at 5 --persona 'Dr. Weiss=pirate' --turns +10";

/// Start a new run from a turn of an old one.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ForkArgs {
    /// The run
    run: String,
    /// The last turn to keep; 0 keeps the seed prompt only
    #[arg(long, value_name = "N")]
    at: Turn,
    /// Put this in as the next turn
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    say: Option<String>,
    /// Who says it [default: whose turn it is]
    #[arg(long = "as", value_name = "AGENT", requires = "say")]
    as_agent: Option<String>,
    /// Give an agent another persona from here on
    #[arg(long = "persona", value_name = "AGENT=PERSONA")]
    persona_changes: Vec<String>,
    /// Another seed for the draws from here on
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Limit of turns: 20 in all, or +10 after the fork [default: the original's]
    #[arg(long, value_name = "N|+N")]
    turns: Option<Turns>,
    /// Folder to make the new run's folder in, instead of --runs
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    personas: PersonaFolders,
    #[command(flatten)]
    going_on: GoingOn,
}

/// What `resume` and `fork` share.
#[derive(Debug, Args)]
pub(crate) struct GoingOn {
    /// Print a line of JSON per new message, and one at the end
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the inner state of scripted agents after each turn
    #[arg(long)]
    pub(crate) show_state: bool,
    /// Threads for local models [default: all cores]
    #[arg(long, value_name = "N", env = "MADRIGAL_THREADS")]
    threads: Option<usize>,
    /// Memory that local models may take, e.g. 8GiB
    #[arg(long, value_name = "SIZE", env = "MADRIGAL_MEMORY_LIMIT", value_parser = crate::units::bytes)]
    memory_limit: Option<u64>,
    /// Keep what local agents have read beside the run, so that going on from it need not read it again
    #[arg(long)]
    pub(crate) keep_kv: bool,
    /// Ask providers for whole replies instead of streams
    #[arg(long)]
    no_stream: bool,
    /// Address of the provider; to be given again where it had a user part, which is never recorded
    #[arg(long, value_name = "URL", env = "MADRIGAL_BASE_URL", hide_env_values = true)]
    base_url: Option<String>,
}

impl GoingOn {
    /// Where the chat models of `config` are.
    pub(crate) fn addresses(&self, header: &Header, config: &ConversationConfig) -> Result<Vec<Address>> {
        seating::recorded_addresses(config, &header.files, self.base_url.as_deref())
    }

    /// Chat models as they were when `header` was written: same files, same instruction set.
    pub(crate) fn seating(&self, header: &Header, config: &ConversationConfig) -> Result<Seating> {
        if let Some(change) = loading::changed_files(&header.files, Belief::Known).into_iter().next() {
            return Err(Failure::of(format_args!("go on with run {}: {}", header.run, change.what())));
        }
        let isa = if header.files.is_empty() { None } else { Some(header.isa.parse().map_err(Failure::of)?) };
        let kv = config.kv.as_deref().map(str::parse).transpose().map_err(Failure::of)?;
        let activations = config.activations.as_deref().map(str::parse).transpose().map_err(Failure::of)?;
        let (threads, memory_limit, context) = (self.threads, self.memory_limit, config.context);
        let local = LocalOptions { threads, memory_limit, context, isa, kv, activations };
        Ok(Seating { local, no_stream: self.no_stream, from_record: false })
    }
}

pub(crate) fn fork(args: &ForkArgs, place: &Place) -> Result {
    sitting::told(args.going_on.json, prepare(args, place))?.hold()
}

/// Makes the new run with its past; what is left is to go on.
fn prepare(args: &ForkArgs, place: &Place) -> Result<Begun> {
    let original = runs::find(place.root(), &args.run)?;
    let (journal, header) = open(&original)?;
    if let madrigal_journal::Chain::Broken { line, .. } = &journal.chain {
        return Err(Failure::of(format_args!("fork run {}: its journal is broken at line {line}", original.id)));
    }
    let mut config = recorded_config(&header)?;
    let mut past = fork::past_until(&journal.events, args.at).map_err(Failure::usage)?;
    let limit = args.turns.map(|turns| turns.limit(args.at));
    config.stop.turns = limit.or_else(|| turn_limit(&config, &journal.events));
    config.seed = args.seed.unwrap_or(config.seed);
    for change in &args.persona_changes {
        change_persona(&mut config, change, &args.personas)?;
    }
    let names: Vec<String> = config.agents.iter().map(|agent| agent.name.clone()).collect();
    if limit.is_some_and(|limit| limit <= args.at) {
        return Err(Failure::wrong(format!("--turns must be more than the {} turns that are kept", args.at)));
    }
    if args.say.as_ref().is_some_and(|text| text.trim().is_empty()) {
        return Err(Failure::wrong("--say needs a text"));
    }
    let mut put_in = Vec::new();
    if let Some(text) = &args.say {
        let order = TurnOrder::new(&config.policy, &names).map_err(Failure::of)?;
        let last = past.iter().map(|event| if let Event::Message(message) = event { message.at_ms } else { 0 }).max();
        put_in = fork::put_in(text, args.as_agent.as_deref(), args.at + 1, &names, &order, last.unwrap_or(0))
            .map_err(Failure::usage)?;
    }
    let seating = args.going_on.seating(&header, &config)?;
    let mut table = seating.seat(&config, &args.going_on.addresses(&header, &config)?)?;
    KeptKv::of(&original, &config, &table.loaded.files).restore(&mut table.seats);
    let loaded = table.loaded.clone();
    let conversation = talk::conversation(&config, table)?;
    let started_ms = runs::now_ms();
    let run = runs::create(args.out.as_deref().unwrap_or(place.root()), started_ms)?;
    let forked_from = ForkedFrom {
        run: original.id,
        turn: args.at,
        changed: args.seed.is_some() || !args.persona_changes.is_empty(),
    };
    let new_header = talk::header(&run, &config, loaded, started_ms, Some(forked_from.clone()))?;
    let mut writer = JournalWriter::create(&run.journal(), &new_header).map_err(Failure::of)?;
    past.extend(put_in.iter().cloned());
    for event in &past {
        writer.append(event).map_err(Failure::of)?;
    }
    writer.sync().map_err(Failure::of)?;
    let show = Show { json: args.going_on.json, state: args.going_on.show_state };
    let kept_kv = args.going_on.keep_kv.then(|| KeptKv::of(&run, &config, &new_header.files));
    let sitting = Sitting { run, config, show, forked_from: Some(forked_from), kept_kv };
    sitting.show_given(&put_in);
    Ok(Begun { sitting, conversation, past, writer })
}

fn change_persona(config: &mut ConversationConfig, change: &str, folders: &PersonaFolders) -> Result {
    let (agent, persona) =
        change.split_once('=').ok_or_else(|| Failure::wrong(format!("--persona {change}: write AGENT=PERSONA")))?;
    let known: Vec<String> = config.agents.iter().map(|agent| agent.name.clone()).collect();
    let seat = config.agents.iter_mut().find(|known| known.name.eq_ignore_ascii_case(agent)).ok_or_else(|| {
        Failure::wrong(format!("--persona {change}: no agent is called `{agent}`; the agents are {}", known.join(", ")))
    })?;
    let persona: Persona = folders.library().find(persona).map_err(Failure::of)?;
    seat.persona = persona.file;
    seat.persona_text = persona.source;
    Ok(())
}

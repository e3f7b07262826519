//! `madrigal talk`: the main job.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use madrigal_agents::chat_model::{Draw, ReplyRequest};
use madrigal_agents::control::ControlWord;
use madrigal_dialogue::{Conversation, ConversationConfig, Listening, seed_prompt};
use madrigal_journal::JournalWriter;
use madrigal_journal::event::{ForkedFrom, Header};
use serde_json::json;

use crate::cli::Place;
use crate::failure::{Context, Failure, Result};
use crate::kept_kv::KeptKv;
use crate::loading::{LocalOptions, parsed};
use crate::output;
use crate::personas;
use crate::runs::{self, RunPlace};
use crate::seating::{self, Loaded, Seating, Table};
use crate::settings::Settings;
use crate::sitting::{self, Begun, Show, Sitting};

const EXAMPLES: &str = "\
Examples:
  madrigal talk                                          three people talk on the embedded model
  madrigal talk doctor parry                             two scripts, after those of 1966 and 1972
  madrigal talk physicist psychotherapist --model file:model.gguf --turns 6 --seed 7
  madrigal talk physicist@ollama:llama3.2 sceptic@openai:gpt-4o-mini --seed-prompt 'What is time?'
  madrigal talk me.md@human doctor                       sit down yourself
  madrigal talk --seed-file letter.eml sceptic mediator --model compat:http://127.0.0.1:8080/v1#any
  madrigal talk --config talk.yaml --dry-run             what would be sent, and how long it is

An agent ends the talk with /bye, /stop or /end as a message or its last line. The first Ctrl-C closes the run after
this message, a second one at once; `madrigal run resume latest` goes on.";

/// Run a conversation here and record it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct TalkArgs {
    #[command(flatten)]
    settings: Settings,

    /// Settings from a YAML file; its keys are the names of these flags, and `agents`
    #[arg(long, value_name = "FILE", env = "MADRIGAL_CONFIG")]
    config: Option<PathBuf>,
}

pub(crate) fn talk(args: TalkArgs, place: &Place) -> Result {
    let json = args.settings.json.unwrap_or(false);
    let settings = sitting::told(json, args.settings())?;
    let json = settings.json.unwrap_or(false);
    match sitting::told(json, prepare(&settings, place))? {
        None => Ok(()),
        Some(begun) => begun.hold(),
    }
}

impl TalkArgs {
    /// All settings, those of the file included.
    fn settings(self) -> Result<Settings> {
        let settings = match &self.config {
            Some(path) => self.settings.with_file(path)?,
            None => self.settings,
        };
        settings.check()?;
        Ok(settings)
    }
}

/// Begins the run; `None` when only a dry run was asked for, and has been shown.
fn prepare(settings: &Settings, place: &Place) -> Result<Option<Begun>> {
    let seed_prompt = read_seed_prompt(settings)?;
    let library = personas::library(&settings.personas);
    let (config, addresses) = seating::resolve(settings, seed_prompt, &library)?;
    let no_stream = settings.no_stream.unwrap_or(false);
    let seating = Seating { local: local_options(settings)?, no_stream, from_record: false };
    let table = seating.seat(&config, &addresses)?;
    let json = settings.json.unwrap_or(false);
    if settings.dry_run.unwrap_or(false) {
        dry_run(&config, table, json)?;
        return Ok(None);
    }
    let loaded = table.loaded.clone();
    let mut conversation = conversation(&config, table)?;
    if settings.no_listen.unwrap_or(false) {
        conversation = conversation.with_listening(Listening::Off);
    }
    let started_ms = runs::now_ms();
    let root = settings.out.as_deref().or(place.named()).or(settings.runs.as_deref()).unwrap_or(place.root());
    let run = runs::create(root, started_ms)?;
    let header = header(&run, &config, loaded, started_ms, None)?;
    let kept_kv = settings.keep_kv.unwrap_or(false).then(|| KeptKv::of(&run, &config, &header.files));
    let writer = JournalWriter::create(&run.journal(), &header).map_err(Failure::of)?;
    let show = Show { json, state: settings.show_state.unwrap_or(false) };
    let sitting = Sitting { run, config, show, forked_from: None, kept_kv };
    Ok(Some(Begun { sitting, conversation, past: Vec::new(), writer }))
}

/// The first line of a run's journal.
pub(crate) fn header(
    run: &RunPlace,
    config: &ConversationConfig,
    loaded: Loaded,
    started_ms: u64,
    forked_from: Option<ForkedFrom>,
) -> Result<Header> {
    Ok(Header {
        format: madrigal_journal::event::FormatVersion::CURRENT,
        run: run.id.clone(),
        program: concat!("madrigal ", env!("CARGO_PKG_VERSION")).to_owned(),
        started_ms,
        isa: loaded.isa,
        sandbox: "none".to_owned(),
        config: serde_json::to_value(config).doing("write the configuration")?,
        files: loaded.files,
        forked_from,
    })
}

/// The conversation that `config` describes, between the agents of `table`.
pub(crate) fn conversation(config: &ConversationConfig, table: Table) -> Result<Conversation> {
    Conversation::new(table.seats, &config.policy, config.stop.clone(), config.seed_prompt.clone(), config.seed)
        .map(|conversation| {
            let listening = if config.surprise { Listening::Measured } else { Listening::InStep };
            conversation.with_notices(table.notices).with_listening(listening)
        })
        .map_err(Failure::usage)
}

fn local_options(settings: &Settings) -> Result<LocalOptions> {
    Ok(LocalOptions {
        threads: settings.threads,
        memory_limit: settings.memory_limit,
        context: settings.context,
        isa: parsed("isa", settings.isa.as_deref())?,
        kv: parsed("kv", settings.kv.as_deref())?,
        activations: parsed("activations", settings.activations.as_deref())?,
    })
}

fn read_seed_prompt(settings: &Settings) -> Result<Option<String>> {
    if let Some(text) = &settings.seed_prompt {
        return seed_prompt::from_text(text.as_bytes(), "--seed-prompt").map(Some).map_err(Failure::usage);
    }
    let Some(path) = &settings.seed_file else { return Ok(None) };
    let mut bytes = Vec::new();
    let origin = path.display().to_string();
    if origin == "-" {
        std::io::stdin().read_to_end(&mut bytes).doing("read the seed prompt from standard input")?;
    } else {
        bytes = fs::read(path).doing(format_args!("read the seed prompt from {origin}"))?;
    }
    let email = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("eml"));
    let read = if email { seed_prompt::from_email } else { seed_prompt::from_text };
    read(&bytes, &origin).map(Some).map_err(Failure::usage)
}

/// Shows what would happen: the configuration and every agent's first prompt.
fn dry_run(config: &ConversationConfig, mut table: Table, json: bool) -> Result {
    let resolved = serde_json::to_value(config).doing("show the configuration")?;
    let mut prompts = Vec::new();
    for (index, seat) in table.seats.iter_mut().enumerate() {
        if let Some(text) = &config.seed_prompt {
            seat.context.seed_prompt = Some(std::sync::Arc::new(madrigal_agents::context::Said {
                id: madrigal_journal::event::MessageId(0),
                agent: None,
                text: text.clone(),
                ids: None,
            }));
        }
        let request = ReplyRequest {
            context: &seat.context,
            control: config.seed_prompt.is_none().then_some(ControlWord::Start),
            sampling: &seat.sampling,
            draw: Draw { seed: config.seed, seat: index as u32, turn: index as u32 + 1 },
            listeners: &[],
        };
        let prompt = seat.model.prompt(&request).map_err(Failure::of)?;
        let tokens = seat.model.count(&request).map_err(Failure::of)?;
        prompts.push(json!({ "agent": seat.name, "tokens": tokens, "window": seat.model.window(), "prompt": prompt }));
    }
    if json {
        return output::print_json(&json!({ "config": resolved, "prompts": prompts })).doing("print");
    }
    let yaml = serde_saphyr::to_string(&resolved).doing("show the configuration")?;
    let mut text = format!("{}\n", output::neutral(&yaml));
    for prompt in prompts {
        let tokens = prompt["tokens"].as_u64().map_or_else(|| "tokens unknown".to_owned(), |n| format!("{n} tokens"));
        let name = prompt["agent"].as_str().unwrap_or_default();
        let body = prompt["prompt"].as_str().unwrap_or_default();
        text.push_str(&format!("--- first prompt of {name} ({tokens})\n{}\n", output::neutral(body)));
    }
    output::print(text).doing("print")
}

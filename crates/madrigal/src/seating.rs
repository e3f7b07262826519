//! From settings to a table: which agents sit there, what answers for each, what they are told.

use std::collections::HashSet;
use std::path::Path;

use madrigal_agents::agent_spec::AgentSpec;
use madrigal_agents::base_url::BaseUrl;
use madrigal_agents::chat_model::ChatModel;
use madrigal_agents::chat_models::human::Human;
use madrigal_agents::chat_models::local::LocalModel;
use madrigal_agents::chat_models::remote::{self, RemoteModel, RemoteOptions, RemoteTarget, Secret};
use madrigal_agents::chat_models::scripted::{Doctor, Parry};
use madrigal_agents::chat_models::tape::Tape;
use madrigal_agents::model_name::{ModelName, Provider};
use madrigal_agents::persona::{Persona, PersonaLibrary};
use madrigal_agents::sampling::Sampling;
use madrigal_dialogue::policy::TurnPolicy;
use madrigal_dialogue::stop::StopRules;
use madrigal_dialogue::{AgentConfig, ConversationConfig, Seat};
use madrigal_engine::Isa;
use madrigal_journal::event::{Event, FileHash, Source};

use crate::embedded;
use crate::failure::{Failure, Result};
use crate::loading::{self, Loader, LocalOptions};
use crate::settings::{AgentMap, Settings};

/// A window no larger than this gets a persona's summary instead of its whole text: what all personas are told alone takes
/// a third of it.
const SUMMARY_UP_TO: usize = 1024;

/// Turns of a conversation where nothing else is said.
const DEFAULT_TURNS: u32 = 10;

/// The persona text of a person at the terminal.
const HUMAN_PERSONA: &str = "# Role Persona: You\n\nA person at the terminal.\n";

/// Where an agent's chat model is, with what must never be recorded: the user part of an address.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    model: ModelName,
    base_url: Option<BaseUrl>,
}

/// The addresses that a recorded configuration still knows; `base_url` replaces those of providers. What a repository of
/// a hub holds changes: a model from one is the recorded file.
pub(crate) fn recorded_addresses(
    config: &ConversationConfig,
    files: &[FileHash],
    base_url: Option<&str>,
) -> Result<Vec<Address>> {
    let given = base_url.map(BaseUrl::parse).transpose().map_err(Failure::usage)?;
    config
        .agents
        .iter()
        .map(|agent| {
            let recorded = agent.base_url.as_deref().map(BaseUrl::parse).transpose().map_err(Failure::of)?;
            let model = match agent.model.parse().map_err(Failure::of)? {
                hub_or_own @ (ModelName::Hf { .. } | ModelName::Embedded) => {
                    loading::recorded_path(files, &agent.model).map_or(hub_or_own, ModelName::File)
                }
                other => other,
            };
            Ok(Address { model, base_url: given.clone().or(recorded) })
        })
        .collect()
}

/// Resolves settings to the complete configuration that a journal keeps, and to where the models are.
pub(crate) fn resolve(
    settings: &Settings,
    seed_prompt: Option<String>,
    library: &PersonaLibrary,
) -> Result<(ConversationConfig, Vec<Address>)> {
    let default = embedded::PERSONAS.map(|name| AgentMap { persona: name.to_owned(), ..AgentMap::default() });
    let seed_prompt = match seed_prompt {
        None if settings.agents.is_empty() => Some(embedded::SEED_PROMPT.to_owned()),
        given => given,
    };
    let entries: Vec<&AgentMap> = if settings.agents.is_empty() {
        default.iter().collect()
    } else {
        settings.agents.iter().map(|entry| &entry.0).collect()
    };
    let mut taken = HashSet::new();
    let (agents, addresses) = entries
        .into_iter()
        .map(|entry| agent(entry, settings, library, &mut taken))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    let other_limit = settings.tokens.is_some() || settings.time.is_some() || settings.max_cost.is_some();
    let config = ConversationConfig {
        agents,
        policy: settings.order.clone().map_or(TurnPolicy::RoundRobin, TurnPolicy::Fixed),
        stop: StopRules {
            turns: settings.turns.or((!other_limit).then_some(DEFAULT_TURNS)),
            tokens: settings.tokens,
            seconds: settings.time.map(|time| time.as_secs_f64()),
            cost_usd: settings.max_cost,
        },
        seed_prompt,
        seed: settings.seed.unwrap_or(0),
        context: settings.context,
        surprise: settings.surprise.unwrap_or(false),
        kv: settings.kv.clone(),
        activations: settings.activations.clone(),
    };
    Ok((config, addresses))
}

fn agent(
    entry: &AgentMap,
    settings: &Settings,
    library: &PersonaLibrary,
    taken: &mut HashSet<String>,
) -> Result<(AgentConfig, Address)> {
    let exists = |path: &Path| path.exists();
    let spec = AgentSpec::parse(&entry.persona, exists).map_err(Failure::usage)?;
    let human = spec.persona == "human" && spec.model.is_none();
    let persona = if human {
        Persona::parse(HUMAN_PERSONA, "human").map_err(Failure::usage)?
    } else {
        library.find(&spec.persona).map_err(Failure::of)?
    };
    let named = |text: &String| ModelName::parse_with(text, exists).map_err(Failure::usage);
    let model = match (&entry.model, &spec.model, &settings.model) {
        (Some(model), ..) => named(model)?,
        (None, Some(model), _) => model.clone(),
        (None, None, _) if human => ModelName::Human,
        (None, None, default) => match (&persona.model, default) {
            (Some(own), _) => own.clone(),
            (None, Some(default)) => named(default)?,
            (None, None) => ModelName::Embedded,
        },
    };
    let remote = matches!(model, ModelName::Provider { .. } | ModelName::Compat { .. });
    let base_url = match entry.base_url.as_ref().or(settings.base_url.as_ref()).filter(|_| remote) {
        Some(url) => Some(BaseUrl::parse(url).map_err(Failure::usage)?),
        None => None,
    };
    let sampling = Sampling {
        temperature: entry.temperature.or(settings.temperature).or(persona.temperature),
        top_k: entry.top_k.or(settings.top_k),
        top_p: entry.top_p.or(settings.top_p),
        min_p: entry.min_p.or(settings.min_p),
        max_tokens: entry.max_tokens.or(settings.max_tokens),
    };
    let wanted = entry.name.clone().unwrap_or_else(|| persona.name.clone());
    let name = std::iter::once(wanted.clone())
        .chain((2..).map(|number| format!("{wanted} {number}")))
        .find(|name| taken.insert(name.to_lowercase()))
        .unwrap_or(wanted);
    let (model, place) = exact(model)?;
    let config = AgentConfig {
        name,
        model: model.to_string(),
        base_url: base_url.as_ref().map(BaseUrl::without_user),
        persona: persona.file,
        persona_text: persona.source,
        sampling,
    };
    Ok((config, Address { model: place, base_url }))
}

/// The name that a journal keeps, and where the model is. A path must mean the same from every folder, and the name of a
/// repository the same whatever else is fetched from it.
fn exact(model: ModelName) -> Result<(ModelName, ModelName)> {
    match model {
        ModelName::File(path) => {
            let model = ModelName::File(std::path::absolute(&path).unwrap_or(path));
            Ok((model.clone(), model))
        }
        ModelName::Hf { owner, repo, file } => {
            let (path, name) = loading::pulled(&owner, &repo, file.as_deref())?;
            Ok((name, ModelName::File(path)))
        }
        ModelName::Embedded => Ok((model, ModelName::File(embedded::path()?))),
        other => Ok((other.clone(), other)),
    }
}

/// How chat models are made.
pub(crate) struct Seating {
    pub(crate) local: LocalOptions,
    /// Ask providers for whole replies.
    pub(crate) no_stream: bool,
    /// Whether remote models and people speak from the record instead.
    pub(crate) from_record: bool,
}

/// What a journal's header says of the local models.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// The instruction-set path of the local models, or of this machine where there are none.
    pub(crate) isa: String,
    pub(crate) files: Vec<FileHash>,
}

/// Agents that are ready to talk.
pub(crate) struct Table {
    pub(crate) seats: Vec<Seat>,
    pub(crate) loaded: Loaded,
    pub(crate) notices: Vec<Event>,
    /// What cannot be said anew, for `run verify`.
    pub(crate) unchecked: Vec<String>,
}

impl Seating {
    /// Seats the agents of `config`, whose models are at `addresses`.
    pub(crate) fn seat(&self, config: &ConversationConfig, addresses: &[Address]) -> Result<Table> {
        let mut loader = Loader::new(self.local.clone());
        let names: Vec<String> = config.agents.iter().map(|agent| agent.name.clone()).collect();
        let isa = self.local.isa.unwrap_or_else(Isa::detect).to_string();
        let loaded = Loaded { isa, files: Vec::new() };
        let mut table = Table { seats: Vec::new(), loaded, notices: Vec::new(), unchecked: Vec::new() };
        for (agent, address) in config.agents.iter().zip(addresses) {
            let persona = Persona::parse(&agent.persona_text, &agent.persona).map_err(Failure::of)?;
            let model = self.chat_model(address, agent, &mut loader, &mut table)?;
            let window = model.window().filter(|window| *window <= SUMMARY_UP_TO);
            let instructions = match (persona.short_prompt(), window) {
                (Some(short), Some(window)) => {
                    let text = format!(
                        "the window of {} holds only {window} tokens: personas are told their summaries",
                        agent.model
                    );
                    table.notice("summary_persona", text);
                    short
                }
                _ => persona.system_prompt(),
            };
            table.seats.push(Seat::new(agent.name.clone(), model, instructions, agent.sampling.clone(), names.clone()));
        }
        table.loaded.files = loader.files().to_vec();
        Ok(table)
    }

    fn chat_model(
        &self,
        address: &Address,
        agent: &AgentConfig,
        loader: &mut Loader,
        table: &mut Table,
    ) -> Result<Box<dyn ChatModel>> {
        let tape = |source: Source, table: &mut Table| -> Box<dyn ChatModel> {
            table.unchecked.push(format!("{}: {} is not asked again", agent.name, agent.model));
            Box::new(Tape::new(&agent.model, source, []))
        };
        if let Some(target) = remote_target(&address.model, address.base_url.as_ref()) {
            if self.from_record {
                return Ok(tape(Source::Remote, table));
            }
            let options =
                RemoteOptions { stream: !self.no_stream, window: self.local.context, ..RemoteOptions::default() };
            return Ok(Box::new(RemoteModel::new(&target, options).map_err(Failure::of)?));
        }
        match &address.model {
            ModelName::Doctor => Ok(Box::new(Doctor::new())),
            ModelName::Parry => Ok(Box::new(Parry::new())),
            ModelName::Human if self.from_record => Ok(tape(Source::Human, table)),
            ModelName::Human => Ok(Box::new(Human::new(crate::stage::typed_lines()))),
            ModelName::File(path) => {
                let engine = loader.engine(path, &agent.model)?;
                if engine.model().template().is_plain() {
                    let text =
                        format!("{} has no chat template: messages are written as `Name: text`", file_name(path));
                    table.notice("plain_template", text);
                }
                Ok(Box::new(LocalModel::new(agent.model.clone(), engine, self.local.context)))
            }
            // A run that recorded none of its files says where none of them is.
            ModelName::Hf { .. } | ModelName::Embedded | ModelName::Provider { .. } | ModelName::Compat { .. } => {
                Err(Failure::of(format_args!(
                    "seat {}: the run does not say which file of `{}` it used",
                    agent.name, address.model
                )))
            }
        }
    }
}

impl Table {
    /// Says something of a model, once for all who sit on it.
    fn notice(&mut self, code: &str, text: String) {
        let notice = Event::Notice { turn: 0, agent: None, code: code.to_owned(), text };
        if !self.notices.contains(&notice) {
            self.notices.push(notice);
        }
    }
}

/// The last part of a path, for people.
fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Where a provider is reached, and with which key. Keys come from the environment alone.
fn remote_target(model: &ModelName, base_url: Option<&BaseUrl>) -> Option<RemoteTarget> {
    let (provider, model, address) = match model {
        ModelName::Provider { provider, model } => (remote_provider(*provider), model, base_url),
        ModelName::Compat { base_url: own, model } => (remote::Provider::Compatible, model, base_url.or(Some(own))),
        _ => return None,
    };
    let mut target = RemoteTarget::new(provider, model);
    target.base_url = address.cloned();
    target.api_key = key_of(provider);
    target.other_keys = remote::Provider::ALL.into_iter().filter_map(key_of).collect();
    Some(target)
}

/// The key that the environment has for a provider.
fn key_of(provider: remote::Provider) -> Option<Secret> {
    std::env::var(provider.key_variable()).ok().filter(|key| !key.trim().is_empty()).map(|key| Secret::new(&key))
}

fn remote_provider(provider: Provider) -> remote::Provider {
    match provider {
        Provider::OpenAi => remote::Provider::OpenAi,
        Provider::Anthropic => remote::Provider::Anthropic,
        Provider::Ollama => remote::Provider::Ollama,
        Provider::LmStudio => remote::Provider::LmStudio,
    }
}

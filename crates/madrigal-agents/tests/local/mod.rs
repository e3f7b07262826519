//! Small models that speak, and what is asked of them.

mod contract;
mod human;
mod listening;
mod talks;

use std::path::Path;
use std::sync::Arc;

use madrigal_agents::chat_model::{ChatError, ChatModel, Draw, Reply, ReplyEvent, ReplyRequest};
use madrigal_agents::chat_models::local::LocalModel;
use madrigal_agents::context::{Context, Said};
use madrigal_agents::control::ControlWord;
use madrigal_agents::sampling::Sampling;
use madrigal_engine::{Engine, EngineOptions, Model};
use madrigal_journal::event::MessageId;

use crate::fixtures;

pub(crate) const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Marks the newest message, so that every other one changes a turn later.
pub(crate) const REWRITES: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + ('!' if loop.last else '') + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Takes turns, knows no instructions.
pub(crate) const STRICT: &str = "{% for m in messages %}{% if m.role == 'system' or (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('no') }}{% endif %}\
    {{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Opens a thought for the model.
pub(crate) const OPENS_THOUGHT: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}";

/// An engine for a model of the repository, with a chat template of its own or without any.
pub(crate) fn engine(name: &str, template: Option<&str>) -> Engine {
    engine_with_window(name, template, 512)
}

/// The same model with a window of so many tokens.
pub(crate) fn engine_with_window(name: &str, template: Option<&str>, window: usize) -> Engine {
    let folder = fixtures::testdata(&format!("parity/{name}"));
    let copy = tempfile::tempdir().unwrap();
    for file in
        ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    {
        std::fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    if let Some(template) = template {
        std::fs::write(copy.path().join("chat_template.jinja"), template).unwrap();
    }
    let config = std::fs::read(folder.join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    config["max_position_embeddings"] = window.into();
    std::fs::write(copy.path().join("config.json"), config.to_string()).unwrap();
    // The files are mapped; they may lose their names.
    start(copy.path())
}

pub(crate) fn start(path: &Path) -> Engine {
    let model = Model::open(path).unwrap();
    Engine::start(model, EngineOptions { threads: 1, ..EngineOptions::default() }).unwrap()
}

pub(crate) fn seat(engine: &Engine) -> LocalModel {
    LocalModel::new("local:test".to_owned(), engine.clone(), None)
}

/// An agent's window while a talk goes on.
pub(crate) struct Table {
    pub(crate) context: Context,
    pub(crate) sampling: Sampling,
    pub(crate) seat: u32,
}

impl Table {
    pub(crate) fn of(agent: &str, seat: u32) -> Self {
        let context = Context {
            agent: agent.to_owned(),
            table: vec!["Ada".to_owned(), "Bo".to_owned()],
            instructions: format!("You are {agent}."),
            seed_prompt: Some(Arc::new(Said { id: MessageId(0), agent: None, text: "The sea.".to_owned(), ids: None })),
            said: Vec::new(),
        };
        let sampling = Sampling { max_tokens: Some(8), temperature: Some(1.0), ..Sampling::default() };
        Self { context, sampling, seat }
    }

    /// One of three, whose replies have `length` tokens.
    pub(crate) fn of_three(agent: &str, seat: u32, length: u32) -> Self {
        let mut table = Self::of(agent, seat);
        table.context.table.push("Cy".to_owned());
        // Greedy: a random model that draws ends its text too soon.
        table.sampling = Sampling { max_tokens: Some(length), temperature: Some(0.0), ..Sampling::default() };
        table
    }

    pub(crate) fn request(&self, turn: u32, control: Option<ControlWord>) -> ReplyRequest<'_> {
        let draw = Draw { seed: 11, seat: self.seat, turn };
        ReplyRequest { context: &self.context, control, sampling: &self.sampling, draw, listeners: &[] }
    }

    pub(crate) fn hear(&mut self, agent: &str, reply: &Reply) {
        let id = MessageId(self.context.said.last().map_or(1, |said| said.id.0 + 1));
        let (text, ids) = (reply.text.clone(), reply.ids.clone());
        self.context.said.push(Arc::new(Said { id, agent: Some(agent.to_owned()), text, ids }));
    }

    /// Asks, and tells what was noticed while it spoke.
    pub(crate) async fn ask(&self, model: &mut LocalModel, turn: u32) -> (Result<Reply, ChatError>, Vec<&'static str>) {
        let mut notices = Vec::new();
        let mut on_event = |event| {
            if let ReplyEvent::Notice { code, .. } = event {
                notices.push(code);
            }
        };
        let reply = model.reply(self.request(turn, None), &mut on_event).await;
        (reply, notices)
    }
}

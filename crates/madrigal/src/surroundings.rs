//! What is at hand on this machine, each with one ready command: servers, keys, model files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use madrigal_agents::chat_models::remote::Provider;
use madrigal_agents::chat_models::remote::discovery::{FoundServer, discover, usual_candidates};

use madrigal_engine::gguf::Gguf;

use crate::sitting;

/// How long a server on this machine may take to say that it is there.
const PATIENCE: Duration = Duration::from_millis(300);

/// Model files that are told of, at most.
const MOST_FILES: usize = 5;

/// This program as it was called, so that a command that is told can be typed as it stands.
pub(crate) fn program() -> String {
    let called = std::env::args_os().next().map(|name| name.to_string_lossy().into_owned());
    called.filter(|name| !name.is_empty()).map_or_else(|| "madrigal".to_owned(), quoted)
}

/// A word of a command line.
fn quoted(word: String) -> String {
    if word.contains(|c: char| c.is_whitespace() || c == '\'') {
        format!("'{}'", word.replace('\'', "'\\''"))
    } else {
        word
    }
}

/// Something to use, and the command that uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    /// A chat model name.
    pub(crate) model: String,
    /// A command to type.
    pub(crate) command: String,
    /// What was found.
    pub(crate) what: String,
}

impl Hint {
    fn new(model: String, what: String) -> Self {
        let command = format!("{} talk physicist sceptic --model {}", program(), quoted(model.clone()));
        Self { model, command, what }
    }
}

/// All that is at hand: servers that answer, model files, providers whose key is set.
pub(crate) fn at_hand() -> Vec<Hint> {
    let mut hints = servers();
    hints.extend(model_files().iter().map(|path| file_hint(path)));
    hints.extend(keys());
    hints
}

/// Where to get a model where nothing is at hand.
pub(crate) fn to_get() -> Vec<Hint> {
    vec![
        Hint::new("ollama:llama3.2".to_owned(), "with Ollama (ollama.com) running".to_owned()),
        Hint::new("file:MODEL.gguf".to_owned(), "with a model file that you have".to_owned()),
    ]
}

/// How a model file is used.
pub(crate) fn file_hint(path: &Path) -> Hint {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Hint::new(format!("file:{}", path.display()), "a model file on this machine".to_owned())
}

/// Servers that answer on this machine.
pub(crate) fn servers() -> Vec<Hint> {
    let Ok(runtime) = sitting::runtime() else { return Vec::new() };
    let found = runtime.block_on(discover(&usual_candidates(), PATIENCE));
    found.iter().map(server_hint).collect()
}

fn server_hint(server: &FoundServer) -> Hint {
    let model = server.models.first();
    let (name, kind) = match server.provider {
        Provider::Ollama => ("ollama:", "Ollama"),
        Provider::LmStudio => ("lmstudio:", "LM Studio"),
        _ => ("", "a server of chat completions"),
    };
    let shown = match (name, model) {
        ("", model) => format!("compat:{}#{}", server.base_url, model.map_or("default", String::as_str)),
        (name, Some(model)) => format!("{name}{model}"),
        (name, None) => format!("{name}MODEL"),
    };
    let models = match server.models.len() {
        0 => "it has no model yet".to_owned(),
        1 => "1 model".to_owned(),
        many => format!("{many} models"),
    };
    Hint::new(shown, format!("{kind} at {}, {models}", server.base_url))
}

/// Providers whose key is in the environment.
pub(crate) fn keys() -> Vec<Hint> {
    [(Provider::OpenAi, "openai:gpt-4o-mini"), (Provider::Anthropic, "anthropic:claude-haiku-4-5")]
        .into_iter()
        .filter(|(provider, _)| std::env::var(provider.key_variable()).is_ok_and(|key| !key.trim().is_empty()))
        .map(|(provider, model)| Hint::new(model.to_owned(), format!("{} is set", provider.key_variable())))
        .collect()
}

/// Model files in this folder, in `models`, and in the Hugging Face cache.
pub(crate) fn model_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in [Path::new("."), Path::new("models")] {
        collect(folder, 0, &mut files);
    }
    if let Some(cache) = hugging_face_cache() {
        collect(&cache, 4, &mut files);
    }
    files.truncate(MOST_FILES);
    files
}

/// Where Hugging Face's own tools keep what they download.
pub(crate) fn hugging_face_cache() -> Option<PathBuf> {
    folder_of("HF_HUB_CACHE").or_else(|| hugging_face_home().map(|home| home.join("hub")))
}

/// Where Hugging Face's own tools keep what is theirs.
pub(crate) fn hugging_face_home() -> Option<PathBuf> {
    folder_of("HF_HOME").or_else(|| user_cache().map(|cache| cache.join("huggingface")))
}

/// Where programs keep what they can make again.
pub(crate) fn user_cache() -> Option<PathBuf> {
    folder_of("XDG_CACHE_HOME").or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
}

fn folder_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Adds the `.gguf` files of a folder, and of the folders `below` levels beneath it.
fn collect(folder: &Path, below: u32, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if below > 0 {
                collect(&path, below - 1, files);
            }
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            // What does not begin as a model of weights is none to recommend.
            if Gguf::open(&path).is_ok_and(|file| !file.tensors.is_empty()) {
                files.push(path);
            }
        }
    }
}

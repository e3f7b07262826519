//! Where a model keeps its chat template: in `chat_template.jinja`, in `tokenizer_config.json`, or in a GGUF key; and
//! which one it gets where it keeps none.

use std::io::Read;
use std::path::Path;

use serde_json::Value as Json;

use super::{ChatTemplate, TemplateError};
use crate::gguf::{Gguf, Value};
use crate::tokenizer::{self, SpecialTokens};

/// More than a template may have; larger files are refused by their size.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// A list of templates longer than this is no list of templates.
const MAX_NAMED: usize = 64;

/// The template of a folder or a file.
pub(super) fn open(path: &Path) -> Result<ChatTemplate, TemplateError> {
    if path.is_dir() {
        return beside(&path.join("tokenizer_config.json"));
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gguf" | "GGUF") => from_gguf(&Gguf::open(path)?),
        Some("json") => beside(path),
        _ => {
            let special = tokenizer::configured_special_tokens(path)?.0;
            ChatTemplate::from_source(&read(path)?.ok_or_else(|| missing(path))?, special)
        }
    }
}

/// The special tokens of a folder or a file.
pub(super) fn special_tokens(path: &Path) -> Result<SpecialTokens, TemplateError> {
    if path.is_dir() {
        return Ok(tokenizer::configured_special_tokens(&path.join("tokenizer_config.json"))?.0);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gguf" | "GGUF") => Ok(tokenizer::special_tokens_of_gguf(&Gguf::open(path)?)?),
        _ => Ok(tokenizer::configured_special_tokens(path)?.0),
    }
}

/// The template of the folder that `path` lies in: its own file is stronger than the configuration's entry.
fn beside(path: &Path) -> Result<ChatTemplate, TemplateError> {
    let (special, config) = tokenizer::configured_special_tokens(path)?;
    if let Some(source) = read(&path.with_file_name("chat_template.jinja"))? {
        return ChatTemplate::from_source(&source, special);
    }
    let config_path = path.with_file_name("tokenizer_config.json");
    let malformed = |problem: &str| TemplateError::File { path: config_path.clone(), problem: problem.to_owned() };
    match config.as_ref().and_then(|config| config.get("chat_template")) {
        None | Some(Json::Null) => built_in(path),
        Some(Json::String(source)) => ChatTemplate::from_source(source, special),
        Some(Json::Array(entries)) if entries.len() <= MAX_NAMED => {
            let named = entries
                .iter()
                .map(|entry| Some((entry.get("name")?.as_str()?, entry.get("template")?.as_str()?)))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| malformed("an entry of `chat_template` has no name or no template"))?;
            let find = |wanted: &str| named.iter().find(|(name, _)| *name == wanted).map(|(_, source)| *source);
            let default = find("default").ok_or_else(|| malformed("`chat_template` has no entry named `default`"))?;
            ChatTemplate::new(default, find("tool_use"), special)
        }
        Some(_) => Err(malformed("`chat_template` is no text and no list of named templates")),
    }
}

/// The template of an open GGUF file.
pub(super) fn from_gguf(gguf: &Gguf) -> Result<ChatTemplate, TemplateError> {
    let text = |key| gguf.optional(key, "a text", Value::as_str);
    let with_tools = text("tokenizer.chat_template.tool_use")?;
    let special: SpecialTokens = tokenizer::special_tokens_of_gguf(gguf)?;
    match text("tokenizer.chat_template")? {
        Some(source) => ChatTemplate::new(source, with_tools, special),
        None if text("general.architecture")? == Some("gpt-oss") => Ok(ChatTemplate::harmony()),
        None => Ok(ChatTemplate::plain()),
    }
}

/// What a model without a template gets, by what the `config.json` beside `path` says it is.
fn built_in(path: &Path) -> Result<ChatTemplate, TemplateError> {
    let path = path.with_file_name("config.json");
    let Some(text) = read(&path)? else { return Ok(ChatTemplate::plain()) };
    let failed = |error: serde_json::Error| TemplateError::File { path: path.clone(), problem: error.to_string() };
    let config: Json = serde_json::from_str(&text).map_err(failed)?;
    match config.get("model_type").and_then(Json::as_str) {
        Some("gpt_oss") => Ok(ChatTemplate::harmony()),
        _ => Ok(ChatTemplate::plain()),
    }
}

/// A file that may be absent.
fn read(path: &Path) -> Result<Option<String>, TemplateError> {
    let failed = |problem: String| TemplateError::File { path: path.to_owned(), problem };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let mut source = String::new();
    file.take(MAX_FILE_BYTES).read_to_string(&mut source).map_err(|error| failed(error.to_string()))?;
    Ok(Some(source))
}

fn missing(path: &Path) -> TemplateError {
    TemplateError::File { path: path.to_owned(), problem: "there is no such file".to_owned() }
}

//! The configuration files beside a `tokenizer.json`: `tokenizer_config.json`, `generation_config.json`, `config.json`.

use std::path::Path;

use serde_json::Value;

use super::{Reader, read_bounded};
use crate::tokenizer::vocabulary::Vocabulary;
use crate::tokenizer::{SpecialTokens, TokenizerError};

const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// What the configuration files say; each of them may be absent.
pub(crate) struct Configs {
    /// The contents of `tokenizer_config.json`.
    pub(crate) tokenizer: Option<Value>,
    generation: Option<Value>,
    model: Option<Value>,
    /// The texts of the special tokens.
    pub(crate) special: SpecialTokens,
    /// `add_bos_token`, where the file says.
    pub(super) adds_bos: Option<bool>,
    /// `add_eos_token`, where the file says.
    pub(super) adds_eos: Option<bool>,
}

impl Configs {
    /// Reads the files in the folder of `path`.
    pub(crate) fn beside(path: &Path) -> Result<Self, TokenizerError> {
        let tokenizer = read(&path.with_file_name("tokenizer_config.json"))?;
        let mut special = SpecialTokens::default();
        let mut adds_bos = None;
        let mut adds_eos = None;
        if let Some(config) = &tokenizer {
            for (role, slot) in special.slots() {
                *slot = config.get(format!("{role}_token")).and_then(token_text);
            }
            adds_bos = config.get("add_bos_token").and_then(Value::as_bool);
            adds_eos = config.get("add_eos_token").and_then(Value::as_bool);
        }
        Ok(Self {
            tokenizer,
            generation: read(&path.with_file_name("generation_config.json"))?,
            model: read(&path.with_file_name("config.json"))?,
            special,
            adds_bos,
            adds_eos,
        })
    }

    /// The id that begins a text.
    pub(super) fn bos(&self, reader: Reader<'_>, vocabulary: &Vocabulary) -> Result<Option<u32>, TokenizerError> {
        if let Some(text) = &self.special.bos {
            return named(reader, vocabulary, "bos", text).map(Some);
        }
        let ids = self.configured(reader, vocabulary, "bos_token_id")?;
        Ok(ids.first().copied())
    }

    /// The ids that end a text or a turn, the tokenizer's own EOS first.
    pub(super) fn eos(&self, reader: Reader<'_>, vocabulary: &Vocabulary) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        if let Some(text) = &self.special.eos {
            ids.push(named(reader, vocabulary, "eos", text)?);
        }
        ids.extend(self.configured(reader, vocabulary, "eos_token_id")?);
        Ok(ids)
    }

    /// The ids under `key` in `generation_config.json`, else in `config.json`. Those files may be older than the
    /// vocabulary: ids that it does not have end nothing and are left out.
    fn configured(&self, reader: Reader<'_>, vocabulary: &Vocabulary, key: &str) -> Result<Vec<u32>, TokenizerError> {
        let value = [&self.generation, &self.model]
            .into_iter()
            .filter_map(|config| config.as_ref()?.get(key))
            .find(|value| !value.is_null());
        let values = match value {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
        };
        let ids = values
            .iter()
            .map(|value| value.as_u64())
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| reader.malformed(format!("`{key}` in the configuration beside it holds no id")))?;
        let known = ids.into_iter().filter_map(|id| u32::try_from(id).ok());
        Ok(known.filter(|&id| vocabulary.get(id).is_some()).collect())
    }
}

fn named(reader: Reader<'_>, vocabulary: &Vocabulary, role: &str, text: &str) -> Result<u32, TokenizerError> {
    vocabulary.id_of(text).ok_or_else(|| {
        reader
            .malformed(format!("tokenizer_config.json names the {role}_token `{text}`, which is not in the vocabulary"))
    })
}

/// A special token is a text, or an object that holds it.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}

/// A JSON file that may be absent.
fn read(path: &Path) -> Result<Option<Value>, TokenizerError> {
    let bytes = match read_bounded(path, MAX_CONFIG_BYTES) {
        Ok(bytes) => bytes,
        Err(TokenizerError::Open { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| TokenizerError::Malformed {
        path: path.to_owned(),
        problem: format!("it is no JSON: {error}"),
    })
}

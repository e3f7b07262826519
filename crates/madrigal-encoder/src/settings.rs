//! What the files of sentence-transformers say about an encoder's embeddings.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{EncoderError, Pooling};

/// How a model's embeddings are meant to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How many tokens it reads of a text, with those around it.
    pub max_tokens: usize,
    /// How their states are pooled; the mean where nothing is said.
    pub pooling: Pooling,
    /// Whether embeddings have the length 1.
    pub normalised: bool,
}

#[derive(Deserialize)]
struct Reading {
    max_seq_length: Option<usize>,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

#[derive(Deserialize)]
#[serde(default)]
struct PoolingModes {
    pooling_mode_cls_token: bool,
    pooling_mode_mean_tokens: bool,
    pooling_mode_lasttoken: bool,
    pooling_mode_max_tokens: bool,
    pooling_mode_mean_sqrt_len_tokens: bool,
    pooling_mode_weightedmean_tokens: bool,
}

impl Default for PoolingModes {
    fn default() -> Self {
        Self {
            pooling_mode_cls_token: false,
            pooling_mode_mean_tokens: true,
            pooling_mode_lasttoken: false,
            pooling_mode_max_tokens: false,
            pooling_mode_mean_sqrt_len_tokens: false,
            pooling_mode_weightedmean_tokens: false,
        }
    }
}

impl Settings {
    /// Reads `modules.json` and what it leads to, in the model's folder; `positions` is how many tokens the model can read.
    pub(super) fn read(folder: &Path, positions: usize) -> Result<Self, EncoderError> {
        let reading: Option<Reading> = read_if_there(&folder.join("sentence_bert_config.json"))?;
        let most = reading.and_then(|reading| reading.max_seq_length).unwrap_or(positions);
        let mut settings = Self { max_tokens: most.clamp(1, positions), pooling: Pooling::Mean, normalised: false };
        let modules: Vec<Module> = read_if_there(&folder.join("modules.json"))?.unwrap_or_default();
        for Module { path, r#type } in modules {
            match r#type.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Normalize" => settings.normalised = true,
                "Pooling" => {
                    let modes: PoolingModes = read(&folder.join(path).join("config.json"))?;
                    settings.pooling = modes.only(folder)?;
                }
                other => {
                    let what = format!("its module `{other}` is not supported");
                    return Err(EncoderError::Unsupported { path: folder.to_owned(), what });
                }
            }
        }
        Ok(settings)
    }
}

impl PoolingModes {
    fn only(&self, folder: &Path) -> Result<Pooling, EncoderError> {
        let other = self.pooling_mode_max_tokens
            || self.pooling_mode_mean_sqrt_len_tokens
            || self.pooling_mode_weightedmean_tokens;
        match (self.pooling_mode_mean_tokens, self.pooling_mode_cls_token, self.pooling_mode_lasttoken, other) {
            (true, false, false, false) => Ok(Pooling::Mean),
            (false, true, false, false) => Ok(Pooling::First),
            (false, false, true, false) => Ok(Pooling::Last),
            _ => {
                let what = "its way of pooling is not supported: it must be one of mean, first and last token";
                Err(EncoderError::Unsupported { path: folder.to_owned(), what: what.to_owned() })
            }
        }
    }
}

/// A file of JSON.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, EncoderError> {
    let bytes = fs::read(path).map_err(|source| EncoderError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| EncoderError::Json { path: path.to_owned(), source })
}

fn read_if_there<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, EncoderError> {
    match read(path) {
        Ok(value) => Ok(Some(value)),
        Err(EncoderError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

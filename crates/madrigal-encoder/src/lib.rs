//! Embeddings of texts by BERT encoders, such as all-MiniLM-L6-v2.
//!
//! Owns what a folder in the layout of sentence-transformers says about an encoder: its shape, how many tokens it reads,
//! how their states are pooled, whether the result is normalised. The forward pass is `candle-transformers`'; text becomes
//! tokens through the engine's tokenizer. Models that generate text are the engine's, their embeddings too.
//!
//! A crate of its own because candle takes longer to build than all the rest together.

mod error;
mod settings;

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use madrigal_engine::tokenizer::{Encode, Tokenizer};

pub use error::EncoderError;
pub use settings::Settings;

/// How the states of a text's tokens become one embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, with those of the tokens around the text.
    Mean,
    /// The first one's: `[CLS]`.
    First,
    /// The last one's: `[SEP]`.
    Last,
}

/// A BERT encoder, loaded.
pub struct Encoder {
    path: PathBuf,
    model: BertModel,
    tokenizer: Tokenizer,
    settings: Settings,
}

impl Encoder {
    /// Whether a folder holds an encoder that is run here, going by its `config.json`.
    #[must_use]
    pub fn is_encoder(path: &Path) -> bool {
        let Ok(config) = fs::read(path.join("config.json")) else {
            return false;
        };
        let config: Option<serde_json::Value> = serde_json::from_slice(&config).ok();
        config.is_some_and(|config| config["model_type"] == "bert")
    }

    /// Loads a folder with `config.json`, `model.safetensors` and `tokenizer.json`. Weights are read into memory as F32.
    ///
    /// # Errors
    /// When a file is missing or damaged, or says something that is not supported.
    pub fn open(path: &Path) -> Result<Self, EncoderError> {
        let config: Config = settings::read(&path.join("config.json"))?;
        check(path, &config)?;
        let settings = Settings::read(path, config.max_position_embeddings)?;
        let tokenizer = Tokenizer::open(path)?;
        let (tokens, rows) = (tokenizer.vocab_size(), config.vocab_size);
        if tokens > rows {
            return Err(unsupported(path, format!("the tokenizer has {tokens} tokens, the model {rows}")));
        }
        let weights = path.join("model.safetensors");
        let bytes = fs::read(&weights).map_err(|source| EncoderError::Read { path: weights.clone(), source })?;
        let damaged = |source| EncoderError::Weights { path: weights.clone(), source: Box::new(source) };
        let weights = VarBuilder::from_buffered_safetensors(bytes, DType::F32, &Device::Cpu).map_err(damaged)?;
        let model = BertModel::load(weights, &config).map_err(damaged)?;
        Ok(Self { path: path.to_owned(), model, tokenizer, settings })
    }

    /// What the model's own files say about its embeddings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The tokens of a text as they are read: with what the model wants around a text, and cut to as many as it reads.
    ///
    /// # Errors
    /// When a part of the text has no token.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, EncoderError> {
        let encode = |text| self.tokenizer.encode(text, Encode { add_special: true, ..Encode::default() });
        let mut ids = encode(text)?;
        let most = self.settings.max_tokens;
        if ids.len() > most {
            // What is put after a text stays, whatever is cut.
            let frame = encode("")?;
            let after = frame.iter().rev().zip(ids.iter().rev()).take_while(|(frame, id)| frame == id).count();
            let after = ids.split_off(ids.len() - after.min(most));
            ids.truncate(most - after.len());
            ids.extend(after);
        }
        Ok(ids)
    }

    /// The embedding of a text. Texts that are longer than the model reads are cut.
    ///
    /// # Errors
    /// When a part of the text has no token, or the result is no number.
    pub fn embed(&self, text: &str, pooling: Pooling, normalise: bool) -> Result<Vec<f32>, EncoderError> {
        let ids = self.tokens(text)?;
        if ids.is_empty() {
            return Err(unsupported(&self.path, "it puts nothing around a text, and the text is empty".to_owned()));
        }
        let count = ids.len();
        let states = self.states(ids).map_err(|source| EncoderError::Compute { source: Box::new(source) })?;
        let mut embedding = pool(&states, count, pooling);
        if normalise {
            let length = embedding.iter().map(|value| value * value).sum::<f64>().sqrt();
            embedding.iter_mut().for_each(|value| *value /= length);
        }
        match embedding.iter().all(|value| value.is_finite()) {
            true => Ok(embedding.into_iter().map(|value| value as f32).collect()),
            false => Err(EncoderError::NotFinite),
        }
    }

    /// The states after the last layer, `[tokens, hidden]`.
    fn states(&self, ids: Vec<u32>) -> Result<Vec<f32>, candle_core::Error> {
        let tokens = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let types = tokens.zeros_like()?;
        self.model.forward(&tokens, &types, None)?.flatten_all()?.to_vec1()
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (path, settings) = (&self.path, &self.settings);
        f.debug_struct("Encoder").field("path", path).field("settings", settings).finish_non_exhaustive()
    }
}

/// Pools `states`, `[count, hidden]`, in the order of the tokens.
fn pool(states: &[f32], count: usize, pooling: Pooling) -> Vec<f64> {
    let width = states.len() / count;
    let rows = match pooling {
        Pooling::Mean => states,
        Pooling::First => &states[..width],
        Pooling::Last => &states[states.len() - width..],
    };
    let mut sum = vec![0.0; width];
    for row in rows.chunks_exact(width) {
        for (sum, &value) in sum.iter_mut().zip(row) {
            *sum += f64::from(value);
        }
    }
    let count = (rows.len() / width) as f64;
    sum.iter_mut().for_each(|sum| *sum /= count);
    sum
}

/// What candle would divide by or index with, without asking.
fn check(path: &Path, config: &Config) -> Result<(), EncoderError> {
    let Config { hidden_size, num_attention_heads, max_position_embeddings, .. } = *config;
    if num_attention_heads == 0 || hidden_size == 0 || hidden_size % num_attention_heads != 0 {
        let heads = format!("{num_attention_heads} heads do not divide its width of {hidden_size}");
        return Err(unsupported(path, heads));
    }
    if max_position_embeddings == 0 || config.type_vocab_size == 0 {
        return Err(unsupported(path, "it reads no tokens".to_owned()));
    }
    Ok(())
}

fn unsupported(path: &Path, what: String) -> EncoderError {
    EncoderError::Unsupported { path: path.to_owned(), what }
}

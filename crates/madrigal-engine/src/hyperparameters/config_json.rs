//! Hyperparameters from a `config.json`, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`, `torch_dtype`)
//! and of transformers 5 (`rope_parameters`, `dtype`).

mod features;
mod layers;
mod rope;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{HyperparameterError, Hyperparameters, MAX_LAYERS};

/// The largest `config.json` that is read; real ones have a few kilobytes.
const MAX_BYTES: u64 = 4 << 20;

/// A parsed `config.json`.
pub(crate) struct ConfigJson {
    path: PathBuf,
    keys: Map<String, Value>,
}

impl ConfigJson {
    pub(crate) fn open(path: &Path) -> Result<Self, HyperparameterError> {
        let open = |source| HyperparameterError::Open { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(open)?.len() > MAX_BYTES {
            let problem = format!("it is longer than {MAX_BYTES} bytes");
            return Err(HyperparameterError::Invalid { path: path.to_owned(), problem });
        }
        let text = std::fs::read(path).map_err(open)?;
        let keys = serde_json::from_slice(&text)
            .map_err(|source| HyperparameterError::Json { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), keys })
    }

    /// The architecture's name: `model_type`.
    pub(crate) fn architecture(&self) -> Result<&str, HyperparameterError> {
        self.keys
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| self.invalid("key `model_type` (a text) is missing".to_owned()))
    }

    pub(crate) fn hyperparameters(&self) -> Result<Hyperparameters, HyperparameterError> {
        self.refuse_what_is_not_computed()?;
        let layers = self.size("num_hidden_layers")?;
        let hidden = self.size("hidden_size")?;
        let heads = self.size("num_attention_heads")?;
        let head_dim = match self.optional_size("head_dim")? {
            Some(size) => size,
            None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                return Err(self.invalid(format!("{heads} heads do not divide the hidden size {hidden}")));
            }
        };
        Hyperparameters {
            vocabulary: self.size("vocab_size")?,
            hidden,
            layers,
            heads,
            kv_heads: self.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            feed_forward: self.size("intermediate_size")?,
            context: self.size("max_position_embeddings")?,
            rms_epsilon: self.required_float(&self.keys, "rms_norm_eps")?,
            rope: self.rope()?,
            // Too many layers are refused by `checked`, before anyone counts them.
            window: if layers <= MAX_LAYERS { self.window(layers)? } else { None },
            experts: self.experts()?,
            tied: Some(self.flag("tie_word_embeddings")?),
        }
        .checked(&self.path)
    }

    fn size(&self, key: &str) -> Result<usize, HyperparameterError> {
        self.optional_size(key)?.ok_or_else(|| self.invalid(format!("key `{key}` (a size) is missing")))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, HyperparameterError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64().and_then(|size| usize::try_from(size).ok()) {
                Some(size) => Ok(Some(size)),
                None => Err(self.invalid(format!("key `{key}` must be a size, it is {value}"))),
            },
        }
    }

    /// A number of `keys`, which are the configuration's own or those of an object in it.
    fn optional_float(&self, keys: &Map<String, Value>, key: &str) -> Result<Option<f32>, HyperparameterError> {
        match keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.required_float(keys, key).map(Some),
        }
    }

    fn required_float(&self, keys: &Map<String, Value>, key: &str) -> Result<f32, HyperparameterError> {
        match keys.get(key).map(|value| (value.as_f64(), value)) {
            None => Err(self.invalid(format!("key `{key}` (a number) is missing"))),
            Some((None, value)) => Err(self.invalid(format!("key `{key}` must be a number, it is {value}"))),
            Some((Some(number), _)) => Ok(number as f32),
        }
    }

    fn flag(&self, key: &str) -> Result<bool, HyperparameterError> {
        match self.keys.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.invalid(format!("key `{key}` must be true or false, it is {value}"))),
        }
    }

    fn present(&self, key: &str) -> bool {
        self.keys.get(key).is_some_and(|value| !value.is_null())
    }

    fn invalid(&self, problem: String) -> HyperparameterError {
        HyperparameterError::Invalid { path: self.path.clone(), problem }
    }
}

//! Hyperparameters from a `config.json`, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`, `torch_dtype`)
//! and of transformers 5 (`rope_parameters`, `dtype`).

use std::path::{Path, PathBuf};

use madrigal_kernels::RopeStyle;
use serde_json::{Map, Value};

use super::{HyperparameterError, Hyperparameters, Rope, RopeScaling};

/// The largest `config.json` that is read; real ones have a few kilobytes.
const MAX_BYTES: u64 = 4 << 20;

/// What transformers takes for files without the key, as the first LLaMA-2 ones are.
const DEFAULT_ROPE_THETA: f32 = 10_000.0;

/// Numbers of relatives (Granite, MiniCPM, Gemma, mixtures of experts) that change the result and that no architecture
/// here computes, each with the value under which it changes nothing.
const NOT_COMPUTED: [(&str, Option<f64>); 12] = [
    ("attention_multiplier", None),
    ("embedding_multiplier", Some(1.0)),
    ("residual_multiplier", Some(1.0)),
    ("logits_scaling", Some(1.0)),
    ("logit_scale", Some(1.0)),
    ("scale_emb", Some(1.0)),
    ("attn_logit_softcapping", None),
    ("final_logit_softcapping", None),
    ("clip_qkv", None),
    ("num_experts", Some(0.0)),
    ("num_local_experts", Some(0.0)),
    ("n_routed_experts", Some(0.0)),
];

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
            layers: self.size("num_hidden_layers")?,
            heads,
            kv_heads: self.optional_size("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            feed_forward: self.size("intermediate_size")?,
            context: self.size("max_position_embeddings")?,
            rms_epsilon: self.required_float(&self.keys, "rms_norm_eps")?,
            rope: self.rope()?,
            tied: Some(self.flag("tie_word_embeddings")?),
        }
        .checked(&self.path)
    }

    /// Features that would change the result and that no architecture here computes.
    fn refuse_what_is_not_computed(&self) -> Result<(), HyperparameterError> {
        let unsupported = |what: &str| Err(self.invalid(format!("{what} is not supported")));
        match self.keys.get("hidden_act").map(|act| act.as_str().unwrap_or_default()) {
            None | Some("silu" | "swish") => {}
            Some(other) => return unsupported(&format!("`hidden_act` `{other}`")),
        }
        for key in ["attention_bias", "mlp_bias", "use_sliding_window", "use_bidirectional_attention", "alibi"] {
            if self.flag(key)? {
                return unsupported(&format!("`{key}`"));
            }
        }
        for key in ["quantization_config", "compression_config"] {
            if self.present(key) {
                return unsupported(&format!("`{key}` (load unquantised safetensors or a GGUF)"));
            }
        }
        for (key, neutral) in NOT_COMPUTED {
            if self.present(key) && self.keys.get(key).and_then(Value::as_f64) != neutral {
                return unsupported(&format!("`{key}`"));
            }
        }
        // Qwen's files name a window that `use_sliding_window: false` turns off; other families have no such switch.
        let switched_off = self.architecture()?.starts_with("qwen") && self.keys.contains_key("use_sliding_window");
        if self.present("sliding_window") && !switched_off {
            return unsupported("`sliding_window`");
        }
        let all_full =
            |types: &Value| types.as_array().is_some_and(|types| types.iter().all(|kind| kind == "full_attention"));
        match self.keys.get("layer_types") {
            Some(types) if !types.is_null() && !all_full(types) => {
                unsupported("a `layer_types` other than full attention")
            }
            _ => Ok(()),
        }
    }

    fn rope(&self) -> Result<Rope, HyperparameterError> {
        let object = |key: &str| match self.keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => Err(self.invalid(format!("key `{key}` must be an object"))),
        };
        let (new, old) = (object("rope_parameters")?, object("rope_scaling")?);
        if new.is_some() && old.is_some() && new != old {
            return Err(self.invalid("keys `rope_parameters` and `rope_scaling` contradict each other".to_owned()));
        }
        let parameters = new.or(old);
        let with_theta = |keys: &&Map<String, Value>| keys.contains_key("rope_theta");
        let theta = match [parameters, Some(&self.keys)].into_iter().flatten().find(with_theta) {
            Some(keys) => self.required_float(keys, "rope_theta")?,
            None => DEFAULT_ROPE_THETA,
        };
        for keys in [Some(&self.keys), parameters].into_iter().flatten() {
            if keys.get("partial_rotary_factor").is_some_and(|factor| factor.as_f64() != Some(1.0)) {
                return Err(self.invalid("a `partial_rotary_factor` other than 1 is not supported".to_owned()));
            }
        }
        let kind = |parameters: &Map<String, Value>| {
            // Before 4.43 the key was called `type`.
            let kind = parameters.get("rope_type").or_else(|| parameters.get("type"));
            kind.and_then(Value::as_str).map(str::to_owned)
        };
        let scaling = match parameters.map(|parameters| (kind(parameters), parameters)) {
            None => RopeScaling::None,
            Some((Some(kind), _)) if kind == "default" => RopeScaling::None,
            Some((Some(kind), parameters)) if kind == "linear" => {
                RopeScaling::Linear { factor: self.required_float(parameters, "factor")? }
            }
            Some((Some(kind), parameters)) if kind == "llama3" => RopeScaling::Llama3 {
                factor: self.required_float(parameters, "factor")?,
                low_frequency_factor: self.required_float(parameters, "low_freq_factor")?,
                high_frequency_factor: self.required_float(parameters, "high_freq_factor")?,
                original_context: self.required_float(parameters, "original_max_position_embeddings")?,
            },
            Some((kind, _)) => {
                let kind = kind.unwrap_or_else(|| "without a `rope_type`".to_owned());
                return Err(self.invalid(format!("rotary scaling `{kind}` is not supported")));
            }
        };
        // Hugging Face stores heads in two halves, whatever the architecture.
        Ok(Rope { theta, style: RopeStyle::HalfSplit, scaling })
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

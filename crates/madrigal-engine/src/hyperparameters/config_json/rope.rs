//! Rotary positions, in their two spellings.

use madrigal_kernels::RopeStyle;
use serde_json::{Map, Value};

use super::ConfigJson;
use crate::hyperparameters::{HyperparameterError, Rope, RopeScaling, yarn_attention_factor};

/// What transformers takes for files without the key, as the first LLaMA-2 ones are.
const DEFAULT_ROPE_THETA: f32 = 10_000.0;

impl ConfigJson {
    pub(super) fn rope(&self) -> Result<Rope, HyperparameterError> {
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
            Some((Some(kind), parameters)) if kind == "yarn" => self.yarn(parameters)?,
            Some((kind, _)) => {
                let kind = kind.unwrap_or_else(|| "without a `rope_type`".to_owned());
                return Err(self.invalid(format!("rotary scaling `{kind}` is not supported")));
            }
        };
        // Hugging Face stores heads in two halves, whatever the architecture.
        Ok(Rope { theta, style: RopeStyle::HalfSplit, scaling })
    }

    fn yarn(&self, parameters: &Map<String, Value>) -> Result<RopeScaling, HyperparameterError> {
        for key in ["mscale", "mscale_all_dim"] {
            if parameters.get(key).is_some_and(|value| !value.is_null()) {
                return Err(self.invalid(format!("`{key}` in the rotary scaling is not supported")));
            }
        }
        let truncate = match parameters.get("truncate") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(truncate)) => *truncate,
            Some(value) => return Err(self.invalid(format!("key `truncate` must be true or false, it is {value}"))),
        };
        let factor = self.required_float(parameters, "factor")?;
        let attention_factor = self.optional_float(parameters, "attention_factor")?;
        Ok(RopeScaling::Yarn {
            factor,
            fast_turns: self.optional_float(parameters, "beta_fast")?.unwrap_or(32.0),
            slow_turns: self.optional_float(parameters, "beta_slow")?.unwrap_or(1.0),
            original_context: self.required_float(parameters, "original_max_position_embeddings")?,
            truncate,
            attention_factor: attention_factor.unwrap_or_else(|| yarn_attention_factor(factor)),
        })
    }
}

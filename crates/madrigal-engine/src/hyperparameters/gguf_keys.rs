//! Hyperparameters from the keys of a GGUF.

use madrigal_kernels::RopeStyle;

use super::{HyperparameterError, Hyperparameters, Rope, RopeScaling};
use crate::gguf::{Gguf, Value};

/// Reads the keys under `architecture.`; `style` is how the converter laid out that architecture's heads.
pub(crate) fn from_gguf(
    gguf: &Gguf,
    architecture: &str,
    style: RopeStyle,
    embedding_rows: Option<usize>,
) -> Result<Hyperparameters, HyperparameterError> {
    let keys = Keys { gguf, architecture };
    let invalid = |problem: String| HyperparameterError::Invalid { path: gguf.path().to_owned(), problem };

    let hidden = keys.size("embedding_length")?;
    let heads = keys.size("attention.head_count")?;
    let kv_heads = keys.optional_size("attention.head_count_kv")?.unwrap_or(heads);
    // Where the lengths are not given, llama.cpp divides the embedding among the heads.
    let head_length = |key: &str| match keys.optional_size(key)? {
        Some(length) => Ok(length),
        None if heads > 0 && hidden.is_multiple_of(heads) => Ok(hidden / heads),
        None => Err(invalid(format!("{heads} heads do not divide the embedding length {hidden}"))),
    };
    let head_dim = head_length("attention.key_length")?;
    let value_dim = head_length("attention.value_length")?;
    if value_dim != head_dim {
        return Err(invalid(format!("keys of {head_dim} and values of {value_dim} a head are not supported")));
    }
    let rotated = keys.optional_size("rope.dimension_count")?.unwrap_or(head_dim);
    if rotated != head_dim {
        return Err(invalid(format!("rotating {rotated} of {head_dim} values a head is not supported")));
    }
    for feature in ["expert_count", "attention.sliding_window"] {
        if keys.optional_size(feature)?.is_some_and(|value| value > 0) {
            return Err(invalid(format!("key `{architecture}.{feature}` is set, which is not supported")));
        }
    }

    let scaling = match keys.optional("rope.scaling.type", "a text", Value::as_str)? {
        None | Some("none") => RopeScaling::None,
        Some("linear") => {
            RopeScaling::Linear { factor: keys.required("rope.scaling.factor", "a float", Value::as_f32)? }
        }
        Some(other) => {
            return Err(invalid(format!("rotary scaling `{other}` is not supported")));
        }
    };

    let vocabulary = match (keys.optional_size("vocab_size")?, embedding_rows) {
        (Some(size), _) => size,
        (None, Some(rows)) => rows,
        (None, None) => {
            let problem =
                "tensor `token_embd.weight` is missing; with a vocabulary alone texts can be tokenised, not continued";
            return Err(invalid(problem.to_owned()));
        }
    };

    Hyperparameters {
        vocabulary,
        hidden,
        layers: keys.size("block_count")?,
        heads,
        kv_heads,
        head_dim,
        feed_forward: keys.size("feed_forward_length")?,
        context: keys.size("context_length")?,
        rms_epsilon: keys.required("attention.layer_norm_rms_epsilon", "a float", Value::as_f32)?,
        rope: Rope {
            theta: keys.optional("rope.freq_base", "a float", Value::as_f32)?.unwrap_or(DEFAULT_ROPE_THETA),
            style,
            scaling,
        },
        tied: None,
    }
    .checked(gguf.path())
}

/// llama.cpp's value for files without the key.
const DEFAULT_ROPE_THETA: f32 = 10_000.0;

struct Keys<'a> {
    gguf: &'a Gguf,
    architecture: &'a str,
}

impl<'a> Keys<'a> {
    fn required<T>(
        &self,
        key: &str,
        want: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, HyperparameterError> {
        Ok(self.gguf.require(&format!("{}.{key}", self.architecture), want, read)?)
    }

    fn optional<T>(
        &self,
        key: &str,
        want: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, HyperparameterError> {
        Ok(self.gguf.optional(&format!("{}.{key}", self.architecture), want, read)?)
    }

    fn size(&self, key: &str) -> Result<usize, HyperparameterError> {
        self.required(key, "a size", as_size)
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, HyperparameterError> {
        self.optional(key, "a size", as_size)
    }
}

fn as_size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}

//! Hyperparameters from the keys of a GGUF.

use madrigal_kernels::RopeStyle;

use super::{
    Experts, HyperparameterError, Hyperparameters, MAX_LAYERS, Rope, RopeScaling, SlidingWindow, yarn_attention_factor,
};
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

    if let Some(parts) = gguf.optional("split.count", "a size", as_size)?.filter(|&parts| parts > 1) {
        let join = "join them with `llama-gguf-split --merge FIRST-PART OUT.gguf`";
        return Err(invalid(format!("it is one of {parts} parts of a model; {join}")));
    }
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
    if let Some(problem) = keys.not_computed() {
        return Err(invalid(problem));
    }

    let layers = keys.size("block_count")?;
    let context = keys.size("context_length")?;
    let scaling = match keys.optional("rope.scaling.type", "a text", Value::as_str)? {
        Some("none") => RopeScaling::None,
        Some("linear") => {
            RopeScaling::Linear { factor: keys.required("rope.scaling.factor", "a float", Value::as_f32)? }
        }
        Some("yarn") => {
            let factor = keys.required("rope.scaling.factor", "a float", Value::as_f32)?;
            let original = keys.optional_size("rope.scaling.original_context_length")?;
            let turns =
                |key: &str, default: f32| keys.optional(key, "a float", Value::as_f32).map(|f| f.unwrap_or(default));
            RopeScaling::Yarn {
                factor,
                fast_turns: turns("rope.scaling.yarn_beta_fast", 32.0)?,
                slow_turns: turns("rope.scaling.yarn_beta_slow", 1.0)?,
                original_context: original.unwrap_or(context) as f32,
                // llama.cpp truncates always. The gpt-oss models were trained without, as OpenAI's own code and the
                // `truncate: false` of their configurations show, and a GGUF cannot say so.
                truncate: !keys.mixture(),
                attention_factor: yarn_attention_factor(factor),
            }
        }
        // As in llama.cpp, a factor without a type is linear; old files spell it `scale_linear`.
        None => {
            let factor = keys.optional("rope.scaling.factor", "a float", Value::as_f32)?;
            let factor = factor.or(keys.optional("rope.scale_linear", "a float", Value::as_f32)?);
            factor.map_or(RopeScaling::None, |factor| RopeScaling::Linear { factor })
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
        layers,
        heads,
        kv_heads,
        head_dim,
        feed_forward: match keys.mixture() {
            true => keys.size("expert_feed_forward_length")?,
            false => keys.size("feed_forward_length")?,
        },
        context,
        rms_epsilon: keys.required("attention.layer_norm_rms_epsilon", "a float", Value::as_f32)?,
        rope: Rope {
            theta: keys.optional("rope.freq_base", "a float", Value::as_f32)?.unwrap_or(DEFAULT_ROPE_THETA),
            style,
            scaling,
        },
        window: keys.window(layers)?,
        experts: keys.experts()?,
        tied: None,
    }
    .checked(gguf.path())
}

/// llama.cpp's value for files without the key.
const DEFAULT_ROPE_THETA: f32 = 10_000.0;

/// Keys of features that change the result and that no architecture here computes, with the values under which they
/// change nothing. The names are those of llama.cpp's `gguf-py` (`gguf/constants.py`).
const NOT_COMPUTED: [(&str, &[f64]); 27] = [
    ("expert_count", &[0.0]),
    ("expert_shared_count", &[0.0]),
    ("expert_weights_scale", &[0.0, 1.0]),
    ("expert_group_count", &[0.0, 1.0]),
    ("leading_dense_block_count", &[0.0]),
    ("nextn_predict_layers", &[0.0]),
    ("use_parallel_residual", &[0.0]),
    ("swin_norm", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("attention.causal", &[1.0]),
    ("attention.sliding_window", &[0.0]),
    ("attention.sliding_window_pattern", &[2.0]),
    ("attention.scale", &[0.0]),
    ("attention.output_scale", &[0.0, 1.0]),
    ("attention.temperature_length", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.shared_kv_layers", &[0.0]),
    ("rope.dimension_sections", &[]),
    ("rope.scaling.attn_factor", &[0.0, 1.0]),
    ("rope.scaling.yarn_ext_factor", &[-1.0, 1.0]),
    ("rope.scaling.yarn_attn_factor", &[-1.0, 1.0]),
    ("rope.scaling.yarn_log_multiplier", &[0.0]),
];

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

    /// What the file asks for that would be left out.
    fn not_computed(&self) -> Option<String> {
        let computed = if self.mixture() { &["expert_count", "attention.sliding_window"][..] } else { &[] };
        NOT_COMPUTED.iter().filter(|(key, _)| !computed.contains(key)).find_map(|(key, neutral)| {
            let key = format!("{}.{key}", self.architecture);
            let value = self.gguf.get(&key)?;
            let number = match *value {
                Value::Unsigned(number) => Some(number as f64),
                Value::Signed(number) => Some(number as f64),
                Value::Float(number) => Some(number),
                Value::Bool(flag) => Some(f64::from(u8::from(flag))),
                Value::String(_) | Value::Array(_) => None,
            };
            let harmless = number.is_some_and(|number| neutral.contains(&number));
            (!harmless).then(|| format!("key `{key}` is set to {value}, which is not supported"))
        })
    }

    /// Whether the feed-forward part is a mixture of experts, between layers that slide and layers that do not.
    fn mixture(&self) -> bool {
        self.architecture == "gpt-oss"
    }

    fn window(&self, layers: usize) -> Result<Option<SlidingWindow>, HyperparameterError> {
        if !self.mixture() {
            return Ok(None);
        }
        let positions = self.size("attention.sliding_window")?;
        // llama.cpp's rule for the architecture: every second layer, from the first. Too many layers are refused later.
        let slides = (0..layers.min(MAX_LAYERS)).map(|layer| layer % 2 == 0);
        Ok(Some(SlidingWindow { positions, layers: slides.collect() }))
    }

    fn experts(&self) -> Result<Option<Experts>, HyperparameterError> {
        if !self.mixture() {
            return Ok(None);
        }
        let (count, chosen) = (self.size("expert_count")?, self.size("expert_used_count")?);
        Ok(Some(Experts { count, chosen, limit: Experts::LIMIT, alpha: Experts::ALPHA }))
    }

    fn optional_size(&self, key: &str) -> Result<Option<usize>, HyperparameterError> {
        self.optional(key, "a size", as_size)
    }
}

fn as_size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}

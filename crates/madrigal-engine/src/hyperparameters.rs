//! The numbers that give a model its shape, read from a GGUF's keys or from a `config.json`, and checked.
//!
//! Owns the checks that hold for every architecture here. Tensors are checked against these numbers by `weights`.

mod config_json;
mod gguf_keys;

use std::path::{Path, PathBuf};

pub(crate) use config_json::ConfigJson;
pub(crate) use gguf_keys::from_gguf;
use madrigal_kernels::RopeStyle;

/// The shape of a decoder-only transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct Hyperparameters {
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// The longest sequence, in tokens.
    pub context: usize,
    /// Added to the mean square before its root is taken.
    pub rms_epsilon: f32,
    /// Rotary positions.
    pub rope: Rope,
    /// Layers that look back only so far; `None` where every layer sees everything before it.
    pub window: Option<SlidingWindow>,
    /// The experts of a mixture; `None` where the feed-forward part is one.
    pub experts: Option<Experts>,
    /// Whether the head is the embedding; `None` where only the tensors tell.
    pub tied: Option<bool>,
}

/// A sliding window of attention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlidingWindow {
    /// How many positions a row attends to, its own included.
    pub positions: usize,
    /// Per layer, whether it slides; the others see everything.
    pub layers: Vec<bool>,
}

/// The experts of each layer's feed-forward part, of which a router chooses a few for every token.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Experts in a layer.
    pub count: usize,
    /// Experts that a token goes through.
    pub chosen: usize,
    /// Gate and up values beyond this are cut off.
    pub limit: f32,
    /// The gate's factor inside its sigmoid.
    pub alpha: f32,
}

/// Rotary position embedding.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f32,
    /// Which values of a head form a pair.
    pub style: RopeStyle,
    /// How the frequencies are stretched.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are stretched for windows longer than those of the training.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency is divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Llama 3: low frequencies are divided by `factor`, high ones are kept, those between are blended.
    Llama3 {
        /// The divisor.
        factor: f32,
        /// Wavelengths longer than `original_context / low_frequency_factor` are divided in full.
        low_frequency_factor: f32,
        /// Wavelengths shorter than `original_context / high_frequency_factor` are kept.
        high_frequency_factor: f32,
        /// The window of the training.
        original_context: f32,
    },
    /// YaRN: like Llama 3's, but blended along the dimensions of a head, with longer queries and keys besides.
    Yarn {
        /// The divisor.
        factor: f32,
        /// Pairs that turn at least so often within the window of the training are kept.
        fast_turns: f32,
        /// Pairs that turn at most so often are divided in full.
        slow_turns: f32,
        /// The window of the training.
        original_context: f32,
        /// Whether the two borders between these pairs are moved outwards to whole pairs.
        truncate: bool,
        /// What cosines and sines are multiplied by.
        attention_factor: f32,
    },
}

/// No model comes near it.
const MAX_LAYERS: usize = 1 << 12;

/// Why hyperparameters do not serve.
#[derive(Debug, thiserror::Error)]
pub enum HyperparameterError {
    /// The configuration cannot be read.
    #[error("open `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The configuration is not JSON.
    #[error("read `{}`: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: serde_json::Error,
    },
    /// The GGUF lacks a key, or it has another type.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::GgufError),
    /// A number that no model can have, or a feature that is not computed.
    #[error("read `{}`: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which number or feature.
        problem: String,
    },
}

impl Hyperparameters {
    /// Values of all query heads together.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Values of all key heads together, and of all value heads.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// How many positions a layer's rows attend to, their own included; `None` for all of them.
    #[must_use]
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        let window = self.window.as_ref()?;
        window.layers.get(layer).is_some_and(|slides| *slides).then_some(window.positions)
    }

    /// Rotary frequencies in radians a position, `head_dim / 2` of them, highest first.
    ///
    /// The rules of Llama 3 and YaRN are those of transformers (`modeling_rope_utils.py`).
    #[must_use]
    pub fn rope_frequencies(&self) -> Vec<f64> {
        let theta = f64::from(self.rope.theta);
        let pairs = self.head_dim / 2;
        let frequencies = (0..pairs).map(|pair| 1.0 / libm::pow(theta, pair as f64 / pairs as f64));
        match self.rope.scaling {
            RopeScaling::None => frequencies.collect(),
            RopeScaling::Linear { factor } => frequencies.map(|frequency| frequency / f64::from(factor)).collect(),
            RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
                let (low, high) = (f64::from(low_frequency_factor), f64::from(high_frequency_factor));
                let stretch = |frequency: f64| {
                    let turns = f64::from(original_context) * frequency / (2.0 * std::f64::consts::PI);
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    keep * frequency + (1.0 - keep) * frequency / f64::from(factor)
                };
                frequencies.map(stretch).collect()
            }
            RopeScaling::Yarn { factor, fast_turns, slow_turns, original_context, truncate, .. } => {
                // The pair that turns `turns` times within the window of the training.
                let pair_of = |turns: f32| {
                    let period = f64::from(original_context) / (f64::from(turns) * 2.0 * std::f64::consts::PI);
                    self.head_dim as f64 * libm::log(period) / (2.0 * libm::log(theta))
                };
                let (low, high) = (pair_of(fast_turns), pair_of(slow_turns));
                let (low, high) = if truncate { (libm::floor(low), libm::ceil(high)) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(self.head_dim as f64 - 1.0));
                let width = if low == high { 0.001 } else { high - low };
                let stretch = |(pair, frequency): (usize, f64)| {
                    let divided = ((pair as f64 - low) / width).clamp(0.0, 1.0);
                    (1.0 - divided) * frequency + divided * frequency / f64::from(factor)
                };
                frequencies.enumerate().map(stretch).collect()
            }
        }
    }

    /// The checks that hold whatever the numbers were read from.
    fn checked(self, path: &Path) -> Result<Self, HyperparameterError> {
        match self.problem() {
            None => Ok(self),
            Some(problem) => Err(HyperparameterError::Invalid { path: path.to_owned(), problem }),
        }
    }

    fn problem(&self) -> Option<String> {
        // No model comes near any of these. With them, what a file makes a forward pass allocate stays in proportion to its
        // tensors, products of sizes fit in 64 bits, and every position is a whole number of 32-bit floats.
        let sizes = [
            ("vocabulary size", self.vocabulary, 1 << 21),
            ("hidden size", self.hidden, 1 << 18),
            ("layer count", self.layers, MAX_LAYERS),
            ("head count", self.heads, 1 << 12),
            ("key-value head count", self.kv_heads, 1 << 12),
            ("head size", self.head_dim, 1 << 13),
            ("feed-forward size", self.feed_forward, 1 << 18),
            ("context length", self.context, 1 << 24),
        ];
        if let Some((what, size, largest)) = sizes.into_iter().find(|&(_, size, largest)| size == 0 || size > largest) {
            return Some(format!("the {what} is {size}; it must be from 1 to {largest}"));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let Self { heads, kv_heads, .. } = self;
            return Some(format!("{heads} heads cannot share {kv_heads} key-value heads evenly"));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Some(format!("the head size {} is odd; rotary positions need pairs", self.head_dim));
        }
        let positive = |value: f32| value.is_finite() && value > 0.0;
        if !positive(self.rms_epsilon) {
            return Some(format!("the norm's epsilon is {}; it must be finite and above 0", self.rms_epsilon));
        }
        if !positive(self.rope.theta) {
            return Some(format!("the rotary base is {}; it must be finite and above 0", self.rope.theta));
        }
        let scaling = match self.rope.scaling {
            RopeScaling::None => true,
            RopeScaling::Linear { factor } => positive(factor),
            RopeScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
                positive(factor)
                    && positive(low_frequency_factor)
                    && positive(original_context)
                    && high_frequency_factor.is_finite()
                    && high_frequency_factor > low_frequency_factor
            }
            RopeScaling::Yarn { factor, fast_turns, slow_turns, original_context, attention_factor, .. } => {
                let numbers = [fast_turns, slow_turns, original_context, attention_factor];
                // The rule divides by the base's logarithm.
                factor.is_finite() && factor >= 1.0 && numbers.into_iter().all(positive) && self.rope.theta > 1.0
            }
        };
        if !scaling {
            return Some(format!("the rotary scaling {:?} has numbers out of range", self.rope.scaling));
        }
        self.window.as_ref().and_then(|window| window.problem(self.layers)).or_else(|| self.experts.as_ref()?.problem())
    }
}

impl SlidingWindow {
    fn problem(&self, layers: usize) -> Option<String> {
        let Self { positions, layers: slides } = self;
        if *positions == 0 {
            return Some("the sliding window has 0 positions; a row attends to itself at least".to_owned());
        }
        (slides.len() != layers).then(|| format!("the sliding window speaks of {} of {layers} layers", slides.len()))
    }
}

impl Experts {
    /// The gpt-oss models' limit, which their GGUFs do not name.
    const LIMIT: f32 = 7.0;
    /// The gpt-oss models' factor, likewise.
    const ALPHA: f32 = 1.702;

    fn problem(&self) -> Option<String> {
        const MOST: usize = 1 << 12;
        let Self { count, chosen, limit, alpha } = *self;
        if count == 0 || count > MOST {
            return Some(format!("the expert count is {count}; it must be from 1 to {MOST}"));
        }
        if chosen == 0 || chosen > count {
            return Some(format!("{chosen} of {count} experts a token cannot be chosen"));
        }
        let cut = limit.is_finite() && limit > 0.0 && alpha.is_finite();
        (!cut).then(|| format!("the experts' limit {limit} and factor {alpha} are out of range"))
    }
}

impl RopeScaling {
    /// What cosines and sines are multiplied by.
    #[must_use]
    pub fn attention_factor(&self) -> f32 {
        match *self {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Llama3 { .. } => 1.0,
        }
    }
}

/// YaRN's own choice of what cosines and sines are multiplied by (section 3.4 of arXiv:2309.00071).
fn yarn_attention_factor(factor: f32) -> f32 {
    if factor > 1.0 { (0.1 * libm::log(f64::from(factor)) + 1.0) as f32 } else { 1.0 }
}

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
    /// Whether the head is the embedding; `None` where only the tensors tell.
    pub tied: Option<bool>,
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
}

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

    /// Rotary frequencies in radians a position, `head_dim / 2` of them, highest first.
    ///
    /// Llama 3's rule as in transformers' `_compute_llama3_parameters`.
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
            ("layer count", self.layers, 1 << 12),
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
        };
        (!scaling).then(|| format!("the rotary scaling {:?} has numbers out of range", self.rope.scaling))
    }
}

//! Several deltas at once, each head listening to them in a measure of its own: `Δq_h = Σ_i w[l,h,i] (Δ_i x)_h`.
//!
//! Owns the sum. Queries are weighed per head; keys and values, which a group of heads shares, per group. Where the
//! weights come from is none of its business.

use std::sync::Arc;

use madrigal_kernels::RowKernels;
use sha2::{Digest, Sha256};

use super::{Delta, Part, VoiceError};
use crate::hyperparameters::Hyperparameters;

/// Deltas of queries, keys and values, weighed per layer and head.
#[derive(Debug, Clone)]
pub struct Routed {
    deltas: Vec<Arc<dyn Delta>>,
    weights: HeadWeights,
    digest: [u8; 32],
}

/// How much each head listens to each delta.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadWeights {
    /// Layers that the weights are for, from layer 0.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// `[layers, heads, deltas]`.
    pub query: Vec<f32>,
    /// `[layers, kv_heads, deltas]`, for keys and values.
    pub group: Vec<f32>,
}

/// Deltas that cannot be routed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RoutedError {
    /// The tables do not have the sizes that they claim.
    #[error("route deltas to heads: {found} weights for {name}, expected {expected} (layers x heads x deltas)")]
    Shape {
        /// Which table.
        name: &'static str,
        /// Its length.
        found: usize,
        /// What the numbers of layers, heads and deltas say.
        expected: usize,
    },
    /// A weight that is no number.
    #[error("route deltas to heads: a weight for {name} is {value}; weights must be finite")]
    Value {
        /// Which table.
        name: &'static str,
        /// The weight.
        value: f32,
    },
    /// A delta acts where there are no heads.
    #[error("route deltas to heads: delta {delta} acts on {} of layer {layer}, which has no heads", part.name())]
    Headless {
        /// The delta's index.
        delta: usize,
        /// The layer.
        layer: usize,
        /// The product.
        part: Part,
    },
    /// No delta at all.
    #[error("route deltas to heads: there are no deltas")]
    Empty,
}

/// The products whose outputs are heads.
const HEADED: [Part; 3] = [Part::Query, Part::Key, Part::Value];

impl Routed {
    /// The deltas, weighed. They may act on queries, keys and values alone.
    pub fn new(deltas: Vec<Arc<dyn Delta>>, weights: HeadWeights) -> Result<Self, RoutedError> {
        if deltas.is_empty() {
            return Err(RoutedError::Empty);
        }
        let tables =
            [("queries", &weights.query, weights.heads), ("keys and values", &weights.group, weights.kv_heads)];
        for (name, table, heads) in tables {
            let expected = weights.layers.saturating_mul(heads).saturating_mul(deltas.len());
            if table.len() != expected || heads == 0 {
                return Err(RoutedError::Shape { name, found: table.len(), expected });
            }
            if let Some(&value) = table.iter().find(|value| !value.is_finite()) {
                return Err(RoutedError::Value { name, value });
            }
        }
        for (delta, inner) in deltas.iter().enumerate() {
            for layer in 0..weights.layers {
                let headless = Part::ALL.into_iter().find(|part| !HEADED.contains(part) && inner.acts_on(layer, *part));
                if let Some(part) = headless {
                    return Err(RoutedError::Headless { delta, layer, part });
                }
            }
        }
        let digest = digest(&deltas, &weights);
        Ok(Self { deltas, weights, digest })
    }

    /// The weights of all deltas for each head of a product, `[heads, deltas]`.
    fn table(&self, layer: usize, part: Part) -> Option<&[f32]> {
        let (table, heads) = match part {
            Part::Query => (&self.weights.query, self.weights.heads),
            Part::Key | Part::Value => (&self.weights.group, self.weights.kv_heads),
            Part::Output | Part::Gate | Part::Up | Part::Down => return None,
        };
        table.chunks_exact(heads * self.deltas.len()).nth(layer)
    }

    /// The deltas that some head listens to there, with their weights for each head.
    fn active(&self, layer: usize, part: Part) -> impl Iterator<Item = (&dyn Delta, impl Iterator<Item = f32>)> {
        let table = self.table(layer, part).unwrap_or_default();
        let count = self.deltas.len();
        self.deltas.iter().enumerate().filter_map(move |(index, delta)| {
            let weights = table.chunks_exact(count).map(move |weights| weights[index]);
            (delta.acts_on(layer, part) && weights.clone().any(|weight| weight != 0.0))
                .then(|| (delta.as_ref(), weights))
        })
    }
}

impl Delta for Routed {
    fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn first_layer(&self) -> usize {
        let acts = |layer: &usize| HEADED.iter().any(|&part| self.acts_on(*layer, part));
        (0..self.weights.layers).find(acts).unwrap_or(self.weights.layers)
    }

    fn acts_on(&self, layer: usize, part: Part) -> bool {
        self.active(layer, part).next().is_some()
    }

    fn add(&self, kernels: RowKernels, layer: usize, part: Part, x: &[f32], y: &mut [f32]) {
        let heads = if part == Part::Query { self.weights.heads } else { self.weights.kv_heads };
        let mut sum = vec![0.0; y.len()]; // [heads, head_dim]
        for (delta, weights) in self.active(layer, part) {
            sum.fill(0.0);
            delta.add(kernels, layer, part, x, &mut sum);
            let width = y.len() / heads;
            for ((weight, sum), y) in weights.zip(sum.chunks_exact(width)).zip(y.chunks_exact_mut(width)) {
                kernels.axpy(weight, sum, y);
            }
        }
    }

    fn fits(&self, shape: &Hyperparameters) -> Result<(), VoiceError> {
        let HeadWeights { layers, heads, kv_heads, .. } = self.weights;
        if (layers, heads, kv_heads) != (shape.layers, shape.heads, shape.kv_heads) {
            return Err(VoiceError::new(format!(
                "it routes {layers} layers of {heads} and {kv_heads} heads, the model has {} of {} and {}",
                shape.layers, shape.heads, shape.kv_heads
            )));
        }
        self.deltas.iter().try_for_each(|delta| delta.fits(shape))
    }
}

fn digest(deltas: &[Arc<dyn Delta>], weights: &HeadWeights) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("madrigal routed 1\0");
    for number in [deltas.len(), weights.layers, weights.heads, weights.kv_heads] {
        hash.update((number as u64).to_le_bytes());
    }
    for delta in deltas {
        hash.update(delta.digest());
    }
    for weight in weights.query.iter().chain(&weights.group) {
        hash.update(weight.to_bits().to_le_bytes());
    }
    hash.finalize().into()
}

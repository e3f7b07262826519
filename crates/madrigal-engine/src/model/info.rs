//! What there is to know about a model before it runs: shapes, storage, memory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use madrigal_kernels::{KvType, Precision};

use super::Model;
use crate::hyperparameters::Hyperparameters;
use crate::weights::Weights;

/// Everything that `model show` tells.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInfo {
    /// The architecture's name.
    pub architecture: &'static str,
    /// The model's shape.
    pub shape: Hyperparameters,
    /// Whether the output matrix is the embedding.
    pub tied: bool,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// How tensors are stored, largest share first.
    pub quants: Vec<QuantInfo>,
    /// Bytes of all tensors in memory, quantised ones as they are packed.
    pub weight_bytes: u64,
    /// The files, with their sizes.
    pub files: Vec<FileInfo>,
    /// How keys and values are stored unless someone asks for another way.
    pub kv: KvType,
    /// How finely activations are rounded beside quantised weights that allow the choice.
    pub activations: Precision,
    /// Bytes of keys and values for one token, stored that way.
    pub kv_bytes_per_token: u64,
    /// Bytes of weights and of one sequence that fills the window.
    pub memory_bytes: u64,
    /// Tokens of the tokenizer; the embedding may have more rows.
    pub tokens: usize,
    /// Digest of the tokenizer.
    pub tokenizer_digest: String,
}

/// The tensors of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantInfo {
    /// The type's name.
    pub kind: String,
    /// How many tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub parameters: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is to the model: `weights`, `tokenizer`, `config` or `template`.
    pub role: &'static str,
    /// Where it lies.
    pub path: PathBuf,
    /// Its size; `None` if it is gone by now.
    pub bytes: Option<u64>,
}

impl Model {
    /// What there is to know about the model.
    #[must_use]
    pub fn info(&self) -> ModelInfo {
        let shape = self.shape.clone();
        let kv = self.default_kv();
        let kv_bytes_per_token = (2 * shape.kv_width() * shape.layers * kv.bytes()) as u64;
        let files = self.files.iter().map(|(role, path)| FileInfo {
            role,
            path: path.clone(),
            bytes: std::fs::metadata(path).ok().map(|metadata| metadata.len()),
        });
        ModelInfo {
            architecture: self.kind.name(),
            tied: self.architecture.tied(),
            parameters: self.quants.iter().fold(0, |sum, quant| sum.saturating_add(quant.parameters)),
            quants: self.quants.clone(),
            weight_bytes: self.weight_bytes,
            files: files.collect(),
            kv,
            activations: self.default_activations(),
            kv_bytes_per_token,
            memory_bytes: self.weight_bytes.saturating_add(kv_bytes_per_token.saturating_mul(shape.context as u64)),
            tokens: self.tokenizer.vocab_size(),
            tokenizer_digest: self.tokenizer.digest().to_owned(),
            shape,
        }
    }
}

/// The tensors by type.
pub(super) fn quants(weights: &Weights) -> Vec<QuantInfo> {
    let mut quants = BTreeMap::<String, QuantInfo>::new();
    for (kind, parameters, bytes) in weights.stored_sizes() {
        let empty = QuantInfo { kind: kind.clone(), tensors: 0, parameters: 0, bytes: 0 };
        let quant = quants.entry(kind).or_insert(empty);
        quant.tensors += 1;
        // An ignored tensor of a type that nobody knows may claim any shape.
        quant.parameters = quant.parameters.saturating_add(parameters);
        quant.bytes = quant.bytes.saturating_add(bytes);
    }
    let mut quants: Vec<_> = quants.into_values().collect();
    quants.sort_by_key(|quant| std::cmp::Reverse(quant.bytes));
    quants
}

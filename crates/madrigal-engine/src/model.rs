//! A model as it lies on disk, opened and checked: weights, tokenizer, chat template.
//!
//! Owns what belongs together: which files make up a model, whether their numbers agree, and what they will take of
//! memory (`info`). Running it is `engine`'s business.

mod error;
mod info;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use madrigal_kernels::{BlockType, KvType, Precision};

pub use error::OpenError;
pub use info::{FileInfo, ModelInfo, QuantInfo};

use crate::arch::{Architecture, Kind};
use crate::gguf::{Gguf, Value};
use crate::hyperparameters::{ConfigJson, Hyperparameters, from_gguf};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::weights::{PackingError, Tensor, Weights, pack_all, packing_bytes};

/// An opened model.
#[derive(Debug)]
pub struct Model {
    path: PathBuf,
    kind: Kind,
    shape: Hyperparameters,
    architecture: Architecture,
    tokenizer: Arc<Tokenizer>,
    template: Arc<ChatTemplate>,
    files: Vec<(&'static str, PathBuf)>,
    matrices: Vec<Tensor>,
    weight_bytes: u64,
    quants: Vec<QuantInfo>,
}

impl Model {
    /// Opens a `.gguf` file, or a folder with `config.json`, safetensors and `tokenizer.json`.
    ///
    /// Weights are mapped, not read: opening takes little time and memory whatever their size.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        if path.is_dir() { Self::open_folder(path) } else { Self::open_gguf(path) }
    }

    fn open_gguf(path: &Path) -> Result<Self, OpenError> {
        let gguf = Gguf::open(path)?;
        let name = gguf.require("general.architecture", "a text", Value::as_str)?;
        let kind = Kind::from_gguf_name(name).ok_or_else(|| OpenError::unsupported(path, name))?;
        let mut weights = Weights::from_gguf(&gguf);
        let shape = from_gguf(&gguf, name, kind.gguf_rope_style(), weights.rows("token_embd.weight"))?;
        let parts = Parts {
            kind,
            architecture: Architecture::load(kind, &shape, &mut weights)?,
            shape,
            weights,
            tokenizer: Tokenizer::from_gguf(&gguf)?,
            template: ChatTemplate::from_gguf(&gguf)?,
            files: vec![("weights", path.to_owned())],
        };
        parts.join(path)
    }

    fn open_folder(path: &Path) -> Result<Self, OpenError> {
        let config_path = path.join("config.json");
        let config = ConfigJson::open(&config_path)?;
        let name = config.architecture()?;
        let kind = Kind::from_model_type(name).ok_or_else(|| OpenError::unsupported(path, name))?;
        let shape = config.hyperparameters()?;
        let (mut weights, shards) = Weights::from_folder(path)?;
        let mut files: Vec<_> = shards.into_iter().map(|shard| ("weights", shard)).collect();
        files.push(("tokenizer", path.join("tokenizer.json")));
        files.push(("config", config_path));
        let optional = [
            ("config", "model.safetensors.index.json"),
            ("config", "tokenizer_config.json"),
            ("config", "generation_config.json"),
            ("config", "special_tokens_map.json"),
            ("template", "chat_template.jinja"),
        ];
        for (role, name) in optional {
            let file = path.join(name);
            if file.is_file() {
                files.push((role, file));
            }
        }
        let parts = Parts {
            kind,
            architecture: Architecture::load(kind, &shape, &mut weights)?,
            shape,
            weights,
            tokenizer: Tokenizer::open(path)?,
            template: ChatTemplate::open(path)?,
            files,
        };
        parts.join(path)
    }

    /// The file or folder that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The architecture's name.
    #[must_use]
    pub fn architecture_name(&self) -> &'static str {
        self.kind.name()
    }

    /// The model's shape.
    #[must_use]
    pub fn hyperparameters(&self) -> &Hyperparameters {
        &self.shape
    }

    /// The model's tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The model's chat template; the `plain` one where it has none.
    #[must_use]
    pub fn template(&self) -> &Arc<ChatTemplate> {
        &self.template
    }

    /// The tokens that end a text. With a chat template, any of the well-known ends of a turn may; without one, only
    /// the model's own do, as in transformers.
    #[must_use]
    pub fn end_ids(&self) -> &[u32] {
        match self.tokenizer.own_eos_ids() {
            own if self.template.is_plain() && !own.is_empty() => own,
            _ => self.tokenizer.eos_ids(),
        }
    }

    /// Every file that the model was read from, with what it is to the model: `weights`, `tokenizer`, `config` or `template`.
    /// Journals record the hash of each.
    #[must_use]
    pub fn files(&self) -> &[(&'static str, PathBuf)] {
        &self.files
    }

    /// Bytes of all tensors in memory, quantised ones as they are packed.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }

    /// How keys and values are stored unless someone asks for another way.
    #[must_use]
    pub fn default_kv(&self) -> KvType {
        // Rounding keys and values of F16 weights to BF16 moves logits by more than the weights' own rounding does.
        let precise = [BlockType::F32.name(), BlockType::F16.name()];
        let all_precise = self.quants.iter().all(|quant| precise.contains(&quant.kind.as_str()));
        if all_precise { KvType::F32 } else { KvType::Bf16 }
    }

    /// How finely activations are rounded beside quantised weights unless someone asks for another way: to 14 bits in models
    /// that are less than 1,024 wide, whose few numbers feel every rounding and cost little; to 8 in all others.
    #[must_use]
    pub fn default_activations(&self) -> Precision {
        if self.shape.hidden < 1024 { Precision::Bits14 } else { Precision::Bits8 }
    }

    /// Brings the weights into the order that kernels read, in memory; once for all engines on this model.
    pub(crate) fn pack(&self, threads: usize) -> Result<(), PackingError> {
        pack_all(&self.matrices, threads)
    }

    #[cfg(test)]
    pub(crate) fn is_packed(&self) -> bool {
        self.matrices.iter().any(Tensor::is_packed)
    }

    pub(crate) fn architecture(&self) -> &Architecture {
        &self.architecture
    }
}

/// What the two kinds of files give, ready to become a [`Model`].
struct Parts {
    kind: Kind,
    shape: Hyperparameters,
    architecture: Architecture,
    weights: Weights,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    files: Vec<(&'static str, PathBuf)>,
}

impl Parts {
    /// Adds up the tensors and checks what only weights and tokenizer together show.
    fn join(self, path: &Path) -> Result<Model, OpenError> {
        let Self { kind, shape, architecture, weights, tokenizer, template, files } = self;
        let (path, tokens, rows) = (path.to_owned(), tokenizer.vocab_size(), shape.vocabulary);
        if tokens > rows {
            return Err(OpenError::Vocabulary { path, tokens, rows });
        }
        let quants = info::quants(&weights);
        let stored: u64 = quants.iter().map(|quant| quant.bytes).sum();
        let weight_bytes = stored + packing_bytes(weights.matrices());
        let (tokenizer, template, matrices) = (Arc::new(tokenizer), Arc::new(template), weights.matrices().to_vec());
        Ok(Model { path, kind, shape, architecture, tokenizer, template, files, matrices, weight_bytes, quants })
    }
}

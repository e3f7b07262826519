//! A model's tensors by name, wherever they lie: in a GGUF or in the safetensors of a folder.
//!
//! Owns finding a tensor, checking its type and shape, and noticing tensors that nobody asked for. Does not own what the
//! tensors mean (`arch`) nor the containers (`gguf`, `safetensors_file`).
//!
//! Architectures ask by GGUF's names; for safetensors the names are translated (`names`), and errors always use the name
//! that stands in the file.

mod experts;
mod names;
mod packing;
mod safetensors_file;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use madrigal_kernels::{BlockType, Matrix};

use crate::gguf::{GgmlType, Gguf};
use crate::hyperparameters::Hyperparameters;
use crate::mapped_file::MappedFile;
use safetensors_file::SafetensorsFile;

pub use experts::Projection;
pub use packing::PackingError;
pub(crate) use packing::{pack_all, packing_bytes};

/// A matrix or vector of a model, borrowed from its file where the file has it in the order that kernels read.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// The name in the file.
    pub name: String,
    /// How the values are stored.
    pub kind: BlockType,
    /// Rows; 1 for a vector.
    pub rows: usize,
    /// Contiguous values of a row.
    pub columns: usize,
    bytes: Bytes,
    packed: packing::Packed,
}

/// Where a tensor's values lie.
#[derive(Debug, Clone)]
enum Bytes {
    Mapped(MappedFile, Range<usize>),
    Owned(Arc<[u8]>),
    /// In the order of another format; rows are put in order when they are packed.
    Split(experts::SplitMxfp4),
}

impl Tensor {
    fn new(name: String, kind: BlockType, [rows, columns]: [usize; 2], bytes: Bytes) -> Self {
        Self { name, kind, rows, columns, bytes, packed: packing::Packed::default() }
    }

    /// The values of a dense tensor as they are stored, row after row.
    fn bytes(&self) -> &[u8] {
        self.bytes.get()
    }

    /// The bytes of some rows, as the type has them.
    fn row_bytes(&self, rows: Range<usize>) -> Cow<'_, [u8]> {
        match &self.bytes {
            Bytes::Split(split) => Cow::Owned(split.rows(rows)),
            bytes => {
                let row = self.kind.row_bytes(self.columns).unwrap_or(0);
                Cow::Borrowed(bytes.get().get(rows.start * row..rows.end * row).unwrap_or_default())
            }
        }
    }

    /// What kernels multiply. Quantised ones must have been packed ([`pack_all`]).
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        let data = match self.packed.get() {
            Some(tiles) => tiles.bytes(),
            None => self.bytes(),
        };
        Matrix { kind: self.kind, rows: self.rows, cols: self.columns, data }
    }

    #[cfg(test)]
    pub(crate) fn is_packed(&self) -> bool {
        self.packed.get().is_some()
    }

    /// Tells the system that the stored form of some rows is not needed for now.
    fn release(&self, rows: Range<usize>) {
        if let Bytes::Mapped(file, range) = &self.bytes {
            let row = self.kind.row_bytes(self.columns).unwrap_or(0);
            file.release(range.start + rows.start * row..range.start + rows.end * row);
        }
    }

    /// Where it begins in its file.
    fn offset(&self) -> usize {
        if let Bytes::Mapped(_, range) = &self.bytes { range.start } else { usize::MAX }
    }

    /// Tells the system that what its file has before it is not needed for now.
    fn release_before(&self) {
        if let Bytes::Mapped(file, range) = &self.bytes {
            file.release(0..range.start);
        }
    }
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Self::Mapped(file, range) => file.get(range.clone()).unwrap_or_default(),
            Self::Owned(bytes) => bytes,
            Self::Split(_) => &[],
        }
    }
}

/// All tensors of one model.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    naming: Naming,
    tensors: BTreeMap<String, Stored>,
    taken: BTreeSet<String>,
    matrices: Vec<Tensor>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    Gguf,
    HuggingFace,
}

/// A tensor as its container describes it, before anyone has asked for it.
#[derive(Debug)]
struct Stored {
    /// Row-major: the last dimension is contiguous.
    shape: Vec<u64>,
    kind: StoredKind,
    file: MappedFile,
    range: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StoredKind {
    Known(BlockType),
    /// Bytes that mean something together with another tensor.
    Raw,
    /// The type's name, for the error.
    Unsupported(String),
}

/// Why a model's tensors do not serve.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file cannot be opened or mapped.
    #[error("open `{}`: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A safetensors file or its index breaks the format.
    #[error("read `{}`: {problem}; the file is damaged: download it again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor that the architecture needs is not there.
    #[error("read `{}`: tensor `{name}` is missing", path.display())]
    Missing {
        /// The file or folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
    },
    /// A tensor has a type that no kernel multiplies.
    #[error("read `{}`: tensor `{name}` has type {kind}, supported are {}", path.display(), supported_kinds())]
    Kind {
        /// The file or folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The type's name.
        kind: String,
    },
    /// A tensor's shape is not what the hyperparameters say.
    #[error("read `{}`: tensor `{name}` has shape {found:?} (rows first), expected {expected:?}", path.display())]
    Shape {
        /// The file or folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// What the file says.
        found: Vec<u64>,
        /// What the architecture needs.
        expected: Vec<usize>,
    },
    /// A tensor that the architecture does not know: computing without it would give wrong answers.
    #[error("read `{}`: tensor `{name}` is not part of the architecture {architecture}", path.display())]
    Unexpected {
        /// The file or folder.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// The architecture that was being read.
        architecture: &'static str,
    },
}

impl Weights {
    /// The tensors of a GGUF.
    #[must_use]
    pub fn from_gguf(gguf: &Gguf) -> Self {
        let tensors = gguf.tensors.iter().map(|tensor| {
            let stored = Stored {
                shape: tensor.shape.iter().rev().copied().collect(),
                kind: match block_type(tensor.kind) {
                    Some(kind) => StoredKind::Known(kind),
                    None => StoredKind::Unsupported(tensor.kind.to_string()),
                },
                file: gguf.file().clone(),
                range: tensor.range.clone(),
            };
            (tensor.name.clone(), stored)
        });
        Self {
            path: gguf.path().to_owned(),
            naming: Naming::Gguf,
            tensors: tensors.collect(),
            taken: BTreeSet::new(),
            matrices: Vec::new(),
        }
    }

    /// The tensors of a folder: `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    /// Returned with the files that hold them.
    pub fn from_folder(folder: &Path) -> Result<(Self, Vec<PathBuf>), WeightsError> {
        let files = safetensors_file::files_of(folder)?;
        let mut tensors = BTreeMap::new();
        for path in &files {
            let file = SafetensorsFile::open(path)?;
            for (name, stored) in file.tensors {
                if tensors.insert(name.clone(), stored).is_some() {
                    let problem = format!("tensor `{name}` stands in another file of the model too");
                    return Err(WeightsError::Malformed { path: path.clone(), problem });
                }
            }
        }
        let weights = Self {
            path: folder.to_owned(),
            naming: Naming::HuggingFace,
            tensors,
            taken: BTreeSet::new(),
            matrices: Vec::new(),
        };
        Ok((weights, files))
    }

    /// Whether a tensor of this (GGUF) name is there.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.name_in_file(name).is_some_and(|name| self.tensors.contains_key(&name))
    }

    /// A matrix of exactly this shape, by its GGUF name.
    pub fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<Tensor, WeightsError> {
        let matrix = self.take(name, &[rows, columns])?;
        self.matrices.push(matrix.clone());
        Ok(matrix)
    }

    /// All matrices that were taken.
    pub(crate) fn matrices(&self) -> &[Tensor] {
        &self.matrices
    }

    /// A vector of exactly this length, by its GGUF name, as numbers.
    pub fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.take(name, &[length])?;
        let mut values = vec![0.0; length];
        madrigal_kernels::dequantize(tensor.kind, tensor.bytes(), &mut values);
        Ok(values)
    }

    /// [`Self::vector`] whose values must all be finite and above 0.
    pub fn positive_vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>, WeightsError> {
        let values = self.vector(name, length)?;
        match values.iter().find(|value| !(value.is_finite() && **value > 0.0)) {
            None => Ok(values),
            Some(value) => {
                Err(self.malformed(format!("tensor `{name}` holds {value}; its values must be finite and above 0")))
            }
        }
    }

    /// The error that the model's files contradict themselves.
    pub(crate) fn malformed(&self, problem: String) -> WeightsError {
        WeightsError::Malformed { path: self.path.clone(), problem }
    }

    /// The output matrix: its own, or the embedding where the two are tied.
    pub fn head(&mut self, shape: &Hyperparameters, embedding: &Tensor) -> Result<Tensor, WeightsError> {
        const OUTPUT: &str = "output.weight";
        if shape.tied.unwrap_or_else(|| !self.has(OUTPUT)) {
            // Some checkpoints store the tied matrix a second time.
            self.ignore(OUTPUT);
            Ok(embedding.clone())
        } else {
            self.matrix(OUTPUT, shape.vocabulary, shape.hidden)
        }
    }

    /// A tensor that is there but not needed.
    fn ignore(&mut self, name: &str) {
        if let Some(name) = self.name_in_file(name) {
            self.taken.insert(name);
        }
    }

    /// Fails if the file holds a tensor that nobody took: it would belong to a feature that is not computed.
    pub fn finish(&self, architecture: &'static str) -> Result<(), WeightsError> {
        let unexpected = self.tensors.keys().find(|name| {
            // Buffers that old checkpoints stored and that are computed from the configuration.
            let buffer = self.naming == Naming::HuggingFace && name.ends_with("rotary_emb.inv_freq");
            !self.taken.contains(*name) && !buffer
        });
        match unexpected {
            None => Ok(()),
            Some(name) => Err(WeightsError::Unexpected { path: self.path.clone(), name: name.clone(), architecture }),
        }
    }

    /// Every tensor's `(type, values, bytes)`, in the order of the names.
    pub fn stored_sizes(&self) -> impl Iterator<Item = (String, u64, u64)> {
        self.tensors.iter().map(|(name, stored)| {
            let bytes = stored.range.len() as u64;
            let values = stored.shape.iter().fold(1_u64, |product, &size| product.saturating_mul(size));
            match &stored.kind {
                StoredKind::Known(kind) => (kind.to_string(), values, bytes),
                // Two numbers in a byte, and the numbers' scales.
                StoredKind::Raw => {
                    (BlockType::MXFP4.to_string(), if name.ends_with("_blocks") { 2 * bytes } else { 0 }, bytes)
                }
                StoredKind::Unsupported(kind) => (kind.clone(), values, bytes),
            }
        })
    }

    /// The number of rows of a matrix, by its GGUF name, before it is taken.
    #[must_use]
    pub fn rows(&self, name: &str) -> Option<usize> {
        let stored = self.tensors.get(&self.name_in_file(name)?)?;
        stored.shape.first().and_then(|&rows| usize::try_from(rows).ok())
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, WeightsError> {
        let missing = || WeightsError::Missing { path: self.path.clone(), name: name.to_owned() };
        let name = self.name_in_file(name).ok_or_else(missing)?;
        self.take_named(name, shape)
    }

    /// [`Self::take`] by the name that stands in the file.
    fn take_named(&mut self, name: String, shape: &[usize]) -> Result<Tensor, WeightsError> {
        let path = || self.path.clone();
        let Some(stored) = self.tensors.get(&name) else {
            return Err(WeightsError::Missing { path: path(), name });
        };
        let kind = match &stored.kind {
            StoredKind::Known(kind) => *kind,
            StoredKind::Raw => return Err(WeightsError::Kind { path: path(), name, kind: "U8".to_owned() }),
            StoredKind::Unsupported(kind) => {
                return Err(WeightsError::Kind { path: path(), name, kind: kind.clone() });
            }
        };
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product::<usize>();
        let same_shape = stored.shape.iter().copied().eq(shape.iter().map(|&size| size as u64));
        let bytes = kind.row_bytes(columns).and_then(|bytes| bytes.checked_mul(rows));
        if !same_shape || bytes != Some(stored.range.len()) {
            let (found, expected) = (stored.shape.clone(), shape.to_vec());
            return Err(WeightsError::Shape { path: path(), name, found, expected });
        }
        self.taken.insert(name.clone());
        let bytes = Bytes::Mapped(stored.file.clone(), stored.range.clone());
        Ok(Tensor::new(name, kind, [rows, columns], bytes))
    }

    fn name_in_file(&self, name: &str) -> Option<String> {
        match self.naming {
            Naming::Gguf => Some(name.to_owned()),
            Naming::HuggingFace => names::hugging_face(name),
        }
    }
}

fn block_type(kind: GgmlType) -> Option<BlockType> {
    let name = kind.name()?;
    BlockType::ALL.into_iter().find(|known| known.name() == name)
}

fn supported_kinds() -> String {
    BlockType::ALL.map(BlockType::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_multiplied_is_a_type_of_gguf_with_the_same_blocks() {
        let known: Vec<BlockType> = (0..64).filter_map(|number| block_type(GgmlType(number))).collect();
        assert_eq!(known.len(), BlockType::ALL.len());
        for number in 0..64 {
            if let Some(kind) = block_type(GgmlType(number)) {
                let block = (kind.elems() as u64, kind.bytes() as u64);
                assert_eq!(GgmlType(number).block(), Some(block), "{kind}");
            }
        }
    }
}

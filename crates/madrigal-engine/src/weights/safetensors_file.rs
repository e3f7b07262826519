//! Safetensors files: mapped, their headers checked by the `safetensors` crate, and the index of sharded checkpoints.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use madrigal_kernels::BlockType;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::{Stored, StoredKind, WeightsError};
use crate::mapped_file::MappedFile;

/// The length of the header's length.
const PREFIX_BYTES: usize = 8;

/// The largest index that is read; those of the largest models have a few megabytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;

pub(super) struct SafetensorsFile {
    pub(super) tensors: Vec<(String, Stored)>,
}

impl SafetensorsFile {
    pub(super) fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = MappedFile::open(path).map_err(|source| WeightsError::Open { path: path.to_owned(), source })?;
        let malformed = |problem: String| WeightsError::Malformed { path: path.to_owned(), problem };
        let (header_bytes, metadata) = SafeTensors::read_metadata(&file)
            .map_err(|error| malformed(format!("the safetensors header is invalid: {error} ({} bytes)", file.len())))?;
        let data_start = PREFIX_BYTES + header_bytes;
        let mut tensors = Vec::new();
        for (name, info) in metadata.tensors() {
            let (start, end) = info.data_offsets;
            let range = data_start + start..data_start + end;
            if file.get(range.clone()).is_none() {
                return Err(malformed(format!("tensor `{name}` at {range:?} reaches past the end ({})", file.len())));
            }
            let kind = match info.dtype {
                Dtype::F32 => StoredKind::Known(BlockType::F32),
                Dtype::F16 => StoredKind::Known(BlockType::F16),
                Dtype::BF16 => StoredKind::Known(BlockType::Bf16),
                Dtype::U8 => StoredKind::Raw,
                other => StoredKind::Unsupported(format!("{other:?}")),
            };
            let shape = info.shape.iter().map(|&size| size as u64).collect();
            tensors.push((name, Stored { shape, kind, file: file.clone(), range }));
        }
        Ok(Self { tensors })
    }
}

/// The safetensors files of a folder, sorted.
pub(super) fn files_of(folder: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.is_file() || !index.is_file() {
        return Ok(vec![single]);
    }
    let malformed = |problem: String| WeightsError::Malformed { path: index.clone(), problem };
    let open = |source| WeightsError::Open { path: index.clone(), source };
    if std::fs::metadata(&index).map_err(open)?.len() > MAX_INDEX_BYTES {
        return Err(malformed(format!("it is longer than {MAX_INDEX_BYTES} bytes")));
    }
    let text = std::fs::read(&index).map_err(open)?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| malformed("key `weight_map` (an object) is missing".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        // A name with a folder in it could point anywhere on the disk.
        let name = file.as_str().filter(|name| Path::new(name).file_name().is_some_and(|last| last == *name));
        names.insert(name.ok_or_else(|| malformed(format!("`weight_map` names no plain file for `{tensor}`")))?);
    }
    if names.is_empty() {
        return Err(malformed("`weight_map` is empty".to_owned()));
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

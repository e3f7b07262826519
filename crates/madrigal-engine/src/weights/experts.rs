//! The matrices of a mixture's experts, brought into the one order that kernels read: a matrix an expert, row after row.
//!
//! GGUF has them so: `[expert, row, column]`, gate and up apart. The safetensors of gpt-oss have them transposed
//! (`[expert, column, row]`) or, as MXFP4, in two tensors (`_blocks` and `_scales`) whose nibbles stand in another order;
//! in both, rows of gate and up alternate.

use std::sync::Arc;

use madrigal_kernels::BlockType;

use super::{Bytes, Naming, StoredKind, Tensor, Weights, WeightsError};

/// Which of an expert's three matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// From the hidden state to what is activated.
    Gate,
    /// From the hidden state to what the activated values multiply.
    Up,
    /// Back to the hidden state.
    Down,
}

/// Columns of a block of MXFP4.
const BLOCK_COLUMNS: usize = 32;
/// Bytes that hold a block's numbers of four bits.
const BLOCK_NIBBLES: usize = BLOCK_COLUMNS / 2;

impl Projection {
    fn gguf_name(self, layer: usize, part: &str) -> String {
        let name = match self {
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        };
        format!("blk.{layer}.ffn_{name}_exps.{part}")
    }

    fn hugging_face_name(self, layer: usize) -> String {
        let name = match self {
            Self::Gate | Self::Up => "gate_up_proj",
            Self::Down => "down_proj",
        };
        format!("model.layers.{layer}.mlp.experts.{name}")
    }

    /// Where this projection's rows stand in Hugging Face's tensors: every so many rows, beginning with that one.
    fn stride(self) -> (usize, usize) {
        match self {
            Self::Gate => (2, 0),
            Self::Up => (2, 1),
            Self::Down => (1, 0),
        }
    }
}

impl Weights {
    /// One projection of a layer's experts: a matrix of exactly this shape for each of `count`.
    pub fn experts(
        &mut self,
        layer: usize,
        projection: Projection,
        count: usize,
        [rows, columns]: [usize; 2],
    ) -> Result<Vec<Tensor>, WeightsError> {
        if self.naming == Naming::Gguf {
            let all = self.take(&projection.gguf_name(layer, "weight"), &[count, rows, columns])?;
            return Ok((0..count).map(|expert| all.expert(expert, rows)).collect());
        }
        let name = projection.hugging_face_name(layer);
        if self.tensors.contains_key(&format!("{name}_blocks")) {
            return self.mxfp4_experts(&name, projection, count, [rows, columns]);
        }
        let (step, first) = projection.stride();
        let all = self.take_named(name, &[count, columns, step * rows])?;
        Ok((0..count)
            .map(|expert| {
                let source = all.expert(expert, columns);
                let bytes = transposed(source.bytes(), source.kind.bytes(), [rows, columns], step, first);
                Tensor { rows, columns, bytes: Bytes::Owned(bytes.into()), ..source }
            })
            .collect())
    }

    /// The biases of one projection of a layer's experts, `[count, rows]`.
    pub fn expert_biases(
        &mut self,
        layer: usize,
        projection: Projection,
        count: usize,
        rows: usize,
    ) -> Result<Vec<f32>, WeightsError> {
        let (step, first, tensor) = match self.naming {
            Naming::Gguf => (1, 0, self.take(&projection.gguf_name(layer, "bias"), &[count, rows])?),
            Naming::HuggingFace => {
                let (step, first) = projection.stride();
                let name = format!("{}_bias", projection.hugging_face_name(layer));
                (step, first, self.take_named(name, &[count, step * rows])?)
            }
        };
        let mut values = vec![0.0; count * step * rows];
        madrigal_kernels::dequantize(tensor.kind, tensor.bytes(), &mut values);
        Ok(values.into_iter().skip(first).step_by(step).collect())
    }

    /// Blocks of 16 bytes whose low and high nibbles are neighbours, and their scales apart, become GGML's MXFP4: scale
    /// first, then bytes whose low nibbles are the first half of the block and whose high ones are the second.
    fn mxfp4_experts(
        &mut self,
        name: &str,
        projection: Projection,
        count: usize,
        [rows, columns]: [usize; 2],
    ) -> Result<Vec<Tensor>, WeightsError> {
        let (step, first) = projection.stride();
        let in_row = columns / BLOCK_COLUMNS;
        let blocks_name = format!("{name}_blocks");
        if !columns.is_multiple_of(BLOCK_COLUMNS) {
            let problem = format!("tensor `{blocks_name}`: rows of {columns} are not whole blocks of {BLOCK_COLUMNS}");
            return Err(self.malformed(problem));
        }
        let blocks = self.raw(&blocks_name, &[count, step * rows, in_row, BLOCK_NIBBLES])?;
        let scales = self.raw(&format!("{name}_scales"), &[count, step * rows, in_row])?;
        let (blocks, scales) = (blocks.bytes().as_chunks::<BLOCK_NIBBLES>().0, scales.bytes());
        let row_of = |expert: usize, row: usize| {
            let start = (expert * step * rows + step * row + first) * in_row;
            blocks[start..][..in_row].iter().zip(&scales[start..][..in_row])
        };
        Ok((0..count)
            .map(|expert| {
                let mut bytes = Vec::with_capacity(rows * in_row * BlockType::MXFP4.bytes());
                for (block, &scale) in (0..rows).flat_map(|row| row_of(expert, row)) {
                    bytes.push(scale);
                    let (low, high) = block.split_at(BLOCK_NIBBLES / 2);
                    for (low, high) in low.iter().zip(high) {
                        bytes.extend([low & 15 | high << 4, low >> 4 | high & 0xf0]);
                    }
                }
                let name = blocks_name.clone();
                Tensor { name, kind: BlockType::MXFP4, rows, columns, bytes: Bytes::Owned(bytes.into()) }
            })
            .collect())
    }

    /// A tensor of bytes.
    fn raw(&mut self, name: &str, shape: &[usize]) -> Result<RawTensor, WeightsError> {
        let path = || self.path.clone();
        let Some(stored) = self.tensors.get(name) else {
            return Err(WeightsError::Missing { path: path(), name: name.to_owned() });
        };
        match &stored.kind {
            StoredKind::Raw => {}
            StoredKind::Known(kind) => {
                return Err(WeightsError::Kind { path: path(), name: name.to_owned(), kind: kind.to_string() });
            }
            StoredKind::Unsupported(kind) => {
                return Err(WeightsError::Kind { path: path(), name: name.to_owned(), kind: kind.clone() });
            }
        }
        let bytes = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        if !stored.shape.iter().copied().eq(shape.iter().map(|&size| size as u64)) || bytes != Some(stored.range.len())
        {
            let (found, expected) = (stored.shape.clone(), shape.to_vec());
            return Err(WeightsError::Shape { path: path(), name: name.to_owned(), found, expected });
        }
        let raw = RawTensor(Bytes::Mapped(stored.file.clone(), stored.range.clone()));
        self.taken.insert(name.to_owned());
        Ok(raw)
    }
}

/// Bytes that are no matrix by themselves.
struct RawTensor(Bytes);

impl RawTensor {
    fn bytes(&self) -> &[u8] {
        self.0.get()
    }
}

impl Tensor {
    /// The rows of one expert, of a tensor that has all experts' one after the other.
    fn expert(&self, expert: usize, rows: usize) -> Self {
        let bytes = self.bytes().len() / self.rows * rows;
        let range = expert * bytes..(expert + 1) * bytes;
        let bytes = match &self.bytes {
            Bytes::Mapped(file, whole) => {
                Bytes::Mapped(file.clone(), whole.start + range.start..whole.start + range.end)
            }
            Bytes::Owned(whole) => Bytes::Owned(Arc::from(&whole[range])),
        };
        Self { name: self.name.clone(), kind: self.kind, rows, columns: self.columns, bytes }
    }
}

/// `[columns, step · rows]` of values of so many bytes becomes `[rows, columns]`: every `step`-th row from `first` on.
fn transposed(source: &[u8], value: usize, [rows, columns]: [usize; 2], step: usize, first: usize) -> Vec<u8> {
    // Rows that are written together, so that what is read of a line are neighbours.
    const TOGETHER: usize = 32;
    let mut bytes = vec![0; rows * columns * value];
    for (group, bytes) in bytes.chunks_mut(TOGETHER * columns * value).enumerate() {
        let start = (group * TOGETHER * step + first) * value;
        for (column, line) in source.chunks_exact(step * rows * value).enumerate() {
            let values = line[start..].chunks(step * value).map(|values| &values[..value]);
            for (row, from) in bytes.chunks_exact_mut(columns * value).zip(values) {
                row[column * value..][..value].copy_from_slice(from);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_takes_every_second_row() {
        // 3 columns of 35 pairs: what stands at column c, row r is 2 · (35 · c + r), and one more in the second row.
        let source: Vec<u8> = (0..2 * 35 * 3).collect();
        for first in [0, 1] {
            let rows = transposed(&source, 1, [35, 3], 2, first);
            let expected: Vec<u8> = (0..35 * 3).map(|at| 2 * (35 * (at % 3) + at / 3) as u8 + first as u8).collect();
            assert_eq!(rows, expected);
        }
        let whole = transposed(&[1, 2, 3, 4, 5, 6, 7, 8], 2, [2, 2], 1, 0);
        assert_eq!(whole, [1, 2, 5, 6, 3, 4, 7, 8]);
    }
}

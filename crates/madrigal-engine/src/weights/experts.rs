//! The matrices of a mixture's experts, brought into the one order that kernels read: a matrix an expert, row after row.
//!
//! GGUF has them so: `[expert, row, column]`, gate and up apart. The safetensors of gpt-oss have them transposed
//! (`[expert, column, row]`) or, as MXFP4, in two tensors (`_blocks` and `_scales`) whose nibbles stand in another order;
//! in both, rows of gate and up alternate.

use std::ops::Range;

use madrigal_kernels::BlockType;

use super::{Bytes, MappedFile, Naming, StoredKind, Tensor, Weights, WeightsError};

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
            let experts: Vec<Tensor> = (0..count).map(|expert| all.expert(expert, rows)).collect();
            self.matrices.extend_from_slice(&experts);
            return Ok(experts);
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
                Tensor::new(source.name, source.kind, [rows, columns], Bytes::Owned(bytes.into()))
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

    /// Experts in two tensors of bytes; they are brought into GGML's order when they are packed.
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
        let experts = (0..count).map(|expert| {
            let first = expert * step * rows + first;
            let split = SplitMxfp4 { blocks: blocks.clone(), scales: scales.clone(), first, step, in_row };
            Tensor::new(blocks_name.clone(), BlockType::MXFP4, [rows, columns], Bytes::Split(split))
        });
        let experts: Vec<Tensor> = experts.collect();
        self.matrices.extend_from_slice(&experts);
        Ok(experts)
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
        let raw = RawTensor { file: stored.file.clone(), range: stored.range.clone() };
        self.taken.insert(name.to_owned());
        Ok(raw)
    }
}

/// Bytes that are no matrix by themselves.
#[derive(Debug, Clone)]
struct RawTensor {
    file: MappedFile,
    range: Range<usize>,
}

impl RawTensor {
    fn bytes(&self) -> &[u8] {
        self.file.get(self.range.clone()).unwrap_or_default()
    }
}

/// A matrix of MXFP4 whose numbers and scales stand in two tensors, and whose neighbours are neighbours in a byte.
#[derive(Debug, Clone)]
pub(super) struct SplitMxfp4 {
    blocks: RawTensor,
    scales: RawTensor,
    /// The first row, and how far it is from one row to the next.
    first: usize,
    step: usize,
    /// Blocks in a row.
    in_row: usize,
}

impl SplitMxfp4 {
    /// Some rows in GGML's order: scale first, then bytes whose low nibbles are the first half of the block and whose high
    /// ones are the second.
    pub(super) fn rows(&self, rows: Range<usize>) -> Vec<u8> {
        let (blocks, scales) = (self.blocks.bytes().as_chunks::<BLOCK_NIBBLES>().0, self.scales.bytes());
        let mut bytes = Vec::with_capacity(rows.len() * self.in_row * BlockType::MXFP4.bytes());
        for row in rows {
            let start = (self.first + self.step * row) * self.in_row;
            for (block, &scale) in blocks[start..][..self.in_row].iter().zip(&scales[start..][..self.in_row]) {
                bytes.push(scale);
                let (low, high) = block.split_at(BLOCK_NIBBLES / 2);
                for (low, high) in low.iter().zip(high) {
                    bytes.extend([low & 15 | high << 4, low >> 4 | high & 0xf0]);
                }
            }
        }
        bytes
    }
}

impl Tensor {
    /// The rows of one expert, of a tensor that has all experts' one after the other.
    fn expert(&self, expert: usize, rows: usize) -> Self {
        let bytes = match &self.bytes {
            Bytes::Mapped(file, whole) => {
                let bytes = whole.len() / self.rows * rows;
                let start = whole.start + expert * bytes;
                Bytes::Mapped(file.clone(), start..start + bytes)
            }
            other => other.clone(),
        };
        Self::new(self.name.clone(), self.kind, [rows, self.columns], bytes)
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

//! Weight formats: the shape of a block in bytes and elements, and its exact values.
//!
//! Layouts are those of GGUF. Products against blocks live in `matmul`.

use crate::float16::{bf16_to_f32, f16_to_f32};

/// How weights are stored. Elements come in blocks; a row is a whole number of blocks.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockType {
    /// 32-bit floats, little endian.
    F32,
    /// IEEE 754 binary16, little endian.
    F16,
    /// bfloat16, little endian.
    Bf16,
    /// 32 weights: an f16 scale, then 32 signed bytes.
    Q8_0,
    /// 32 weights: an f16 scale, then 16 bytes; byte `i` holds element `i` in its low and
    /// element `i + 16` in its high nibble, both plus 8.
    Q4_0,
}

impl BlockType {
    /// Elements in a block.
    #[must_use]
    pub const fn elems(self) -> usize {
        match self {
            BlockType::F32 | BlockType::F16 | BlockType::Bf16 => 1,
            BlockType::Q8_0 | BlockType::Q4_0 => 32,
        }
    }

    /// Bytes in a block.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            BlockType::F32 => 4,
            BlockType::F16 | BlockType::Bf16 => 2,
            BlockType::Q8_0 => 34,
            BlockType::Q4_0 => 18,
        }
    }

    /// Bytes in a row of `cols` elements; `None` if that is not a whole number of blocks (or
    /// more bytes than a `usize` counts).
    #[must_use]
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.elems()) { (cols / self.elems()).checked_mul(self.bytes()) } else { None }
    }

    /// The name that GGUF tools use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BlockType::F32 => "F32",
            BlockType::F16 => "F16",
            BlockType::Bf16 => "BF16",
            BlockType::Q8_0 => "Q8_0",
            BlockType::Q4_0 => "Q4_0",
        }
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The exact values of the blocks in `bytes`.
///
/// # Panics
/// If `bytes` is not exactly `out.len()` elements of `kind`.
pub fn dequantize(kind: BlockType, bytes: &[u8], out: &mut [f32]) {
    assert_eq!(
        kind.row_bytes(out.len()),
        Some(bytes.len()),
        "{} elements of {kind} do not fill {} bytes",
        out.len(),
        bytes.len()
    );
    match kind {
        BlockType::F32 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*raw);
            }
        }
        BlockType::F16 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = f16_to_f32(u16::from_le_bytes(*raw));
            }
        }
        BlockType::Bf16 => {
            for (value, raw) in out.iter_mut().zip(bytes.as_chunks().0) {
                *value = bf16_to_f32(u16::from_le_bytes(*raw));
            }
        }
        BlockType::Q8_0 => {
            for (values, block) in out.as_chunks_mut::<32>().0.iter_mut().zip(bytes.as_chunks::<34>().0) {
                let scale = f16_to_f32(u16::from_le_bytes([block[0], block[1]]));
                for (value, &quant) in values.iter_mut().zip(&block[2..]) {
                    *value = scale * f32::from(quant as i8);
                }
            }
        }
        BlockType::Q4_0 => {
            for (values, block) in out.as_chunks_mut::<32>().0.iter_mut().zip(bytes.as_chunks::<18>().0) {
                let scale = f16_to_f32(u16::from_le_bytes([block[0], block[1]]));
                let (low, high) = values.split_at_mut(16);
                for ((low, high), &pair) in low.iter_mut().zip(high).zip(&block[2..]) {
                    *low = scale * f32::from((pair & 15) as i8 - 8);
                    *high = scale * f32::from((pair >> 4) as i8 - 8);
                }
            }
        }
    }
}

//! Weight formats: the shape of a block in bytes and elements, and its exact values.
//!
//! Layouts are those of GGUF (`ggml-common.h` of ggml). Owns the table of types; each family of formats is taken apart
//! in a module of its own. Products against blocks live in `matmul`.

pub(crate) mod four_bit_tables;
pub(crate) mod k_quants;
pub(crate) mod legacy;

use crate::float16::{bf16_to_f32, f16_to_f32};

/// How weights are stored. Elements come in blocks; a row is a whole number of blocks.
///
/// Unless said otherwise scales are f16, numbers of more than a byte are little endian, and halves of a byte are in the
/// order "low half for the first elements, high half for as many elements after them".
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(non_camel_case_types, reason = "the names are GGUF's")]
pub enum BlockType {
    /// 32-bit floats.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 weights: a scale, then 32 signed bytes.
    Q8_0,
    /// 32 weights: a scale, then 16 bytes; byte `i` holds element `i` in its low and
    /// element `i + 16` in its high nibble, both plus 8.
    Q4_0,
    /// 32 weights: a scale, a minimum, and nibbles in the order of `Q4_0`.
    Q4_1,
    /// 32 weights: a scale, the fifth bits as a 32-bit number, and nibbles in the order of `Q4_0`; all plus 16.
    Q5_0,
    /// 32 weights: a scale, a minimum, fifth bits and nibbles as in `Q5_0`.
    Q5_1,
    /// 256 weights of 2 bits, in groups of 16 with a scale and a minimum of 4 bits each.
    Q2_K,
    /// 256 weights of 3 bits, in groups of 16 with a scale of 6 bits each.
    Q3_K,
    /// 256 weights of 4 bits, in groups of 32 with a scale and a minimum of 6 bits each.
    Q4_K,
    /// 256 weights of 5 bits, in groups of 32 with a scale and a minimum of 6 bits each.
    Q5_K,
    /// 256 weights of 6 bits, in groups of 16 with a scale of 8 bits each.
    Q6_K,
    /// 32 weights: a scale, and nibbles in the order of `Q4_0` that index 16 unevenly spaced values.
    IQ4_NL,
    /// 256 weights in groups of 32 as in `IQ4_NL`, with a scale of 6 bits each.
    IQ4_XS,
    /// 32 weights: a power of two in one byte, and nibbles in the order of `Q4_0` that are floats of 4 bits (E2M1).
    MXFP4,
}

impl BlockType {
    /// Every type.
    pub const ALL: [BlockType; 16] = [
        BlockType::F32,
        BlockType::F16,
        BlockType::Bf16,
        BlockType::Q8_0,
        BlockType::Q4_0,
        BlockType::Q4_1,
        BlockType::Q5_0,
        BlockType::Q5_1,
        BlockType::Q2_K,
        BlockType::Q3_K,
        BlockType::Q4_K,
        BlockType::Q5_K,
        BlockType::Q6_K,
        BlockType::IQ4_NL,
        BlockType::IQ4_XS,
        BlockType::MXFP4,
    ];

    /// Name, elements in a block, bytes in a block.
    const fn shape(self) -> (&'static str, usize, usize) {
        match self {
            BlockType::F32 => ("F32", 1, 4),
            BlockType::F16 => ("F16", 1, 2),
            BlockType::Bf16 => ("BF16", 1, 2),
            BlockType::Q8_0 => ("Q8_0", 32, 34),
            BlockType::Q4_0 => ("Q4_0", 32, 18),
            BlockType::Q4_1 => ("Q4_1", 32, 20),
            BlockType::Q5_0 => ("Q5_0", 32, 22),
            BlockType::Q5_1 => ("Q5_1", 32, 24),
            BlockType::Q2_K => ("Q2_K", 256, 84),
            BlockType::Q3_K => ("Q3_K", 256, 110),
            BlockType::Q4_K => ("Q4_K", 256, 144),
            BlockType::Q5_K => ("Q5_K", 256, 176),
            BlockType::Q6_K => ("Q6_K", 256, 210),
            BlockType::IQ4_NL => ("IQ4_NL", 32, 18),
            BlockType::IQ4_XS => ("IQ4_XS", 256, 136),
            BlockType::MXFP4 => ("MXFP4", 32, 17),
        }
    }

    /// Whether weights of this type can meet activations of 8 bits ([`crate::Precision::Bits8`]): their codes are below
    /// 128. Dense types can, for they meet unrounded ones.
    #[must_use]
    pub const fn takes_8_bits(self) -> bool {
        !matches!(self, BlockType::Q8_0 | BlockType::IQ4_NL | BlockType::IQ4_XS)
    }

    /// The name that GGUF tools use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.shape().0
    }

    /// Elements in a block.
    #[must_use]
    pub const fn elems(self) -> usize {
        self.shape().1
    }

    /// Bytes in a block.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.shape().2
    }

    /// Bytes in a row of `cols` elements; `None` if that is not a whole number of blocks (or
    /// more bytes than a `usize` counts).
    #[must_use]
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.elems()) { (cols / self.elems()).checked_mul(self.bytes()) } else { None }
    }
}

impl std::fmt::Display for BlockType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The exact values of the blocks in `bytes`. Any bytes have values; some of them may be infinite or NaN.
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
        BlockType::F32 => each(bytes, out, |raw, [value]| *value = f32::from_le_bytes(*raw)),
        BlockType::F16 => each(bytes, out, |raw, [value]| *value = f16_to_f32(u16::from_le_bytes(*raw))),
        BlockType::Bf16 => each(bytes, out, |raw, [value]| *value = bf16_to_f32(u16::from_le_bytes(*raw))),
        BlockType::Q8_0 => each(bytes, out, legacy::q8_0),
        BlockType::Q4_0 => each(bytes, out, legacy::q4_0),
        BlockType::Q4_1 => each(bytes, out, legacy::q4_1),
        BlockType::Q5_0 => each(bytes, out, legacy::q5_0),
        BlockType::Q5_1 => each(bytes, out, legacy::q5_1),
        BlockType::Q2_K => each(bytes, out, k_quants::q2_k),
        BlockType::Q3_K => each(bytes, out, k_quants::q3_k),
        BlockType::Q4_K => each(bytes, out, k_quants::q4_k),
        BlockType::Q5_K => each(bytes, out, k_quants::q5_k),
        BlockType::Q6_K => each(bytes, out, k_quants::q6_k),
        BlockType::IQ4_NL => each(bytes, out, four_bit_tables::iq4_nl),
        BlockType::IQ4_XS => each(bytes, out, four_bit_tables::iq4_xs),
        BlockType::MXFP4 => each(bytes, out, four_bit_tables::mxfp4),
    }
}

/// Applies `decode` to every block.
#[inline(always)]
fn each<const BYTES: usize, const ELEMS: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; ELEMS]),
) {
    for (block, values) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        decode(block, values);
    }
}

/// `scale(group) * code` for groups of `GROUP` codes.
#[inline(always)]
fn scaled<const GROUP: usize>(codes: &[i8], scale: impl Fn(usize) -> f32, values: &mut [f32]) {
    let groups = codes.as_chunks::<GROUP>().0.iter().zip(values.as_chunks_mut::<GROUP>().0);
    for (group, (codes, values)) in groups.enumerate() {
        let scale = scale(group);
        for (value, &code) in values.iter_mut().zip(codes) {
            *value = scale * f32::from(code);
        }
    }
}

/// `scale * code + offset` for groups of `GROUP` codes, where `affine(group)` is `(scale, offset)`.
/// Product and sum are rounded each: GGUF's values are defined without fused operations.
#[inline(always)]
fn shifted<const GROUP: usize>(codes: &[u8], affine: impl Fn(usize) -> (f32, f32), values: &mut [f32]) {
    let groups = codes.as_chunks::<GROUP>().0.iter().zip(values.as_chunks_mut::<GROUP>().0);
    for (group, (codes, values)) in groups.enumerate() {
        let (scale, offset) = affine(group);
        for (value, &code) in values.iter_mut().zip(codes) {
            *value = scale * f32::from(code) + offset;
        }
    }
}

/// The f16 that stands at `at`.
#[inline(always)]
fn f16_at(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// 32 nibbles: element `i` in the low half of byte `i`, element `i + 16` in the high half.
#[inline(always)]
pub(crate) fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { bytes[i] & 15 } else { bytes[i - 16] >> 4 })
}

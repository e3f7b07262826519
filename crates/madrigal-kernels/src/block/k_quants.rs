//! Blocks of 256 values in groups that have quantised scales of their own: `Q2_K` to `Q6_K`.
//!
//! Owns their layout within a block; the table of types is `block`'s.

use super::{f16_at, scaled, shifted};

/// 16 bytes with a scale (low half) and a minimum (high half) of a group each, 2-bit planes, scale and minimum of all.
pub(super) fn q2_k(block: &[u8; 84], values: &mut [f32; 256]) {
    let (scale, minimum) = (f16_at(block, 80), f16_at(block, 82));
    let affine = |group: usize| {
        let bytes = block[group];
        (scale * f32::from(bytes & 15), -(minimum * f32::from(bytes >> 4)))
    };
    shifted::<16>(&two_bits(&block[16..80]), affine, values);
}

/// Third bits, 2-bit planes, the groups' scales, scale of all. The values are less 4.
pub(super) fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let scale = f16_at(block, 108);
    let scales = six_bit_scales_of_16(&block[96..108]);
    let codes = three_bits(&block[..32], &block[32..96]).map(|code| code as i8 - 4);
    scaled::<16>(&codes, |group| scale * f32::from(scales[group]), values);
}

/// Scale and minimum of all, the groups' scales and minimums, nibbles.
pub(super) fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    shifted::<32>(&four_bits(&block[16..]), scales_and_offsets(block), values);
}

/// As `Q4_K`, with the fifth bits before the nibbles.
pub(super) fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    shifted::<32>(&five_bits(&block[16..48], &block[48..]), scales_and_offsets(block), values);
}

/// Nibbles, the two bits above them, the groups' scales as signed bytes, scale of all. The values are less 32.
pub(super) fn q6_k(block: &[u8; 210], values: &mut [f32; 256]) {
    let scale = f16_at(block, 208);
    let codes: [i8; 256] = std::array::from_fn(|i| {
        let (half, within) = (i / 128, i % 128);
        let low = (block[64 * half + within % 64] >> (within / 64 * 4)) & 15;
        let high = (block[128 + 32 * half + within % 32] >> (within / 32 * 2)) & 3;
        (low | high << 4) as i8 - 32
    });
    scaled::<16>(&codes, |group| scale * f32::from(block[192 + group] as i8), values);
}

/// Each 32 of 64 bytes hold 128 elements: bits 0 and 1 the first 32, bits 2 and 3 the next, and so on.
pub(crate) fn two_bits(bytes: &[u8]) -> [u8; 256] {
    std::array::from_fn(|i| (bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3)
}

/// Two bits, and a third: bit `i / 32` of 32 bytes for element `i`.
pub(crate) fn three_bits(high: &[u8], low: &[u8]) -> [u8; 256] {
    let low = two_bits(low);
    std::array::from_fn(|i| low[i] | ((high[i % 32] >> (i / 32)) & 1) << 2)
}

/// Each 32 of 128 bytes hold 64 elements: the low halves the first 32, the high halves the others.
fn four_bits(bytes: &[u8]) -> [u8; 256] {
    std::array::from_fn(|i| (bytes[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15)
}

/// Four bits, and a fifth: bit `i / 32` of 32 bytes for element `i`.
pub(crate) fn five_bits(high: &[u8], low: &[u8]) -> [u8; 256] {
    let low = four_bits(low);
    std::array::from_fn(|i| low[i] | ((high[i % 32] >> (i / 32)) & 1) << 4)
}

/// The scales of a `Q3_K`: 16 times 4 lower bits, all low halves first, then 16 times 2 upper bits; less 32.
pub(crate) fn six_bit_scales_of_16(bytes: &[u8]) -> [i8; 16] {
    std::array::from_fn(|group| {
        let low = (bytes[group % 8] >> (group / 8 * 4)) & 15;
        let high = (bytes[8 + group % 4] >> (group / 4 * 2)) & 3;
        (low | high << 4) as i8 - 32
    })
}

/// The scales and minimums of a `Q4_K` or `Q5_K`: 12 bytes hold the low 6 bits of the first four scales, then of the
/// first four minimums; then the low halves of the other scales and minimums, whose two high bits are those that the
/// first 8 bytes leave free.
pub(crate) fn six_bit_pairs(bytes: &[u8]) -> [(u8, u8); 8] {
    std::array::from_fn(|group| {
        if group < 4 {
            (bytes[group] & 63, bytes[group + 4] & 63)
        } else {
            let low = bytes[group + 4];
            ((low & 15) | (bytes[group - 4] >> 6) << 4, (low >> 4) | (bytes[group] >> 6) << 4)
        }
    })
}

/// The `(scale, -minimum)` of each group of a `Q4_K` or `Q5_K`.
fn scales_and_offsets(block: &[u8]) -> impl Fn(usize) -> (f32, f32) {
    let (scale, minimum, pairs) = (f16_at(block, 0), f16_at(block, 2), six_bit_pairs(&block[4..16]));
    move |group| (scale * f32::from(pairs[group].0), -(minimum * f32::from(pairs[group].1)))
}

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

/// Third bits, 2-bit planes, the groups' scales, scale of all. The third bit is worth 4 and the values are less 4.
pub(super) fn q3_k(block: &[u8; 110], values: &mut [f32; 256]) {
    let scale = f16_at(block, 108);
    let low = two_bits(&block[32..96]);
    // Bit plane `i / 32` holds the third bits of elements `i..i + 32`.
    let codes: [i8; 256] = std::array::from_fn(|i| (low[i] | ((block[i % 32] >> (i / 32)) & 1) << 2) as i8 - 4);
    let scales = &block[96..108];
    let group_scale = |group: usize| {
        let low = (scales[group % 8] >> (group / 8 * 4)) & 15;
        let high = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
        scale * f32::from((low | high << 4) as i8 - 32)
    };
    scaled::<16>(&codes, group_scale, values);
}

/// Scale and minimum of all, the groups' scales and minimums, nibbles.
pub(super) fn q4_k(block: &[u8; 144], values: &mut [f32; 256]) {
    shifted::<32>(&four_bits(&block[16..]), six_bit_pairs(block), values);
}

/// As `Q4_K`, with the fifth bits before the nibbles.
pub(super) fn q5_k(block: &[u8; 176], values: &mut [f32; 256]) {
    let low = four_bits(&block[48..]);
    // Bit plane `i / 32` holds the fifth bits of elements `i..i + 32`.
    let codes: [u8; 256] = std::array::from_fn(|i| low[i] | ((block[16 + i % 32] >> (i / 32)) & 1) << 4);
    shifted::<32>(&codes, six_bit_pairs(block), values);
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
fn two_bits(bytes: &[u8]) -> [u8; 256] {
    std::array::from_fn(|i| (bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3)
}

/// Each 32 of 128 bytes hold 64 elements: the low halves the first 32, the high halves the others.
fn four_bits(bytes: &[u8]) -> [u8; 256] {
    std::array::from_fn(|i| (bytes[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15)
}

/// The `(scale, -minimum)` of each group of a `Q4_K` or `Q5_K`, from two f16 and 12 bytes: the bytes hold the low 6 bits
/// of the first four scales, then of the first four minimums; then the low halves of the other scales and minimums,
/// whose two high bits are those that the first 8 bytes leave free.
fn six_bit_pairs(block: &[u8]) -> impl Fn(usize) -> (f32, f32) {
    let (scale, minimum, bytes) = (f16_at(block, 0), f16_at(block, 2), &block[4..16]);
    move |group| {
        let (group_scale, group_minimum) = if group < 4 {
            (bytes[group] & 63, bytes[group + 4] & 63)
        } else {
            let low = bytes[group + 4];
            ((low & 15) | (bytes[group - 4] >> 6) << 4, (low >> 4) | (bytes[group] >> 6) << 4)
        };
        (scale * f32::from(group_scale), -(minimum * f32::from(group_minimum)))
    }
}

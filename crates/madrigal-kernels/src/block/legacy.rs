//! Blocks of 32 evenly spaced values with one scale: `Q8_0`, `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1`.
//!
//! Owns their layout within a block; the table of types is `block`'s.

use super::{f16_at, nibbles, scaled, shifted};

pub(super) fn q8_0(block: &[u8; 34], values: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    for (value, &code) in values.iter_mut().zip(&block[2..]) {
        *value = scale * f32::from(code as i8);
    }
}

pub(super) fn q4_0(block: &[u8; 18], values: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    scaled::<32>(&nibbles(&block[2..]).map(|code| code as i8 - 8), |_| scale, values);
}

pub(super) fn q4_1(block: &[u8; 20], values: &mut [f32; 32]) {
    let affine = (f16_at(block, 0), f16_at(block, 2));
    shifted::<32>(&nibbles(&block[4..]), |_| affine, values);
}

pub(super) fn q5_0(block: &[u8; 22], values: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    scaled::<32>(&five_bits(&block[2..6], &block[6..]).map(|code| code as i8 - 16), |_| scale, values);
}

pub(super) fn q5_1(block: &[u8; 24], values: &mut [f32; 32]) {
    let affine = (f16_at(block, 0), f16_at(block, 2));
    shifted::<32>(&five_bits(&block[4..8], &block[8..]), |_| affine, values);
}

/// Nibbles with a fifth bit: bit `i` of `high` belongs to element `i`.
pub(crate) fn five_bits(high: &[u8], low: &[u8]) -> [u8; 32] {
    let low = nibbles(low);
    std::array::from_fn(|i| low[i] | ((high[i / 8] >> (i % 8)) & 1) << 4)
}

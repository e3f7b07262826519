//! Blocks whose nibbles index a table of values: `IQ4_NL`, `IQ4_XS`, `MXFP4`.
//!
//! Owns their layout within a block and the tables; the table of types is `block`'s.

use super::{f16_at, nibbles, scaled};

/// The values of IQ4's nibbles (`kvalues_iq4nl` of ggml): denser around zero, where weights are.
pub(crate) const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of E2M1 floats (OCP Microscaling Formats 1.0, section 5.3.3). Minus zero is zero, as in ggml.
pub(crate) const E2M1_TWICE: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) fn iq4_nl(block: &[u8; 18], values: &mut [f32; 32]) {
    let scale = f16_at(block, 0);
    scaled::<32>(&nibbles(&block[2..]).map(|code| IQ4[usize::from(code)]), |_| scale, values);
}

/// A scale, 6 bytes with the groups' scales, and 8 groups of nibbles.
pub(super) fn iq4_xs(block: &[u8; 136], values: &mut [f32; 256]) {
    let scale = f16_at(block, 0);
    let scales = iq4_xs_scales(&block[2..8]);
    let groups = block[8..].as_chunks::<16>().0.iter().zip(values.as_chunks_mut::<32>().0);
    for ((bytes, values), group_scale) in groups.zip(scales) {
        let scale = scale * f32::from(group_scale);
        scaled::<32>(&nibbles(bytes).map(|code| IQ4[usize::from(code)]), |_| scale, values);
    }
}

/// The groups' scales: 8 times 2 upper bits as a 16-bit number, then 8 times 4 lower bits; less 32.
pub(crate) fn iq4_xs_scales(bytes: &[u8]) -> [i8; 8] {
    let high = u16::from_le_bytes([bytes[0], bytes[1]]);
    std::array::from_fn(|group| {
        let low = (bytes[2 + group / 2] >> (4 * (group % 2))) & 15;
        (low | ((high >> (2 * group)) as u8 & 3) << 4) as i8 - 32
    })
}

pub(super) fn mxfp4(block: &[u8; 17], values: &mut [f32; 32]) {
    let scale = half_power_of_two(block[0]);
    scaled::<32>(&nibbles(&block[1..]).map(|code| E2M1_TWICE[usize::from(code)]), |_| scale, values);
}

/// `2^(exponent - 128)`: half of what an E8M0 scale stands for, because the table holds twice the values. That 255 is
/// a NaN in the OCP document is ignored by ggml, and here.
#[inline(always)]
pub(crate) fn half_power_of_two(exponent: u8) -> f32 {
    // 2^-128 and 2^-127 are subnormal. Without branches, so that loops over this vectorise.
    let exponent = u32::from(exponent);
    let normal = exponent.saturating_sub(1) << 23;
    let subnormal = u32::from(exponent == 0) * 0x0020_0000 + u32::from(exponent == 1) * 0x0040_0000;
    f32::from_bits(normal | subnormal)
}

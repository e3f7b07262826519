//! The two 16-bit float formats as bit patterns: widening (exact) and rounding to bf16.
//!
//! Branch-free, so that loops over them vectorise; the `half` crate is the reference in tests.

/// Widens IEEE 754 binary16.
#[inline(always)]
pub(crate) fn f16_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let sign = u32::from(bits & 0x8000) << 16;
    // Moving exponent and fraction into place leaves the exponent 112 too small, for subnormals
    // too; a multiplication by 2^112 is exact and mends both.
    let scaled = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let infinite_or_nan = (magnitude << 13) | 0x7f80_0000;
    let finite = magnitude < 0x7c00;
    f32::from_bits(sign | if finite { scaled.to_bits() } else { infinite_or_nan })
}

/// Widens bfloat16.
#[inline(always)]
pub(crate) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Rounds to bfloat16, ties to even; a NaN stays a NaN.
#[inline(always)]
pub(crate) fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    let quiet_nan = ((bits >> 16) as u16) | 0x40;
    if value.is_nan() { quiet_nan } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(ours: f32, reference: f32) -> bool {
        ours.to_bits() == reference.to_bits() || (ours.is_nan() && reference.is_nan())
    }

    #[test]
    fn widening_agrees_with_half_on_every_bit_pattern() {
        for bits in 0..=u16::MAX {
            assert!(same(f16_to_f32(bits), half::f16::from_bits(bits).to_f32()), "f16 {bits:#06x}");
            assert!(same(bf16_to_f32(bits), half::bf16::from_bits(bits).to_f32()), "bf16 {bits:#06x}");
        }
    }

    proptest! {
        #[test]
        fn rounding_agrees_with_half(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assert_eq!(f32_to_bf16(value), half::bf16::from_f32(value).to_bits());
        }
    }
}

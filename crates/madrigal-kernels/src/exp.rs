//! Our own `exp`: the same bits on every platform and instruction set.
//!
//! Branch-free scalar code, so that loops over it vectorise. Multiplications and additions are
//! separate (no fused multiply-add), which is what makes the bits independent of the target.

/// `e^x` to about one unit in the last place for `-87 <= x <= 88`; 0 below that, infinite above.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // ln 2 in two parts: the first has trailing zero bits, so that n * LN2_HIGH is exact.
    const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;

    let clamped = if x < -87.0 { -87.0 } else { x };
    let clamped = if clamped > 88.0 { 88.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    // Taylor to r^7/7!; |r| <= ln 2 / 2, so the rest is below 6e-9.
    let mut sum = 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    let power = f32::from_bits(exponent.wrapping_add(127) << 23);
    let finite = sum * power;
    let low = if x < -87.0 { 0.0 } else { finite };
    if x > 88.0 { f32::INFINITY } else { low }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn close_to_libm_over_the_whole_range() {
        let mut worst = 0.0f64;
        for step in -870_000..=880_000 {
            let x = step as f32 * 1e-4;
            let reference = libm::exp(f64::from(x));
            worst = worst.max((f64::from(exp(x)) / reference - 1.0).abs());
        }
        assert!(worst < 1.5e-7, "relative error {worst:e}");
    }

    #[test]
    fn ends_of_the_range() {
        let cases = [
            (0.0, 1.0),
            (-0.0, 1.0),
            (f32::NEG_INFINITY, 0.0),
            (-1e30, 0.0),
            (1e30, f32::INFINITY),
            (f32::INFINITY, f32::INFINITY),
        ];
        for (x, expected) in cases {
            assert_eq!(exp(x), expected, "exp({x})");
        }
        assert!(exp(f32::NAN).is_nan());
    }
}

//! Our own `exp`: the same bits on every platform and instruction set.
//!
//! Branch-free scalar code, so that loops over it vectorise, and the same over vectors. Multiplications and additions are
//! separate (no fused multiply-add), which is what makes the bits independent of the target.

use crate::simd::Simd;

// ln 2 in two parts: the first has trailing zero bits, so that n * LN2_HIGH is exact.
const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;
/// What the bits of `ROUND + n` lack to be the biased exponent of `2^n`, above bits that are shifted out.
pub(crate) const BIAS: i32 = 127i32.wrapping_sub(ROUND.to_bits() as i32);
/// Taylor to r^7/7!; |r| <= ln 2 / 2, so the rest is below 6e-9.
const TAYLOR: [f32; 8] = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];

/// `e^x` to about one unit in the last place for `-87 <= x <= 88`; 0 below that, infinite above.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let clamped = if -87.0 > x { -87.0 } else { x };
    let clamped = if 88.0 < clamped { 88.0 } else { clamped };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN2_HIGH - n * LN2_LOW;
    let mut sum = TAYLOR[0];
    for term in &TAYLOR[1..] {
        sum = sum * r + term;
    }
    let finite = sum * power_of_two(shifted);
    let low = if x < -87.0 { 0.0 } else { finite };
    if 88.0 < x { f32::INFINITY } else { low }
}

/// `2^n` from the bits of `ROUND + n`.
#[inline(always)]
pub(crate) fn power_of_two(shifted: f32) -> f32 {
    f32::from_bits(shifted.to_bits().wrapping_add(BIAS as u32) << 23)
}

/// [`exp`] of every lane, with the same bits, for `x <= 88` (or NaN).
#[inline(always)]
pub(crate) fn exp_lanes<S: Simd>(simd: S, x: S::Floats) -> S::Floats {
    let (low, round) = (simd.splat(-87.0), simd.splat(ROUND));
    let clamped = simd.max(low, x);
    let shifted = simd.add(simd.mul(clamped, simd.splat(std::f32::consts::LOG2_E)), round);
    let n = simd.sub(shifted, round);
    let r = simd.sub(clamped, simd.mul(n, simd.splat(LN2_HIGH)));
    let r = simd.sub(r, simd.mul(n, simd.splat(LN2_LOW)));
    let mut sum = simd.splat(TAYLOR[0]);
    for &term in &TAYLOR[1..] {
        sum = simd.add(simd.mul(sum, r), simd.splat(term));
    }
    let finite = simd.mul(sum, simd.power_of_two(shifted));
    simd.if_less(x, low, simd.splat(0.0), finite)
}

#[cfg(test)]
mod tests {
    use super::{exp, exp_lanes};
    use crate::Isa;
    use crate::simd::{Dispatch, LANES, Op, Simd};

    struct ExpLanes<'a>(&'a mut [f32]);

    impl Op for ExpLanes<'_> {
        #[inline(always)]
        fn call<S: Simd>(self, simd: S) {
            for chunk in self.0.as_chunks_mut::<LANES>().0 {
                let x = simd.load(chunk);
                simd.store(exp_lanes(simd, x), chunk);
            }
        }
    }

    #[test]
    fn lanes_have_the_bits_of_the_scalar() {
        let ends = [-87.0, 88.0, f32::NEG_INFINITY, f32::NAN, -1e30, 0.0, -0.0, -87.00001];
        let x: Vec<f32> = (-90_000..=87_990).map(|step| step as f32 * 1e-3).chain(ends).chain([1.5; LANES]).collect();
        for isa in Isa::available() {
            let mut lanes = x.clone();
            Dispatch::new(isa).unwrap().run(ExpLanes(&mut lanes));
            for (&x, &lane) in x.iter().zip(&lanes).take(x.len() / LANES * LANES) {
                let scalar = exp(x);
                let same = scalar.to_bits() == lane.to_bits() || scalar.is_nan() && lane.is_nan();
                assert!(same, "{isa}: exp({x}) is {scalar} and {lane}");
            }
        }
    }

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

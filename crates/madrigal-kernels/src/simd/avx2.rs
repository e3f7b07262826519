//! The vector operations with AVX2, FMA and F16C.
#![expect(unsafe_code, reason = "vector intrinsics")]

use std::arch::x86_64::*;

use super::{LANES, Op, Simd};
use crate::exp::BIAS;

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Evaluates intrinsics; only used in methods that take an [`Avx2`] by value.
macro_rules! avx2 {
    ($($body:tt)*) => {{
        // SAFETY: an `Avx2` is only made by `detect`, so the processor has the instructions.
        // Loads and stores are unaligned ones and go through references to whole arrays.
        unsafe { $($body)* }
    }};
}

impl Avx2 {
    pub(crate) fn detect() -> Option<Avx2> {
        let all =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
        all.then_some(Avx2(()))
    }

    #[inline]
    pub(crate) fn run<O: Op>(self, op: O) {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn compiled<O: Op>(avx2: Avx2, op: O) {
            op.call(avx2);
        }
        avx2! { compiled(self, op) }
    }
}

/// Applies a 256-bit operation to both halves.
macro_rules! halves {
    ($operation:path, $($arg:expr),+) => {
        avx2! { [$operation($($arg[0]),+), $operation($($arg[1]),+)] }
    };
}

impl Simd for Avx2 {
    const MANY_REGISTERS: bool = false;

    type Floats = [__m256; 2];
    type Ints = [__m256i; 2];
    type Codes = [__m256i; 2];
    type Four = __m256i;

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        avx2! { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [__m256; 2] {
        let (low, high) = (from.as_ptr(), from[LANES / 2..].as_ptr());
        avx2! { [_mm256_loadu_ps(low), _mm256_loadu_ps(high)] }
    }

    #[inline(always)]
    fn store(self, value: [__m256; 2], to: &mut [f32; LANES]) {
        let (low, high) = to.split_at_mut(LANES / 2);
        avx2! {
            _mm256_storeu_ps(low.as_mut_ptr(), value[0]);
            _mm256_storeu_ps(high.as_mut_ptr(), value[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        halves!(_mm256_add_ps, a, b)
    }

    #[inline(always)]
    fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        halves!(_mm256_sub_ps, a, b)
    }

    #[inline(always)]
    fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        halves!(_mm256_mul_ps, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        halves!(_mm256_fmadd_ps, a, b, c)
    }

    #[inline(always)]
    fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        halves!(_mm256_max_ps, a, b)
    }

    #[inline(always)]
    fn abs(self, a: [__m256; 2]) -> [__m256; 2] {
        let sign = self.splat(-0.0);
        halves!(_mm256_andnot_ps, sign, a)
    }

    #[inline(always)]
    fn if_less(self, a: [__m256; 2], b: [__m256; 2], then: [__m256; 2], otherwise: [__m256; 2]) -> [__m256; 2] {
        let less = halves!(_mm256_cmp_ps::<_CMP_LT_OQ>, a, b);
        halves!(_mm256_blendv_ps, otherwise, then, less)
    }

    #[inline(always)]
    fn power_of_two(self, shifted: [__m256; 2]) -> [__m256; 2] {
        avx2! {
            let bias = _mm256_set1_epi32(BIAS);
            let low = _mm256_add_epi32(_mm256_castps_si256(shifted[0]), bias);
            let high = _mm256_add_epi32(_mm256_castps_si256(shifted[1]), bias);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            ]
        }
    }

    #[inline(always)]
    fn sum(self, value: [__m256; 2]) -> f32 {
        avx2! {
            let eight = _mm256_add_ps(value[0], value[1]);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn largest(self, value: [__m256; 2]) -> f32 {
        avx2! {
            let eight = _mm256_max_ps(value[0], value[1]);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 4 * LANES]) -> [__m256; 2] {
        let (low, high) = (from.as_ptr(), from[2 * LANES..].as_ptr());
        avx2! { [_mm256_loadu_ps(low.cast()), _mm256_loadu_ps(high.cast())] }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 2 * LANES]) -> [__m256; 2] {
        let (low, high) = (from.as_ptr(), from[LANES..].as_ptr());
        avx2! { [_mm256_cvtph_ps(_mm_loadu_si128(low.cast())), _mm256_cvtph_ps(_mm_loadu_si128(high.cast()))] }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 2 * LANES]) -> [__m256; 2] {
        let (low, high) = (from.as_ptr(), from[LANES..].as_ptr());
        avx2! {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(low.cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(high.cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            ]
        }
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> [__m256; 2] {
        avx2! {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            [
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128::<8>(bytes))),
            ]
        }
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> [__m256; 2] {
        avx2! {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128::<8>(bytes))),
            ]
        }
    }

    #[inline(always)]
    fn even_bf16(self, line: &[u16; 2 * LANES]) -> [__m256; 2] {
        let (low, high) = (line.as_ptr(), line[LANES..].as_ptr());
        avx2! {
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_loadu_si256(low.cast()))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_loadu_si256(high.cast()))),
            ]
        }
    }

    #[inline(always)]
    fn odd_bf16(self, line: &[u16; 2 * LANES]) -> [__m256; 2] {
        let (low, high) = (line.as_ptr(), line[LANES..].as_ptr());
        avx2! {
            let odd = _mm256_set1_epi32(0xffff_0000u32 as i32);
            [
                _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(low.cast()), odd)),
                _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(high.cast()), odd)),
            ]
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        avx2! { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn no_ints(self) -> [__m256i; 2] {
        avx2! { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    fn add_ints(self, a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        halves!(_mm256_add_epi32, a, b)
    }

    #[inline(always)]
    fn load_codes(self, from: &[u8; 64]) -> [__m256i; 2] {
        let (first, second) = (from.as_ptr(), from[32..].as_ptr());
        avx2! { [_mm256_loadu_si256(first.cast()), _mm256_loadu_si256(second.cast())] }
    }

    #[inline(always)]
    fn store_codes(self, codes: [__m256i; 2], to: &mut [u8; 64]) {
        let (first, second) = to.split_at_mut(32);
        avx2! {
            _mm256_storeu_si256(first.as_mut_ptr().cast(), codes[0]);
            _mm256_storeu_si256(second.as_mut_ptr().cast(), codes[1]);
        }
    }

    #[inline(always)]
    fn field(self, codes: [__m256i; 2], shift: u32, mask: u8) -> [__m256i; 2] {
        avx2! {
            let (shift, mask) = (_mm_cvtsi32_si128(shift as i32), _mm256_set1_epi8(mask as i8));
            [
                _mm256_and_si256(_mm256_srl_epi16(codes[0], shift), mask),
                _mm256_and_si256(_mm256_srl_epi16(codes[1], shift), mask),
            ]
        }
    }

    #[inline(always)]
    fn put_above(self, codes: [__m256i; 2], more: [__m256i; 2], shift: u32) -> [__m256i; 2] {
        avx2! {
            let shift = _mm_cvtsi32_si128(shift as i32);
            [
                _mm256_or_si256(codes[0], _mm256_sll_epi16(more[0], shift)),
                _mm256_or_si256(codes[1], _mm256_sll_epi16(more[1], shift)),
            ]
        }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], indices: [__m256i; 2]) -> [__m256i; 2] {
        avx2! {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            [_mm256_shuffle_epi8(table, indices[0]), _mm256_shuffle_epi8(table, indices[1])]
        }
    }

    #[inline(always)]
    fn four(self, from: &[i8; 4]) -> __m256i {
        avx2! { _mm256_set1_epi32(i32::from_ne_bytes(from.map(|byte| byte as u8))) }
    }

    #[inline(always)]
    fn dot_four(self, sums: [__m256i; 2], codes: [__m256i; 2], activations: __m256i) -> [__m256i; 2] {
        avx2! {
            let ones = _mm256_set1_epi16(1);
            // Pairs of products fit in 16 bits: 2 * 255 * 64 and 2 * 127 * 127 are below 2^15.
            let first = _mm256_madd_epi16(_mm256_maddubs_epi16(codes[0], activations), ones);
            let second = _mm256_madd_epi16(_mm256_maddubs_epi16(codes[1], activations), ones);
            [_mm256_add_epi32(sums[0], first), _mm256_add_epi32(sums[1], second)]
        }
    }

    #[inline(always)]
    fn join(self, high: [__m256i; 2], low: [__m256i; 2]) -> [__m256i; 2] {
        let shifted = halves!(_mm256_slli_epi32::<7>, high);
        halves!(_mm256_add_epi32, shifted, low)
    }

    #[inline(always)]
    fn low_halves(self, bits: [__m256; 2]) -> [__m256i; 2] {
        let ints = halves!(_mm256_castps_si256, bits);
        let raised = halves!(_mm256_slli_epi32::<16>, ints);
        halves!(_mm256_srai_epi32::<16>, raised)
    }

    #[inline(always)]
    fn split(self, ints: [__m256i; 2]) -> [[__m256i; 2]; 2] {
        let half = avx2! { [_mm256_set1_epi32(64); 2] };
        let raised = halves!(_mm256_add_epi32, ints, half);
        let high = halves!(_mm256_srai_epi32::<7>, raised);
        let back = halves!(_mm256_slli_epi32::<7>, high);
        [high, halves!(_mm256_sub_epi32, ints, back)]
    }

    #[inline(always)]
    fn store_bytes(self, ints: [__m256i; 2], to: &mut [i8; LANES]) {
        avx2! {
            // The first byte of every four, moved to the front of each half of a vector.
            let first = _mm256_set1_epi32(0x0c08_0400);
            for (ints, to) in ints.into_iter().zip(to.as_chunks_mut::<8>().0) {
                let bytes = _mm256_shuffle_epi8(ints, first);
                let pairs = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
                _mm_storel_epi64(to.as_mut_ptr().cast(), _mm256_castsi256_si128(pairs));
            }
        }
    }

    #[inline(always)]
    fn sum_ints(self, ints: [__m256i; 2]) -> i32 {
        avx2! {
            let eight = _mm256_add_epi32(ints[0], ints[1]);
            let four = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
            let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b00_00_11_10>(four));
            _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<1>(two)))
        }
    }

    #[inline(always)]
    fn to_floats(self, ints: [__m256i; 2]) -> [__m256; 2] {
        halves!(_mm256_cvtepi32_ps, ints)
    }
}

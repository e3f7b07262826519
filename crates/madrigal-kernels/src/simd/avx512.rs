//! The vector operations with AVX-512 (F, BW, VL, DQ and VNNI).
#![expect(unsafe_code, reason = "vector intrinsics")]

use std::arch::x86_64::*;

use super::{LANES, Op, Simd};
use crate::exp::BIAS;

/// Proof that the processor has AVX-512 F, BW, VL, DQ and VNNI, and with them AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// Evaluates intrinsics; only used in methods that take an [`Avx512`] by value.
macro_rules! avx512 {
    ($($body:tt)*) => {{
        // SAFETY: an `Avx512` is only made by `detect`, so the processor has the instructions.
        // Loads and stores are unaligned ones and go through references to whole arrays.
        unsafe { $($body)* }
    }};
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Avx512> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        all.then_some(Avx512(()))
    }

    #[inline]
    pub(crate) fn run<O: Op>(self, op: O) {
        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
        fn compiled<O: Op>(avx512: Avx512, op: O) {
            op.call(avx512);
        }
        avx512! { compiled(self, op) }
    }
}

impl Simd for Avx512 {
    const MANY_REGISTERS: bool = true;

    type Floats = __m512;
    type Ints = __m512i;
    type Codes = __m512i;
    type Four = __m512i;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        avx512! { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        avx512! { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, value: __m512, to: &mut [f32; LANES]) {
        avx512! { _mm512_storeu_ps(to.as_mut_ptr(), value) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        avx512! { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        avx512! { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        avx512! { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        avx512! { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        avx512! { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        avx512! { _mm512_abs_ps(a) }
    }

    #[inline(always)]
    fn if_less(self, a: __m512, b: __m512, then: __m512, otherwise: __m512) -> __m512 {
        avx512! { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), otherwise, then) }
    }

    #[inline(always)]
    fn power_of_two(self, shifted: __m512) -> __m512 {
        avx512! {
            let biased = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(BIAS));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn sum(self, value: __m512) -> f32 {
        avx512! {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(value), _mm512_extractf32x8_ps::<1>(value));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn largest(self, value: __m512) -> f32 {
        avx512! {
            let eight = _mm256_max_ps(_mm512_castps512_ps256(value), _mm512_extractf32x8_ps::<1>(value));
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 4 * LANES]) -> __m512 {
        avx512! { _mm512_loadu_ps(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 2 * LANES]) -> __m512 {
        avx512! { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 2 * LANES]) -> __m512 {
        avx512! {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> __m512 {
        avx512! { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> __m512 {
        avx512! { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn even_bf16(self, line: &[u16; 2 * LANES]) -> __m512 {
        avx512! { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_loadu_si512(line.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn odd_bf16(self, line: &[u16; 2 * LANES]) -> __m512 {
        avx512! {
            let odd = _mm512_set1_epi32(0xffff_0000u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(line.as_ptr().cast()), odd))
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        avx512! { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn no_ints(self) -> __m512i {
        avx512! { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn add_ints(self, a: __m512i, b: __m512i) -> __m512i {
        avx512! { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn load_codes(self, from: &[u8; 64]) -> __m512i {
        avx512! { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_codes(self, codes: __m512i, to: &mut [u8; 64]) {
        avx512! { _mm512_storeu_si512(to.as_mut_ptr().cast(), codes) }
    }

    #[inline(always)]
    fn field(self, codes: __m512i, shift: u32, mask: u8) -> __m512i {
        avx512! {
            let shifted = _mm512_srl_epi16(codes, _mm_cvtsi32_si128(shift as i32));
            _mm512_and_si512(shifted, _mm512_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    fn put_above(self, codes: __m512i, more: __m512i, shift: u32) -> __m512i {
        avx512! { _mm512_or_si512(codes, _mm512_sll_epi16(more, _mm_cvtsi32_si128(shift as i32))) }
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], indices: __m512i) -> __m512i {
        avx512! { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast())), indices) }
    }

    #[inline(always)]
    fn four(self, from: &[i8; 4]) -> __m512i {
        avx512! { _mm512_set1_epi32(i32::from_ne_bytes(from.map(|byte| byte as u8))) }
    }

    #[inline(always)]
    fn dot_four(self, sums: __m512i, codes: __m512i, activations: __m512i) -> __m512i {
        avx512! { _mm512_dpbusd_epi32(sums, codes, activations) }
    }

    #[inline(always)]
    fn join(self, high: __m512i, low: __m512i) -> __m512i {
        avx512! { _mm512_add_epi32(_mm512_slli_epi32::<7>(high), low) }
    }

    #[inline(always)]
    fn low_halves(self, bits: __m512) -> __m512i {
        avx512! { _mm512_srai_epi32::<16>(_mm512_slli_epi32::<16>(_mm512_castps_si512(bits))) }
    }

    #[inline(always)]
    fn split(self, ints: __m512i) -> [__m512i; 2] {
        avx512! {
            let high = _mm512_srai_epi32::<7>(_mm512_add_epi32(ints, _mm512_set1_epi32(64)));
            [high, _mm512_sub_epi32(ints, _mm512_slli_epi32::<7>(high))]
        }
    }

    #[inline(always)]
    fn store_bytes(self, ints: __m512i, to: &mut [i8; LANES]) {
        avx512! { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(ints)) }
    }

    #[inline(always)]
    fn sum_ints(self, ints: __m512i) -> i32 {
        avx512! { _mm512_reduce_add_epi32(ints) }
    }

    #[inline(always)]
    fn to_floats(self, ints: __m512i) -> __m512 {
        avx512! { _mm512_cvtepi32_ps(ints) }
    }
}

//! The vector operations with NEON, which every 64-bit ARM processor has.
#![expect(unsafe_code, reason = "vector intrinsics")]

use std::arch::aarch64::*;
use std::arch::{asm, is_aarch64_feature_detected};

use super::{LANES, Op, Simd};
use crate::exp::BIAS;
use crate::float16::f16_to_f32;

/// Proof that the processor has NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

/// Evaluates intrinsics; only used in methods that take a [`Neon`] by value.
macro_rules! neon {
    ($($body:tt)*) => {{
        // SAFETY: a `Neon` is only made by `detect`, so the processor has the instructions.
        // Loads and stores go through references to whole arrays; none of them needs alignment.
        unsafe { $($body)* }
    }};
}

impl Neon {
    pub(crate) fn detect() -> Option<Neon> {
        is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    #[inline]
    pub(crate) fn run<O: Op>(self, op: O) {
        #[target_feature(enable = "neon")]
        fn compiled<O: Op>(neon: Neon, op: O) {
            op.call(neon);
        }
        neon! { compiled(self, op) }
    }
}

/// Applies a 128-bit operation to the four quarters.
macro_rules! quarters {
    ($operation:path, $($arg:expr),+) => {
        neon! {
            [
                $operation($($arg[0]),+),
                $operation($($arg[1]),+),
                $operation($($arg[2]),+),
                $operation($($arg[3]),+),
            ]
        }
    };
}

/// The 32-bit words of a line of bf16, as four vectors.
macro_rules! words {
    ($line:expr) => {{
        let words = $line.as_ptr().cast::<u32>();
        [vld1q_u32(words), vld1q_u32(words.add(4)), vld1q_u32(words.add(8)), vld1q_u32(words.add(12))]
    }};
}

impl Simd for Neon {
    const MANY_REGISTERS: bool = false;

    type Floats = [float32x4_t; 4];
    type Ints = [int32x4_t; 4];
    type Codes = [uint8x16_t; 4];
    /// The four bytes twice, widened.
    type Four = int16x8_t;

    #[inline(always)]
    fn splat(self, value: f32) -> [float32x4_t; 4] {
        neon! { [vdupq_n_f32(value); 4] }
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [float32x4_t; 4] {
        let from = from.as_ptr();
        neon! { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline(always)]
    fn store(self, value: [float32x4_t; 4], to: &mut [f32; LANES]) {
        let to = to.as_mut_ptr();
        neon! {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
            vst1q_f32(to.add(8), value[2]);
            vst1q_f32(to.add(12), value[3]);
        }
    }

    #[inline(always)]
    fn add(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        quarters!(vaddq_f32, a, b)
    }

    #[inline(always)]
    fn sub(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        quarters!(vsubq_f32, a, b)
    }

    #[inline(always)]
    fn mul(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        quarters!(vmulq_f32, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: [float32x4_t; 4], b: [float32x4_t; 4], c: [float32x4_t; 4]) -> [float32x4_t; 4] {
        quarters!(vfmaq_f32, c, a, b)
    }

    #[inline(always)]
    fn max(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        // Not `vmaxq_f32`, which is NaN where one of them is.
        let greater = quarters!(vcgtq_f32, a, b);
        quarters!(vbslq_f32, greater, a, b)
    }

    #[inline(always)]
    fn abs(self, a: [float32x4_t; 4]) -> [float32x4_t; 4] {
        quarters!(vabsq_f32, a)
    }

    #[inline(always)]
    fn if_less(
        self,
        a: [float32x4_t; 4],
        b: [float32x4_t; 4],
        then: [float32x4_t; 4],
        otherwise: [float32x4_t; 4],
    ) -> [float32x4_t; 4] {
        let less = quarters!(vcltq_f32, a, b);
        quarters!(vbslq_f32, less, then, otherwise)
    }

    #[inline(always)]
    fn power_of_two(self, shifted: [float32x4_t; 4]) -> [float32x4_t; 4] {
        let bits = quarters!(vreinterpretq_s32_f32, shifted);
        let bias = neon! { [vdupq_n_s32(BIAS); 4] };
        let biased = quarters!(vaddq_s32, bits, bias);
        let power = quarters!(vshlq_n_s32::<23>, biased);
        quarters!(vreinterpretq_f32_s32, power)
    }

    #[inline(always)]
    fn sum(self, value: [float32x4_t; 4]) -> f32 {
        neon! {
            let four = vaddq_f32(vaddq_f32(value[0], value[2]), vaddq_f32(value[1], value[3]));
            let two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
            vget_lane_f32::<0>(two) + vget_lane_f32::<1>(two)
        }
    }

    #[inline(always)]
    fn largest(self, value: [float32x4_t; 4]) -> f32 {
        neon! { vmaxvq_f32(vmaxq_f32(vmaxq_f32(value[0], value[2]), vmaxq_f32(value[1], value[3]))) }
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 4 * LANES]) -> [float32x4_t; 4] {
        let from = from.as_ptr();
        let bytes = neon! { [vld1q_u8(from), vld1q_u8(from.add(16)), vld1q_u8(from.add(32)), vld1q_u8(from.add(48))] };
        quarters!(vreinterpretq_f32_u8, bytes)
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 2 * LANES]) -> [float32x4_t; 4] {
        let mut out = [0.0; LANES];
        for (out, raw) in out.iter_mut().zip(from.as_chunks().0) {
            *out = f16_to_f32(u16::from_le_bytes(*raw));
        }
        self.load(&out)
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 2 * LANES]) -> [float32x4_t; 4] {
        neon! {
            let low = vreinterpretq_u16_u8(vld1q_u8(from.as_ptr()));
            let high = vreinterpretq_u16_u8(vld1q_u8(from.as_ptr().add(16)));
            [
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(low))),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_high_u16(low))),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(high))),
                vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_high_u16(high))),
            ]
        }
    }

    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> [float32x4_t; 4] {
        let ints = neon! {
            let bytes = vld1q_u8(from.as_ptr());
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_u8(vget_high_u8(bytes)));
            [
                vmovl_u16(vget_low_u16(low)),
                vmovl_u16(vget_high_u16(low)),
                vmovl_u16(vget_low_u16(high)),
                vmovl_u16(vget_high_u16(high)),
            ]
        };
        quarters!(vcvtq_f32_u32, ints)
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> [float32x4_t; 4] {
        let ints = neon! {
            let bytes = vreinterpretq_s8_u8(vld1q_u8(from.as_ptr()));
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes)));
            [
                vmovl_s16(vget_low_s16(low)),
                vmovl_s16(vget_high_s16(low)),
                vmovl_s16(vget_low_s16(high)),
                vmovl_s16(vget_high_s16(high)),
            ]
        };
        quarters!(vcvtq_f32_s32, ints)
    }

    #[inline(always)]
    fn even_bf16(self, line: &[u16; 2 * LANES]) -> [float32x4_t; 4] {
        let words = neon! { words!(line) };
        let words = quarters!(vshlq_n_u32::<16>, words);
        quarters!(vreinterpretq_f32_u32, words)
    }

    #[inline(always)]
    fn odd_bf16(self, line: &[u16; 2 * LANES]) -> [float32x4_t; 4] {
        let words = neon! { words!(line) };
        let odd = neon! { [vdupq_n_u32(0xffff_0000); 4] };
        let words = quarters!(vandq_u32, words, odd);
        quarters!(vreinterpretq_f32_u32, words)
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: a hint, which has no effect but on speed and never faults.
        unsafe { asm!("prfm pldl2keep, [{at}]", at = in(reg) at, options(readonly, nostack, preserves_flags)) }
    }

    #[inline(always)]
    fn no_ints(self) -> [int32x4_t; 4] {
        neon! { [vdupq_n_s32(0); 4] }
    }

    #[inline(always)]
    fn add_ints(self, a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] {
        quarters!(vaddq_s32, a, b)
    }

    #[inline(always)]
    fn load_codes(self, from: &[u8; 64]) -> [uint8x16_t; 4] {
        let from = from.as_ptr();
        neon! { [vld1q_u8(from), vld1q_u8(from.add(16)), vld1q_u8(from.add(32)), vld1q_u8(from.add(48))] }
    }

    #[inline(always)]
    fn store_codes(self, codes: [uint8x16_t; 4], to: &mut [u8; 64]) {
        for (codes, to) in codes.into_iter().zip(to.as_chunks_mut::<16>().0) {
            neon! { vst1q_u8(to.as_mut_ptr(), codes) }
        }
    }

    #[inline(always)]
    fn field(self, codes: [uint8x16_t; 4], shift: u32, mask: u8) -> [uint8x16_t; 4] {
        // A negative count shifts to the right.
        let (right, mask) = neon! { ([vdupq_n_s8(-(shift as i8)); 4], [vdupq_n_u8(mask); 4]) };
        let shifted = quarters!(vshlq_u8, codes, right);
        quarters!(vandq_u8, shifted, mask)
    }

    #[inline(always)]
    fn put_above(self, codes: [uint8x16_t; 4], more: [uint8x16_t; 4], shift: u32) -> [uint8x16_t; 4] {
        let left = neon! { [vdupq_n_s8(shift as i8); 4] };
        let raised = quarters!(vshlq_u8, more, left);
        quarters!(vorrq_u8, codes, raised)
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], indices: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        let table = neon! { [vld1q_u8(table.as_ptr()); 4] };
        quarters!(vqtbl1q_u8, table, indices)
    }

    #[inline(always)]
    fn four(self, from: &[i8; 4]) -> int16x8_t {
        neon! { vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(i32::from_ne_bytes(from.map(|byte| byte as u8))))) }
    }

    #[inline(always)]
    fn dot_four(self, sums: [int32x4_t; 4], codes: [uint8x16_t; 4], activations: int16x8_t) -> [int32x4_t; 4] {
        let mut out = sums;
        for (sum, codes) in out.iter_mut().zip(codes) {
            neon! {
                // Products fit in 16 bits: 255 * 64 and 127 * 127 are below 2^15.
                let low = vmulq_s16(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes))), activations);
                let high = vmulq_s16(vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(codes))), activations);
                *sum = vaddq_s32(*sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
            }
        }
        out
    }

    #[inline(always)]
    fn join(self, high: [int32x4_t; 4], low: [int32x4_t; 4]) -> [int32x4_t; 4] {
        let shifted = quarters!(vshlq_n_s32::<7>, high);
        quarters!(vaddq_s32, shifted, low)
    }

    #[inline(always)]
    fn low_halves(self, bits: [float32x4_t; 4]) -> [int32x4_t; 4] {
        let ints = quarters!(vreinterpretq_s32_f32, bits);
        let raised = quarters!(vshlq_n_s32::<16>, ints);
        quarters!(vshrq_n_s32::<16>, raised)
    }

    #[inline(always)]
    fn split(self, ints: [int32x4_t; 4]) -> [[int32x4_t; 4]; 2] {
        let half = neon! { [vdupq_n_s32(64); 4] };
        let raised = quarters!(vaddq_s32, ints, half);
        let high = quarters!(vshrq_n_s32::<7>, raised);
        let back = quarters!(vshlq_n_s32::<7>, high);
        [high, quarters!(vsubq_s32, ints, back)]
    }

    #[inline(always)]
    fn store_bytes(self, ints: [int32x4_t; 4], to: &mut [i8; LANES]) {
        neon! {
            let first = vcombine_s16(vmovn_s32(ints[0]), vmovn_s32(ints[1]));
            let second = vcombine_s16(vmovn_s32(ints[2]), vmovn_s32(ints[3]));
            vst1q_s8(to.as_mut_ptr(), vcombine_s8(vmovn_s16(first), vmovn_s16(second)));
        }
    }

    #[inline(always)]
    fn sum_ints(self, ints: [int32x4_t; 4]) -> i32 {
        neon! { vaddvq_s32(vaddq_s32(vaddq_s32(ints[0], ints[1]), vaddq_s32(ints[2], ints[3]))) }
    }

    #[inline(always)]
    fn to_floats(self, ints: [int32x4_t; 4]) -> [float32x4_t; 4] {
        quarters!(vcvtq_f32_s32, ints)
    }
}

//! The vector operations in plain Rust. Products and sums are rounded separately.

use super::{BLOCK, LANES, Simd};
use crate::exp::power_of_two;
use crate::float16::{bf16_to_f32, f16_to_f32};

#[derive(Clone, Copy)]
pub(crate) struct Portable;

/// Applies an expression to the lanes of two vectors.
macro_rules! lanes {
    ($a:ident, $b:ident => $result:expr) => {{
        let mut out = [0.0; LANES];
        for ((out, $a), $b) in out.iter_mut().zip($a).zip($b) {
            *out = $result;
        }
        out
    }};
}

impl Simd for Portable {
    const MANY_REGISTERS: bool = false;

    type Floats = [f32; LANES];
    type Bytes = [i8; BLOCK];

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; LANES] {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> [f32; LANES] {
        *from
    }

    #[inline(always)]
    fn store(self, value: [f32; LANES], to: &mut [f32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn add(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        lanes!(a, b => a + b)
    }

    #[inline(always)]
    fn sub(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        lanes!(a, b => a - b)
    }

    #[inline(always)]
    fn mul(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        lanes!(a, b => a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; LANES], b: [f32; LANES], mut c: [f32; LANES]) -> [f32; LANES] {
        for ((c, a), b) in c.iter_mut().zip(a).zip(b) {
            *c += a * b;
        }
        c
    }

    #[inline(always)]
    fn max(self, a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        lanes!(a, b => if a > b { a } else { b })
    }

    #[inline(always)]
    fn if_less(
        self,
        a: [f32; LANES],
        b: [f32; LANES],
        then: [f32; LANES],
        mut otherwise: [f32; LANES],
    ) -> [f32; LANES] {
        for (((out, then), a), b) in otherwise.iter_mut().zip(then).zip(a).zip(b) {
            *out = if a < b { then } else { *out };
        }
        otherwise
    }

    #[inline(always)]
    fn power_of_two(self, shifted: [f32; LANES]) -> [f32; LANES] {
        shifted.map(power_of_two)
    }

    #[inline(always)]
    fn sum(self, all: [f32; LANES]) -> f32 {
        let mut v = [0.0; LANES / 2];
        for (i, v) in v.iter_mut().enumerate() {
            *v = all[i] + all[i + LANES / 2];
        }
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }

    #[inline(always)]
    fn largest(self, all: [f32; LANES]) -> f32 {
        all.into_iter().fold(f32::NEG_INFINITY, |largest, x| if x > largest { x } else { largest })
    }

    #[inline(always)]
    fn load_f32(self, from: &[u8; 4 * LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (out, raw) in out.iter_mut().zip(from.as_chunks().0) {
            *out = f32::from_le_bytes(*raw);
        }
        out
    }

    #[inline(always)]
    fn load_f16(self, from: &[u8; 2 * LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (out, raw) in out.iter_mut().zip(from.as_chunks().0) {
            *out = f16_to_f32(u16::from_le_bytes(*raw));
        }
        out
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u8; 2 * LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (out, raw) in out.iter_mut().zip(from.as_chunks().0) {
            *out = bf16_to_f32(u16::from_le_bytes(*raw));
        }
        out
    }

    #[inline(always)]
    fn even_bf16(self, line: &[u16; 2 * LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (out, &[even, _]) in out.iter_mut().zip(line.as_chunks().0) {
            *out = bf16_to_f32(even);
        }
        out
    }

    #[inline(always)]
    fn odd_bf16(self, line: &[u16; 2 * LANES]) -> [f32; LANES] {
        let mut out = [0.0; LANES];
        for (out, &[_, odd]) in out.iter_mut().zip(line.as_chunks().0) {
            *out = bf16_to_f32(odd);
        }
        out
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> [f32; LANES] {
        [f16_to_f32(bits); LANES]
    }

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}

    #[inline(always)]
    fn load_i8(self, from: &[u8; BLOCK]) -> [i8; BLOCK] {
        let mut out = [0; BLOCK];
        for (out, &raw) in out.iter_mut().zip(from) {
            *out = raw as i8;
        }
        out
    }

    #[inline(always)]
    fn load_i4(self, from: &[u8; BLOCK / 2]) -> [i8; BLOCK] {
        let mut out = [0; BLOCK];
        let (low, high) = out.split_at_mut(BLOCK / 2);
        for ((low, high), &pair) in low.iter_mut().zip(high).zip(from) {
            *low = (pair & 15) as i8 - 8;
            *high = (pair >> 4) as i8 - 8;
        }
        out
    }

    #[inline(always)]
    fn dot(self, weights: [i8; BLOCK], activations: &[i16; BLOCK]) -> [f32; LANES] {
        let mut sums = [0i32; LANES];
        for (weights, activations) in weights.as_chunks::<LANES>().0.iter().zip(activations.as_chunks::<LANES>().0) {
            for ((sum, &w), &x) in sums.iter_mut().zip(weights).zip(activations) {
                *sum += i32::from(w) * i32::from(x);
            }
        }
        let mut out = [0.0; LANES];
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = sum as f32;
        }
        out
    }
}

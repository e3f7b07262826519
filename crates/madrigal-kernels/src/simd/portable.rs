//! The vector operations in plain Rust. Products and sums are rounded separately.

use super::{LANES, Simd};
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
    type Ints = [i32; LANES];
    type Codes = [u8; 64];
    type Four = [i8; 4];

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
    fn abs(self, a: [f32; LANES]) -> [f32; LANES] {
        a.map(f32::abs)
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
    fn load_u8(self, from: &[u8; LANES]) -> [f32; LANES] {
        from.map(f32::from)
    }

    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> [f32; LANES] {
        from.map(|byte| f32::from(byte as i8))
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
    fn prefetch(self, _: *const u8) {}

    #[inline(always)]
    fn no_ints(self) -> [i32; LANES] {
        [0; LANES]
    }

    #[inline(always)]
    fn add_ints(self, a: [i32; LANES], mut b: [i32; LANES]) -> [i32; LANES] {
        for (b, a) in b.iter_mut().zip(a) {
            *b += a;
        }
        b
    }

    #[inline(always)]
    fn load_codes(self, from: &[u8; 64]) -> [u8; 64] {
        *from
    }

    #[inline(always)]
    fn store_codes(self, codes: [u8; 64], to: &mut [u8; 64]) {
        *to = codes;
    }

    #[inline(always)]
    fn field(self, codes: [u8; 64], shift: u32, mask: u8) -> [u8; 64] {
        codes.map(|code| code >> shift & mask)
    }

    #[inline(always)]
    fn put_above(self, mut codes: [u8; 64], more: [u8; 64], shift: u32) -> [u8; 64] {
        for (code, more) in codes.iter_mut().zip(more) {
            *code |= more << shift;
        }
        codes
    }

    #[inline(always)]
    fn lookup(self, table: &[u8; 16], indices: [u8; 64]) -> [u8; 64] {
        indices.map(|index| table[usize::from(index & 15)])
    }

    #[inline(always)]
    fn four(self, from: &[i8; 4]) -> [i8; 4] {
        *from
    }

    #[inline]
    fn dot_four(self, mut sums: [i32; LANES], codes: [u8; 64], activations: [i8; 4]) -> [i32; LANES] {
        for (sum, codes) in sums.iter_mut().zip(codes.as_chunks::<4>().0) {
            for (&code, activation) in codes.iter().zip(activations) {
                *sum += i32::from(code) * i32::from(activation);
            }
        }
        sums
    }

    #[inline(always)]
    fn join(self, high: [i32; LANES], mut low: [i32; LANES]) -> [i32; LANES] {
        for (low, high) in low.iter_mut().zip(high) {
            *low += 128 * high;
        }
        low
    }

    #[inline(always)]
    fn low_halves(self, bits: [f32; LANES]) -> [i32; LANES] {
        bits.map(|bits| i32::from(bits.to_bits() as i16))
    }

    #[inline(always)]
    fn split(self, ints: [i32; LANES]) -> [[i32; LANES]; 2] {
        let high = ints.map(|int| (int + 64) >> 7);
        let mut low = ints;
        for (low, high) in low.iter_mut().zip(high) {
            *low -= high << 7;
        }
        [high, low]
    }

    #[inline(always)]
    fn store_bytes(self, ints: [i32; LANES], to: &mut [i8; LANES]) {
        *to = ints.map(|int| int as i8);
    }

    #[inline(always)]
    fn sum_ints(self, ints: [i32; LANES]) -> i32 {
        ints.into_iter().sum()
    }

    #[inline(always)]
    fn to_floats(self, ints: [i32; LANES]) -> [f32; LANES] {
        ints.map(|int| int as f32)
    }
}

//! What the kernels ask of an instruction set, and how one of them is chosen at run time.
//!
//! A kernel is an [`Op`]: a struct of arguments whose `call` is generic over [`Simd`].
//! [`Dispatch::run`] compiles it once per instruction set. Everything below `call` must be
//! `#[inline(always)]` and free of closures: code that is not inlined into the entry point of its
//! instruction set is compiled without that instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use crate::Isa;

/// Lanes of a float vector, the same for all instruction sets: the order of sums follows from it.
pub(crate) const LANES: usize = 16;

/// Weights and activations in a quantised block.
pub(crate) const BLOCK: usize = 32;

/// The vector operations of one instruction set. A value of the type proves that the processor
/// has it.
pub(crate) trait Simd: Copy {
    /// Whether there are registers for about thirty `Floats`; else for eight or fewer.
    const MANY_REGISTERS: bool;

    /// Sixteen floats.
    type Floats: Copy;
    /// Sixteen sums of 32 bits.
    type Ints: Copy;
    /// 64 unsigned bytes.
    type Codes: Copy;
    /// Four signed bytes, over and over.
    type Four: Copy;

    fn splat(self, value: f32) -> Self::Floats;
    fn load(self, from: &[f32; LANES]) -> Self::Floats;
    fn store(self, value: Self::Floats, to: &mut [f32; LANES]);
    fn add(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn sub(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn mul(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, fused or not: fixed per instruction set.
    fn mul_add(self, a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// `if a > b { a } else { b }`, so `b` where one of them is NaN.
    fn max(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn abs(self, a: Self::Floats) -> Self::Floats;
    /// `if a < b { then } else { otherwise }`.
    fn if_less(self, a: Self::Floats, b: Self::Floats, then: Self::Floats, otherwise: Self::Floats) -> Self::Floats;
    /// `2^n` from the bits of `1.5 * 2^23 + n`, for `-126 <= n <= 127`.
    fn power_of_two(self, shifted: Self::Floats) -> Self::Floats;
    /// The sum of the lanes, added in the same order by all instruction sets.
    fn sum(self, value: Self::Floats) -> f32;
    /// The largest lane; none is NaN.
    fn largest(self, value: Self::Floats) -> f32;

    /// Sixteen little-endian f32.
    fn load_f32(self, from: &[u8; 4 * LANES]) -> Self::Floats;
    /// Sixteen little-endian f16, widened.
    fn load_f16(self, from: &[u8; 2 * LANES]) -> Self::Floats;
    /// Sixteen little-endian bf16, widened.
    fn load_bf16(self, from: &[u8; 2 * LANES]) -> Self::Floats;
    /// Sixteen unsigned bytes.
    fn load_u8(self, from: &[u8; LANES]) -> Self::Floats;
    /// Sixteen signed bytes.
    fn load_i8(self, from: &[u8; LANES]) -> Self::Floats;
    /// The elements of a line with even indices as bf16, widened.
    fn even_bf16(self, line: &[u16; 2 * LANES]) -> Self::Floats;
    /// The elements of a line with odd indices as bf16, widened.
    fn odd_bf16(self, line: &[u16; 2 * LANES]) -> Self::Floats;
    /// Asks for the memory around an address that will be read soon, into the second-level cache; the address may be
    /// invalid.
    fn prefetch(self, at: *const u8);

    /// Sums of zero.
    fn no_ints(self) -> Self::Ints;
    fn add_ints(self, a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// The codes of a group: four columns for each of sixteen rows.
    fn load_codes(self, from: &[u8; 64]) -> Self::Codes;
    fn store_codes(self, codes: Self::Codes, to: &mut [u8; 64]);
    /// `code >> shift & mask` for every code; `shift` is below 8.
    fn field(self, codes: Self::Codes, shift: u32, mask: u8) -> Self::Codes;
    /// `code | more << shift` for every code; no bit of `more` is lost.
    fn put_above(self, codes: Self::Codes, more: Self::Codes, shift: u32) -> Self::Codes;
    /// Replaces codes below 16, indices into a table, by what stands there.
    fn lookup(self, table: &[u8; 16], indices: Self::Codes) -> Self::Codes;
    /// Four activations, for every row.
    fn four(self, from: &[i8; 4]) -> Self::Four;
    /// Adds the dot product of each row's four codes with the four activations, exactly. Activations lie in `-64..=64`, or
    /// codes below 128.
    fn dot_four(self, sums: Self::Ints, codes: Self::Codes, activations: Self::Four) -> Self::Ints;
    /// `128 * high + low`, exactly.
    fn join(self, high: Self::Ints, low: Self::Ints) -> Self::Ints;
    /// The signed numbers in the low 16 bits of each lane.
    fn low_halves(self, bits: Self::Floats) -> Self::Ints;
    /// For numbers of 14 bits, what [`Simd::join`] makes them of: the first in `-64..=64`, the second in `-64..=63`.
    fn split(self, ints: Self::Ints) -> [Self::Ints; 2];
    /// The low bytes.
    fn store_bytes(self, ints: Self::Ints, to: &mut [i8; LANES]);
    fn sum_ints(self, ints: Self::Ints) -> i32;
    /// Rounded to floats.
    fn to_floats(self, ints: Self::Ints) -> Self::Floats;
}

/// A kernel together with its arguments.
pub(crate) trait Op {
    fn call<S: Simd>(self, simd: S);
}

/// An instruction set that this processor has.
#[derive(Clone, Copy)]
pub(crate) enum Dispatch {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
}

impl Dispatch {
    /// `None` if the processor lacks `isa`.
    pub(crate) fn new(isa: Isa) -> Option<Dispatch> {
        match isa {
            Isa::Portable => Some(Dispatch::Portable),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::Avx2::detect().map(Dispatch::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::Avx512::detect().map(Dispatch::Avx512),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => None,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::Neon::detect().map(Dispatch::Neon),
            #[cfg(not(target_arch = "aarch64"))]
            Isa::Neon => None,
        }
    }

    #[inline]
    pub(crate) fn run(self, op: impl Op) {
        match self {
            Dispatch::Portable => op.call(portable::Portable),
            #[cfg(target_arch = "x86_64")]
            Dispatch::Avx2(avx2) => avx2.run(op),
            #[cfg(target_arch = "x86_64")]
            Dispatch::Avx512(avx512) => avx512.run(op),
            #[cfg(target_arch = "aarch64")]
            Dispatch::Neon(neon) => neon.run(op),
        }
    }
}

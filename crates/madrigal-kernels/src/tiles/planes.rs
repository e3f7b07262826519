//! Codes of 1 or 2 bits, and the upper bits of wider ones, for 32 columns of a panel.
//!
//! Owns their order: 64 bytes are a plane, in which the groups of 4 columns that share it lie side by side in the bits of
//! every byte, from the lowest on, for one half of the rows.

use super::{PANEL, Pair};
use crate::simd::{BLOCK, LANES, Simd};

/// The bytes of 32 columns' codes of `BITS` bits.
pub(super) const fn bytes(bits: usize) -> usize {
    BLOCK * PANEL / 8 * bits
}

/// Writes `BITS` bits of each code, `[row][column]`, from the bit `FROM` on.
pub(super) fn pack<const BITS: usize, const FROM: usize>(codes: &[[u8; BLOCK]; PANEL], out: &mut [u8]) {
    out.fill(0);
    let out = out.as_chunks_mut::<64>().0;
    for (row, codes) in codes.iter().enumerate() {
        for (group, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
            let plane = &mut out[group * BITS / 8 * 2 + row / LANES];
            for (byte, code) in plane.as_chunks_mut::<4>().0[row % LANES].iter_mut().zip(codes) {
                *byte |= (code >> FROM & mask(BITS)) << (group * BITS % 8);
            }
        }
    }
}

/// A pair of [`pack`].
#[inline(always)]
pub(super) fn pair<S: Simd, const BITS: usize>(simd: S, from: &[u8], pair: usize) -> Pair<S> {
    [group::<S, BITS>(simd, from, 2 * pair), group::<S, BITS>(simd, from, 2 * pair + 1)]
}

#[inline(always)]
fn group<S: Simd, const BITS: usize>(simd: S, from: &[u8], group: usize) -> [S::Codes; 2] {
    let [first, second] = &from.as_chunks::<64>().0.as_chunks::<2>().0[group * BITS / 8];
    let shift = (group * BITS % 8) as u32;
    [simd.field(simd.load_codes(first), shift, mask(BITS)), simd.field(simd.load_codes(second), shift, mask(BITS))]
}

/// Adds upper bits to a pair of codes.
#[inline(always)]
pub(super) fn above<S: Simd>(simd: S, low: Pair<S>, upper: Pair<S>, shift: u32) -> Pair<S> {
    let mut codes = low;
    for group in 0..2 {
        for half in 0..2 {
            codes[group][half] = simd.put_above(low[group][half], upper[group][half], shift);
        }
    }
    codes
}

const fn mask(bits: usize) -> u8 {
    (1 << bits) - 1
}

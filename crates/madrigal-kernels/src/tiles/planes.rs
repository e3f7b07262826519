//! Codes of 1 or 2 bits, and the upper bits of wider ones, for 32 columns of a panel.
//!
//! Owns their order: 64 bytes are a plane, in which the groups of 4 columns that share it lie side by side in the bits of
//! every byte, from the lowest on, for one half of the rows.

use super::{Columns, GROUPS, PANEL};
use crate::simd::{BLOCK, LANES};

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

/// Takes [`pack`] back: sets the codes if `FROM` is 0, else their bits from there on, which must be 0.
#[inline(always)]
pub(super) fn expand<const BITS: usize, const FROM: usize>(from: &[u8], out: &mut Columns) {
    let from = from.as_chunks::<64>().0;
    for group in 0..GROUPS {
        for half in 0..2 {
            let plane = &from[group * BITS / 8 * 2 + half];
            for (code, byte) in out.codes[group][half].iter_mut().zip(plane) {
                let bits = (byte >> (group * BITS % 8) & mask(BITS)) << FROM;
                *code = if FROM == 0 { bits } else { *code | bits };
            }
        }
    }
}

const fn mask(bits: usize) -> u8 {
    (1 << bits) - 1
}

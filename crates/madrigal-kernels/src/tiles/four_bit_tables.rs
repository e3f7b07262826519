//! Formats whose nibbles index a table of values.

use super::{
    Columns, Format, Layout, NIBBLES, PANEL, expand_nibbles, halves, pack_nibbles, signed_bytes, store_scales,
};
use crate::block::four_bit_tables::{E2M1_TWICE, IQ4, half_power_of_two, iq4_xs_scales};
use crate::block::nibbles;
use crate::simd::{LANES, Simd};

/// One 16-bit number for each row.
const HALVES: usize = 2 * PANEL;
/// Blocks of 32 in a chunk of `IQ4_XS`.
const BLOCKS: usize = 8;

/// `table` with `zero` added to all values.
const fn unsigned(table: [i8; 16], zero: u8) -> [u8; 16] {
    let mut codes = [0; 16];
    let mut i = 0;
    while i < 16 {
        codes[i] = zero.wrapping_add_signed(table[i]);
        i += 1;
    }
    codes
}

const IQ4_ZERO: u8 = 127;
const IQ4_CODES: [u8; 16] = unsigned(IQ4, IQ4_ZERO);
const E2M1_ZERO: u8 = 12;
const E2M1_CODES: [u8; 16] = unsigned(E2M1_TWICE, E2M1_ZERO);

/// Takes nibbles apart and replaces them by what they stand for.
#[inline(always)]
fn expand_indices<S: Simd>(simd: S, from: &[u8], table: &[u8; 16], out: &mut Columns) {
    expand_nibbles(from, out);
    for codes in out.codes.as_flattened_mut() {
        simd.lookup(table, codes);
    }
}

/// Scales, then nibbles.
pub(crate) struct Iq4Nl;

impl Format for Iq4Nl {
    const LAYOUT: Layout = Layout { cols: 32, bytes: HALVES + NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (scales, codes) = chunk.split_at_mut(HALVES);
        for (scale, block) in scales.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
            *scale = [block[0], block[1]];
        }
        pack_nibbles(&blocks.map(|block| nibbles(&block[2..])), codes);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        let (scales, codes) = chunk.split_at(HALVES);
        for half in 0..2 {
            store_scales(simd, halves(simd, scales, half), f32::from(IQ4_ZERO), 0, half, out);
        }
        expand_indices(simd, codes, &IQ4_CODES, out);
    }
}

/// A 16-bit factor, `[block][row]` signed scales, then nibbles block by block.
pub(crate) struct Iq4Xs;

impl Iq4Xs {
    const QUANTS: usize = HALVES + BLOCKS * PANEL;
}

impl Format for Iq4Xs {
    const LAYOUT: Layout = Layout { cols: 256, bytes: Self::QUANTS + BLOCKS * NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        for (row, source) in blocks.iter().enumerate() {
            chunk[2 * row..2 * row + 2].copy_from_slice(&source[..2]);
            for (block, scale) in iq4_xs_scales(&source[2..8]).into_iter().enumerate() {
                chunk[HALVES + block * PANEL + row] = scale as u8;
            }
        }
        for (block, codes) in chunk[Self::QUANTS..].chunks_exact_mut(NIBBLES).enumerate() {
            pack_nibbles(&blocks.map(|source| nibbles(&source[8 + block * 16..][..16])), codes);
        }
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], index: usize, out: &mut Columns) {
        let scales = &chunk[HALVES + index * PANEL..][..PANEL];
        for half in 0..2 {
            let scale = simd.mul(halves(simd, chunk, half), signed_bytes(simd, scales, half));
            store_scales(simd, scale, f32::from(IQ4_ZERO), 0, half, out);
        }
        expand_indices(simd, &chunk[Self::QUANTS + index * NIBBLES..][..NIBBLES], &IQ4_CODES, out);
    }
}

/// Exponents, then nibbles.
pub(crate) struct Mxfp4;

impl Format for Mxfp4 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: PANEL + NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (exponents, codes) = chunk.split_at_mut(PANEL);
        for (exponent, block) in exponents.iter_mut().zip(blocks) {
            *exponent = block[0];
        }
        pack_nibbles(&blocks.map(|block| nibbles(&block[1..])), codes);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        let (exponents, codes) = chunk.split_at(PANEL);
        for half in 0..2 {
            let mut scales = [0.0; LANES];
            for (scale, exponent) in scales.iter_mut().zip(exponents.as_chunks::<LANES>().0[half]) {
                *scale = half_power_of_two(exponent);
            }
            store_scales(simd, simd.load(&scales), f32::from(E2M1_ZERO), 0, half, out);
        }
        expand_indices(simd, codes, &E2M1_CODES, out);
    }
}

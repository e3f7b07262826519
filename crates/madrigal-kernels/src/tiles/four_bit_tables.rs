//! Formats whose nibbles index a table of values.

use super::{Format, Layout, NIBBLES, PANEL, Pair, Scales, halves, nibble_pair, pack_nibbles, times_signed_bytes};
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

/// A pair of nibbles, replaced by what they stand for.
#[inline(always)]
fn table_pair<S: Simd>(simd: S, from: &[u8], table: &[u8; 16], pair: usize) -> Pair<S> {
    let mut codes = nibble_pair(simd, from, pair);
    for codes in codes.as_flattened_mut() {
        *codes = simd.lookup(table, *codes);
    }
    codes
}

/// Scales, then nibbles.
#[derive(Clone, Copy)]
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
    fn codes<S: Simd>(simd: S, chunk: &[u8], _: usize, pair: usize) -> Pair<S> {
        table_pair(simd, &chunk[HALVES..], &IQ4_CODES, pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], _: usize, _: usize) -> Scales<S> {
        Scales::with_zero(simd, halves(simd, chunk), f32::from(IQ4_ZERO))
    }
}

/// A 16-bit factor, `[block][row]` signed scales, then nibbles block by block.
#[derive(Clone, Copy)]
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
    fn codes<S: Simd>(simd: S, chunk: &[u8], block: usize, pair: usize) -> Pair<S> {
        table_pair(simd, &chunk[Self::QUANTS + block * NIBBLES..][..NIBBLES], &IQ4_CODES, pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], block: usize, _: usize) -> Scales<S> {
        let scale = times_signed_bytes(simd, halves(simd, chunk), &chunk[HALVES + block * PANEL..][..PANEL]);
        Scales::with_zero(simd, scale, f32::from(IQ4_ZERO))
    }
}

/// Exponents, then nibbles.
#[derive(Clone, Copy)]
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
    fn codes<S: Simd>(simd: S, chunk: &[u8], _: usize, pair: usize) -> Pair<S> {
        table_pair(simd, &chunk[PANEL..], &E2M1_CODES, pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], _: usize, _: usize) -> Scales<S> {
        let mut scales = [[0.0; LANES]; 2];
        for (scale, exponent) in scales.as_flattened_mut().iter_mut().zip(chunk) {
            *scale = half_power_of_two(*exponent);
        }
        Scales::with_zero(simd, [simd.load(&scales[0]), simd.load(&scales[1])], f32::from(E2M1_ZERO))
    }
}

//! Formats of blocks of 32 with their own 16-bit scale.

use super::{
    Columns, Format, GROUPS, Layout, NIBBLES, PANEL, expand_nibbles, halves, pack_bytes, pack_nibbles, planes,
    store_scales,
};
use crate::block::legacy::five_bits;
use crate::block::nibbles;
use crate::simd::{BLOCK, Simd};

/// The scales of a chunk: 32 of 16 bits.
const SCALES: usize = 2 * PANEL;

/// Copies the 16-bit number at `at` of every block to the front of `chunk`.
fn pack_scales(blocks: &[&[u8]; PANEL], at: usize, chunk: &mut [u8]) {
    for (scale, block) in chunk.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
        scale.copy_from_slice(&block[at..at + 2]);
    }
}

/// Scales, then 1,024 bytes `[group][half][64]`, 128 more than the weight.
pub(crate) struct Q8_0;

impl Format for Q8_0 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: SCALES + BLOCK * PANEL, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (scales, codes) = chunk.split_at_mut(SCALES);
        pack_scales(blocks, 0, scales);
        let mut bytes = [[0; BLOCK]; PANEL];
        for (bytes, block) in bytes.iter_mut().zip(blocks) {
            for (byte, quant) in bytes.iter_mut().zip(&block[2..]) {
                *byte = quant ^ 0x80;
            }
        }
        pack_bytes(&bytes, codes);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        let (scales, codes) = chunk.split_at(SCALES);
        for half in 0..2 {
            store_scales(simd, halves(simd, scales, half), 128.0, 0, half, out);
        }
        let codes = codes.as_chunks::<64>().0;
        for group in 0..GROUPS {
            for half in 0..2 {
                out.codes[group][half] = codes[group * 2 + half];
            }
        }
    }
}

/// Scales, then nibbles, 8 more than the weight.
pub(crate) struct Q4_0;

impl Format for Q4_0 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: SCALES + NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (scales, codes) = chunk.split_at_mut(SCALES);
        pack_scales(blocks, 0, scales);
        pack_nibbles(&blocks.map(|block| nibbles(&block[2..])), codes);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        let (scales, nibbles) = chunk.split_at(SCALES);
        for half in 0..2 {
            store_scales(simd, halves(simd, scales, half), 8.0, 0, half, out);
        }
        expand_nibbles(nibbles, out);
    }
}

/// Scales, minima, then nibbles.
pub(crate) struct Q4_1;

impl Format for Q4_1 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: 2 * SCALES + NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_scales(blocks, 0, &mut chunk[..SCALES]);
        pack_scales(blocks, 2, &mut chunk[SCALES..2 * SCALES]);
        pack_nibbles(&blocks.map(|block| nibbles(&block[4..])), &mut chunk[2 * SCALES..]);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        store_scales_and_minima(simd, chunk, out);
        expand_nibbles(&chunk[2 * SCALES..], out);
    }
}

/// Scales, nibbles, then fifth bits; 16 more than the weight.
pub(crate) struct Q5_0;

impl Format for Q5_0 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: SCALES + NIBBLES + planes::bytes(1), span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (scales, codes) = chunk.split_at_mut(SCALES);
        pack_scales(blocks, 0, scales);
        pack_five_bits(&blocks.map(|block| five_bits(&block[2..6], &block[6..])), codes);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        let (scales, codes) = chunk.split_at(SCALES);
        for half in 0..2 {
            store_scales(simd, halves(simd, scales, half), 16.0, 0, half, out);
        }
        expand_five_bits(codes, out);
    }
}

/// Scales, minima, nibbles, then fifth bits.
pub(crate) struct Q5_1;

impl Format for Q5_1 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: 2 * SCALES + NIBBLES + planes::bytes(1), span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_scales(blocks, 0, &mut chunk[..SCALES]);
        pack_scales(blocks, 2, &mut chunk[SCALES..2 * SCALES]);
        pack_five_bits(&blocks.map(|block| five_bits(&block[4..8], &block[8..])), &mut chunk[2 * SCALES..]);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        store_scales_and_minima(simd, chunk, out);
        expand_five_bits(&chunk[2 * SCALES..], out);
    }
}

/// Nibbles, then fifth bits.
pub(super) fn pack_five_bits(codes: &[[u8; BLOCK]; PANEL], out: &mut [u8]) {
    let (low, high) = out.split_at_mut(NIBBLES);
    pack_nibbles(codes, low);
    planes::pack::<1, 4>(codes, high);
}

/// Takes [`pack_five_bits`] back.
#[inline(always)]
pub(super) fn expand_five_bits(from: &[u8], out: &mut Columns) {
    let (low, high) = from.split_at(NIBBLES);
    expand_nibbles(low, out);
    planes::expand::<1, 4>(high, out);
}

/// A file's minima are added to the products, those of [`Columns`] subtracted.
#[inline(always)]
fn store_scales_and_minima<S: Simd>(simd: S, chunk: &[u8], out: &mut Columns) {
    for half in 0..2 {
        simd.store(halves(simd, chunk, half), &mut out.scales[0][half]);
        let min = simd.mul(halves(simd, &chunk[SCALES..], half), simd.splat(-1.0));
        simd.store(min, &mut out.mins[0][half]);
    }
}

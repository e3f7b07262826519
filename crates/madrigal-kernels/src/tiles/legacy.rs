//! Formats of blocks of 32 with their own 16-bit scale.

use super::{Format, Layout, NIBBLES, PANEL, Pair, Scales, halves, nibble_pair, pack_bytes, pack_nibbles, planes};
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
#[derive(Clone, Copy)]
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
    fn codes<S: Simd>(simd: S, chunk: &[u8], _: usize, pair: usize) -> Pair<S> {
        let [a, b, c, d] = &chunk[SCALES..].as_chunks::<64>().0.as_chunks::<4>().0[pair];
        [[simd.load_codes(a), simd.load_codes(b)], [simd.load_codes(c), simd.load_codes(d)]]
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], _: usize, _: usize) -> Scales<S> {
        Scales::with_zero(simd, halves(simd, chunk), 128.0)
    }
}

/// Scales, then nibbles, 8 more than the weight.
#[derive(Clone, Copy)]
pub(crate) struct Q4_0;

impl Format for Q4_0 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: SCALES + NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (scales, codes) = chunk.split_at_mut(SCALES);
        pack_scales(blocks, 0, scales);
        pack_nibbles(&blocks.map(|block| nibbles(&block[2..])), codes);
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], _: usize, pair: usize) -> Pair<S> {
        nibble_pair(simd, &chunk[SCALES..], pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], _: usize, _: usize) -> Scales<S> {
        Scales::with_zero(simd, halves(simd, chunk), 8.0)
    }
}

/// Scales, minima, then nibbles.
#[derive(Clone, Copy)]
pub(crate) struct Q4_1;

impl Format for Q4_1 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: 2 * SCALES + NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_scales(blocks, 0, &mut chunk[..SCALES]);
        pack_scales(blocks, 2, &mut chunk[SCALES..2 * SCALES]);
        pack_nibbles(&blocks.map(|block| nibbles(&block[4..])), &mut chunk[2 * SCALES..]);
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], _: usize, pair: usize) -> Pair<S> {
        nibble_pair(simd, &chunk[2 * SCALES..], pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], _: usize, _: usize) -> Scales<S> {
        scales_and_minima(simd, chunk)
    }
}

/// Scales, nibbles, then fifth bits; 16 more than the weight.
#[derive(Clone, Copy)]
pub(crate) struct Q5_0;

impl Format for Q5_0 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: SCALES + NIBBLES + planes::bytes(1), span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (scales, codes) = chunk.split_at_mut(SCALES);
        pack_scales(blocks, 0, scales);
        pack_five_bits(&blocks.map(|block| five_bits(&block[2..6], &block[6..])), codes);
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], _: usize, pair: usize) -> Pair<S> {
        five_bit_pair(simd, &chunk[SCALES..], pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], _: usize, _: usize) -> Scales<S> {
        Scales::with_zero(simd, halves(simd, chunk), 16.0)
    }
}

/// Scales, minima, nibbles, then fifth bits.
#[derive(Clone, Copy)]
pub(crate) struct Q5_1;

impl Format for Q5_1 {
    const LAYOUT: Layout = Layout { cols: 32, bytes: 2 * SCALES + NIBBLES + planes::bytes(1), span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_scales(blocks, 0, &mut chunk[..SCALES]);
        pack_scales(blocks, 2, &mut chunk[SCALES..2 * SCALES]);
        pack_five_bits(&blocks.map(|block| five_bits(&block[4..8], &block[8..])), &mut chunk[2 * SCALES..]);
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], _: usize, pair: usize) -> Pair<S> {
        five_bit_pair(simd, &chunk[2 * SCALES..], pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], _: usize, _: usize) -> Scales<S> {
        scales_and_minima(simd, chunk)
    }
}

/// Nibbles, then fifth bits.
pub(super) fn pack_five_bits(codes: &[[u8; BLOCK]; PANEL], out: &mut [u8]) {
    let (low, high) = out.split_at_mut(NIBBLES);
    pack_nibbles(codes, low);
    planes::pack::<1, 4>(codes, high);
}

/// A pair of [`pack_five_bits`].
#[inline(always)]
pub(super) fn five_bit_pair<S: Simd>(simd: S, from: &[u8], pair: usize) -> Pair<S> {
    let (low, high) = from.split_at(NIBBLES);
    planes::above(simd, nibble_pair(simd, low, pair), planes::pair::<S, 1>(simd, high, pair), 4)
}

/// A file's minima are added to the products, those of [`Scales`] subtracted.
#[inline(always)]
fn scales_and_minima<S: Simd>(simd: S, chunk: &[u8]) -> Scales<S> {
    let (min, minus) = (halves(simd, &chunk[SCALES..]), simd.splat(-1.0));
    Scales { scale: halves(simd, chunk), min: [simd.mul(min[0], minus), simd.mul(min[1], minus)] }
}

//! Formats of blocks of 256 with scales of their own for every 16 or 32 weights.

use super::legacy::{five_bit_pair, pack_five_bits};
use super::{
    Format, Layout, NIBBLES, PANEL, Pair, Scales, halves, nibble_pair, pack_nibbles, planes, times_bytes,
    times_signed_bytes,
};
use crate::block::k_quants::{five_bits, six_bit_pairs, six_bit_scales_of_16, three_bits, two_bits};
use crate::simd::{BLOCK, Simd};

/// Blocks of 32 in a chunk.
const BLOCKS: usize = 8;
/// One 16-bit number for each row.
const HALVES: usize = 2 * PANEL;

/// Copies the 16-bit number at `at` of every source block to the front of `chunk`.
fn pack_halves(blocks: &[&[u8]; PANEL], at: usize, chunk: &mut [u8]) {
    for (half, block) in chunk.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
        half.copy_from_slice(&block[at..at + 2]);
    }
}

/// Scales and minima of all rows, `[block][scale or minimum][row]` bytes, then nibbles block by block; in front the 16-bit
/// factors of both.
#[derive(Clone, Copy)]
pub(crate) struct Q4K;

impl Q4K {
    const SCALES: usize = 2 * HALVES;
    const QUANTS: usize = Self::SCALES + BLOCKS * 2 * PANEL;

    fn pack_scales(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_halves(blocks, 0, &mut chunk[..HALVES]);
        pack_halves(blocks, 2, &mut chunk[HALVES..Self::SCALES]);
        for (row, source) in blocks.iter().enumerate() {
            for (block, (scale, min)) in six_bit_pairs(&source[4..16]).into_iter().enumerate() {
                let at = Self::SCALES + block * 2 * PANEL + row;
                (chunk[at], chunk[at + PANEL]) = (scale, min);
            }
        }
    }

    #[inline(always)]
    fn scales_of<S: Simd>(simd: S, chunk: &[u8], block: usize) -> Scales<S> {
        let (scales, mins) = chunk[Self::SCALES + block * 2 * PANEL..][..2 * PANEL].split_at(PANEL);
        Scales {
            scale: times_bytes(simd, halves(simd, chunk), scales),
            min: times_bytes(simd, halves(simd, &chunk[HALVES..]), mins),
        }
    }
}

impl Format for Q4K {
    const LAYOUT: Layout = Layout { cols: 256, bytes: Self::QUANTS + BLOCKS * NIBBLES, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        Self::pack_scales(blocks, chunk);
        for block in 0..BLOCKS {
            let mut codes = [[0; BLOCK]; PANEL];
            for (codes, source) in codes.iter_mut().zip(blocks) {
                // 64 weights share 32 bytes: the first 32 in the low halves.
                let bytes = &source[16 + block / 2 * BLOCK..][..BLOCK];
                for (code, byte) in codes.iter_mut().zip(bytes) {
                    *code = byte >> (block % 2 * 4) & 15;
                }
            }
            pack_nibbles(&codes, &mut chunk[Self::QUANTS + block * NIBBLES..][..NIBBLES]);
        }
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], block: usize, pair: usize) -> Pair<S> {
        nibble_pair(simd, &chunk[Self::QUANTS + block * NIBBLES..][..NIBBLES], pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], block: usize, _: usize) -> Scales<S> {
        Self::scales_of(simd, chunk, block)
    }
}

/// A 16-bit factor, then `[span of 16][row]` signed scales, then block by block the low nibbles and the upper two bits;
/// codes are 32 more than the weight.
#[derive(Clone, Copy)]
pub(crate) struct Q6K;

impl Q6K {
    const UPPER: usize = planes::bytes(2);
    const QUANTS: usize = HALVES + 2 * BLOCKS * PANEL;
}

impl Format for Q6K {
    const LAYOUT: Layout = Layout { cols: 256, bytes: Self::QUANTS + BLOCKS * (NIBBLES + Self::UPPER), span: 16 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_halves(blocks, 208, &mut chunk[..HALVES]);
        for (row, source) in blocks.iter().enumerate() {
            for (span, scale) in source[192..208].iter().enumerate() {
                chunk[HALVES + span * PANEL + row] = *scale;
            }
        }
        for block in 0..BLOCKS {
            let mut codes = [[0; BLOCK]; PANEL];
            for (codes, source) in codes.iter_mut().zip(blocks) {
                // 128 weights share 64 bytes of nibbles and 32 of upper bits.
                let (part, quarter) = (block / 4, block % 4);
                let low = &source[part * 64 + quarter % 2 * 32..][..BLOCK];
                let upper = &source[128 + part * 32..][..BLOCK];
                for ((code, low), upper) in codes.iter_mut().zip(low).zip(upper) {
                    *code = low >> (quarter / 2 * 4) & 15 | (upper >> (2 * quarter) & 3) << 4;
                }
            }
            let quants = &mut chunk[Self::QUANTS + block * (NIBBLES + Self::UPPER)..][..NIBBLES + Self::UPPER];
            let (nibbles, upper) = quants.split_at_mut(NIBBLES);
            pack_nibbles(&codes, nibbles);
            planes::pack::<2, 4>(&codes, upper);
        }
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], block: usize, pair: usize) -> Pair<S> {
        let quants = &chunk[Self::QUANTS + block * (NIBBLES + Self::UPPER)..][..NIBBLES + Self::UPPER];
        let (nibbles, upper) = quants.split_at(NIBBLES);
        planes::above(simd, nibble_pair(simd, nibbles, pair), planes::pair::<S, 2>(simd, upper, pair), 4)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], block: usize, span: usize) -> Scales<S> {
        let scales = &chunk[HALVES + (2 * block + span) * PANEL..][..PANEL];
        Scales::with_zero(simd, times_signed_bytes(simd, halves(simd, chunk), scales), 32.0)
    }
}

/// The factors of scales and minima, `[span of 16][row]` scales in the low and minima in the high halves of bytes, then
/// codes of 2 bits block by block.
#[derive(Clone, Copy)]
pub(crate) struct Q2K;

impl Q2K {
    const SCALES: usize = 2 * HALVES;
    const QUANTS: usize = Self::SCALES + 2 * BLOCKS * PANEL;
}

impl Format for Q2K {
    const LAYOUT: Layout = Layout { cols: 256, bytes: Self::QUANTS + BLOCKS * planes::bytes(2), span: 16 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_halves(blocks, 80, &mut chunk[..HALVES]);
        pack_halves(blocks, 82, &mut chunk[HALVES..Self::SCALES]);
        pack_row_bytes(&blocks.map(|source| &source[..16]), &mut chunk[Self::SCALES..Self::QUANTS]);
        let codes = blocks.map(|source| two_bits(&source[16..80]));
        for (block, quants) in chunk[Self::QUANTS..].chunks_exact_mut(planes::bytes(2)).enumerate() {
            planes::pack::<2, 0>(&columns_of(&codes, block), quants);
        }
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], block: usize, pair: usize) -> Pair<S> {
        planes::pair::<S, 2>(simd, &chunk[Self::QUANTS + block * planes::bytes(2)..][..planes::bytes(2)], pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], block: usize, span: usize) -> Scales<S> {
        let pairs = &chunk[Self::SCALES + (2 * block + span) * PANEL..].as_chunks::<PANEL>().0[0];
        let (mut scales, mut mins) = ([0; PANEL], [0; PANEL]);
        for ((scale, min), pair) in scales.iter_mut().zip(&mut mins).zip(pairs) {
            (*scale, *min) = (pair & 15, pair >> 4);
        }
        Scales {
            scale: times_bytes(simd, halves(simd, chunk), &scales),
            min: times_bytes(simd, halves(simd, &chunk[HALVES..]), &mins),
        }
    }
}

/// A 16-bit factor, `[span of 16][row]` signed scales, then block by block two bits and the third; codes are 4 more than
/// the weight.
#[derive(Clone, Copy)]
pub(crate) struct Q3K;

impl Q3K {
    const QUANTS: usize = HALVES + 2 * BLOCKS * PANEL;
    const SHARE: usize = planes::bytes(2) + planes::bytes(1);
}

impl Format for Q3K {
    const LAYOUT: Layout = Layout { cols: 256, bytes: Self::QUANTS + BLOCKS * Self::SHARE, span: 16 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        pack_halves(blocks, 108, &mut chunk[..HALVES]);
        let scales = blocks.map(|source| six_bit_scales_of_16(&source[96..108]).map(|scale| scale as u8));
        pack_row_bytes(&scales.each_ref().map(|scales| &scales[..]), &mut chunk[HALVES..Self::QUANTS]);
        let codes = blocks.map(|source| three_bits(&source[..32], &source[32..96]));
        for (block, quants) in chunk[Self::QUANTS..].chunks_exact_mut(Self::SHARE).enumerate() {
            let codes = columns_of(&codes, block);
            let (low, high) = quants.split_at_mut(planes::bytes(2));
            planes::pack::<2, 0>(&codes, low);
            planes::pack::<1, 2>(&codes, high);
        }
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], block: usize, pair: usize) -> Pair<S> {
        let (low, high) = chunk[Self::QUANTS + block * Self::SHARE..][..Self::SHARE].split_at(planes::bytes(2));
        planes::above(simd, planes::pair::<S, 2>(simd, low, pair), planes::pair::<S, 1>(simd, high, pair), 2)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], block: usize, span: usize) -> Scales<S> {
        let scales = &chunk[HALVES + (2 * block + span) * PANEL..][..PANEL];
        Scales::with_zero(simd, times_signed_bytes(simd, halves(simd, chunk), scales), 4.0)
    }
}

/// As [`Q4K`], with the fifth bits of a block after its nibbles.
#[derive(Clone, Copy)]
pub(crate) struct Q5K;

impl Q5K {
    const SHARE: usize = NIBBLES + planes::bytes(1);
}

impl Format for Q5K {
    const LAYOUT: Layout = Layout { cols: 256, bytes: Q4K::QUANTS + BLOCKS * Self::SHARE, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        Q4K::pack_scales(blocks, chunk);
        let codes = blocks.map(|source| five_bits(&source[16..48], &source[48..]));
        for (block, quants) in chunk[Q4K::QUANTS..].chunks_exact_mut(Self::SHARE).enumerate() {
            pack_five_bits(&columns_of(&codes, block), quants);
        }
    }

    #[inline(always)]
    fn codes<S: Simd>(simd: S, chunk: &[u8], block: usize, pair: usize) -> Pair<S> {
        five_bit_pair(simd, &chunk[Q4K::QUANTS + block * Self::SHARE..][..Self::SHARE], pair)
    }

    #[inline(always)]
    fn scales<S: Simd>(simd: S, chunk: &[u8], block: usize, _: usize) -> Scales<S> {
        Q4K::scales_of(simd, chunk, block)
    }
}

/// Writes bytes that every row has, `[byte][row]`.
fn pack_row_bytes(rows: &[&[u8]; PANEL], out: &mut [u8]) {
    for (row, bytes) in rows.iter().enumerate() {
        for (out, byte) in out.as_chunks_mut::<PANEL>().0.iter_mut().zip(*bytes) {
            out[row] = *byte;
        }
    }
}

/// The 32 columns of all rows that `block` counts.
fn columns_of(codes: &[[u8; 256]; PANEL], block: usize) -> [[u8; BLOCK]; PANEL] {
    codes.each_ref().map(|codes| codes.as_chunks().0[block])
}

//! Formats of blocks of 32 with their own 16-bit scale.

use super::{
    Columns, Format, GROUPS, Layout, PANEL, expand_nibbles, halves, pack_bytes, pack_nibbles, prefetch, store_scales,
};
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
        prefetch(simd, &chunk[..Self::LAYOUT.bytes]);
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
    const LAYOUT: Layout = Layout { cols: 32, bytes: SCALES + BLOCK / 2 * PANEL, span: 32 };

    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]) {
        let (scales, nibbles) = chunk.split_at_mut(SCALES);
        pack_scales(blocks, 0, scales);
        let mut codes = [[0; BLOCK]; PANEL];
        for (codes, block) in codes.iter_mut().zip(blocks) {
            for (i, byte) in block[2..].iter().enumerate() {
                (codes[i], codes[i + BLOCK / 2]) = (byte & 15, byte >> 4);
            }
        }
        pack_nibbles(&codes, nibbles);
    }

    #[inline(always)]
    fn expand<S: Simd>(simd: S, chunk: &[u8], _: usize, out: &mut Columns) {
        prefetch(simd, &chunk[..Self::LAYOUT.bytes]);
        let (scales, nibbles) = chunk.split_at(SCALES);
        for half in 0..2 {
            store_scales(simd, halves(simd, scales, half), 8.0, 0, half, out);
        }
        expand_nibbles(nibbles, out);
    }
}

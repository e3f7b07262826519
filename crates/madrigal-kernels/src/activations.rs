//! The input rows of a matrix product, as floats and as quantised blocks.
//!
//! Owns the rounding of activations to 15 bits. It is the same arithmetic on every instruction
//! set, block by block, so a row's blocks do not depend on the rows around it.

use crate::Kernels;
use crate::simd::{BLOCK, LANES, Op, Simd};

/// Four products with weights of 8 bits still add up to an integer that an `f32` holds exactly:
/// `4 * 16383 * 128 < 2^24`. With 8 bits here, what is rounded off moves the log-probabilities of
/// small models by more than 0.3, and on AVX2 the products cost the same.
const LARGEST_QUANT: f32 = 16_383.0;

/// 32 activations as `scale * quants[i]`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Quantised {
    /// NaN or infinite if an activation was, so that bad values stay visible in the result.
    pub(crate) scale: f32,
    /// In `-LARGEST_QUANT..=LARGEST_QUANT`.
    pub(crate) quants: [i16; BLOCK],
}

/// Rows of activations, in a buffer that is reused from call to call.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    rows: usize,
    cols: usize,
    /// `[rows, stride]`; the padding is zero.
    values: Vec<f32>,
    /// `cols` rounded up to whole vectors.
    stride: usize,
    /// `[rows, cols / 32]`; empty unless `cols` is a multiple of 32.
    blocks: Vec<Quantised>,
}

impl Activations {
    /// An empty buffer.
    #[must_use]
    pub fn new() -> Activations {
        Activations::default()
    }

    /// Takes over `x`, `[rows, cols]`.
    pub fn load(&mut self, kernels: &Kernels, x: &[f32], rows: usize, cols: usize) {
        assert_eq!(Some(x.len()), rows.checked_mul(cols), "activations are not [{rows}, {cols}]");
        self.rows = rows;
        self.cols = cols;
        self.stride = cols.next_multiple_of(LANES);
        self.values.clear();
        if self.stride == cols {
            self.values.extend_from_slice(x);
        } else {
            for row in x.chunks_exact(cols) {
                self.values.extend_from_slice(row);
                self.values.resize(self.values.len() + self.stride - cols, 0.0);
            }
        }
        let blocks = if cols.is_multiple_of(BLOCK) { x.len() / BLOCK } else { 0 };
        self.blocks.resize(blocks, Quantised::default());
        // Blocks a thread takes at a time: enough to be worth waking it.
        const CHUNK: usize = 128;
        let dispatch = kernels.dispatch;
        kernels.pool.for_chunks(&mut self.blocks, CHUNK, |_, index, blocks| {
            let x = &x[index * CHUNK * BLOCK..][..blocks.len() * BLOCK];
            dispatch.run(Quantise { x, blocks });
        });
    }

    /// Rows loaded.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements in a row.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// One row, padded with zeros to whole vectors.
    pub(crate) fn values(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.stride]
    }

    /// One row's blocks; only if `cols` is a multiple of 32.
    pub(crate) fn blocks(&self, row: usize) -> &[Quantised] {
        let blocks = self.cols / BLOCK;
        &self.blocks[row * blocks..][..blocks]
    }
}

struct Quantise<'a> {
    x: &'a [f32],
    blocks: &'a mut [Quantised],
}

impl Op for Quantise<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        for (x, block) in self.x.as_chunks::<BLOCK>().0.iter().zip(self.blocks) {
            quantise(x, block);
        }
    }
}

#[inline(always)]
fn quantise(x: &[f32; BLOCK], block: &mut Quantised) {
    // As integers, magnitudes are ordered like the floats, with NaN above infinity.
    let mut largest = [0i32; LANES];
    for x in x.as_chunks::<LANES>().0 {
        for (largest, x) in largest.iter_mut().zip(x) {
            *largest = (*largest).max((x.to_bits() & 0x7fff_ffff) as i32);
        }
    }
    let largest = largest.into_iter().fold(0, i32::max);
    let largest = f32::from_bits(largest as u32);
    block.scale = largest / LARGEST_QUANT;
    // The reciprocal of a tiny scale overflows; such a block's values are below 1e-34.
    let inverse = LARGEST_QUANT / largest;
    let inverse = if inverse.is_finite() && largest.is_finite() { inverse } else { 0.0 };
    // Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    for (quant, x) in block.quants.iter_mut().zip(x) {
        let shifted = x * inverse + ROUND;
        *quant = shifted.to_bits() as i16;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_round_to_nearest_and_keep_bad_values_visible() {
        let mut x = [0.0f32; BLOCK];
        x[..5].copy_from_slice(&[16383.0, -16382.5, 0.5, 1.5, -2.6]);
        let mut block = Quantised::default();
        quantise(&x, &mut block);
        assert_eq!(block.scale, 1.0);
        assert_eq!(block.quants[..6], [16383, -16382, 0, 2, -3, 0]);

        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[7] = bad;
            quantise(&x, &mut block);
            assert!(!block.scale.is_finite(), "{bad}");
            assert_eq!(block.quants[7], 0);
        }

        quantise(&[0.0; BLOCK], &mut block);
        assert_eq!(block, Quantised::default());
        quantise(&[1e-45; BLOCK], &mut block);
        assert_eq!(block.quants, [0; BLOCK]);
    }
}

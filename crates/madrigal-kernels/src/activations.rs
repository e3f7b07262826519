//! The input rows of matrix products, as floats and as quantised blocks, and the steps that make them: norms and gates.
//!
//! Owns the rounding of activations to 14 bits. It is the same arithmetic on every instruction set, block by block, so a
//! row's blocks do not depend on the rows around it.

use crate::disjoint::Disjoint;
use crate::norm::normalise;
use crate::simd::{BLOCK, LANES, Op, Simd};
use crate::{Gate, Kernels};

/// With 13 bits and a sign, rounding activations moves the log-probabilities of small models by less than bf16 keys and
/// values do; with 8 bits in all, by more than 0.5. Two parts of 7 bits are products of bytes that neither saturate in
/// 16 bits beside weights of up to 8 bits (AVX2) nor need an unsigned operand (NEON).
const LARGEST: f32 = 8191.0;

/// 32 activations: `scale * (128 * high[i] + low[i])`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[repr(C, align(16))]
pub(crate) struct Block {
    /// In `-64..=64`.
    pub(crate) high: [i8; BLOCK],
    /// In `-64..=63`.
    pub(crate) low: [i8; BLOCK],
    /// NaN or infinite if an activation was, so that bad values stay visible in the result.
    pub(crate) scale: f32,
    /// Minus the sum of all rounded activations.
    pub(crate) minus_sum: f32,
    /// Minus the sums of either half.
    pub(crate) minus_halves: [f32; 2],
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
    blocks: Vec<Block>,
}

/// Where a row of activations comes from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// `[rows, cols]`.
    Plain(&'a [f32]),
    /// `[rows, cols]`, to be normalised.
    Normed { x: &'a [f32], weight: &'a [f32], eps: f32 },
    /// Both `[rows, cols]`.
    Gated { kind: Gate, gate: &'a [f32], up: &'a [f32] },
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
        self.fill(kernels, rows, cols, Source::Plain(x));
    }

    /// Takes over `x / sqrt(mean(x²) + eps) * weight`, row by row; `x` is `[rows, weight.len()]`.
    pub fn load_normed(&mut self, kernels: &Kernels, x: &[f32], weight: &[f32], eps: f32, rows: usize) {
        let cols = weight.len();
        assert_eq!(Some(x.len()), rows.checked_mul(cols), "activations are not [{rows}, {cols}]");
        self.fill(kernels, rows, cols, Source::Normed { x, weight, eps });
    }

    /// Takes over what `kind` makes of `gate` and `up`, `[rows, gate.len() / rows]` both.
    pub fn load_gated(&mut self, kernels: &Kernels, kind: Gate, gate: &[f32], up: &[f32], rows: usize) {
        let cols = gate.len().checked_div(rows).unwrap_or(0);
        assert_eq!(Some(gate.len()), rows.checked_mul(cols), "gates are not [{rows}, {cols}]");
        assert_eq!(gate.len(), up.len(), "gate of {} elements, up of {}", gate.len(), up.len());
        self.fill(kernels, rows, cols, Source::Gated { kind, gate, up });
    }

    fn fill(&mut self, kernels: &Kernels, rows: usize, cols: usize, source: Source<'_>) {
        (self.rows, self.cols, self.stride) = (rows, cols, cols.next_multiple_of(LANES));
        let per_row = if cols.is_multiple_of(BLOCK) { cols / BLOCK } else { 0 };
        // Everything up to these lengths is written below.
        self.values.resize(rows * self.stride, 0.0);
        self.blocks.resize(rows * per_row, Block::default());
        // Elements a thread takes at a time: enough to be worth waking it.
        const CHUNK: usize = 8192;
        let chunk = (CHUNK / cols.max(1)).max(1);
        let (values, blocks) = (&Disjoint::new(&mut self.values), &Disjoint::new(&mut self.blocks));
        let (dispatch, stride) = (kernels.dispatch, self.stride);
        kernels.pool.run(rows.div_ceil(chunk), &|_, unit| {
            let first = unit * chunk;
            let last = rows.min(first + chunk);
            let (values, blocks) = part(values, blocks, first * stride..last * stride, first * per_row..last * per_row);
            dispatch.run(Fill { source, first, cols, stride, values, blocks });
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

    /// One row as floats.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.cols]
    }

    /// One row, padded with zeros to whole vectors.
    pub(crate) fn padded(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.stride]
    }

    /// One row's blocks; only if `cols` is a multiple of 32.
    pub(crate) fn blocks(&self, row: usize) -> &[Block] {
        let blocks = self.cols / BLOCK;
        &self.blocks[row * blocks..][..blocks]
    }
}

#[expect(unsafe_code, reason = "two buffers are cut at the same rows")]
#[expect(clippy::mut_from_ref, reason = "units do not overlap")]
fn part<'a>(
    values: &'a Disjoint<'_, f32>,
    blocks: &'a Disjoint<'_, Block>,
    value_range: std::ops::Range<usize>,
    block_range: std::ops::Range<usize>,
) -> (&'a mut [f32], &'a mut [Block]) {
    // SAFETY: units are handed out once each, and the rows of two units do not overlap.
    unsafe { (values.slice(value_range), blocks.slice(block_range)) }
}

/// Rows `first..` of a source.
struct Fill<'a> {
    source: Source<'a>,
    first: usize,
    cols: usize,
    stride: usize,
    values: &'a mut [f32],
    blocks: &'a mut [Block],
}

impl Op for Fill<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Fill { source, first, cols, stride, values, blocks } = self;
        if cols == 0 {
            return;
        }
        let per_row = if cols.is_multiple_of(BLOCK) { cols / BLOCK } else { 0 };
        for (index, row) in values.chunks_exact_mut(stride).enumerate() {
            let from = (first + index) * cols..(first + index + 1) * cols;
            let (row, padding) = row.split_at_mut(cols);
            padding.fill(0.0);
            match source {
                Source::Plain(x) => row.copy_from_slice(&x[from]),
                Source::Normed { x, weight, eps } => {
                    row.copy_from_slice(&x[from]);
                    normalise(simd, row, weight, eps);
                }
                Source::Gated { kind, gate, up } => {
                    row.copy_from_slice(&gate[from.clone()]);
                    kind.apply(row, &up[from]);
                }
            }
            let blocks = &mut blocks[index * per_row..(index + 1) * per_row];
            for (x, block) in row.as_chunks::<BLOCK>().0.iter().zip(blocks) {
                quantise(x, block);
            }
        }
    }
}

#[inline(always)]
fn quantise(x: &[f32; BLOCK], block: &mut Block) {
    // As integers, magnitudes are ordered like the floats, with NaN above infinity.
    let mut largest = [0i32; LANES];
    for x in x.as_chunks::<LANES>().0 {
        for (largest, x) in largest.iter_mut().zip(x) {
            *largest = (*largest).max((x.to_bits() & 0x7fff_ffff) as i32);
        }
    }
    let largest = largest.into_iter().fold(0, i32::max);
    let largest = f32::from_bits(largest as u32);
    let scale = largest / LARGEST;
    // The reciprocal of a tiny scale overflows; such a block's values are below 1e-34.
    let inverse = LARGEST / largest;
    let inverse = if inverse.is_finite() && largest.is_finite() { inverse } else { 0.0 };
    // Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let mut quants = [0i32; BLOCK];
    for (quant, x) in quants.iter_mut().zip(x) {
        let shifted = x * inverse + ROUND;
        *quant = i32::from(shifted.to_bits() as i16);
    }
    for ((high, low), quant) in block.high.iter_mut().zip(&mut block.low).zip(quants) {
        let upper = (quant + 64) >> 7;
        *high = upper as i8;
        *low = (quant - (upper << 7)) as i8;
    }
    let mut halves = [0i32; 2];
    for (half, quants) in halves.iter_mut().zip(quants.as_chunks::<16>().0) {
        for quant in quants {
            *half += quant;
        }
    }
    block.scale = scale;
    block.minus_sum = -scale * (halves[0] + halves[1]) as f32;
    block.minus_halves = [-scale * halves[0] as f32, -scale * halves[1] as f32];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quants(block: &Block) -> Vec<i32> {
        block.high.iter().zip(&block.low).map(|(&high, &low)| 128 * i32::from(high) + i32::from(low)).collect()
    }

    #[test]
    fn blocks_round_to_nearest_and_keep_bad_values_visible() {
        let mut x = [0.0f32; BLOCK];
        x[..6].copy_from_slice(&[8191.0, -8190.5, 0.5, 1.5, -2.6, -8191.0]);
        x[20] = 64.0;
        let mut block = Block::default();
        quantise(&x, &mut block);
        assert_eq!(block.scale, 1.0);
        assert_eq!(quants(&block)[..7], [8191, -8190, 0, 2, -3, -8191, 0]);
        assert_eq!((block.minus_sum, block.minus_halves), (8127.0, [8191.0, -64.0]));
        assert!(block.high.iter().all(|high| (-64..=64).contains(high)));
        assert!(block.low.iter().all(|low| (-64..=63).contains(low)));

        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[7] = bad;
            quantise(&x, &mut block);
            assert!(!block.scale.is_finite(), "{bad}");
            assert_eq!(quants(&block)[7], 0);
        }

        quantise(&[0.0; BLOCK], &mut block);
        assert_eq!(block, Block::default());
        quantise(&[1e-45; BLOCK], &mut block);
        assert_eq!(quants(&block), [0; BLOCK]);
    }
}

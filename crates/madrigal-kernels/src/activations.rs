//! The input rows of matrix products, as floats and as quantised blocks, and the steps that make them: norms and gates.
//!
//! Owns the rounding of activations ([`Precision`]). It is the same arithmetic on every instruction set, block by block, so
//! a row's blocks do not depend on the rows around it.

use std::fmt;
use std::str::FromStr;

use crate::disjoint::Disjoint;
use crate::norm::normalise;
use crate::simd::{BLOCK, LANES, Op, Simd};
use crate::{BlockType, Gate, Kernels};

/// How finely activations are rounded before they meet quantised weights, in blocks of 32 with a scale each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// A byte each. Half the work of the other; only beside types whose codes have at most 7 bits
    /// ([`BlockType::takes_8_bits`]), so that two products of bytes fit in 16 bits (AVX2).
    Bits8,
    /// Two parts of 7 bits, which fit beside codes of 8 bits too.
    #[default]
    Bits14,
}

/// A text that names no precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown number of bits `{0}`; use one of: 8, 14")]
pub struct UnknownPrecision(String);

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::Bits8 => "8",
            Precision::Bits14 => "14",
        })
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        match name {
            "8" => Ok(Precision::Bits8),
            "14" => Ok(Precision::Bits14),
            _ => Err(UnknownPrecision(name.to_owned())),
        }
    }
}

impl Precision {
    /// This, or the finer one if one of the matrices that the activations are to meet needs it.
    #[must_use]
    pub fn beside(self, kinds: impl IntoIterator<Item = BlockType>) -> Precision {
        if kinds.into_iter().all(BlockType::takes_8_bits) { self } else { Precision::Bits14 }
    }

    /// The largest rounded magnitude.
    const fn largest(self) -> f32 {
        match self {
            Precision::Bits8 => 127.0,
            Precision::Bits14 => 8191.0,
        }
    }
}

/// 32 activations: `scale * codes[0][i]`, or in two parts `scale * (128 * codes[0][i] + codes[1][i])`.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(16))]
pub(crate) struct Block<const PARTS: usize> {
    /// One part lies in `-127..=127`, two in `-64..=64` and `-64..=63`.
    pub(crate) codes: [[i8; BLOCK]; PARTS],
    /// NaN or infinite if an activation was, so that bad values stay visible in the result.
    pub(crate) scale: f32,
    /// Minus the sum of all rounded activations.
    pub(crate) minus_sum: f32,
    /// Minus the sums of either half.
    pub(crate) minus_halves: [f32; 2],
}

impl<const PARTS: usize> Block<PARTS> {
    const ZERO: Self = Block { codes: [[0; BLOCK]; PARTS], scale: 0.0, minus_sum: 0.0, minus_halves: [0.0; 2] };
}

/// Rows of activations, in a buffer that is reused from call to call.
#[derive(Debug, Clone, Default)]
pub struct Activations {
    precision: Precision,
    rows: usize,
    cols: usize,
    /// `[rows, stride]`; the padding is zero.
    values: Vec<f32>,
    /// `cols` rounded up to whole vectors.
    stride: usize,
    /// `[rows, cols / 32]` of the precision in use; empty unless `cols` is a multiple of 32.
    bytes: Vec<Block<1>>,
    pairs: Vec<Block<2>>,
}

/// Rounded activations, `[rows, cols / 32]`.
#[derive(Clone, Copy)]
pub(crate) enum Rounded<'a> {
    Bits8(&'a [Block<1>]),
    Bits14(&'a [Block<2>]),
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
    pub fn load(&mut self, kernels: &Kernels, precision: Precision, x: &[f32], rows: usize, cols: usize) {
        assert_eq!(Some(x.len()), rows.checked_mul(cols), "activations are not [{rows}, {cols}]");
        self.fill(kernels, precision, rows, cols, Source::Plain(x));
    }

    /// Takes over `x / sqrt(mean(x²) + eps) * weight`, row by row; `x` is `[rows, weight.len()]`.
    pub fn load_normed(
        &mut self,
        kernels: &Kernels,
        precision: Precision,
        x: &[f32],
        weight: &[f32],
        eps: f32,
        rows: usize,
    ) {
        let cols = weight.len();
        assert_eq!(Some(x.len()), rows.checked_mul(cols), "activations are not [{rows}, {cols}]");
        self.fill(kernels, precision, rows, cols, Source::Normed { x, weight, eps });
    }

    /// Takes over what `kind` makes of `gate` and `up`, `[rows, gate.len() / rows]` both.
    pub fn load_gated(
        &mut self,
        kernels: &Kernels,
        precision: Precision,
        kind: Gate,
        gate: &[f32],
        up: &[f32],
        rows: usize,
    ) {
        let cols = gate.len().checked_div(rows).unwrap_or(0);
        assert_eq!(Some(gate.len()), rows.checked_mul(cols), "gates are not [{rows}, {cols}]");
        assert_eq!(gate.len(), up.len(), "gate of {} elements, up of {}", gate.len(), up.len());
        self.fill(kernels, precision, rows, cols, Source::Gated { kind, gate, up });
    }

    fn fill(&mut self, kernels: &Kernels, precision: Precision, rows: usize, cols: usize, source: Source<'_>) {
        self.precision = precision;
        (self.rows, self.cols, self.stride) = (rows, cols, cols.next_multiple_of(LANES));
        let shape = Shape { cols, stride: self.stride, blocks: cols / BLOCK * usize::from(cols.is_multiple_of(BLOCK)) };
        // Everything up to these lengths is written below.
        self.values.resize(rows * self.stride, 0.0);
        match precision {
            Precision::Bits8 => {
                self.bytes.resize(rows * shape.blocks, Block::ZERO);
                fill(kernels, source, shape, &mut self.values, &mut self.bytes);
            }
            Precision::Bits14 => {
                self.pairs.resize(rows * shape.blocks, Block::ZERO);
                fill(kernels, source, shape, &mut self.values, &mut self.pairs);
            }
        }
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

    /// How the blocks are rounded.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The blocks of all rows; only if `cols` is a multiple of 32.
    pub(crate) fn rounded(&self) -> Rounded<'_> {
        match self.precision {
            Precision::Bits8 => Rounded::Bits8(&self.bytes),
            Precision::Bits14 => Rounded::Bits14(&self.pairs),
        }
    }
}

/// Sizes of a row.
#[derive(Clone, Copy)]
struct Shape {
    cols: usize,
    stride: usize,
    blocks: usize,
}

/// Fills all rows.
#[expect(unsafe_code, reason = "two buffers are cut at the same rows")]
fn fill<const PARTS: usize>(
    kernels: &Kernels,
    source: Source<'_>,
    shape: Shape,
    values: &mut [f32],
    blocks: &mut [Block<PARTS>],
) {
    // Elements a thread takes at a time: enough to be worth waking it.
    const CHUNK: usize = 8192;
    let chunk = (CHUNK / shape.cols.max(1)).max(1);
    let rows = values.len().checked_div(shape.stride).unwrap_or(0);
    let (values, blocks) = (&Disjoint::new(values), &Disjoint::new(blocks));
    let dispatch = kernels.dispatch;
    kernels.pool.run(rows.div_ceil(chunk), &|_, unit| {
        let (first, last) = (unit * chunk, rows.min((unit + 1) * chunk));
        // SAFETY: units are handed out once each, and the rows of two units do not overlap.
        let (values, blocks) = unsafe {
            (
                values.slice(first * shape.stride..last * shape.stride),
                blocks.slice(first * shape.blocks..last * shape.blocks),
            )
        };
        dispatch.run(Fill { source, first, shape, values, blocks });
    });
}

/// Rows `first..` of a source.
struct Fill<'a, const PARTS: usize> {
    source: Source<'a>,
    first: usize,
    shape: Shape,
    values: &'a mut [f32],
    blocks: &'a mut [Block<PARTS>],
}

impl<const PARTS: usize> Op for Fill<'_, PARTS> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Fill { source, first, shape: Shape { cols, stride, blocks: per_row }, values, blocks } = self;
        for (index, row) in values.chunks_exact_mut(stride).enumerate() {
            let from = (first + index) * cols..(first + index + 1) * cols;
            let (row, padding) = row.split_at_mut(cols);
            padding.fill(0.0);
            match source {
                Source::Plain(x) => row.copy_from_slice(&x[from]),
                Source::Normed { x, weight, eps } => normalise(simd, &x[from], weight, eps, row),
                Source::Gated { kind, gate, up } => kind.apply(&gate[from.clone()], &up[from], row),
            }
            let blocks = &mut blocks[index * per_row..(index + 1) * per_row];
            for (x, block) in row.as_chunks::<BLOCK>().0.iter().zip(blocks) {
                quantise(simd, x, block);
            }
        }
    }
}

/// Adding 1.5 * 2^23 rounds to an integer, ties to even, and leaves it in the low bits.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn quantise<S: Simd, const PARTS: usize>(simd: S, x: &[f32; BLOCK], block: &mut Block<PARTS>) {
    let most = if PARTS == 1 { Precision::Bits8.largest() } else { Precision::Bits14.largest() };
    let [first, second] = x.as_chunks::<LANES>().0 else { return };
    let x = [simd.load(first), simd.load(second)];
    // 0, or NaN if a number is NaN or infinite.
    let bad = simd.sum(simd.sub(simd.sub(x[0], x[0]), simd.sub(x[1], x[1])));
    let largest = simd.max(simd.abs(x[0]), simd.max(simd.abs(x[1]), simd.splat(0.0)));
    let largest = if bad == 0.0 { simd.largest(largest) } else { f32::NAN };
    // The reciprocal of a tiny scale overflows; such a block's values are below 1e-34.
    let inverse = most / largest;
    let inverse = simd.splat(if inverse.is_finite() { inverse } else { 0.0 });
    let mut halves = [0; 2];
    for (half, x) in x.into_iter().enumerate() {
        let ints = simd.low_halves(simd.add(simd.mul(x, inverse), simd.splat(ROUND)));
        let split = simd.split(ints);
        for (codes, part) in block.codes.iter_mut().zip(split) {
            let codes = &mut codes.as_chunks_mut::<LANES>().0[half];
            simd.store_bytes(if PARTS == 1 { ints } else { part }, codes);
        }
        halves[half] = simd.sum_ints(ints);
    }
    let scale = largest / most;
    block.scale = scale;
    block.minus_sum = -scale * (halves[0] + halves[1]) as f32;
    block.minus_halves = [-scale * halves[0] as f32, -scale * halves[1] as f32];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::simd::Dispatch;

    struct Quantise<'a, const PARTS: usize> {
        x: &'a [f32; BLOCK],
        block: &'a mut Block<PARTS>,
    }

    impl<const PARTS: usize> Op for Quantise<'_, PARTS> {
        fn call<S: Simd>(self, simd: S) {
            quantise(simd, self.x, self.block);
        }
    }

    /// The same on every instruction set, but for what is not a number.
    fn on_all<const PARTS: usize>(x: &[f32; BLOCK], block: &mut Block<PARTS>) {
        Dispatch::Portable.run(Quantise { x, block });
        for isa in Isa::available() {
            let mut other = Block::ZERO;
            Dispatch::new(isa).unwrap().run(Quantise { x, block: &mut other });
            assert_eq!(other.codes, block.codes, "{isa}");
            assert_eq!(format!("{other:?}"), format!("{block:?}"), "{isa}");
        }
    }

    fn quants(block: &Block<2>) -> Vec<i32> {
        let [high, low] = block.codes;
        high.iter().zip(low).map(|(&high, low)| 128 * i32::from(high) + i32::from(low)).collect()
    }

    #[test]
    fn blocks_round_to_nearest_and_keep_bad_values_visible() {
        let mut x = [0.0f32; BLOCK];
        x[..6].copy_from_slice(&[8191.0, -8190.5, 0.5, 1.5, -2.6, -8191.0]);
        x[20] = 64.0;
        let mut block = Block::<2>::ZERO;
        on_all(&x, &mut block);
        assert_eq!(block.scale, 1.0);
        assert_eq!(quants(&block)[..7], [8191, -8190, 0, 2, -3, -8191, 0]);
        assert_eq!((block.minus_sum, block.minus_halves), (8127.0, [8191.0, -64.0]));
        assert!(block.codes[0].iter().all(|high| (-64..=64).contains(high)));
        assert!(block.codes[1].iter().all(|low| (-64..=63).contains(low)));

        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[7] = bad;
            on_all(&x, &mut block);
            assert!(!block.scale.is_finite(), "{bad}");
            assert_eq!(quants(&block)[7], 0);
        }

        on_all(&[0.0; BLOCK], &mut block);
        assert_eq!(block, Block::ZERO);
        on_all(&[1e-45; BLOCK], &mut block);
        assert_eq!(quants(&block), [0; BLOCK]);
    }

    #[test]
    fn a_byte_each() {
        let mut x = [0.0f32; BLOCK];
        x[..6].copy_from_slice(&[254.0, -253.0, 1.0, 3.0, -5.2, -254.0]);
        x[20] = 128.0;
        let mut block = Block::<1>::ZERO;
        on_all(&x, &mut block);
        assert_eq!((block.scale, &block.codes[0][..7]), (2.0, &[127, -126, 0, 2, -3, -127, 0][..]));
        assert_eq!((block.minus_sum, block.minus_halves), (-2.0 * (64 - 127) as f32, [254.0, -128.0]));
        x[7] = f32::NAN;
        on_all(&x, &mut block);
        assert!(!block.scale.is_finite());
    }
}

//! Matrix products `out = x · wᵀ` against borrowed weights of any [`BlockType`].
//!
//! Owns the tiling. Each output is one dot product whose float order depends on the number of
//! columns alone: dense weights in 16 lanes along the row, quantised ones block by block (exact
//! integers inside a block) in 16 lanes; then the lanes are added.

use std::ops::Range;

use crate::activations::Quantised;
use crate::disjoint::Disjoint;
use crate::simd::{BLOCK, LANES, Op, Simd};
use crate::{Activations, BlockType, Kernels, dequantize};

/// Row-major weights, borrowed; any alignment.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// How the weights are stored.
    pub kind: BlockType,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// `rows` rows of `kind.row_bytes(cols)` bytes.
    pub data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// The bytes of one row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [u8] {
        let bytes = self.row_bytes();
        &self.data[row * bytes..][..bytes]
    }

    /// The exact values of one row, as an embedding table wants them.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "row of {} elements into {}", self.cols, out.len());
        dequantize(self.kind, self.row(row), out);
    }

    fn row_bytes(&self) -> usize {
        let Some(bytes) = self.kind.row_bytes(self.cols) else {
            panic!("rows of {} elements are not whole blocks of {}", self.cols, self.kind)
        };
        bytes
    }
}

/// Activation rows that pass over a panel of weights together: they stay in the second-level cache.
const X_ROWS: usize = 64;

impl Kernels {
    /// `out[r, i] = x[r] · w[i]`; `out` is `[x.rows, w.rows]`.
    ///
    /// F32, F16 and BF16 weights multiply the float activations, quantised weights the
    /// activations rounded to 15 bits in blocks of 32.
    pub fn matmul(&self, w: &Matrix<'_>, x: &Activations, out: &mut [f32]) {
        assert_eq!(w.cols, x.cols(), "weights of {} columns, activations of {}", w.cols, x.cols());
        assert_eq!(
            w.rows.checked_mul(w.row_bytes()),
            Some(w.data.len()),
            "weights are not [{}, {}] {}",
            w.rows,
            w.cols,
            w.kind
        );
        assert_eq!(w.rows.checked_mul(x.rows()), Some(out.len()), "output is not [{}, {}]", x.rows(), w.rows);
        if out.is_empty() {
            return;
        }
        // Several panels for each thread, so that one that is held up does not hold up the rest.
        let panel = w.rows.div_ceil(self.threads() * 8).next_multiple_of(4).clamp(4, 64);
        let (panels, x_panels) = (w.rows.div_ceil(panel), x.rows().div_ceil(X_ROWS));
        let out = &Disjoint::new(out);
        let dispatch = self.dispatch;
        self.pool.run(panels * x_panels, &|_, unit| {
            let (w_start, x_start) = (unit / x_panels * panel, unit % x_panels * X_ROWS);
            dispatch.run(Panel {
                w,
                w_rows: w_start..w.rows.min(w_start + panel),
                x,
                x_rows: x_start..x.rows().min(x_start + X_ROWS),
                out,
            });
        });
    }
}

/// A range of weight rows against a range of activation rows. Panels of one call do not overlap.
struct Panel<'a> {
    w: &'a Matrix<'a>,
    w_rows: Range<usize>,
    x: &'a Activations,
    x_rows: Range<usize>,
    out: &'a Disjoint<'a, f32>,
}

impl Op for Panel<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        match self.w.kind {
            BlockType::F32 => self.tiles::<S, Dense<F32>>(simd),
            BlockType::F16 => self.tiles::<S, Dense<F16>>(simd),
            BlockType::Bf16 => self.tiles::<S, Dense<Bf16>>(simd),
            BlockType::Q8_0 => self.tiles::<S, Blocked<Q8_0>>(simd),
            BlockType::Q4_0 => self.tiles::<S, Blocked<Q4_0>>(simd),
            _ => self.dequantised(simd),
        }
    }
}

impl Panel<'_> {
    /// Kinds without a tile of their own: row by row, as floats.
    #[inline(always)]
    fn dequantised<S: Simd>(&self, simd: S) {
        let mut values = vec![0.0; self.w.cols];
        for r in self.w_rows.clone() {
            self.w.dequantize_row(r, &mut values);
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            for m in self.x_rows.clone() {
                let [[sum]] = Dense::<F32>::tile::<S, 1, 1>(simd, [&bytes], 0, self.x, m);
                self.write(m, r, simd.sum(sum));
            }
        }
    }

    #[inline(always)]
    fn tiles<S: Simd, D: Dot>(&self, simd: S) {
        let (mut r, end) = (self.w_rows.start, self.w_rows.end);
        while r + 4 <= end {
            let mut m = self.x_rows.start;
            while m + 4 <= self.x_rows.end {
                self.tile::<S, D, 2, 4>(simd, r, m);
                self.tile::<S, D, 2, 4>(simd, r + 2, m);
                m += 4;
            }
            if m + 2 <= self.x_rows.end {
                self.tile::<S, D, 4, 2>(simd, r, m);
                m += 2;
            }
            if m < self.x_rows.end {
                self.tile::<S, D, 4, 1>(simd, r, m);
            }
            r += 4;
        }
        while r < end {
            let mut m = self.x_rows.start;
            while m + 4 <= self.x_rows.end {
                self.tile::<S, D, 1, 4>(simd, r, m);
                m += 4;
            }
            while m < self.x_rows.end {
                self.tile::<S, D, 1, 1>(simd, r, m);
                m += 1;
            }
            r += 1;
        }
    }

    #[inline(always)]
    fn tile<S: Simd, D: Dot, const R: usize, const M: usize>(&self, simd: S, r: usize, m: usize) {
        let mut rows = [&[][..]; R];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = self.w.row(r + i);
        }
        let sums = D::tile::<S, R, M>(simd, rows, 4 * self.w.row_bytes(), self.x, m);
        for (i, sums) in sums.into_iter().enumerate() {
            for (j, sum) in sums.into_iter().enumerate() {
                self.write(m + j, r + i, simd.sum(sum));
            }
        }
    }
}

/// `R` weight rows times `M` activation rows, as vectors still to be summed. The order of
/// operations in each of the `R * M` results is independent of `R` and `M`. Weights `ahead` bytes
/// further on come next and are prefetched: rows are too short for the processor to notice.
trait Dot {
    fn tile<S: Simd, const R: usize, const M: usize>(
        simd: S,
        rows: [&[u8]; R],
        ahead: usize,
        x: &Activations,
        m: usize,
    ) -> [[S::Floats; M]; R];
}

/// Weights of 32 or 16 bits.
struct Dense<T>(T);

/// A vector of dense weights.
trait DenseChunk {
    type Bytes: Copy + AsMut<[u8]>;
    const ZERO: Self::Bytes;

    fn split(row: &[u8]) -> (&[Self::Bytes], &[u8]);
    fn load<S: Simd>(simd: S, bytes: &Self::Bytes) -> S::Floats;
}

#[expect(clippy::needless_range_loop, reason = "a tile is indexed in two dimensions")]
impl<T: DenseChunk> Dot for Dense<T> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const M: usize>(
        simd: S,
        rows: [&[u8]; R],
        ahead: usize,
        x: &Activations,
        m: usize,
    ) -> [[S::Floats; M]; R] {
        let whole = x.cols() / LANES;
        let mut weights = [&[][..]; R];
        for (weights, row) in weights.iter_mut().zip(rows) {
            *weights = &T::split(row).0[..whole];
        }
        let mut inputs = [&[][..]; M];
        for (j, inputs) in inputs.iter_mut().enumerate() {
            *inputs = &x.values(m + j).as_chunks::<LANES>().0[..whole];
        }
        let mut sums = [[simd.splat(0.0); M]; R];
        for chunk in 0..whole {
            let mut input = [simd.splat(0.0); M];
            for j in 0..M {
                input[j] = simd.load(&inputs[j][chunk]);
            }
            for i in 0..R {
                simd.prefetch((&raw const weights[i][chunk]).cast::<u8>().wrapping_add(ahead));
                let weight = T::load(simd, &weights[i][chunk]);
                for j in 0..M {
                    sums[i][j] = simd.mul_add(weight, input[j], sums[i][j]);
                }
            }
        }
        if whole * LANES < x.cols() {
            for i in 0..R {
                let rest = T::split(rows[i]).1;
                let mut padded = T::ZERO;
                padded.as_mut()[..rest.len()].copy_from_slice(rest);
                let weight = T::load(simd, &padded);
                for j in 0..M {
                    let input = simd.load(&x.values(m + j).as_chunks().0[whole]);
                    sums[i][j] = simd.mul_add(weight, input, sums[i][j]);
                }
            }
        }
        sums
    }
}

struct F32;
struct F16;
struct Bf16;

impl DenseChunk for F32 {
    type Bytes = [u8; 4 * LANES];
    const ZERO: [u8; 4 * LANES] = [0; 4 * LANES];

    #[inline(always)]
    fn split(row: &[u8]) -> (&[[u8; 4 * LANES]], &[u8]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8; 4 * LANES]) -> S::Floats {
        simd.load_f32(bytes)
    }
}

impl DenseChunk for F16 {
    type Bytes = [u8; 2 * LANES];
    const ZERO: [u8; 2 * LANES] = [0; 2 * LANES];

    #[inline(always)]
    fn split(row: &[u8]) -> (&[[u8; 2 * LANES]], &[u8]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8; 2 * LANES]) -> S::Floats {
        simd.load_f16(bytes)
    }
}

impl DenseChunk for Bf16 {
    type Bytes = [u8; 2 * LANES];
    const ZERO: [u8; 2 * LANES] = [0; 2 * LANES];

    #[inline(always)]
    fn split(row: &[u8]) -> (&[[u8; 2 * LANES]], &[u8]) {
        row.as_chunks()
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, bytes: &[u8; 2 * LANES]) -> S::Floats {
        simd.load_bf16(bytes)
    }
}

/// Weights in blocks of 32 with a scale.
struct Blocked<T>(T);

trait QuantBlock {
    type Bytes: Copy;

    fn split(row: &[u8]) -> &[Self::Bytes];
    fn load<S: Simd>(simd: S, bytes: &Self::Bytes) -> (S::Floats, S::Bytes);
}

impl<T: QuantBlock> Dot for Blocked<T> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const M: usize>(
        simd: S,
        rows: [&[u8]; R],
        ahead: usize,
        x: &Activations,
        m: usize,
    ) -> [[S::Floats; M]; R] {
        let blocks = x.cols() / BLOCK;
        let mut weights = [&[][..]; R];
        for (weights, row) in weights.iter_mut().zip(rows) {
            *weights = &T::split(row)[..blocks];
        }
        let mut inputs: [&[Quantised]; M] = [&[][..]; M];
        for (j, inputs) in inputs.iter_mut().enumerate() {
            *inputs = &x.blocks(m + j)[..blocks];
        }
        let mut sums = [[simd.splat(0.0); M]; R];
        for block in 0..blocks {
            for i in 0..R {
                simd.prefetch((&raw const weights[i][block]).cast::<u8>().wrapping_add(ahead));
                let (scale, weight) = T::load(simd, &weights[i][block]);
                for j in 0..M {
                    let input = &inputs[j][block];
                    let scale = simd.mul(scale, simd.splat(input.scale));
                    sums[i][j] = simd.mul_add(simd.dot(weight, &input.quants), scale, sums[i][j]);
                }
            }
        }
        sums
    }
}

struct Q8_0;
struct Q4_0;

impl QuantBlock for Q8_0 {
    type Bytes = [u8; 34];

    #[inline(always)]
    fn split(row: &[u8]) -> &[[u8; 34]] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, block: &[u8; 34]) -> (S::Floats, S::Bytes) {
        let [s0, s1, quants @ ..] = block;
        (simd.splat_f16(u16::from_le_bytes([*s0, *s1])), simd.load_i8(quants))
    }
}

impl QuantBlock for Q4_0 {
    type Bytes = [u8; 18];

    #[inline(always)]
    fn split(row: &[u8]) -> &[[u8; 18]] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn load<S: Simd>(simd: S, block: &[u8; 18]) -> (S::Floats, S::Bytes) {
        let [s0, s1, quants @ ..] = block;
        (simd.splat_f16(u16::from_le_bytes([*s0, *s1])), simd.load_i4(quants))
    }
}

#[expect(unsafe_code, reason = "panels write one output in strides")]
impl Panel<'_> {
    #[inline(always)]
    fn write(&self, x_row: usize, w_row: usize, value: f32) {
        // SAFETY: `x_row` and `w_row` lie in this panel's ranges; no other panel has both.
        unsafe { self.out.write(x_row * self.w.rows + w_row, value) }
    }
}

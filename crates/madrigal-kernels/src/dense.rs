//! Products with dense weights: 32 or 16 bits a weight, rows as they stand in a file.
//!
//! Owns the tiling. Each output is one dot product in 16 lanes along the row, which are then added: its order depends on
//! the number of columns alone.

use std::ops::Range;

use crate::product::Rows;
use crate::simd::{LANES, Op, Simd};
use crate::{Activations, BlockType, Matrix};

/// Activation rows that pass over a panel of weights together: they stay in the second-level cache.
const X_ROWS: usize = 64;

/// Where finished sums go.
pub(crate) trait Sink {
    /// `index` counts the activation rows that take part.
    fn put(&self, index: usize, output: usize, sum: f32);
}

/// A range of weight rows against rows of activations.
pub(crate) struct Panel<'a, K> {
    pub(crate) weights: &'a Matrix<'a>,
    pub(crate) outputs: Range<usize>,
    pub(crate) x: &'a Activations,
    pub(crate) rows: Rows<'a>,
    pub(crate) sink: &'a K,
}

impl<K: Sink> Op for Panel<'_, K> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let mut from = 0;
        while from < self.rows.len() {
            let part = from..self.rows.len().min(from + X_ROWS);
            match self.weights.kind {
                BlockType::F16 => self.tiles::<S, F16>(simd, part),
                BlockType::Bf16 => self.tiles::<S, Bf16>(simd, part),
                _ => self.tiles::<S, F32>(simd, part),
            }
            from += X_ROWS;
        }
    }
}

impl<K: Sink> Panel<'_, K> {
    #[inline(always)]
    fn tiles<S: Simd, T: DenseChunk>(&self, simd: S, part: Range<usize>) {
        let (mut r, end) = (self.outputs.start, self.outputs.end);
        while r + 4 <= end {
            let mut m = part.start;
            while m + 4 <= part.end {
                self.tile::<S, T, 2, 4>(simd, r, m);
                self.tile::<S, T, 2, 4>(simd, r + 2, m);
                m += 4;
            }
            if m + 2 <= part.end {
                self.tile::<S, T, 4, 2>(simd, r, m);
                m += 2;
            }
            if m < part.end {
                self.tile::<S, T, 4, 1>(simd, r, m);
            }
            r += 4;
        }
        while r < end {
            let mut m = part.start;
            while m + 4 <= part.end {
                self.tile::<S, T, 1, 4>(simd, r, m);
                m += 4;
            }
            while m < part.end {
                self.tile::<S, T, 1, 1>(simd, r, m);
                m += 1;
            }
            r += 1;
        }
    }

    /// `R` weight rows times `M` activation rows. The order of operations in each of the `R * M` results is independent of
    /// `R` and `M`.
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "a tile is indexed in two dimensions")]
    fn tile<S: Simd, T: DenseChunk, const R: usize, const M: usize>(&self, simd: S, r: usize, m: usize) {
        let cols = self.x.cols();
        let whole = cols / LANES;
        let mut weights = [&[][..]; R];
        let mut rests = [&[][..]; R];
        for i in 0..R {
            let (chunks, rest) = T::split(self.weights.dense_row(r + i));
            (weights[i], rests[i]) = (&chunks[..whole], rest);
        }
        let mut inputs = [&[][..]; M];
        for (j, inputs) in inputs.iter_mut().enumerate() {
            *inputs = self.x.padded(self.rows.get(m + j)).as_chunks::<LANES>().0;
        }
        // The next rows come next: rows are too short for the processor to notice by itself.
        let ahead = 4 * weights[0].len() * size_of::<T::Bytes>();
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
        if whole * LANES < cols {
            for i in 0..R {
                let mut padded = T::ZERO;
                padded.as_mut()[..rests[i].len()].copy_from_slice(rests[i]);
                let weight = T::load(simd, &padded);
                for j in 0..M {
                    sums[i][j] = simd.mul_add(weight, simd.load(&inputs[j][whole]), sums[i][j]);
                }
            }
        }
        for i in 0..R {
            for j in 0..M {
                self.sink.put(m + j, r + i, simd.sum(sums[i][j]));
            }
        }
    }
}

/// A vector of dense weights.
trait DenseChunk {
    type Bytes: Copy + AsMut<[u8]>;
    const ZERO: Self::Bytes;

    fn split(row: &[u8]) -> (&[Self::Bytes], &[u8]);
    fn load<S: Simd>(simd: S, bytes: &Self::Bytes) -> S::Floats;
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

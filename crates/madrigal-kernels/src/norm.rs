//! Root-mean-square normalisation of rows.

use crate::Kernels;
use crate::simd::{LANES, Op, Simd};

/// Elements a thread takes at a time, about.
const CHUNK: usize = 8192;

impl Kernels {
    /// `x = x / sqrt(mean(x²) + eps) * weight` for each row of `weight.len()` elements.
    pub fn rms_norm(&self, x: &mut [f32], weight: &[f32], eps: f32) {
        if x.is_empty() {
            return;
        }
        let cols = weight.len();
        assert!(cols > 0 && x.len().is_multiple_of(cols), "norm of {} elements in rows of {cols}", x.len());
        let chunk = (CHUNK / cols).max(1) * cols;
        let dispatch = self.dispatch;
        self.pool.for_chunks(x, chunk, |_, _, x| {
            dispatch.run(RmsNorm { x, weight, eps });
        });
    }
}

struct RmsNorm<'a> {
    x: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Op for RmsNorm<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        for row in self.x.chunks_exact_mut(self.weight.len()) {
            normalise_in_place(simd, row, self.weight, self.eps);
        }
    }
}

/// Normalises one row.
#[inline(always)]
pub(crate) fn normalise_in_place<S: Simd>(simd: S, row: &mut [f32], weight: &[f32], eps: f32) {
    let inverse = inverse_of_mean(simd, row, eps);
    for (x, weight) in row.iter_mut().zip(weight) {
        *x = *x * inverse * weight;
    }
}

/// Writes one row, normalised.
#[inline(always)]
pub(crate) fn normalise<S: Simd>(simd: S, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let inverse = inverse_of_mean(simd, x, eps);
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * inverse * weight;
    }
}

/// `1 / sqrt(mean(x²) + eps)`.
#[inline(always)]
fn inverse_of_mean<S: Simd>(simd: S, x: &[f32], eps: f32) -> f32 {
    let mean = sum_of_squares(simd, x) / x.len() as f32;
    1.0 / (mean + eps).sqrt()
}

#[inline(always)]
fn sum_of_squares<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let (whole, rest) = row.as_chunks::<LANES>();
    let mut sum = simd.splat(0.0);
    for chunk in whole {
        let x = simd.load(chunk);
        sum = simd.mul_add(x, x, sum);
    }
    let mut padded = [0.0; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    let x = simd.load(&padded);
    simd.sum(simd.mul_add(x, x, sum))
}

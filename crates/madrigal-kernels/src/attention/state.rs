//! The state of one query's online softmax, as vectors: largest score (in lane 0), sums of weights, sums of weighted
//! values.
//!
//! Owns how states begin, are merged and become results; a step over keys is `tile`'s.

use crate::KvShape;
use crate::exp::exp;
use crate::simd::{LANES, Op, Simd};

/// Indices of the parts; the weighted values come last.
pub(super) const LARGEST: usize = 0;
pub(super) const TOTAL: usize = 1;
pub(super) const SUMS: usize = 2;

/// Vectors of a state.
pub(super) fn vectors(shape: KvShape) -> usize {
    SUMS + 2 * shape.value_width()
}

/// Nothing seen yet, but for a sink.
pub(super) fn begin(state: &mut [[f32; LANES]], sink: Option<f32>) {
    state.fill([0.0; LANES]);
    match sink {
        Some(sink) => {
            state[LARGEST][0] = sink;
            state[TOTAL][0] = 1.0;
        }
        None => state[LARGEST][0] = f32::NEG_INFINITY,
    }
}

/// Adds to a state what was seen of later positions.
pub(super) struct Merge<'a> {
    pub(super) state: &'a mut [[f32; LANES]],
    pub(super) later: &'a [[f32; LANES]],
}

impl Op for Merge<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Merge { state, later } = self;
        let (a, b) = (state[LARGEST][0], later[LARGEST][0]);
        let largest = if b > a { b } else { a };
        let (a, b) = (simd.splat(exp(a - largest)), simd.splat(exp(b - largest)));
        state[LARGEST][0] = largest;
        for (sum, later) in state[TOTAL..].iter_mut().zip(&later[TOTAL..]) {
            let scaled = simd.mul(simd.load(sum), a);
            simd.store(simd.mul_add(simd.load(later), b, scaled), sum);
        }
    }
}

/// Writes the weighted mean of a head.
pub(super) struct Finish<'a> {
    pub(super) state: &'a [[f32; LANES]],
    pub(super) out: &'a mut [f32],
}

impl Op for Finish<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let inverse = 1.0 / simd.sum(simd.load(&self.state[TOTAL]));
        for (out, sum) in self.out.iter_mut().zip(self.state[SUMS..].as_flattened()) {
            *out = sum * inverse;
        }
    }
}

//! One step of the online softmax for a few queries over one span of 32 positions (Milakov and Gimelshein,
//! arXiv 1805.02867).
//!
//! Owns the arithmetic of a step. Which queries are taken together never changes a bit of their results: each has its
//! own chain of operations, and nothing from positions that it does not see enters it.
#![expect(clippy::needless_range_loop, reason = "tiles are indexed in two or three dimensions")]

use std::ops::Range;

use super::state::{LARGEST, SUMS, TOTAL};
use crate::exp::exp_lanes;
use crate::kv::{Element, Line, SPAN};
use crate::simd::{Dispatch, LANES, Op, Simd};

/// The most queries of a tile: a vector of corrections. The many scores at once hide how long each one's `exp` takes.
pub(super) const QUERIES: usize = LANES;

/// Queries whose sums are in registers at once.
const TOGETHER: usize = 4;

/// Queries at one head that see (parts of) the same span.
pub(super) struct Tile<'a, E> {
    /// A line for each element of the head.
    pub(super) keys: &'a [Line<E>],
    /// `width` lines for each position.
    pub(super) values: &'a [Line<E>],
    pub(super) width: usize,
    /// Bytes from here to where the next keys and values lie, which are prefetched.
    pub(super) keys_ahead: usize,
    pub(super) values_ahead: usize,
    pub(super) scale: f32,
    /// Queries that there are.
    pub(super) count: usize,
    pub(super) queries: [Query<'a>; QUERIES],
}

/// One row at one query head.
#[derive(Clone, Copy, Default)]
pub(super) struct Query<'a> {
    pub(super) values: &'a [f32],
    /// Slots `low..high` are attended to; never none.
    pub(super) low: usize,
    pub(super) high: usize,
    /// Where its state begins.
    pub(super) state: usize,
}

/// Scores, then weights, of one query: lower and upper half of the span.
type Weights = [[f32; LANES]; 2];

impl<E: Element> Tile<'_, E> {
    /// One step for all queries of the tile.
    pub(super) fn step(&self, dispatch: Dispatch, states: &mut [[f32; LANES]]) {
        let count = self.count;
        let mut weights = [[[0.0; LANES]; 2]; QUERIES];
        let mut corrections = [0.0; LANES];
        dispatch.run(Weigh { tile: self, weights: &mut weights, corrections: &mut corrections, states });
        let mut accumulate = |queries: Range<usize>, slots: Range<usize>| {
            if !slots.is_empty() {
                let corrections = &mut corrections[queries.clone()];
                let weights = &weights[queries.clone()];
                dispatch.run(Accumulate { tile: self, first: queries.start, slots, weights, corrections, states });
            }
        };
        for first in (0..count).step_by(TOGETHER) {
            let queries = first..count.min(first + TOGETHER);
            let (mut low, mut high) = (0, SPAN);
            for query in &self.queries[queries.clone()] {
                low = low.max(query.low);
                high = high.min(query.high);
            }
            if low >= high {
                (low, high) = (SPAN, SPAN);
            }
            // Slots before those that all of them see, these, and those after them.
            for q in queries.clone() {
                accumulate(q..q + 1, self.queries[q].low..self.queries[q].high.min(low));
            }
            accumulate(queries.clone(), low..high);
            for q in queries {
                accumulate(q..q + 1, self.queries[q].low.max(high)..self.queries[q].high);
            }
        }
    }

    /// `scale * q · k` for queries `first..first + Q` and halves `HALF..HALF + H` of the span.
    #[inline(always)]
    fn scores<S: Simd, const Q: usize, const HALF: usize, const H: usize>(
        &self,
        simd: S,
        first: usize,
        weights: &mut [Weights],
    ) {
        let (pairs, last) = self.keys.as_chunks::<2>();
        let mut queries = [&[][..]; Q];
        for q in 0..Q {
            queries[q] = &self.queries[first + q].values.as_chunks::<2>().0[..pairs.len()];
        }
        let mut even = [[simd.splat(0.0); H]; Q];
        let mut odd = even;
        for (d, pair) in pairs.iter().enumerate() {
            let mut keys = [[simd.splat(0.0); H]; 2];
            for (keys, line) in keys.iter_mut().zip(pair) {
                simd.prefetch((&raw const *line).cast::<u8>().wrapping_add(self.keys_ahead));
                *keys = halves::<S, E, HALF, H>(simd, line);
            }
            for q in 0..Q {
                let [a, b] = queries[q][d];
                let (a, b) = (simd.splat(a), simd.splat(b));
                for h in 0..H {
                    even[q][h] = simd.mul_add(keys[0][h], a, even[q][h]);
                    odd[q][h] = simd.mul_add(keys[1][h], b, odd[q][h]);
                }
            }
        }
        if let [line] = last {
            let key = halves::<S, E, HALF, H>(simd, line);
            for q in 0..Q {
                let query = simd.splat(self.queries[first + q].values[self.keys.len() - 1]);
                for h in 0..H {
                    even[q][h] = simd.mul_add(key[h], query, even[q][h]);
                }
            }
        }
        let scale = simd.splat(self.scale);
        for q in 0..Q {
            for h in 0..H {
                let score = simd.mul(simd.add(even[q][h], odd[q][h]), scale);
                simd.store(score, &mut weights[first + q][HALF + h]);
            }
        }
    }

    /// Turns scores into weights `e^(score - largest)`, 0 for slots that are not seen, and returns what earlier sums
    /// must be multiplied with.
    #[inline(always)]
    fn weigh<S: Simd>(&self, simd: S, weights: &mut [Weights; QUERIES], states: &mut [[f32; LANES]]) -> [f32; LANES] {
        let lowest = simd.splat(f32::NEG_INFINITY);
        let mut corrections = [0.0; LANES];
        for q in 0..self.count {
            let Query { low, high, .. } = self.queries[q];
            if high - low < SPAN {
                let scores = weights[q].as_flattened_mut();
                scores[..low].fill(f32::NEG_INFINITY);
                scores[high..].fill(f32::NEG_INFINITY);
            }
            let scores = [simd.load(&weights[q][0]), simd.load(&weights[q][1])];
            // A score that is NaN is none of the largest; its weight is NaN and shows.
            let largest = simd.largest(simd.max(scores[0], simd.max(scores[1], lowest)));
            let state = &mut states[self.queries[q].state + LARGEST][0];
            let old = *state;
            let largest = if largest > old { largest } else { old };
            *state = largest;
            corrections[q] = old - largest;
            for h in 0..2 {
                let weight = exp_lanes(simd, simd.sub(scores[h], simd.splat(largest)));
                simd.store(weight, &mut weights[q][h]);
            }
        }
        let scaled = exp_lanes(simd, simd.load(&corrections));
        simd.store(scaled, &mut corrections);
        for q in 0..self.count {
            let sum = simd.add(simd.load(&weights[q][0]), simd.load(&weights[q][1]));
            let total = &mut states[self.queries[q].state + TOTAL];
            simd.store(simd.mul_add(simd.load(total), simd.splat(corrections[q]), sum), total);
        }
        corrections
    }

    /// `sums = sums * correction + weights · v` over slots, for queries `first..first + Q` and lines `line..line + L` of
    /// the values.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "inlined")]
    fn accumulate<S: Simd, const Q: usize, const L: usize>(
        &self,
        simd: S,
        first: usize,
        line: usize,
        slots: &Range<usize>,
        weights: &[Weights],
        corrections: &[f32],
        states: &mut [[f32; LANES]],
    ) {
        let mut sums = [[[simd.splat(0.0); 2]; L]; Q];
        for q in 0..Q {
            let correction = simd.splat(corrections[q]);
            let from = &states[self.queries[first + q].state + SUMS + 2 * line..][..2 * L];
            for l in 0..L {
                for h in 0..2 {
                    sums[q][l][h] = simd.mul(simd.load(&from[2 * l + h]), correction);
                }
            }
        }
        let mut slot_weights = [&[][..]; Q];
        for q in 0..Q {
            slot_weights[q] = &weights[q].as_flattened()[slots.clone()];
        }
        let lines = self.values[slots.start * self.width..slots.end * self.width].chunks_exact(self.width);
        for (slot, lines) in lines.enumerate().take(slots.len()) {
            let lines = &lines[line..line + L];
            let mut values = [[simd.splat(0.0); 2]; L];
            for l in 0..L {
                simd.prefetch((&raw const lines[l]).cast::<u8>().wrapping_add(self.values_ahead));
                values[l] = halves::<S, E, 0, 2>(simd, &lines[l]);
            }
            for q in 0..Q {
                let weight = simd.splat(slot_weights[q][slot]);
                for l in 0..L {
                    for h in 0..2 {
                        sums[q][l][h] = simd.mul_add(values[l][h], weight, sums[q][l][h]);
                    }
                }
            }
        }
        for q in 0..Q {
            let to = &mut states[self.queries[first + q].state + SUMS + 2 * line..][..2 * L];
            for l in 0..L {
                for h in 0..2 {
                    simd.store(sums[q][l][h], &mut to[2 * l + h]);
                }
            }
        }
    }
}

/// Scores, weights, the largest score and the sum of weights.
struct Weigh<'a, E> {
    tile: &'a Tile<'a, E>,
    weights: &'a mut [Weights; QUERIES],
    corrections: &'a mut [f32; LANES],
    states: &'a mut [[f32; LANES]],
}

impl<E: Element> Op for Weigh<'_, E> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Weigh { tile, weights, corrections, states } = self;
        if S::MANY_REGISTERS {
            let mut q = 0;
            while q + TOGETHER <= tile.count {
                tile.scores::<S, TOGETHER, 0, 2>(simd, q, weights);
                q += TOGETHER;
            }
            match tile.count - q {
                3 => tile.scores::<S, 3, 0, 2>(simd, q, weights),
                2 => tile.scores::<S, 2, 0, 2>(simd, q, weights),
                1 => tile.scores::<S, 1, 0, 2>(simd, q, weights),
                _ => {}
            }
        } else {
            let mut q = 0;
            while q + 2 <= tile.count {
                tile.scores::<S, 2, 0, 1>(simd, q, weights);
                tile.scores::<S, 2, 1, 1>(simd, q, weights);
                q += 2;
            }
            if q < tile.count {
                tile.scores::<S, 1, 0, 1>(simd, q, weights);
                tile.scores::<S, 1, 1, 1>(simd, q, weights);
            }
        }
        *corrections = tile.weigh(simd, weights, states);
    }
}

/// Weighted values of some slots, which all of at most [`TOGETHER`] queries see. Their corrections are done with thereafter.
struct Accumulate<'a, E> {
    tile: &'a Tile<'a, E>,
    /// As many queries from here as there are weights.
    first: usize,
    slots: Range<usize>,
    weights: &'a [Weights],
    corrections: &'a mut [f32],
    states: &'a mut [[f32; LANES]],
}

impl<E: Element> Op for Accumulate<'_, E> {
    #[inline(always)]
    fn call<S: Simd>(mut self, simd: S) {
        if S::MANY_REGISTERS {
            match self.weights.len() {
                1 => self.lines::<S, 1, 4>(simd, 0),
                2 => self.lines::<S, 2, 4>(simd, 0),
                3 => self.lines::<S, 3, 2>(simd, 0),
                _ => self.lines::<S, TOGETHER, 2>(simd, 0),
            }
        } else {
            let mut q = 0;
            while q + 2 <= self.weights.len() {
                self.lines::<S, 2, 1>(simd, q);
                q += 2;
            }
            if q < self.weights.len() {
                self.lines::<S, 1, 1>(simd, q);
            }
        }
        self.corrections.fill(1.0);
    }
}

impl<E: Element> Accumulate<'_, E> {
    /// `Q` queries, `L` lines at a time.
    #[inline(always)]
    fn lines<S: Simd, const Q: usize, const L: usize>(&mut self, simd: S, q: usize) {
        let Accumulate { tile, first, slots, weights, corrections, states } = self;
        let (first, weights, corrections) = (*first + q, &weights[q..], &corrections[q..]);
        let mut line = 0;
        while line + L <= tile.width {
            tile.accumulate::<S, Q, L>(simd, first, line, slots, weights, corrections, states);
            line += L;
        }
        if L > 1 {
            while line < tile.width {
                tile.accumulate::<S, Q, 1>(simd, first, line, slots, weights, corrections, states);
                line += 1;
            }
        }
    }
}

/// Halves `HALF..HALF + H` of a line.
#[inline(always)]
fn halves<S: Simd, E: Element, const HALF: usize, const H: usize>(simd: S, line: &Line<E>) -> [S::Floats; H] {
    let mut out = [simd.splat(0.0); H];
    for h in 0..H {
        out[h] = if HALF + h == 0 { E::half::<S, 0>(simd, line) } else { E::half::<S, 1>(simd, line) };
    }
    out
}

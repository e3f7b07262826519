//! Sums of quantised weights with quantised activations: one panel of weights, any number of rows.
//!
//! Owns the inner loop. A sum's order is fixed by the number of columns alone: block by block along the columns, exact
//! integers inside a span that shares a scale, then one fused step for the scale and one for the minimum. How many rows
//! are computed together changes only what is kept in registers.

use crate::activations::Block;
use crate::product::Rows;
use crate::simd::{BLOCK, Dispatch, LANES, Simd};
use crate::tiles::{Columns, Expand, GROUPS, Layout, PANEL};
use crate::{Activations, BlockType};

/// Blocks that are taken apart at a time when many rows use them: they stay in the first-level cache.
const STEP: usize = 8;

/// Rows that are computed together: as many as there are registers for.
const ROWS: usize = 4;

/// One panel of a quantised matrix.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    /// For the calls that take blocks apart.
    pub(crate) dispatch: Dispatch,
    pub(crate) kind: BlockType,
    pub(crate) layout: Layout,
    pub(crate) bytes: &'a [u8],
    pub(crate) x: &'a Activations,
    pub(crate) rows: Rows<'a>,
}

/// Computes `sums`, `[row][output of the panel]`.
#[inline(always)]
pub(crate) fn sums<S: Simd>(simd: S, panel: Panel<'_>, sums: &mut [f32]) {
    if panel.layout.span == BLOCK {
        panel.sums::<S, 1>(simd, sums);
    } else {
        panel.sums::<S, 2>(simd, sums);
    }
}

impl<'a> Panel<'a> {
    /// `SPANS` scales for each 32 columns.
    #[inline(always)]
    fn sums<S: Simd, const SPANS: usize>(self, simd: S, sums: &mut [f32]) {
        // With few rows, waiting for memory is what takes time: blocks are taken apart one at a time, which leaves the
        // fewest gaps between reads. With many, taking them apart once for all rows does.
        match self.rows.len() {
            1 => self.few::<S, SPANS, 1, 1>(simd, sums),
            2 => self.few::<S, SPANS, 2, 1>(simd, sums),
            3..=4 => self.few::<S, SPANS, ROWS, 1>(simd, sums),
            5..=8 => self.few::<S, SPANS, ROWS, 2>(simd, sums),
            9..=12 => self.few::<S, SPANS, ROWS, 3>(simd, sums),
            13..=16 => self.few::<S, SPANS, ROWS, 4>(simd, sums),
            _ => self.many::<S, SPANS>(simd, sums),
        }
    }

    #[inline(always)]
    fn expand(&self, index: usize, columns: &mut Columns) {
        let in_chunk = self.layout.cols / BLOCK;
        let chunk = &self.bytes[index / in_chunk * self.layout.bytes..][..self.layout.bytes];
        self.dispatch.run(Expand { kind: self.kind, chunk, index: index % in_chunk, columns });
    }

    /// The blocks of a row of the activations; past the last row, those of the last one.
    #[inline(always)]
    fn input(&self, row: usize) -> &'a [Block] {
        self.x.blocks(self.rows.get(row.min(self.rows.len() - 1)))
    }

    /// Up to `M * G` rows, `M` at a time, from the first column to the last.
    #[inline(always)]
    fn few<S: Simd, const SPANS: usize, const M: usize, const G: usize>(self, simd: S, sums: &mut [f32]) {
        let blocks = self.x.cols() / BLOCK;
        let mut inputs = [[&[][..]; M]; G];
        for (group, inputs) in inputs.iter_mut().enumerate() {
            for (m, input) in inputs.iter_mut().enumerate() {
                *input = &self.input(group * M + m)[..blocks];
            }
        }
        let mut columns = Columns::ZERO;
        let mut acc = [[[simd.splat(0.0); 2]; M]; G];
        for index in 0..blocks {
            self.expand(index, &mut columns);
            for (inputs, acc) in inputs.iter().zip(&mut acc) {
                let mut block = [&inputs[0][index]; M];
                for (block, input) in block.iter_mut().zip(inputs) {
                    *block = &input[index];
                }
                accumulate::<S, SPANS, M>(simd, &columns, block, acc);
            }
        }
        let acc = acc.as_flattened().as_flattened();
        for (acc, sums) in acc.iter().zip(sums.as_chunks_mut::<LANES>().0) {
            simd.store(*acc, sums);
        }
    }

    /// Any number of rows.
    #[inline(always)]
    fn many<S: Simd, const SPANS: usize>(self, simd: S, sums: &mut [f32]) {
        let blocks = self.x.cols() / BLOCK;
        let mut columns = [Columns::ZERO; STEP];
        sums.fill(0.0);
        let mut first = 0;
        while first < blocks {
            let step = STEP.min(blocks - first);
            for (offset, columns) in columns[..step].iter_mut().enumerate() {
                self.expand(first + offset, columns);
            }
            for (strip, sums) in sums.chunks_mut(ROWS * PANEL).enumerate() {
                self.strip::<S, SPANS>(simd, &columns[..step], first, strip * ROWS, sums);
            }
            first += step;
        }
    }

    /// Rows `row..row + 4` (or fewer, at the end) beside the blocks from `first` on.
    #[inline(always)]
    fn strip<S: Simd, const SPANS: usize>(
        &self,
        simd: S,
        columns: &[Columns],
        first: usize,
        row: usize,
        sums: &mut [f32],
    ) {
        let mut inputs = [&[][..]; ROWS];
        for (m, input) in inputs.iter_mut().enumerate() {
            *input = &self.input(row + m)[first..first + columns.len()];
        }
        let sums = sums.as_chunks_mut::<LANES>().0;
        let mut acc = [[simd.splat(0.0); 2]; ROWS];
        for (acc, sums) in acc.as_flattened_mut().iter_mut().zip(&*sums) {
            *acc = simd.load(sums);
        }
        for (index, columns) in columns.iter().enumerate() {
            let mut block = [&inputs[0][index]; ROWS];
            for (block, input) in block.iter_mut().zip(&inputs) {
                *block = &input[index];
            }
            accumulate::<S, SPANS, ROWS>(simd, columns, block, &mut acc);
        }
        for (acc, sums) in acc.as_flattened().iter().zip(sums) {
            simd.store(*acc, sums);
        }
    }
}

/// Adds the products of 32 columns.
#[inline(always)]
fn accumulate<S: Simd, const SPANS: usize, const M: usize>(
    simd: S,
    columns: &Columns,
    x: [&Block; M],
    acc: &mut [[S::Floats; 2]; M],
) {
    let groups = GROUPS / SPANS;
    for span in 0..SPANS {
        let mut high = [[simd.no_ints(); 2]; M];
        let mut low = [[simd.no_ints(); 2]; M];
        for group in span * groups..(span + 1) * groups {
            let codes = [simd.load_codes(&columns.codes[group][0]), simd.load_codes(&columns.codes[group][1])];
            for m in 0..M {
                let above = simd.four(&x[m].high.as_chunks::<4>().0[group]);
                let below = simd.four(&x[m].low.as_chunks::<4>().0[group]);
                for half in 0..2 {
                    high[m][half] = simd.dot_four(high[m][half], codes[half], above);
                    low[m][half] = simd.dot_four(low[m][half], codes[half], below);
                }
            }
        }
        for half in 0..2 {
            let scale = simd.load(&columns.scales[span][half]);
            let min = simd.load(&columns.mins[span][half]);
            for m in 0..M {
                let minus_sum = if SPANS == 1 { x[m].minus_sum } else { x[m].minus_halves[span] };
                let scale = simd.mul(scale, simd.splat(x[m].scale));
                let sum = simd.join(high[m][half], low[m][half]);
                acc[m][half] = simd.mul_add(sum, scale, acc[m][half]);
                acc[m][half] = simd.mul_add(min, simd.splat(minus_sum), acc[m][half]);
            }
        }
    }
}

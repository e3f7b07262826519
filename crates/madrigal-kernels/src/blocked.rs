//! Sums of quantised weights with quantised activations: one panel of weights, any number of rows.
//!
//! Owns the inner loop. A sum's order is fixed by the number of columns alone: block by block along the columns, exact
//! integers inside a span that shares a scale, then one fused step for the scale and one for the minimum. How many rows
//! are computed together changes only what is kept in registers.
//!
//! The two things that are worth vectors, taking blocks apart ([`Expand`]) and multiplying ([`Strip`]), are compiled once
//! for each instruction set; all around them is plain code.

use crate::activations::Block;
use crate::product::Rows;
use crate::simd::{BLOCK, Dispatch, LANES, Op, Simd};
use crate::tiles::{Columns, Expand, GROUPS, Layout, PANEL};
use crate::{Activations, BlockType};

/// Blocks that are taken apart at a time when many rows use them: they stay in the first-level cache.
pub(crate) const STEP: usize = 8;

/// Rows that are computed together: as many as there are registers for.
const ROWS: usize = 4;

/// Up to so many rows, blocks are taken apart one at a time: waiting for memory is what takes time, and this leaves the
/// fewest gaps between reads.
const SEVERAL: usize = 16;

/// Bytes ahead of those in use that are asked for beside few rows: far enough for memory to answer, near enough to stay in
/// the first-level cache.
const AHEAD: usize = 4608;

/// One panel of a quantised matrix.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a> {
    pub(crate) kind: BlockType,
    pub(crate) layout: Layout,
    pub(crate) bytes: &'a [u8],
    pub(crate) x: &'a Activations,
    pub(crate) rows: Rows<'a>,
}

impl<'a> Panel<'a> {
    /// Computes `sums`, `[row][output of the panel]`; `columns` is room to work in.
    pub(crate) fn sums(self, dispatch: Dispatch, columns: &mut [Columns; STEP], sums: &mut [f32]) {
        match (self.rows.len(), self.layout.span) {
            (1, BLOCK) => dispatch.run(Few::<1, 1> { panel: self, columns: &mut columns[0], sums }),
            (1, _) => dispatch.run(Few::<2, 1> { panel: self, columns: &mut columns[0], sums }),
            (2, BLOCK) => dispatch.run(Few::<1, 2> { panel: self, columns: &mut columns[0], sums }),
            (2, _) => dispatch.run(Few::<2, 2> { panel: self, columns: &mut columns[0], sums }),
            (3..=ROWS, BLOCK) => dispatch.run(Few::<1, ROWS> { panel: self, columns: &mut columns[0], sums }),
            (3..=ROWS, _) => dispatch.run(Few::<2, ROWS> { panel: self, columns: &mut columns[0], sums }),
            (5..=SEVERAL, BLOCK) => dispatch.run(Several::<1> { panel: self, columns: &mut columns[0], sums }),
            (5..=SEVERAL, _) => dispatch.run(Several::<2> { panel: self, columns: &mut columns[0], sums }),
            _ => self.many(dispatch, columns, sums),
        }
    }

    /// A block, ready to be taken apart.
    #[inline(always)]
    fn expand<'b>(&self, index: usize, columns: &'b mut Columns) -> Expand<'b>
    where
        'a: 'b,
    {
        let in_chunk = self.layout.cols / BLOCK;
        let chunk = &self.bytes[index / in_chunk * self.layout.bytes..][..self.layout.bytes];
        Expand { kind: self.kind, chunk, index: index % in_chunk, columns }
    }

    /// Bytes of a block, its share of what it has in common with others included.
    #[inline(always)]
    fn share(&self) -> usize {
        self.layout.bytes * BLOCK / self.layout.cols
    }

    /// Any number of rows, [`ROWS`] at a time; blocks are taken apart once for all of them.
    fn many(self, dispatch: Dispatch, columns: &mut [Columns; STEP], sums: &mut [f32]) {
        let blocks = self.x.cols() / BLOCK;
        let strips = sums.len().div_ceil(ROWS * PANEL);
        sums.fill(0.0);
        let mut first = 0;
        while first < blocks {
            let columns = &mut columns[..STEP.min(blocks - first)];
            for (index, columns) in (first..).zip(&mut *columns) {
                dispatch.run(self.expand(index, columns));
            }
            // While these blocks are multiplied, the next ones are fetched, a part beside each block of each strip: asked
            // for all at once they would wait for each other, and the products for them.
            let next = self.bytes.as_ptr().wrapping_add((first + columns.len()) * self.share());
            let part = (columns.len() * self.share()).div_ceil(strips * columns.len());
            for (strip, sums) in sums.chunks_mut(ROWS * PANEL).enumerate() {
                let row = strip * ROWS;
                let next = next.wrapping_add(strip * columns.len() * part);
                match sums.len() / PANEL {
                    1 => self.strip::<1>(dispatch, columns, (first, row), (next, part), sums),
                    2 => self.strip::<2>(dispatch, columns, (first, row), (next, part), sums),
                    3 => {
                        let (two, one) = sums.split_at_mut(2 * PANEL);
                        self.strip::<2>(dispatch, columns, (first, row), (next, part), two);
                        self.strip::<1>(dispatch, columns, (first, row + 2), (next, 0), one);
                    }
                    _ => self.strip::<ROWS>(dispatch, columns, (first, row), (next, part), sums),
                }
            }
            first += columns.len();
        }
    }

    /// Rows `row..row + M` beside the blocks from `first` on; beside each, `part` bytes from `next` on are asked for.
    fn strip<const M: usize>(
        &self,
        dispatch: Dispatch,
        columns: &[Columns],
        (first, row): (usize, usize),
        (next, part): (*const u8, usize),
        sums: &mut [f32],
    ) {
        let mut inputs = [&[][..]; M];
        for (m, input) in inputs.iter_mut().enumerate() {
            *input = &self.x.blocks(self.rows.get(row + m))[first..first + columns.len()];
        }
        if self.layout.span == BLOCK {
            dispatch.run(Strip::<1, M> { columns, inputs, next, part, sums });
        } else {
            dispatch.run(Strip::<2, M> { columns, inputs, next, part, sums });
        }
    }
}

/// Up to `M` rows, from the first column to the last.
struct Few<'a, const SPANS: usize, const M: usize> {
    panel: Panel<'a>,
    columns: &'a mut Columns,
    sums: &'a mut [f32],
}

impl<const SPANS: usize, const M: usize> Op for Few<'_, SPANS, M> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Few { panel, columns, sums } = self;
        let blocks = panel.x.cols() / BLOCK;
        // Past the last row, the last one once more: its sums are not stored.
        let mut inputs = [&[][..]; M];
        for (m, input) in inputs.iter_mut().enumerate() {
            *input = &panel.x.blocks(panel.rows.get(m.min(panel.rows.len() - 1)))[..blocks];
        }
        let share = panel.share();
        let mut acc = [[simd.splat(0.0); 2]; M];
        for index in 0..blocks {
            prefetch(simd, panel.bytes.as_ptr().wrapping_add(index * share + AHEAD), share);
            panel.expand(index, columns).call(simd);
            let mut x = [&inputs[0][index]; M];
            for (x, input) in x.iter_mut().zip(&inputs) {
                *x = &input[index];
            }
            accumulate::<S, SPANS, M>(simd, columns, x, &mut acc);
        }
        for (acc, sums) in acc.as_flattened().iter().zip(sums.as_chunks_mut::<LANES>().0) {
            simd.store(*acc, sums);
        }
    }
}

/// Up to [`SEVERAL`] rows, from the first column to the last; the sums of a block are put aside for the next.
struct Several<'a, const SPANS: usize> {
    panel: Panel<'a>,
    columns: &'a mut Columns,
    sums: &'a mut [f32],
}

impl<const SPANS: usize> Op for Several<'_, SPANS> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Several { panel, columns, sums } = self;
        let blocks = panel.x.cols() / BLOCK;
        let mut inputs = [&[][..]; SEVERAL];
        for (row, input) in inputs.iter_mut().enumerate() {
            *input = &panel.x.blocks(panel.rows.get(row.min(panel.rows.len() - 1)))[..blocks];
        }
        let strips = panel.rows.len().div_ceil(ROWS);
        let inputs = &inputs.as_chunks::<ROWS>().0[..strips];
        let mut acc = [[[simd.splat(0.0); 2]; ROWS]; SEVERAL / ROWS];
        let share = panel.share();
        let part = share.div_ceil(strips);
        for index in 0..blocks {
            let next = panel.bytes.as_ptr().wrapping_add(index * share + AHEAD);
            panel.expand(index, columns).call(simd);
            for (strip, (inputs, acc)) in inputs.iter().zip(&mut acc).enumerate() {
                prefetch(simd, next.wrapping_add(strip * part), part);
                let mut x = [&inputs[0][index]; ROWS];
                for (x, input) in x.iter_mut().zip(inputs) {
                    *x = &input[index];
                }
                accumulate::<S, SPANS, ROWS>(simd, columns, x, acc);
            }
        }
        let acc = acc.as_flattened().as_flattened();
        for (acc, sums) in acc.iter().zip(sums.as_chunks_mut::<LANES>().0) {
            simd.store(*acc, sums);
        }
    }
}

/// `M` rows beside some blocks, with `SPANS` scales for each 32 columns.
struct Strip<'a, const SPANS: usize, const M: usize> {
    columns: &'a [Columns],
    inputs: [&'a [Block]; M],
    /// What is asked for meanwhile: `part` bytes beside each block.
    next: *const u8,
    part: usize,
    /// `[row][output of the panel]`, added to.
    sums: &'a mut [f32],
}

impl<const SPANS: usize, const M: usize> Op for Strip<'_, SPANS, M> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Strip { columns, inputs, next, part, sums } = self;
        let sums = sums.as_chunks_mut::<LANES>().0;
        let mut acc = [[simd.splat(0.0); 2]; M];
        for (acc, sums) in acc.as_flattened_mut().iter_mut().zip(&*sums) {
            *acc = simd.load(sums);
        }
        for (index, columns) in columns.iter().enumerate() {
            prefetch(simd, next.wrapping_add(index * part), part);
            let mut x = [&inputs[0][index]; M];
            for (x, input) in x.iter_mut().zip(&inputs) {
                *x = &input[index];
            }
            accumulate::<S, SPANS, M>(simd, columns, x, &mut acc);
        }
        for (acc, sums) in acc.as_flattened().iter().zip(sums) {
            simd.store(*acc, sums);
        }
    }
}

/// Asks for the memory of so many bytes. The address may be invalid.
#[inline(always)]
fn prefetch<S: Simd>(simd: S, from: *const u8, bytes: usize) {
    let mut at = 0;
    while at < bytes {
        simd.prefetch(from.wrapping_add(at));
        at += 64;
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

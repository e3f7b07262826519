//! Sums of quantised weights with quantised activations: one panel of weights, any number of rows.
//!
//! Owns the inner loop. A sum's order is fixed by the number of columns alone: block by block along the columns, exact
//! integers inside a span that shares a scale, then one fused step for the scale and one for the minimum. How many rows
//! are computed together changes only what is kept in registers.
//!
//! Few rows take the blocks of a panel apart in registers, from the first column to the last. Many rows would take them
//! apart again and again, so some blocks at a time are put aside ([`Columns`]) and all rows pass over them.

use crate::BlockType;
use crate::activations::Block;
use crate::product::Rows;
use crate::simd::{BLOCK, Dispatch, LANES, Op, Simd};
use crate::tiles::{Aside, Columns, Format, Layout, PANEL, Packed, Scales, Weights, WithFormat, with_format};

/// Blocks that are put aside at a time when many rows use them: they stay in the first-level cache.
pub(crate) const STEP: usize = 8;

/// Rows that are computed together: as many as there are registers for.
const ROWS: usize = 4;

/// Up to so many rows, blocks are taken apart anew for every [`ROWS`] of them.
const SEVERAL: usize = 32;

/// Bytes ahead of those in use that are asked for beside few rows: far enough for memory to answer, near enough to stay in
/// the second-level cache. (Asked for into the first-level cache, half as many can be on their way.)
const AHEAD: usize = 6144;

/// The sums of one row with a panel's outputs.
pub(crate) type Sums = [f32; PANEL];

/// One panel of a quantised matrix, and what it meets.
#[derive(Clone, Copy)]
pub(crate) struct Panel<'a, const PARTS: usize> {
    pub(crate) kind: BlockType,
    pub(crate) layout: Layout,
    pub(crate) bytes: &'a [u8],
    /// Activations, `[row, blocks]`.
    pub(crate) x: &'a [Block<PARTS>],
    /// Columns by 32.
    pub(crate) blocks: usize,
    /// Those of the activations' rows that take part.
    pub(crate) rows: Rows<'a>,
}

impl<'a, const PARTS: usize> Panel<'a, PARTS> {
    /// Computes the sums of all rows; `columns` is room to work in.
    pub(crate) fn sums(self, dispatch: Dispatch, columns: &mut [Columns; STEP], sums: &mut [Sums]) {
        if sums.len() > SEVERAL {
            return match self.layout.span {
                BLOCK => self.many::<1>(dispatch, columns, sums),
                _ => self.many::<2>(dispatch, columns, sums),
            };
        }
        let panel = self;
        let (whole, rest) = sums.as_chunks_mut::<ROWS>();
        let mut first = 0;
        for sums in whole {
            dispatch.run(Few { panel, first, sums });
            first += ROWS;
        }
        if let Some(sums) = rest.as_mut_array::<1>() {
            dispatch.run(Few { panel, first, sums });
        } else if let Some(sums) = rest.as_mut_array::<2>() {
            dispatch.run(Few { panel, first, sums });
        } else if let Some(sums) = rest.as_mut_array::<3>() {
            dispatch.run(Few { panel, first, sums });
        }
    }

    /// Any number of rows, [`ROWS`] at a time; blocks are taken apart once for all of them.
    fn many<const SPANS: usize>(self, dispatch: Dispatch, columns: &mut [Columns; STEP], sums: &mut [Sums]) {
        let panel = self;
        let strips = sums.len().div_ceil(ROWS);
        let share = panel.layout.bytes * BLOCK / panel.layout.cols;
        sums.as_flattened_mut().fill(0.0);
        let mut block = 0;
        while block < panel.blocks {
            let columns = &mut columns[..STEP.min(panel.blocks - block)];
            dispatch.run(PutAside { panel, block, columns });
            // While these blocks are multiplied, the next ones are fetched, a part beside each block of each strip: asked
            // for all at once they would wait for each other, and the products for them.
            let part = (columns.len() * share).div_ceil(strips * columns.len());
            let mut next = panel.bytes.as_ptr().wrapping_add((block + columns.len()) * share);
            let (whole, rest) = sums.as_chunks_mut::<ROWS>();
            let mut row = 0;
            for sums in whole {
                dispatch.run(Strip::<PARTS, SPANS, ROWS> { panel, columns, block, row, next, part, sums });
                next = next.wrapping_add(columns.len() * part);
                row += ROWS;
            }
            if let Some(sums) = rest.as_mut_array::<1>() {
                dispatch.run(Strip::<PARTS, SPANS, 1> { panel, columns, block, row, next, part, sums });
            } else if let Some(sums) = rest.as_mut_array::<2>() {
                dispatch.run(Strip::<PARTS, SPANS, 2> { panel, columns, block, row, next, part, sums });
            } else if let Some(sums) = rest.as_mut_array::<3>() {
                dispatch.run(Strip::<PARTS, SPANS, 3> { panel, columns, block, row, next, part, sums });
            }
            block += columns.len();
        }
    }

    /// The activations of rows `first..first + M` in some of their blocks.
    #[inline(always)]
    fn inputs<const M: usize>(&self, first: usize, from: usize, count: usize) -> [&'a [Block<PARTS>]; M] {
        let mut inputs = [&[][..]; M];
        for (m, input) in inputs.iter_mut().enumerate() {
            *input = &self.x[self.rows.get(first + m) * self.blocks + from..][..count];
        }
        inputs
    }
}

/// Rows `first..first + M`, from the first column to the last.
struct Few<'a, const PARTS: usize, const M: usize> {
    panel: Panel<'a, PARTS>,
    first: usize,
    sums: &'a mut [Sums; M],
}

impl<const PARTS: usize, const M: usize> Op for Few<'_, PARTS, M> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        struct Of<'a, S, const PARTS: usize, const M: usize>(S, Few<'a, PARTS, M>);
        impl<S: Simd, const PARTS: usize, const M: usize> WithFormat for Of<'_, S, PARTS, M> {
            type Output = ();
            #[inline(always)]
            fn with<F: Format>(self) {
                self.1.sums::<S, F>(self.0);
            }
        }
        with_format(self.panel.kind, Of(simd, self));
    }
}

impl<const PARTS: usize, const M: usize> Few<'_, PARTS, M> {
    #[inline(always)]
    fn sums<S: Simd, F: Format>(self, simd: S) {
        let Few { panel, first, sums } = self;
        let inputs = panel.inputs::<M>(first, 0, panel.blocks);
        let mut acc = [[simd.splat(0.0); 2]; M];
        let (chunk_bytes, in_chunk) = (F::LAYOUT.bytes, F::LAYOUT.cols / BLOCK);
        let share = chunk_bytes / in_chunk;
        for (index, chunk) in panel.bytes.chunks_exact(chunk_bytes).enumerate() {
            for block in 0..in_chunk {
                // Later rows find the panel in the cache.
                if first == 0 {
                    prefetch(simd, chunk.as_ptr().wrapping_add(block * share + AHEAD), share);
                }
                let x = beside(&inputs, index * in_chunk + block);
                accumulate(simd, Packed::<F>::new(chunk, block), x, &mut acc);
            }
        }
        store(simd, acc, sums);
    }
}

/// Takes blocks from `block` on apart.
struct PutAside<'a, const PARTS: usize> {
    panel: Panel<'a, PARTS>,
    block: usize,
    columns: &'a mut [Columns],
}

impl<const PARTS: usize> Op for PutAside<'_, PARTS> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        struct Of<'a, S, const PARTS: usize>(S, PutAside<'a, PARTS>);
        impl<S: Simd, const PARTS: usize> WithFormat for Of<'_, S, PARTS> {
            type Output = ();
            #[inline(always)]
            fn with<F: Format>(self) {
                let (simd, PutAside { panel, block, columns }) = (self.0, self.1);
                let in_chunk = F::LAYOUT.cols / BLOCK;
                for (block, columns) in (block..).zip(columns) {
                    let chunk = &panel.bytes[block / in_chunk * F::LAYOUT.bytes..][..F::LAYOUT.bytes];
                    columns.put_aside(simd, Packed::<F>::new(chunk, block % in_chunk));
                }
            }
        }
        with_format(self.panel.kind, Of(simd, self));
    }
}

/// Rows `row..row + M` beside the blocks from `block` on, which were put aside.
struct Strip<'a, const PARTS: usize, const SPANS: usize, const M: usize> {
    panel: Panel<'a, PARTS>,
    columns: &'a [Columns],
    block: usize,
    row: usize,
    /// What is asked for meanwhile: `part` bytes beside each block.
    next: *const u8,
    part: usize,
    /// Added to.
    sums: &'a mut [Sums; M],
}

impl<const PARTS: usize, const SPANS: usize, const M: usize> Op for Strip<'_, PARTS, SPANS, M> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Strip { panel, columns, block, row, next, part, sums } = self;
        let inputs = panel.inputs::<M>(row, block, columns.len());
        let mut acc = [[simd.splat(0.0); 2]; M];
        for (acc, sums) in acc.iter_mut().zip(&*sums) {
            let [first, second] = halves(sums);
            *acc = [simd.load(first), simd.load(second)];
        }
        for (index, columns) in columns.iter().enumerate() {
            prefetch(simd, next.wrapping_add(index * part), part);
            accumulate(simd, Aside::<SPANS>(columns), beside(&inputs, index), &mut acc);
        }
        store(simd, acc, sums);
    }
}

/// One block of each row.
#[inline(always)]
fn beside<'a, const PARTS: usize, const M: usize>(
    inputs: &[&'a [Block<PARTS>]; M],
    index: usize,
) -> [&'a Block<PARTS>; M] {
    let mut x = [&inputs[0][index]; M];
    for (x, input) in x.iter_mut().zip(inputs) {
        *x = &input[index];
    }
    x
}

/// The outputs of a panel by half.
#[inline(always)]
fn halves(sums: &Sums) -> [&[f32; LANES]; 2] {
    let halves = sums.as_chunks().0;
    [&halves[0], &halves[1]]
}

#[inline(always)]
fn store<S: Simd, const M: usize>(simd: S, acc: [[S::Floats; 2]; M], sums: &mut [Sums; M]) {
    for (acc, sums) in acc.iter().zip(sums) {
        for (acc, sums) in acc.iter().zip(sums.as_chunks_mut().0) {
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
#[expect(clippy::needless_range_loop, reason = "sums are indexed in four dimensions")]
fn accumulate<S: Simd, const PARTS: usize, const M: usize>(
    simd: S,
    weights: impl Weights<S>,
    x: [&Block<PARTS>; M],
    acc: &mut [[S::Floats; 2]; M],
) {
    let spans = weights.spans();
    for span in 0..spans {
        // Of the even and the odd groups: one row alone would wait for its own sums.
        let mut sums = [[[[simd.no_ints(); 2]; M]; PARTS]; 2];
        for pair in span * 4 / spans..(span + 1) * 4 / spans {
            let codes = weights.codes(simd, pair);
            for group in 0..2 {
                let sums = &mut sums[if M == 1 { group } else { 0 }];
                for m in 0..M {
                    for part in 0..PARTS {
                        let four = simd.four(&x[m].codes[part].as_chunks::<4>().0[2 * pair + group]);
                        for half in 0..2 {
                            sums[part][m][half] = simd.dot_four(sums[part][m][half], codes[group][half], four);
                        }
                    }
                }
            }
        }
        let Scales { scale, min } = weights.scales(simd, span);
        for half in 0..2 {
            for m in 0..M {
                let mut parts = [simd.no_ints(); PARTS];
                for part in 0..PARTS {
                    parts[part] = sums[0][part][m][half];
                    if M == 1 {
                        parts[part] = simd.add_ints(parts[part], sums[1][part][m][half]);
                    }
                }
                let sum = if PARTS == 1 { parts[0] } else { simd.join(parts[0], parts[PARTS - 1]) };
                let minus_sum = if spans == 1 { x[m].minus_sum } else { x[m].minus_halves[span] };
                let scale = simd.mul(scale[half], simd.splat(x[m].scale));
                acc[m][half] = simd.mul_add(simd.to_floats(sum), scale, acc[m][half]);
                acc[m][half] = simd.mul_add(min[half], simd.splat(minus_sum), acc[m][half]);
            }
        }
    }
}

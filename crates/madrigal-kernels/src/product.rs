//! Matrix products `out = x · wᵀ` of several matrices with the same input, in one parallel region.
//!
//! Owns the cut into units of work and what happens to a finished sum (bias, residual). The sums themselves are in
//! `blocked` (quantised weights) and `dense`. Units and threads decide who computes an output, never how.

use std::ops::Range;

use crate::activations::Rounded;
use crate::blocked::{self, Sums};
use crate::disjoint::Disjoint;
use crate::simd::{BLOCK, Dispatch, Op, Simd};
use crate::tiles::{self, Columns, PANEL};
use crate::{Activations, Kernels, Matrix, dense};

/// One matrix to multiply activations with, and where the result goes.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights, `[outputs, inputs]`.
    pub weights: Matrix<'a>,
    /// Added to every row of the result, `[outputs]`.
    pub bias: Option<&'a [f32]>,
    /// Which rows of the activations take part, in this order; `None` for all.
    pub rows: Option<&'a [u32]>,
    /// Whether the result is added to what `out` holds, or replaces it.
    pub add: bool,
    /// `[rows, outputs]`.
    pub out: &'a mut [f32],
}

impl<'a> Product<'a> {
    /// `out = x · wᵀ` for all rows.
    #[must_use]
    pub fn of(weights: Matrix<'a>, out: &'a mut [f32]) -> Product<'a> {
        Product { weights, bias: None, rows: None, add: false, out }
    }

    /// `out += x · wᵀ` for all rows, as a residual connection wants it.
    #[must_use]
    pub fn onto(weights: Matrix<'a>, out: &'a mut [f32]) -> Product<'a> {
        Product { add: true, ..Product::of(weights, out) }
    }

    /// The same with a bias.
    #[must_use]
    pub fn with_bias(self, bias: Option<&'a [f32]>) -> Product<'a> {
        Product { bias, ..self }
    }

    /// The same for some of the rows.
    #[must_use]
    pub fn with_rows(self, rows: &'a [u32]) -> Product<'a> {
        Product { rows: Some(rows), ..self }
    }
}

/// Room to work in, for one thread.
pub(crate) struct Scratch {
    sums: Vec<Sums>,
    columns: [Columns; blocked::STEP],
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { sums: Vec::new(), columns: [Columns::ZERO; blocked::STEP] }
    }
}

/// A product in work.
struct Job<'a> {
    weights: Matrix<'a>,
    bias: Option<&'a [f32]>,
    rows: Rows<'a>,
    add: bool,
    out: Disjoint<'a, f32>,
    /// Panels in a unit of work.
    step: usize,
    /// The unit of work after the last one of this product.
    end: usize,
}

/// Rows of the activations, by number.
#[derive(Clone, Copy)]
pub(crate) enum Rows<'a> {
    All(usize),
    Some(&'a [u32]),
}

impl Rows<'_> {
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        match self {
            Rows::All(rows) => *rows,
            Rows::Some(rows) => rows.len(),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> usize {
        match self {
            Rows::All(_) => index,
            Rows::Some(rows) => rows[index] as usize,
        }
    }
}

impl Kernels {
    /// Computes all products with the same activations.
    ///
    /// F32, F16 and BF16 weights multiply the float activations, quantised weights the rounded ones, which must be fine
    /// enough for them ([`crate::Precision::beside`]).
    pub fn products(&self, x: &Activations, products: &mut [Product<'_>]) {
        let mut jobs = Vec::with_capacity(products.len());
        let mut end = 0;
        for Product { weights, bias, rows, add, out } in products {
            assert_eq!(weights.cols, x.cols(), "weights of {} columns, activations of {}", weights.cols, x.cols());
            weights.check();
            assert_eq!(x.precision().beside([weights.kind]), x.precision(), "activations beside {}", weights.kind);
            assert!(bias.is_none_or(|bias| bias.len() == weights.rows), "bias of {} outputs", weights.rows);
            let rows = match rows {
                None => Rows::All(x.rows()),
                Some(rows) => {
                    assert!(rows.iter().all(|&row| (row as usize) < x.rows()), "a row past {}", x.rows());
                    Rows::Some(rows)
                }
            };
            let shape = [rows.len(), weights.rows];
            assert_eq!(rows.len().checked_mul(weights.rows), Some(out.len()), "output is not {shape:?}");
            if out.is_empty() {
                continue;
            }
            // Several units for each thread, so that one that is held up does not hold up the rest.
            let panels = weights.rows.div_ceil(PANEL);
            let step = (panels / (self.threads() * 16)).clamp(1, 8);
            end += panels.div_ceil(step);
            let out = Disjoint::new(out);
            jobs.push(Job { weights: *weights, bias: *bias, rows, add: *add, out, step, end });
        }
        let (dispatch, all_scratch, jobs) = (self.dispatch, &self.product_scratch, &jobs);
        self.pool.run(end, &|lane, unit| {
            let index = jobs.partition_point(|job| job.end <= unit);
            let job = &jobs[index];
            let first = (unit - index.checked_sub(1).map_or(0, |before| jobs[before].end)) * job.step;
            // A panic elsewhere leaves nothing in the scratch memory that is read here.
            let mut scratch = all_scratch[lane].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for panel in first..(first + job.step).min(job.weights.rows.div_ceil(PANEL)) {
                job.panel(dispatch, x, panel, &mut scratch);
            }
        });
    }
}

impl Job<'_> {
    /// Computes the outputs of one panel.
    fn panel(&self, dispatch: Dispatch, x: &Activations, panel: usize, scratch: &mut Scratch) {
        let Job { weights, rows, .. } = self;
        let outputs = panel * PANEL..weights.rows.min((panel + 1) * PANEL);
        let Some(layout) = tiles::layout(weights.kind) else {
            return dispatch.run(dense::Panel { weights, outputs, x, rows: *rows, sink: self });
        };
        if scratch.sums.len() < rows.len() {
            scratch.sums.resize(rows.len(), [0.0; PANEL]);
        }
        let (columns, sums) = (&mut scratch.columns, &mut scratch.sums[..rows.len()]);
        let (kind, bytes, blocks, rows) = (weights.kind, weights.panel(panel), x.cols() / BLOCK, *rows);
        match x.rounded() {
            Rounded::Bits8(x) => {
                blocked::Panel { kind, layout, bytes, x, blocks, rows }.sums(dispatch, columns, sums);
            }
            Rounded::Bits14(x) => {
                blocked::Panel { kind, layout, bytes, x, blocks, rows }.sums(dispatch, columns, sums);
            }
        }
        dispatch.run(WriteAll { job: self, outputs, sums });
    }

    /// Puts finished sums where they belong; `index` counts the rows that take part.
    #[inline(always)]
    #[expect(unsafe_code, reason = "units write one output in strides")]
    fn write(&self, index: usize, outputs: Range<usize>, sums: &[f32]) {
        let start = index * self.weights.rows;
        // SAFETY: `outputs` lie in a panel of the calling unit; no other unit of this product has that panel.
        let out = unsafe { self.out.slice(start + outputs.start..start + outputs.end) };
        // A whole panel has a length that is known here, and is written without a call or a loop.
        if let (Some(out), Some(sums), None) = (out.as_mut_array::<PANEL>(), sums.as_array::<PANEL>(), self.bias) {
            if self.add {
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            } else {
                *out = *sums;
            }
            return;
        }
        match (self.bias, self.add) {
            (None, false) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum),
            (None, true) => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
            (Some(bias), add) => {
                for ((out, sum), bias) in out.iter_mut().zip(sums).zip(&bias[outputs]) {
                    *out = if add { *out } else { 0.0 } + (sum + bias);
                }
            }
        }
    }
}

/// Writes the sums of all rows.
struct WriteAll<'a> {
    job: &'a Job<'a>,
    outputs: Range<usize>,
    sums: &'a [Sums],
}

impl Op for WriteAll<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, _: S) {
        for (index, sums) in self.sums.iter().enumerate() {
            self.job.write(index, self.outputs.clone(), sums);
        }
    }
}

impl dense::Sink for Job<'_> {
    #[inline(always)]
    fn put(&self, index: usize, output: usize, sum: f32) {
        self.write(index, output..output + 1, &[sum]);
    }
}

//! Matrix products `out = x · wᵀ` of several matrices with the same input, in one parallel region.
//!
//! Owns the cut into units of work and what happens to a finished sum (bias, residual). The sums themselves are in
//! `blocked` (quantised weights) and `dense`. Units and threads decide who computes an output, never how.

use std::ops::Range;

use crate::disjoint::Disjoint;
use crate::simd::{Dispatch, Op, Simd};
use crate::tiles::{self, PANEL};
use crate::{Activations, Kernels, Matrix, blocked, dense};

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
    /// F32, F16 and BF16 weights multiply the float activations, quantised weights the activations rounded to 14 bits in
    /// blocks of 32.
    pub fn products(&self, x: &Activations, products: &mut [Product<'_>]) {
        let mut jobs = Vec::with_capacity(products.len());
        let mut end = 0;
        for Product { weights, bias, rows, add, out } in products {
            assert_eq!(weights.cols, x.cols(), "weights of {} columns, activations of {}", weights.cols, x.cols());
            weights.check();
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
        let (dispatch, all_scratch, jobs) = (self.dispatch, &self.scratch, &jobs);
        self.pool.run(end, &|lane, unit| {
            let index = jobs.partition_point(|job| job.end <= unit);
            let job = &jobs[index];
            let first = (unit - index.checked_sub(1).map_or(0, |before| jobs[before].end)) * job.step;
            // A panic elsewhere leaves nothing in the scratch memory that is read here.
            let mut scratch = all_scratch[lane].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let panels = first..(first + job.step).min(job.weights.rows.div_ceil(PANEL));
            dispatch.run(Unit { dispatch, job, x, panels, scratch: &mut scratch });
        });
    }
}

/// Some panels of one product.
struct Unit<'a> {
    dispatch: Dispatch,
    job: &'a Job<'a>,
    x: &'a Activations,
    panels: Range<usize>,
    scratch: &'a mut Vec<f32>,
}

impl Op for Unit<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Unit { dispatch, job, x, panels, scratch } = self;
        let Job { weights, rows, .. } = *job;
        let Some(layout) = tiles::layout(weights.kind) else {
            for panel in panels {
                dense::panel(simd, &weights, outputs(job, panel), x, rows, job);
            }
            return;
        };
        // Rows are computed four at a time; what the last ones have too many is not read.
        let sums = PANEL * rows.len().next_multiple_of(4);
        if scratch.len() < sums {
            scratch.resize(sums, 0.0);
        }
        let sums = &mut scratch[..sums];
        for panel in panels {
            let bytes = weights.panel(panel);
            blocked::sums(simd, blocked::Panel { dispatch, kind: weights.kind, layout, bytes, x, rows }, sums);
            for (index, sums) in sums.chunks_exact(PANEL).take(rows.len()).enumerate() {
                write(job, index, outputs(job, panel), sums);
            }
        }
    }
}

/// The outputs of a panel.
#[inline(always)]
fn outputs(job: &Job<'_>, panel: usize) -> Range<usize> {
    panel * PANEL..job.weights.rows.min((panel + 1) * PANEL)
}

impl dense::Sink for Job<'_> {
    #[inline(always)]
    fn put(&self, index: usize, output: usize, sum: f32) {
        write(self, index, output..output + 1, &[sum]);
    }
}

/// Puts finished sums where they belong; `index` counts the rows that take part.
#[inline(always)]
#[expect(unsafe_code, reason = "units write one output in strides")]
fn write(job: &Job<'_>, index: usize, outputs: Range<usize>, sums: &[f32]) {
    let start = index * job.weights.rows;
    // SAFETY: `outputs` lie in a panel of the calling unit; no other unit of this product has that panel.
    let out = unsafe { job.out.slice(start + outputs.start..start + outputs.end) };
    let zeros = [0.0; PANEL];
    let bias = job.bias.map_or(&zeros[..out.len()], |bias| &bias[outputs]);
    if job.add {
        for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
            *out += sum + bias;
        }
    } else {
        for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
            *out = sum + bias;
        }
    }
}

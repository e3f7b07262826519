//! Operations on one activation row by one thread, and the region in which many rows have them at once.
//!
//! Owns what per-row deltas are computed with: `dot`, `axpy`, products of low rank. Which row gets which delta is the
//! engine's business. A row's result depends on its own values alone, so deltas are batch-invariant as all else is.

use crate::disjoint::Disjoint;
use crate::simd::{Dispatch, LANES, Op, Simd};
use crate::{Isa, Kernels};

/// The single-thread operations of one instruction set.
///
/// All methods panic when lengths contradict each other, as those of [`Kernels`] do.
#[derive(Clone, Copy)]
pub struct RowKernels {
    isa: Isa,
    dispatch: Dispatch,
}

/// How 16-bit floats are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Half {
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// `up · down`, a matrix of low rank by its two factors, both with a row for each rank so that both are read from front
/// to back.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    /// How both factors are stored, little-endian.
    pub store: Half,
    /// Rows of both factors.
    pub rank: usize,
    /// `[rank, inputs]`.
    pub down: &'a [u8],
    /// `[rank, outputs]`.
    pub up: &'a [u8],
    /// Multiplies the product.
    pub scale: f32,
}

/// Rows of outputs that a parallel region writes.
#[derive(Debug)]
pub struct RowSite<'a> {
    /// `[rows, width]`.
    pub out: &'a mut [f32],
    /// Elements in a row.
    pub width: usize,
}

impl std::fmt::Debug for RowKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RowKernels").field(&self.isa).finish()
    }
}

impl Kernels {
    /// The operations on one row, for use inside [`Kernels::for_rows`] or by one thread alone.
    #[must_use]
    pub fn rows(&self) -> RowKernels {
        RowKernels { isa: self.isa(), dispatch: self.dispatch }
    }

    /// Calls `job` once with each number below `count`, on all threads: for work on rows that is not a kernel's.
    pub fn for_each(&self, count: usize, job: impl Fn(usize) + Sync) {
        self.pool.run(count, &|_, unit| job(unit));
    }

    /// Calls `job` with each of `rows` at each site, on all threads: the operations, the site's index, the row, the row's
    /// outputs there. Rows are taken up in the order given, so rows with the same weights should be neighbours.
    ///
    /// # Panics
    /// If a row stands twice in `rows` or lies outside of a site, or a site has no width.
    pub fn for_rows(
        &self,
        rows: &[usize],
        sites: &mut [RowSite<'_>],
        job: impl Fn(RowKernels, usize, usize, &mut [f32]) + Sync,
    ) {
        let count = sites.iter().map(|site| site.out.len() / site.width).min().unwrap_or(0);
        let mut seen = vec![false; count];
        for &row in rows {
            assert!(row < count, "row {row} of {count}");
            assert!(!std::mem::replace(&mut seen[row], true), "row {row} stands twice");
        }
        let kernels = self.rows();
        let sites: Vec<_> = sites.iter_mut().map(|site| (Disjoint::new(site.out), site.width)).collect();
        let sites = &sites;
        self.pool.run(rows.len() * sites.len(), &|_, unit| {
            let (site, row) = (unit / rows.len(), rows[unit % rows.len()]);
            let (out, width) = &sites[site];
            job(kernels, site, row, own_row(out, row, *width));
        });
    }
}

#[inline]
#[expect(unsafe_code, reason = "rows of one output are written by several threads")]
#[expect(clippy::mut_from_ref, reason = "rows do not overlap")]
fn own_row<'a>(out: &'a Disjoint<'_, f32>, row: usize, width: usize) -> &'a mut [f32] {
    // SAFETY: `for_rows`, the only caller, asserts that no row stands twice, so each unit has a row of a site of its own;
    // units are handed out once each.
    unsafe { out.slice(row * width..(row + 1) * width) }
}

impl RowKernels {
    /// The instruction set in use.
    #[must_use]
    pub fn isa(self) -> Isa {
        self.isa
    }

    /// `a · b`.
    #[must_use]
    pub fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len(), "dot product of {} and {} elements", a.len(), b.len());
        let mut out = 0.0;
        self.dispatch.run(Dot { a, b, out: &mut out });
        out
    }

    /// `y += scale · x`.
    pub fn axpy(self, scale: f32, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "sum of {} and {} elements", x.len(), y.len());
        self.dispatch.run(Axpy { scale, x, y });
    }

    /// `y += scale · up · (down · x)`.
    pub fn low_rank(self, weights: &LowRank<'_>, x: &[f32], y: &mut [f32]) {
        let LowRank { rank, down, up, .. } = *weights;
        let bytes = |width: usize| rank.checked_mul(width).and_then(|values| values.checked_mul(2));
        assert_eq!(bytes(x.len()), Some(down.len()), "factor is not [{rank}, {}]", x.len());
        assert_eq!(bytes(y.len()), Some(up.len()), "factor is not [{rank}, {}]", y.len());
        if rank == 0 || x.is_empty() || y.is_empty() {
            return;
        }
        match weights.store {
            Half::F16 => self.dispatch.run(LowRankOp::<F16> { weights, x, y, store: F16 }),
            Half::Bf16 => self.dispatch.run(LowRankOp::<Bf16> { weights, x, y, store: Bf16 }),
        }
    }
}

struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
    out: &'a mut f32,
}

impl Op for Dot<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let (a, a_rest) = self.a.as_chunks::<LANES>();
        let (b, b_rest) = self.b.as_chunks::<LANES>();
        // Four chains hide the latency of the additions.
        let mut sums = [simd.splat(0.0); 4];
        let whole = a.len() / 4 * 4;
        for (a, b) in a[..whole].as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0) {
            for i in 0..4 {
                sums[i] = simd.mul_add(simd.load(&a[i]), simd.load(&b[i]), sums[i]);
            }
        }
        for (a, b) in a[whole..].iter().zip(&b[whole..]) {
            sums[0] = simd.mul_add(simd.load(a), simd.load(b), sums[0]);
        }
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        a[..a_rest.len()].copy_from_slice(a_rest);
        b[..b_rest.len()].copy_from_slice(b_rest);
        sums[1] = simd.mul_add(simd.load(&a), simd.load(&b), sums[1]);
        let [s0, s1, s2, s3] = sums;
        *self.out = simd.sum(simd.add(simd.add(s0, s1), simd.add(s2, s3)));
    }
}

struct Axpy<'a> {
    scale: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Op for Axpy<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let scale = simd.splat(self.scale);
        let (x, x_rest) = self.x.as_chunks::<LANES>();
        let (y, y_rest) = self.y.as_chunks_mut::<LANES>();
        for (x, y) in x.iter().zip(y) {
            simd.store(simd.mul_add(scale, simd.load(x), simd.load(y)), y);
        }
        let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
        a[..x_rest.len()].copy_from_slice(x_rest);
        b[..y_rest.len()].copy_from_slice(y_rest);
        let sum = simd.mul_add(scale, simd.load(&a), simd.load(&b));
        simd.store(sum, &mut b);
        y_rest.copy_from_slice(&b[..y_rest.len()]);
    }
}

/// How a vector of 16-bit floats is widened.
trait Widen: Copy {
    fn load<S: Simd>(self, simd: S, bytes: &[u8; 2 * LANES]) -> S::Floats;
}

#[derive(Clone, Copy)]
struct F16;
#[derive(Clone, Copy)]
struct Bf16;

impl Widen for F16 {
    #[inline(always)]
    fn load<S: Simd>(self, simd: S, bytes: &[u8; 2 * LANES]) -> S::Floats {
        simd.load_f16(bytes)
    }
}

impl Widen for Bf16 {
    #[inline(always)]
    fn load<S: Simd>(self, simd: S, bytes: &[u8; 2 * LANES]) -> S::Floats {
        simd.load_bf16(bytes)
    }
}

/// Ranks that pass over the row together. The sums over inputs do not depend on it; those over ranks are added up in
/// steps of it, which shapes alone decide.
const RANKS: usize = 8;

struct LowRankOp<'a, 'w, W> {
    weights: &'a LowRank<'w>,
    x: &'a [f32],
    y: &'a mut [f32],
    store: W,
}

impl<W: Widen> Op for LowRankOp<'_, '_, W> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Self { weights, x, y, store } = self;
        let mut rank = 0;
        while rank + RANKS <= weights.rank {
            add_ranks::<S, W, RANKS>(simd, store, weights, rank, x, y);
            rank += RANKS;
        }
        if rank + 4 <= weights.rank {
            add_ranks::<S, W, 4>(simd, store, weights, rank, x, y);
            rank += 4;
        }
        while rank < weights.rank {
            add_ranks::<S, W, 1>(simd, store, weights, rank, x, y);
            rank += 1;
        }
    }
}

/// Adds ranks `first..first + R`.
#[inline(always)]
fn add_ranks<S: Simd, W: Widen, const R: usize>(
    simd: S,
    store: W,
    weights: &LowRank<'_>,
    first: usize,
    x: &[f32],
    y: &mut [f32],
) {
    let (down, down_rest) = factor_rows::<R>(weights.down, first, x.len());
    let (whole, x_rest) = x.as_chunks::<LANES>();
    let mut sums = [simd.splat(0.0); R];
    for (index, x) in whole.iter().enumerate() {
        let x = simd.load(x);
        for r in 0..R {
            sums[r] = simd.mul_add(store.load(simd, &down[r][index]), x, sums[r]);
        }
    }
    if !x_rest.is_empty() {
        let mut padded = [0.0; LANES];
        padded[..x_rest.len()].copy_from_slice(x_rest);
        let x = simd.load(&padded);
        for r in 0..R {
            sums[r] = simd.mul_add(store.load(simd, &padded_bytes(down_rest[r])), x, sums[r]);
        }
    }
    let mut scaled = [simd.splat(0.0); R];
    for r in 0..R {
        scaled[r] = simd.splat(simd.sum(sums[r]) * weights.scale);
    }

    let (up, up_rest) = factor_rows::<R>(weights.up, first, y.len());
    let (whole, y_rest) = y.as_chunks_mut::<LANES>();
    for (index, y) in whole.iter_mut().enumerate() {
        let mut sum = simd.load(y);
        for r in 0..R {
            sum = simd.mul_add(store.load(simd, &up[r][index]), scaled[r], sum);
        }
        simd.store(sum, y);
    }
    if !y_rest.is_empty() {
        let mut padded = [0.0; LANES];
        padded[..y_rest.len()].copy_from_slice(y_rest);
        let mut sum = simd.load(&padded);
        for r in 0..R {
            sum = simd.mul_add(store.load(simd, &padded_bytes(up_rest[r])), scaled[r], sum);
        }
        simd.store(sum, &mut padded);
        y_rest.copy_from_slice(&padded[..y_rest.len()]);
    }
}

/// `R` rows of a factor as whole vectors, and what is left of each.
#[inline(always)]
fn factor_rows<const R: usize>(factor: &[u8], first: usize, width: usize) -> ([&[[u8; 2 * LANES]]; R], [&[u8]; R]) {
    let (mut whole, mut rest) = ([&[][..]; R], [&[][..]; R]);
    for r in 0..R {
        (whole[r], rest[r]) = factor[(first + r) * width * 2..][..width * 2].as_chunks();
    }
    (whole, rest)
}

#[inline(always)]
fn padded_bytes(rest: &[u8]) -> [u8; 2 * LANES] {
    let mut padded = [0; 2 * LANES];
    padded[..rest.len()].copy_from_slice(rest);
    padded
}

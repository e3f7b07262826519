//! Softmax attention of query rows over blocks of keys and values.
//!
//! Owns the order of every reduction and how the work is cut. Scores are fused sums over the even and the odd elements
//! of a head. Keys are visited in absolute order with one online softmax step for 32 positions; after every
//! [`STRIP`] positions a new sum is begun, and the sums are merged in order. So a result depends on the row's
//! position, window and keys alone, not on the rows it shares a call with or on who computes what.

mod part;
mod state;
mod tile;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::part::{Part, merge_strips};
use crate::disjoint::Disjoint;
use crate::simd::LANES;
use crate::{Kernels, KvLayer, KvShape};

/// One query row.
#[derive(Debug, Clone, Copy)]
pub struct AttentionRow<'a> {
    /// `[heads * head_dim]`, rotated.
    pub q: &'a [f32],
    /// The row attends to positions `0..=position`.
    pub position: usize,
    /// Only the last so many positions, the row's own included.
    pub window: Option<usize>,
    /// The sequence's blocks; position `p` lies in `blocks[p / block_len]`.
    pub blocks: &'a [u32],
}

/// Attention of several rows over one layer.
#[derive(Debug, Clone, Copy)]
pub struct AttentionJob<'a> {
    /// Keys and values, those of the rows themselves included.
    pub kv: &'a KvLayer,
    /// Rows of any sequences; those that share blocks and are at most 15 rows apart share the work of reading them.
    pub rows: &'a [AttentionRow<'a>],
    /// Query heads; a multiple of the layer's `kv_heads`.
    pub heads: usize,
    /// Multiplies `q · k`; commonly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Per query head, a score that takes part in the softmax and adds no value.
    pub sinks: Option<&'a [f32]>,
}

/// Rows that read a block together.
const ROWS: usize = 16;

/// Positions after which a sum is set aside and a new one begun, counted from position 0. Strips are added up in
/// order, so that they may be computed apart from each other.
const STRIP: usize = 512;

impl Kernels {
    /// Writes `[rows, heads * head_dim]`.
    pub fn attention(&self, job: &AttentionJob<'_>, out: &mut [f32]) {
        let shape = job.kv.shape();
        let KvShape { kv_heads, head_dim, block_len, .. } = shape;
        let heads = job.heads;
        assert!(heads > 0 && heads.is_multiple_of(kv_heads), "{heads} query heads over {kv_heads} key heads");
        assert_eq!(out.len(), job.rows.len() * heads * head_dim, "attention output of {} rows", job.rows.len());
        assert!(job.sinks.is_none_or(|sinks| sinks.len() == heads), "one sink for each of {heads} heads");
        for row in job.rows {
            assert_eq!(row.q.len(), heads * head_dim, "query row of {heads} heads of {head_dim}");
            assert!(row.window != Some(0), "an attention window of 0 positions");
            let Some(blocks) = row.blocks.get(..=row.position / block_len) else {
                panic!("{} KV blocks do not reach position {}", row.blocks.len(), row.position)
            };
            assert!(blocks.iter().all(|&b| (b as usize) < job.kv.blocks()), "KV block past {}", job.kv.blocks());
        }
        if job.rows.is_empty() {
            return;
        }
        let plan = &Plan::new(job, self.threads());
        let out = &Disjoint::new(out);
        let (dispatch, scratch) = (self.dispatch, &self.scratch);
        let groups = job.rows.len().div_ceil(plan.rows);
        let units = groups * kv_heads;
        if plan.strips.len() == 1 || job.rows.len() > ROWS || units >= 2 * self.threads() {
            self.pool.run(units, &|lane, unit| {
                let (start, kv_head) = (unit / kv_heads * plan.rows, unit % kv_heads);
                let rows = start..job.rows.len().min(start + plan.rows);
                let scratch = &mut *lock(&scratch[lane]);
                let scratch = vectors(scratch, 2 * rows.len() * plan.group * plan.state);
                Part { dispatch, job, plan, rows, kv_head }.whole(scratch, out);
            });
            return;
        }
        // Too few heads for all threads: strips are computed apart and then merged.
        let strips = plan.strips.len();
        let partials = &mut *lock(&self.partials);
        let partials = &Disjoint::new(vectors(partials, job.rows.len() * heads * strips * plan.state));
        self.pool.run(units * strips, &|_, unit| {
            let (strip, unit) = (unit % strips, unit / strips);
            let (start, kv_head) = (unit / kv_heads * plan.rows, unit % kv_heads);
            let rows = start..job.rows.len().min(start + plan.rows);
            Part { dispatch, job, plan, rows, kv_head }.partial(strip, partials);
        });
        self.pool.run(job.rows.len() * heads, &|lane, unit| {
            let scratch = &mut *lock(&scratch[lane]);
            let scratch = vectors(scratch, plan.state);
            merge_strips(dispatch, job, plan, (unit / heads, unit % heads), partials, scratch, out);
        });
    }
}

/// A panic elsewhere leaves nothing in scratch memory that is read here.
fn lock(scratch: &Mutex<Vec<f32>>) -> MutexGuard<'_, Vec<f32>> {
    scratch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many vectors of scratch memory, aligned to cache lines.
fn vectors(scratch: &mut Vec<f32>, count: usize) -> &mut [[f32; LANES]] {
    let wanted = (count + 1) * LANES;
    if scratch.len() < wanted {
        scratch.resize(wanted, 0.0);
    }
    let start = scratch.as_ptr().align_offset(64).min(LANES - 1);
    scratch[start..][..count * LANES].as_chunks_mut().0
}

/// How a job is cut into units; nothing in it changes a result.
struct Plan {
    /// Query heads for one key head.
    group: usize,
    /// Vectors of a query's [`state`].
    state: usize,
    /// Rows of a unit.
    rows: usize,
    /// Those that any row sees.
    strips: Range<usize>,
}

impl Plan {
    fn new(job: &AttentionJob<'_>, threads: usize) -> Plan {
        let shape = job.kv.shape();
        let mut rows = ROWS;
        while rows > ROWS / 4 && job.rows.len().div_ceil(rows) * shape.kv_heads < 2 * threads {
            rows /= 2;
        }
        let first = job.rows.iter().map(|row| row.start() / STRIP).min().unwrap_or(0);
        let last = job.rows.iter().map(|row| row.position / STRIP).max().unwrap_or(0);
        Plan { group: job.heads / shape.kv_heads, state: state::vectors(shape), rows, strips: first..last + 1 }
    }
}

impl AttentionRow<'_> {
    /// The first position that the row attends to.
    #[inline(always)]
    fn start(&self) -> usize {
        match self.window {
            Some(window) => (self.position + 1).saturating_sub(window),
            None => 0,
        }
    }

    /// Which of `count` slots from position `base` on it attends to.
    #[inline(always)]
    fn sees(&self, base: usize, count: usize) -> Range<usize> {
        let end = (self.position + 1).saturating_sub(base).min(count);
        self.start().saturating_sub(base).min(end)..end
    }
}

//! Softmax attention of query rows over blocks of keys and values.
//!
//! Owns the order of every reduction: keys are visited in absolute block order with one online
//! softmax step per block, and inside a block by absolute slot. So a result depends on the row's
//! position, window and keys alone, not on the rows it shares a call with.

use crate::disjoint::Disjoint;
use crate::exp::exp;
use crate::simd::{LANES, Op, Simd};
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
    /// Rows of any sequences; neighbours that share blocks share the work of reading them.
    pub rows: &'a [AttentionRow<'a>],
    /// Query heads; a multiple of the layer's `kv_heads`.
    pub heads: usize,
    /// Multiplies `q · k`; commonly `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Per query head, a score that takes part in the softmax and adds no value.
    pub sinks: Option<&'a [f32]>,
}

/// Rows that read a block together.
const ROWS: usize = 8;

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
        let plan = Plan::new(shape, heads / kv_heads);
        let out = &Disjoint::new(out);
        let (dispatch, all_scratch) = (self.dispatch, &self.scratch);
        self.pool.run(job.rows.len().div_ceil(ROWS) * kv_heads, &|lane, unit| {
            let (start, kv_head) = (unit / kv_heads * ROWS, unit % kv_heads);
            let rows = start..job.rows.len().min(start + ROWS);
            // A panic elsewhere leaves nothing in the scratch memory that is read here.
            let mut scratch = all_scratch[lane].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if scratch.len() < plan.scratch() {
                scratch.resize(plan.scratch(), 0.0);
            }
            let scratch = &mut scratch[..plan.scratch()];
            dispatch.run(Tile { job, plan, rows: &job.rows[rows], first: start, kv_head, scratch, out });
        });
    }
}

/// Sizes that follow from the shapes.
#[derive(Clone, Copy)]
struct Plan {
    shape: KvShape,
    /// Query heads for one key head.
    group: usize,
    /// `head_dim` rounded up to whole vectors.
    stride: usize,
}

impl Plan {
    fn new(shape: KvShape, group: usize) -> Plan {
        Plan { shape, group, stride: shape.head_dim.next_multiple_of(LANES) }
    }

    /// Queries in a tile.
    fn queries(&self) -> usize {
        ROWS * self.group
    }

    /// One block's keys and values.
    fn block(&self) -> usize {
        2 * self.shape.block_len * self.stride
    }

    /// Floats of scratch memory that a tile needs: queries, sums, their states, scores, a block.
    fn scratch(&self) -> usize {
        self.queries() * (2 * self.stride + 2 + self.shape.block_len) + self.block()
    }
}

/// Up to [`ROWS`] rows at the query heads of one key head.
struct Tile<'a> {
    job: &'a AttentionJob<'a>,
    plan: Plan,
    rows: &'a [AttentionRow<'a>],
    /// Index of the first row in the job.
    first: usize,
    kv_head: usize,
    scratch: &'a mut [f32],
    out: &'a Disjoint<'a, f32>,
}

impl Op for Tile<'_> {
    #[inline(always)]
    fn call<S: Simd>(mut self, simd: S) {
        let scratch = std::mem::take(&mut self.scratch);
        let Plan { shape, group, stride } = self.plan;
        let KvShape { head_dim, block_len, .. } = shape;
        let (queries, rest) = scratch.split_at_mut(self.plan.queries() * stride);
        let (sums, rest) = rest.split_at_mut(self.plan.queries() * stride);
        let (states, rest) = rest.split_at_mut(self.plan.queries() * 2);
        let (scores, converted) = rest.split_at_mut(self.plan.queries() * block_len);
        let states = states.as_chunks_mut::<2>().0;

        let mut first_block = usize::MAX;
        let mut last_block = 0;
        for (index, row) in self.rows.iter().enumerate() {
            for g in 0..group {
                let head = self.kv_head * group + g;
                let query = &mut queries[(index * group + g) * stride..][..stride];
                query[..head_dim].copy_from_slice(&row.q[head * head_dim..][..head_dim]);
                query[head_dim..].fill(0.0);
                sums[(index * group + g) * stride..][..stride].fill(0.0);
                states[index * group + g] = match self.job.sinks {
                    Some(sinks) => [sinks[head], 1.0],
                    None => [f32::NEG_INFINITY, 0.0],
                };
            }
            first_block = first_block.min(start_of(row) / block_len);
            last_block = last_block.max(row.position / block_len);
        }

        for block in first_block..=last_block {
            let base = block * block_len;
            // Rows whose table has the same block here are served by one conversion, if they are
            // neighbours.
            let mut index = 0;
            while index < self.rows.len() {
                let id = self.rows[index].blocks.get(block).copied();
                let mut end = index + 1;
                while end < self.rows.len() && self.rows[end].blocks.get(block).copied() == id {
                    end += 1;
                }
                let run = index..end;
                index = end;
                let Some(id) = id else { continue };
                let mut slots = 0;
                for row in &self.rows[run.clone()] {
                    if row.position >= base && start_of(row) < base + block_len {
                        slots = slots.max(block_len.min(row.position + 1 - base));
                    }
                }
                if slots == 0 {
                    continue;
                }
                let (k, v) = self.job.kv.head(id as usize, self.kv_head, slots, stride, converted);
                for index in run {
                    let row = &self.rows[index];
                    if row.position < base || start_of(row) >= base + block_len {
                        continue;
                    }
                    let view = View {
                        k,
                        v,
                        stride,
                        low: start_of(row).saturating_sub(base),
                        high: block_len.min(row.position + 1 - base),
                        block_len,
                        scale: self.job.scale,
                    };
                    let mut g = index * group;
                    let end = g + group;
                    while g + 2 <= end {
                        view.step::<S, 2>(simd, g, queries, sums, states, scores);
                        g += 2;
                    }
                    if g < end {
                        view.step::<S, 1>(simd, g, queries, sums, states, scores);
                    }
                }
            }
        }

        for index in 0..self.rows.len() {
            for g in 0..group {
                let sum = &sums[(index * group + g) * stride..][..head_dim];
                let inverse = 1.0 / states[index * group + g][1];
                let out = self.output(index, g);
                for (out, sum) in out.iter_mut().zip(sum) {
                    *out = sum * inverse;
                }
            }
        }
    }
}

/// The first position that a row attends to.
#[inline(always)]
fn start_of(row: &AttentionRow<'_>) -> usize {
    match row.window {
        Some(window) => (row.position + 1).saturating_sub(window),
        None => 0,
    }
}

#[expect(unsafe_code, reason = "tiles write one output in strides")]
impl Tile<'_> {
    /// Where the result of one row and query head goes.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "tiles do not overlap")]
    fn output(&self, index: usize, g: usize) -> &mut [f32] {
        let head_dim = self.plan.shape.head_dim;
        let head = self.kv_head * self.plan.group + g;
        let start = ((self.first + index) * self.job.heads + head) * head_dim;
        // SAFETY: no other tile has both this row and this key head, and `call` holds one
        // output at a time.
        unsafe { self.out.slice(start..start + head_dim) }
    }
}

/// What one row sees of one block.
struct View<'a> {
    /// `[block_len, stride]`.
    k: &'a [f32],
    v: &'a [f32],
    stride: usize,
    /// Slots `low..high` are attended to.
    low: usize,
    high: usize,
    block_len: usize,
    scale: f32,
}

#[expect(clippy::needless_range_loop, reason = "a tile is indexed in two dimensions")]
impl View<'_> {
    /// One step of the online softmax for queries `first..first + Q` (Milakov and Gimelshein,
    /// arXiv 1805.02867). Results do not depend on `Q`.
    #[inline(always)]
    fn step<S: Simd, const Q: usize>(
        &self,
        simd: S,
        first: usize,
        queries: &[f32],
        sums: &mut [f32],
        states: &mut [[f32; 2]],
        scores: &mut [f32],
    ) {
        let scores = &mut scores[..Q * self.block_len];
        scores.fill(f32::NEG_INFINITY);
        let mut slot = self.low;
        while slot + 4 <= self.high {
            self.score::<S, 4, Q>(simd, slot, first, queries, scores);
            slot += 4;
        }
        while slot < self.high {
            self.score::<S, 1, Q>(simd, slot, first, queries, scores);
            slot += 1;
        }
        let mut corrections = [0.0; Q];
        for q in 0..Q {
            let scores = &mut scores[q * self.block_len..][..self.block_len];
            corrections[q] = weigh(simd, scores, &mut states[first + q]);
        }
        let mut dim = 0;
        while dim + 4 * LANES <= self.stride {
            self.accumulate::<S, 4, Q>(simd, dim, first, &corrections, scores, sums);
            dim += 4 * LANES;
        }
        while dim < self.stride {
            self.accumulate::<S, 1, Q>(simd, dim, first, &corrections, scores, sums);
            dim += LANES;
        }
    }

    /// `scale * q · k` for `P` slots and `Q` queries.
    #[inline(always)]
    fn score<S: Simd, const P: usize, const Q: usize>(
        &self,
        simd: S,
        slot: usize,
        first: usize,
        queries: &[f32],
        scores: &mut [f32],
    ) {
        let vectors = self.stride / LANES;
        let mut keys = [&[][..]; P];
        for (p, keys) in keys.iter_mut().enumerate() {
            *keys = &self.k[(slot + p) * self.stride..][..self.stride].as_chunks::<LANES>().0[..vectors];
        }
        let mut inputs = [&[][..]; Q];
        for (q, inputs) in inputs.iter_mut().enumerate() {
            *inputs = &queries[(first + q) * self.stride..][..self.stride].as_chunks::<LANES>().0[..vectors];
        }
        let mut sums = [[simd.splat(0.0); Q]; P];
        for d in 0..vectors {
            let mut query = [simd.splat(0.0); Q];
            for q in 0..Q {
                query[q] = simd.load(&inputs[q][d]);
            }
            for p in 0..P {
                let key = simd.load(&keys[p][d]);
                for q in 0..Q {
                    sums[p][q] = simd.mul_add(key, query[q], sums[p][q]);
                }
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            for (q, sum) in sums.into_iter().enumerate() {
                scores[q * self.block_len + slot + p] = simd.sum(sum) * self.scale;
            }
        }
    }

    /// `sums = sums * correction + weights · v` for `D` vectors of `Q` queries.
    #[inline(always)]
    fn accumulate<S: Simd, const D: usize, const Q: usize>(
        &self,
        simd: S,
        dim: usize,
        first: usize,
        corrections: &[f32; Q],
        weights: &[f32],
        sums: &mut [f32],
    ) {
        let mut acc = [[simd.splat(0.0); D]; Q];
        for q in 0..Q {
            let from = &sums[(first + q) * self.stride + dim..][..D * LANES];
            for d in 0..D {
                acc[q][d] = simd.mul(simd.load(&from.as_chunks().0[d]), simd.splat(corrections[q]));
            }
        }
        for slot in self.low..self.high {
            let values = &self.v[slot * self.stride + dim..][..D * LANES];
            let mut weight = [simd.splat(0.0); Q];
            for q in 0..Q {
                weight[q] = simd.splat(weights[q * self.block_len + slot]);
            }
            for d in 0..D {
                let value = simd.load(&values.as_chunks().0[d]);
                for q in 0..Q {
                    acc[q][d] = simd.mul_add(value, weight[q], acc[q][d]);
                }
            }
        }
        for q in 0..Q {
            let to = &mut sums[(first + q) * self.stride + dim..][..D * LANES];
            for d in 0..D {
                simd.store(acc[q][d], &mut to.as_chunks_mut().0[d]);
            }
        }
    }
}

/// Turns a block's scores into weights `e^(score - max)` and returns what earlier sums must be
/// multiplied with. `state` is the largest score so far and the sum of weights.
#[inline(always)]
fn weigh<S: Simd>(simd: S, scores: &mut [f32], state: &mut [f32; 2]) -> f32 {
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in scores.as_chunks::<LANES>().0 {
        for (largest, &score) in largest.iter_mut().zip(chunk) {
            *largest = if score > *largest { score } else { *largest };
        }
    }
    let [old, total] = *state;
    let mut max = old;
    for largest in largest {
        max = if largest > max { largest } else { max };
    }
    let mut sum = simd.splat(0.0);
    for chunk in scores.as_chunks_mut::<LANES>().0 {
        for score in chunk.iter_mut() {
            *score = exp(*score - max);
        }
        sum = simd.add(sum, simd.load(chunk));
    }
    let correction = exp(old - max);
    *state = [max, total * correction + simd.sum(sum)];
    correction
}

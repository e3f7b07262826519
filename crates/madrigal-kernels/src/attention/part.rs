//! Some rows at the query heads of one key head: which blocks they share, and what becomes of their states.
//!
//! Owns the walk over positions; the arithmetic is `tile`'s and `state`'s.

use std::ops::Range;

use super::tile::{QUERIES, Query, Tile};
use super::{AttentionJob, AttentionRow, Plan, ROWS, STRIP, state};
use crate::disjoint::Disjoint;
use crate::kv::{Element, Line, Lines, SPAN, Store};
use crate::simd::{Dispatch, LANES};

/// At most [`ROWS`] rows at one key head.
pub(super) struct Part<'a> {
    pub(super) dispatch: Dispatch,
    pub(super) job: &'a AttentionJob<'a>,
    pub(super) plan: &'a Plan,
    /// Of the job.
    pub(super) rows: Range<usize>,
    pub(super) kv_head: usize,
}

impl<'a> Part<'a> {
    /// From the first strip to the result; `scratch` has room for two states of each query.
    pub(super) fn whole(&self, scratch: &mut [[f32; LANES]], out: &Disjoint<'_, f32>) {
        let Part { job, plan, dispatch, .. } = *self;
        let rows = self.rows();
        let (strip_states, states) = scratch.split_at_mut(scratch.len() / 2);
        let first_head = self.kv_head * plan.group;
        for (query, state) in states.chunks_exact_mut(plan.state).enumerate() {
            state::begin(state, job.sinks.map(|sinks| sinks[first_head + query % plan.group]));
        }
        for strip in plan.strips.clone() {
            if rows.iter().all(|row| row.sees(strip * STRIP, STRIP).is_empty()) {
                continue;
            }
            self.strip(strip, strip_states);
            let pairs = states.chunks_exact_mut(plan.state).zip(strip_states.chunks_exact(plan.state));
            for (query, (state, later)) in pairs.enumerate() {
                if !rows[query / plan.group].sees(strip * STRIP, STRIP).is_empty() {
                    dispatch.run(state::Merge { state, later });
                }
            }
        }
        for (query, state) in states.chunks_exact(plan.state).enumerate() {
            let row = self.rows.start + query / plan.group;
            let out = output(job, row, first_head + query % plan.group, out);
            dispatch.run(state::Finish { state, out });
        }
    }

    /// One strip alone, to be merged by [`merge_strips`].
    #[expect(unsafe_code, reason = "strips of one part lie apart in the partial states")]
    pub(super) fn partial(&self, strip: usize, partials: &Disjoint<'_, [f32; LANES]>) {
        let Part { job, plan, .. } = *self;
        let start = partial(job, plan, strip, self.rows.start, self.kv_head * plan.group);
        // SAFETY: these are the states of the part's rows and heads at this strip; every part and strip is one unit.
        let states = unsafe { partials.slice(start..start + self.rows.len() * plan.group * plan.state) };
        self.strip(plan.strips.start + strip, states);
    }

    fn rows(&self) -> &'a [AttentionRow<'a>] {
        &self.job.rows[self.rows.clone()]
    }

    /// Attends to one strip; `states` holds one state for each row and query head, in that order.
    fn strip(&self, strip: usize, states: &mut [[f32; LANES]]) {
        for state in states.chunks_exact_mut(self.plan.state) {
            state::begin(state, None);
        }
        match &self.job.kv.store {
            Store::F32(lines) => self.spans(lines, strip, states),
            Store::Bf16(lines) => self.spans(lines, strip, states),
        }
    }

    fn spans<E: Element>(&self, lines: &Lines<E>, strip: usize, states: &mut [[f32; LANES]]) {
        let rows = self.rows();
        let mut first = (strip + 1) * STRIP;
        let mut end = strip * STRIP;
        for row in rows {
            first = first.min(row.start().max(strip * STRIP));
            end = end.max((row.position + 1).min((strip + 1) * STRIP));
        }
        for span in first / SPAN..end.div_ceil(SPAN) {
            let mut open = 0u32;
            for (index, row) in rows.iter().enumerate() {
                open |= u32::from(!row.sees(span * SPAN, SPAN).is_empty()) << index;
            }
            // Rows whose tables have the same block here read it together.
            while open != 0 {
                let index = open.trailing_zeros() as usize;
                let spans = self.job.kv.shape().block_len / SPAN;
                let block = rows[index].blocks[span / spans];
                let mut sharing = [0; ROWS];
                let mut count = 0;
                for (index, row) in rows.iter().enumerate().skip(index) {
                    if open & 1 << index != 0 && row.blocks[span / spans] == block {
                        open &= !(1 << index);
                        sharing[count] = index;
                        count += 1;
                    }
                }
                self.block(lines, span, &sharing[..count], states);
            }
        }
    }

    /// One step for the rows in `sharing`, which have the same block at `span`.
    fn block<E: Element>(&self, lines: &Lines<E>, span: usize, sharing: &[usize], states: &mut [[f32; LANES]]) {
        let (rows, shape, group) = (self.rows(), self.job.kv.shape(), self.plan.group);
        let spans = shape.block_len / SPAN;
        let place = |span: usize| {
            let block = *rows[sharing[0]].blocks.get(span / spans)? as usize;
            Some((shape.keys(block, self.kv_head, span % spans), shape.values(block, self.kv_head, span % spans)))
        };
        let Some((keys, values)) = place(span) else { return };
        // The first row's next block is fetched while this one is worked on.
        let (next_keys, next_values) = place(span + 1).unwrap_or((keys.clone(), values.clone()));
        let mut tile = Tile {
            keys: &lines.k[keys.clone()],
            values: &lines.v[values.clone()],
            keys_ahead: distance::<E>(keys.start, next_keys.start),
            values_ahead: distance::<E>(values.start, next_values.start),
            width: shape.value_width(),
            scale: self.job.scale,
            count: 0,
            queries: [Query::default(); QUERIES],
        };
        for &index in sharing {
            let sees = rows[index].sees(span * SPAN, SPAN);
            let heads = rows[index].q.chunks_exact(shape.head_dim).skip(self.kv_head * group).take(group);
            for (g, query) in heads.enumerate() {
                let state = (index * group + g) * self.plan.state;
                tile.queries[tile.count] = Query { values: query, low: sees.start, high: sees.end, state };
                tile.count += 1;
                if tile.count == QUERIES {
                    tile.step(self.dispatch, states);
                    (tile.count, tile.keys_ahead, tile.values_ahead) = (0, 0, 0);
                }
            }
        }
        if tile.count > 0 {
            tile.step(self.dispatch, states);
        }
    }
}

/// Bytes from one line to another.
fn distance<E>(from: usize, to: usize) -> usize {
    to.wrapping_sub(from).wrapping_mul(size_of::<Line<E>>())
}

/// Finishes one query: `[strips, kv_heads, rows, group]` states are merged in order. `state` has room for one.
#[expect(unsafe_code, reason = "queries lie apart in the partial states")]
pub(super) fn merge_strips(
    dispatch: Dispatch,
    job: &AttentionJob<'_>,
    plan: &Plan,
    (row, head): (usize, usize),
    partials: &Disjoint<'_, [f32; LANES]>,
    state: &mut [[f32; LANES]],
    out: &Disjoint<'_, f32>,
) {
    state::begin(state, job.sinks.map(|sinks| sinks[head]));
    for strip in 0..plan.strips.len() {
        if !job.rows[row].sees((plan.strips.start + strip) * STRIP, STRIP).is_empty() {
            let start = partial(job, plan, strip, row, head);
            // SAFETY: only the unit of this row and head touches these states, and it borrows them one by one.
            let later = unsafe { partials.slice(start..start + plan.state) };
            dispatch.run(state::Merge { state, later });
        }
    }
    dispatch.run(state::Finish { state, out: output(job, row, head, out) });
}

/// Where in the partial states that of one query at one strip (counted from the plan's first) is.
fn partial(job: &AttentionJob<'_>, plan: &Plan, strip: usize, row: usize, head: usize) -> usize {
    let kv_heads = job.heads / plan.group;
    let (kv_head, g) = (head / plan.group, head % plan.group);
    (((strip * kv_heads + kv_head) * job.rows.len() + row) * plan.group + g) * plan.state
}

/// Where the result of one row and query head goes.
#[expect(unsafe_code, reason = "parts write one output in strides")]
#[expect(clippy::mut_from_ref, reason = "parts do not overlap")]
fn output<'a>(job: &AttentionJob<'_>, row: usize, head: usize, out: &'a Disjoint<'_, f32>) -> &'a mut [f32] {
    let head_dim = job.kv.shape().head_dim;
    let start = (row * job.heads + head) * head_dim;
    // SAFETY: only one unit finishes this row and head, and it holds one output at a time.
    unsafe { out.slice(start..start + head_dim) }
}

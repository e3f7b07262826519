//! Rotary position embedding: the table of angles and the rotation of heads.
//!
//! Does not own how a model scales its frequencies; they come in as numbers.

use std::sync::OnceLock;

use crate::Kernels;
use crate::disjoint::Disjoint;
use crate::norm::normalise_in_place;
use crate::simd::{Op, Simd};

/// Which two elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// Element `i` and element `i + n`, with `n` frequencies: `rotate_half` of transformers.
    HalfSplit,
    /// Elements `2i` and `2i + 1`: LLaMA weights in GGUF files.
    Interleaved,
}

/// Cosines and sines by position, computed the first time a position is near.
#[derive(Debug)]
pub struct RopeTable {
    inverse_frequencies: Box<[f32]>,
    positions: usize,
    scale: f32,
    /// `[CHUNK, 2, frequencies]` each: per position the cosines, then the sines.
    chunks: Box<[OnceLock<Box<[f32]>>]>,
}

const CHUNK: usize = 64;

impl RopeTable {
    /// Angles `position * inverse_frequencies[i]` for positions below `max_positions`.
    ///
    /// The product is rounded to f32, as transformers does it. `attention_scale` multiplies
    /// cosines and sines (1 unless the model uses YaRN).
    #[must_use]
    pub fn new(inverse_frequencies: &[f32], max_positions: usize, attention_scale: f32) -> RopeTable {
        RopeTable {
            inverse_frequencies: inverse_frequencies.into(),
            positions: max_positions,
            scale: attention_scale,
            chunks: (0..max_positions.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Positions that may be asked for.
    #[must_use]
    pub fn max_positions(&self) -> usize {
        self.positions
    }

    /// Elements of a head that are rotated: two for each frequency.
    #[must_use]
    pub fn rotated(&self) -> usize {
        2 * self.inverse_frequencies.len()
    }

    /// The cosines and sines of one position.
    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        assert!(position < self.positions, "position {position} of {}", self.positions);
        let chunk = self.chunks[position / CHUNK].get_or_init(|| self.compute(position / CHUNK));
        let n = self.inverse_frequencies.len();
        chunk[position % CHUNK * 2 * n..][..2 * n].split_at(n)
    }

    fn compute(&self, chunk: usize) -> Box<[f32]> {
        let n = self.inverse_frequencies.len();
        let mut table = vec![0.0; CHUNK * 2 * n];
        for (offset, row) in table.chunks_exact_mut((2 * n).max(1)).enumerate() {
            let position = (chunk * CHUNK + offset) as f32;
            let (cosines, sines) = row.split_at_mut(n);
            for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(&self.inverse_frequencies) {
                let (s, c) = libm::sincos(f64::from(position * frequency));
                *cosine = c as f32 * self.scale;
                *sine = s as f32 * self.scale;
            }
        }
        table.into()
    }
}

/// Rows of query or key heads on their way to attention.
#[derive(Debug)]
pub struct Heads<'a> {
    /// `[positions, heads · head_dim]`.
    pub x: &'a mut [f32],
    /// Normalises each head before it is rotated: `[head_dim]`, and what is added to the mean of squares.
    pub norm: Option<(&'a [f32], f32)>,
}

/// How heads are rotated.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// Elements of a head. Those beyond [`RopeTable::rotated`] stay as they are.
    pub head_dim: usize,
    /// The angles.
    pub table: &'a RopeTable,
    /// The place of each row.
    pub positions: &'a [u32],
    /// Which elements form pairs.
    pub style: RopeStyle,
}

impl Kernels {
    /// Normalises and rotates heads, in place.
    pub fn rotate<const N: usize>(&self, heads: [Heads<'_>; N], rotation: Rotation<'_>) {
        let Rotation { head_dim, table, positions, .. } = rotation;
        let rotated = table.rotated();
        assert!(head_dim > 0 && rotated <= head_dim, "rotating {rotated} elements of heads of {head_dim}");
        let rows = positions.len();
        let heads = heads.map(|Heads { x, norm }| {
            let width = x.len().checked_div(rows).unwrap_or(0);
            assert_eq!(width * rows, x.len(), "{} elements in {rows} rows", x.len());
            assert!(width.is_multiple_of(head_dim), "row of {width} elements in heads of {head_dim}");
            assert!(norm.is_none_or(|(weight, _)| weight.len() == head_dim), "norm of heads of {head_dim}");
            (Disjoint::new(x), width, norm)
        });
        // Elements a thread takes at a time, about: enough to be worth waking it.
        const CHUNK: usize = 8192;
        let width: usize = heads.iter().map(|(_, width, _)| width).sum();
        let chunk = CHUNK.div_ceil(width.max(1));
        let (dispatch, heads) = (self.dispatch, &heads);
        self.pool.run(rows.div_ceil(chunk), &|_, unit| {
            let rows = unit * chunk..rows.min((unit + 1) * chunk);
            for (x, width, norm) in heads {
                let positions = &positions[rows.clone()];
                #[expect(unsafe_code, reason = "several buffers are cut at the same rows")]
                // SAFETY: units are handed out once each, and the rows of two units do not overlap.
                let x = unsafe { x.slice(rows.start * width..rows.end * width) };
                dispatch.run(Rotate { x, width: *width, norm: *norm, rotation: Rotation { positions, ..rotation } });
            }
        });
    }
}

/// Some rows of one kind of heads.
struct Rotate<'a> {
    x: &'a mut [f32],
    width: usize,
    norm: Option<(&'a [f32], f32)>,
    rotation: Rotation<'a>,
}

impl Op for Rotate<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let Rotate { x, width, norm, rotation: Rotation { head_dim, table, positions, style } } = self;
        for (x, &position) in x.chunks_exact_mut(width.max(1)).zip(positions) {
            let (cosines, sines) = table.at(position as usize);
            for head in x.chunks_exact_mut(head_dim) {
                if let Some((weight, eps)) = norm {
                    normalise_in_place(simd, head, weight, eps);
                }
                rotate(&mut head[..table.rotated()], cosines, sines, style);
            }
        }
    }
}

#[inline(always)]
fn rotate(head: &mut [f32], cosines: &[f32], sines: &[f32], style: RopeStyle) {
    match style {
        RopeStyle::HalfSplit => {
            let (low, high) = head.split_at_mut(cosines.len());
            for (((a, b), cosine), sine) in low.iter_mut().zip(high).zip(cosines).zip(sines) {
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
        RopeStyle::Interleaved => {
            for (([a, b], cosine), sine) in head.as_chunks_mut().0.iter_mut().zip(cosines).zip(sines) {
                (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
            }
        }
    }
}

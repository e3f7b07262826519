//! Rotary position embedding: the table of angles and the rotation of heads.
//!
//! Does not own how a model scales its frequencies; they come in as numbers.

use std::sync::OnceLock;

use crate::Kernels;

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

impl Kernels {
    /// Rotates every head of `x`, `[positions.len(), heads * head_dim]`, in place. Elements of a
    /// head beyond [`RopeTable::rotated`] stay as they are.
    pub fn rope(&self, x: &mut [f32], head_dim: usize, table: &RopeTable, positions: &[u32], style: RopeStyle) {
        if positions.is_empty() || x.is_empty() {
            assert!(x.is_empty(), "{} elements without positions", x.len());
            return;
        }
        let row = x.len() / positions.len();
        assert_eq!(row * positions.len(), x.len(), "{} elements in {} rows", x.len(), positions.len());
        assert!(head_dim > 0 && row.is_multiple_of(head_dim), "row of {row} elements in heads of {head_dim}");
        let rotated = table.rotated();
        assert!(rotated <= head_dim, "rotating {rotated} elements of heads of {head_dim}");
        let rows = 8192usize.div_ceil(row);
        self.pool.for_chunks(x, rows * row, |_, index, x| {
            for (x, &position) in x.chunks_exact_mut(row).zip(&positions[index * rows..]) {
                let (cosines, sines) = table.at(position as usize);
                for head in x.chunks_exact_mut(head_dim) {
                    rotate(&mut head[..rotated], cosines, sines, style);
                }
            }
        });
    }
}

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

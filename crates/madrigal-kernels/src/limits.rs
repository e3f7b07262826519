//! Loops that do nothing but what bounds all others: reading memory. Whoever times them learns what the machine gives.
//!
//! Owns no clock; the figures are made where the time is taken.

use crate::Kernels;
use crate::simd::{LANES, Op, Simd};

/// Bytes that a thread reads at a time.
const CHUNK: usize = 1 << 20;

impl Kernels {
    /// Reads a buffer once, from front to back, on all threads. The result depends on what it holds, so that nothing can be
    /// left out; it should hold ordinary floats, with which vectors are added at full speed.
    #[must_use]
    pub fn read_through(&self, buffer: &[f32]) -> f32 {
        let chunks: Vec<&[f32]> = buffer.chunks(CHUNK / 4).collect();
        let mut sums = vec![0.0; chunks.len()];
        let dispatch = self.dispatch;
        self.pool.for_chunks(&mut sums, 1, |_, index, sum| {
            dispatch.run(Read { from: chunks[index], sum: &mut sum[0] });
        });
        sums.iter().sum()
    }
}

struct Read<'a> {
    from: &'a [f32],
    sum: &'a mut f32,
}

/// Bytes ahead that are asked for. Hardware does so too; it stops at the borders of pages.
const AHEAD: usize = 2048;

impl Op for Read<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        let vectors = self.from.as_chunks::<LANES>().0;
        let mut sums = [simd.splat(0.0); 4];
        for line in vectors.as_chunks::<4>().0 {
            for i in 0..4 {
                simd.prefetch((&raw const line[i]).cast::<u8>().wrapping_add(AHEAD));
                sums[i] = simd.add(sums[i], simd.load(&line[i]));
            }
        }
        let [a, b, c, d] = sums;
        *self.sum = simd.sum(simd.add(simd.add(a, b), simd.add(c, d)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;

    #[test]
    fn everything_is_read_once() {
        let buffer = vec![1.0; 3 * CHUNK / 4 + 4 * LANES];
        for isa in Isa::available() {
            for threads in [1, 2] {
                let kernels = Kernels::new(isa, threads).unwrap();
                assert_eq!(kernels.read_through(&buffer), buffer.len() as f32);
            }
        }
    }
}

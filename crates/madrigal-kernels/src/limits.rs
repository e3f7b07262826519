//! Loops that do nothing but what bounds all others: reading memory, adding up products of 8-bit numbers. Whoever times
//! them learns what the machine gives.
//!
//! Owns no clock; the figures are made where the time is taken.

use std::hint::black_box;

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

/// Multiplications and additions of one `dot_four`.
const OPERATIONS: u64 = 2 * 64;

/// `dot_four`s of one round: as many as keep all accumulators busy.
const fn tile<S: Simd>() -> usize {
    if S::MANY_REGISTERS { 16 } else { 4 }
}

impl Kernels {
    /// Adds up products of 8-bit numbers with the instruction that the matrix products use, on all threads, for `rounds`
    /// rounds each. Says how many multiplications and additions that were, and a result that depends on all of them.
    #[must_use]
    pub fn multiply_bytes(&self, rounds: usize) -> (u64, f32) {
        let mut results = vec![(0, 0.0); self.threads()];
        let dispatch = self.dispatch;
        self.pool.for_chunks(&mut results, 1, |_, _, result| {
            dispatch.run(Multiply { rounds, result: &mut result[0] });
        });
        results.into_iter().fold((0, 0.0), |(count, sum), (more, result)| (count + more, sum + result))
    }
}

struct Multiply<'a> {
    rounds: usize,
    result: &'a mut (u64, f32),
}

impl Op for Multiply<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        // Hidden from the compiler, or it would compute the result itself.
        let (codes, numbers) = black_box(([[1; 64], [2; 64], [3; 64], [4; 64]], [[1; 4], [-2; 4], [3; 4], [-4; 4]]));
        let sum = if S::MANY_REGISTERS {
            multiply::<S, 4>(simd, self.rounds, &codes, &numbers)
        } else {
            multiply::<S, 2>(simd, self.rounds, &codes, &numbers)
        };
        *self.result = ((self.rounds * tile::<S>()) as u64 * OPERATIONS, sum);
    }
}

/// `N * N` chains of sums, as in a tile of a matrix product.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "a tile is indexed in two dimensions")]
fn multiply<S: Simd, const N: usize>(simd: S, rounds: usize, codes: &[[u8; 64]; 4], numbers: &[[i8; 4]; 4]) -> f32 {
    let mut rows = [simd.load_codes(&codes[0]); N];
    let mut columns = [simd.four(&numbers[0]); N];
    for i in 1..N {
        rows[i] = simd.load_codes(&codes[i]);
        columns[i] = simd.four(&numbers[i]);
    }
    let mut sums = [[simd.no_ints(); N]; N];
    for _ in 0..rounds {
        for i in 0..N {
            for j in 0..N {
                sums[i][j] = simd.dot_four(sums[i][j], rows[i], columns[j]);
            }
        }
    }
    let mut total = 0.0;
    for i in 0..N {
        for j in 0..N {
            total += simd.sum(simd.to_floats(sums[i][j]));
        }
    }
    total
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
    fn every_product_is_added_up() {
        for isa in Isa::available() {
            for threads in [1, 2] {
                let kernels = Kernels::new(isa, threads).unwrap();
                let (count, sum) = kernels.multiply_bytes(50);
                // 4 · 16 products a vector; rows of 1, 2, .. and columns of 1, -2, .. make (1 + 2)(1 - 2) or 10 · (-2).
                let (chains, each) = if count == threads as u64 * 50 * 16 * 128 { (16, -20.0) } else { (4, -3.0) };
                assert_eq!(count, threads as u64 * 50 * chains * 128);
                assert_eq!(sum, threads as f32 * 50.0 * 64.0 * each);
            }
        }
    }

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

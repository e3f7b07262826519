//! Operations on one row against f64, and the region that runs them for many rows.

use std::panic::{AssertUnwindSafe, catch_unwind};

use madrigal_kernels::{BlockType, Half, Isa, Kernels, LowRank, RowKernels, RowSite};
use proptest::prelude::*;

use crate::reference::{Numbers, Stored, all_kernels, assert_close, bits};

const STORES: [(Half, BlockType); 2] = [(Half::F16, BlockType::F16), (Half::Bf16, BlockType::Bf16)];

#[test]
fn dot_and_axpy_agree_with_f64() {
    let mut numbers = Numbers(11);
    for isa in Isa::available() {
        let rows = Kernels::new(isa, 1).unwrap().rows();
        assert_eq!(rows.isa(), isa);
        for len in [0, 1, 7, 16, 63, 64, 65, 129, 1024, 3073] {
            let (a, b) = (numbers.floats(len), numbers.floats(len));
            let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            let what = format!("{isa} {len}");
            assert_close(rows.dot(&a, &b), exact, 3e-7 * (len as f64).sqrt() + 1e-9, &what);
            let mut y = b.clone();
            rows.axpy(0.37, &a, &mut y);
            for ((&y, &a), &b) in y.iter().zip(&a).zip(&b) {
                assert_close(y, f64::from(0.37_f32) * f64::from(a) + f64::from(b), 1.2e-7, &what);
            }
        }
    }
}

#[test]
fn low_rank_agrees_with_f64() {
    let mut numbers = Numbers(12);
    for isa in Isa::available() {
        let rows = Kernels::new(isa, 1).unwrap().rows();
        for (store, kind) in STORES {
            for (rank, inputs, outputs) in
                [(1, 1, 1), (8, 64, 32), (4, 33, 47), (3, 16, 5), (13, 100, 129), (16, 1024, 640), (8, 2, 172)]
            {
                let (down, up) = (
                    Stored::random(kind, rank * inputs, &mut numbers),
                    Stored::random(kind, rank * outputs, &mut numbers),
                );
                let (x, y) = (numbers.floats(inputs), numbers.floats(outputs));
                let weights = LowRank { store, rank, down: down.data(), up: up.data(), scale: 1.5 };
                let mut ours = y.clone();
                rows.low_rank(&weights, &x, &mut ours);
                for (out, (&ours, &y)) in ours.iter().zip(&y).enumerate() {
                    let (mut exact, mut size) = (f64::from(y), f64::from(y).abs());
                    for r in 0..rank {
                        let row = &down.values[r * inputs..][..inputs];
                        let inner: f64 = row.iter().zip(&x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
                        let term = 1.5 * inner * f64::from(up.values[r * outputs + out]);
                        exact += term;
                        size += term.abs();
                    }
                    let tolerance = 5e-7 * (size + (inputs as f64).sqrt() * rank as f64);
                    assert_close(ours, exact, tolerance, &format!("{isa} {store:?} rank {rank} [{inputs}, {outputs}]"));
                }
            }
        }
    }
}

/// What a row of the region is given: a low-rank product of its own voice.
fn add(kernels: RowKernels, voices: &[LowRank<'_>], voice: usize, x: &[f32], y: &mut [f32]) {
    kernels.low_rank(&voices[voice], x, y);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A row's delta is bit-equal alone and among others, in any order, on any number of threads.
    #[test]
    fn deltas_are_batch_invariant(seed: u64, count in 1..17_usize, inputs in 1..70_usize, rank in 1..10_usize) {
        let mut numbers = Numbers(seed);
        let widths = [1 + numbers.below(90), 1 + numbers.below(90)];
        let factors: Vec<_> = (0..6)
            .map(|index| {
                let width = widths[index % 2];
                let down = Stored::random(BlockType::F16, rank * inputs, &mut numbers);
                (down, Stored::random(BlockType::F16, rank * width, &mut numbers))
            })
            .collect();
        let voices: Vec<LowRank<'_>> = factors
            .iter()
            .map(|(down, up)| LowRank { store: Half::F16, rank, down: down.data(), up: up.data(), scale: 0.5 })
            .collect();
        let x = numbers.floats(count * inputs);
        let before = widths.map(|width| numbers.floats(count * width));
        let voice_of: Vec<usize> = (0..count).map(|_| numbers.below(3)).collect();
        // Some rows, in any order.
        let mut chosen: Vec<usize> = (0..count).filter(|_| numbers.below(4) > 0).collect();
        for index in (1..chosen.len()).rev() {
            chosen.swap(index, numbers.below(index + 1));
        }
        for isa in Isa::available() {
            let alone = Kernels::new(isa, 1).unwrap();
            let mut expected = before.clone();
            for (site, width) in widths.into_iter().enumerate() {
                for &row in &chosen {
                    let y = &mut expected[site][row * width..][..width];
                    add(alone.rows(), &voices, voice_of[row] * 2 + site, &x[row * inputs..][..inputs], y);
                }
            }
            for threads in [1, 2, 3] {
                let kernels = Kernels::new(isa, threads).unwrap();
                let [mut first, mut second] = before.clone();
                let mut sites =
                    [RowSite { out: &mut first, width: widths[0] }, RowSite { out: &mut second, width: widths[1] }];
                kernels.for_rows(&chosen, &mut sites, |kernels, site, row, y| {
                    add(kernels, &voices, voice_of[row] * 2 + site, &x[row * inputs..][..inputs], y);
                });
                prop_assert_eq!(bits(&first), bits(&expected[0]));
                prop_assert_eq!(bits(&second), bits(&expected[1]));
            }
        }
    }
}

#[test]
fn rows_that_stand_twice_or_outside_are_refused() {
    for kernels in all_kernels() {
        for rows in [vec![1, 0, 1], vec![2], vec![usize::MAX - 1]] {
            let mut out = [0.0; 6];
            let refused = catch_unwind(AssertUnwindSafe(|| {
                kernels.for_rows(&rows, &mut [RowSite { out: &mut out, width: 3 }], |_, _, _, y| y.fill(1.0));
            }));
            assert!(refused.is_err(), "{rows:?}");
        }
        kernels.for_rows(&[], &mut [], |_, _, _, _| panic!("no rows"));
    }
}

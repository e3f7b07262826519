//! Norms, rotary embedding and the gated activation.

use madrigal_kernels::{Activations, Gate, Heads, Isa, Kernels, Precision, RopeStyle, RopeTable, Rotation};
use proptest::prelude::*;

use crate::reference::{Numbers, all_kernels, assert_close, bits};

#[test]
fn rms_norm_agrees_with_f64() {
    let mut numbers = Numbers(5);
    for kernels in all_kernels() {
        for (rows, cols) in [(1, 8), (3, 172), (5, 1), (40, 1024), (7, 16)] {
            let (x, weight) = (numbers.floats(rows * cols), numbers.floats(cols));
            let mut out = x.clone();
            kernels.rms_norm(&mut out, &weight, 1e-6);
            for (x, out) in x.chunks(cols).zip(out.chunks(cols)) {
                let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / cols as f64;
                for ((&x, &w), &out) in x.iter().zip(&weight).zip(out) {
                    let expected = f64::from(x) / (mean + 1e-6).sqrt() * f64::from(w);
                    assert_close(out, expected, 1e-6 * expected.abs(), &format!("[{rows}, {cols}]"));
                }
            }
            let mut activations = Activations::new();
            activations.load_normed(&kernels, Precision::Bits14, &x, &weight, 1e-6, rows);
            for (row, out) in out.chunks(cols).enumerate() {
                assert_eq!(bits(activations.row(row)), bits(out));
            }
        }
    }
}

#[test]
fn silu_agrees_with_f64() {
    let mut numbers = Numbers(6);
    for kernels in all_kernels() {
        let mut gate = numbers.floats(5000);
        for (i, x) in gate.iter_mut().enumerate() {
            *x *= [1.0, 10.0, 80.0][i % 3];
        }
        gate[0] = 200.0;
        gate[1] = -200.0;
        let (before, up) = (gate.clone(), numbers.floats(5000));
        let gate = gated(&kernels, Gate::Silu, &gate, &up, 5);
        for ((&ours, &x), &up) in gate.iter().zip(&before).zip(&up) {
            let (x, up) = (f64::from(x), f64::from(up));
            let expected = x / (1.0 + (-x).exp()) * up;
            assert_close(ours, expected, 3e-7 * expected.abs() + 1e-30, &format!("silu({x}) * {up}"));
        }
    }
}

/// What a gate makes of `[rows, …]`, as the next products see it.
fn gated(kernels: &Kernels, kind: Gate, gate: &[f32], up: &[f32], rows: usize) -> Vec<f32> {
    let mut activations = Activations::new();
    activations.load_gated(kernels, Precision::Bits14, kind, gate, up, rows);
    (0..rows).flat_map(|row| activations.row(row)).copied().collect()
}

fn frequencies(rotated: usize) -> Vec<f32> {
    (0..rotated / 2).map(|i| 10_000f64.powf(-2.0 * i as f64 / rotated as f64) as f32).collect()
}

#[test]
fn rope_agrees_with_f64_in_both_styles() {
    let mut numbers = Numbers(7);
    let positions = [0u32, 1, 63, 64, 500, 2047];
    for kernels in all_kernels() {
        // Elements of a head, and how many of them are rotated.
        for (head_dim, rotated) in [(8, 8), (16, 16), (128, 128), (32, 16)] {
            let table = RopeTable::new(&frequencies(rotated), 2048, 1.25);
            let x = numbers.floats(positions.len() * 3 * head_dim);
            for style in [RopeStyle::HalfSplit, RopeStyle::Interleaved] {
                let mut out = x.clone();
                let rotation = Rotation { head_dim, table: &table, positions: &positions, style };
                kernels.rotate([Heads { x: &mut out, norm: None }], rotation);
                for (index, (before, after)) in x.chunks(head_dim).zip(out.chunks(head_dim)).enumerate() {
                    let position = positions[index / 3] as f32;
                    assert_eq!(before[rotated..], after[rotated..]);
                    for (i, frequency) in frequencies(rotated).into_iter().enumerate() {
                        let (a, b) = match style {
                            RopeStyle::HalfSplit => (i, i + rotated / 2),
                            RopeStyle::Interleaved => (2 * i, 2 * i + 1),
                        };
                        let (sin, cos) = f64::from(position * frequency).sin_cos();
                        let (x, y) = (f64::from(before[a]) * 1.25, f64::from(before[b]) * 1.25);
                        let what = format!("{style:?} position {position} pair {i} of {rotated}");
                        assert_close(after[a], x * cos - y * sin, 5e-7, &what);
                        assert_close(after[b], y * cos + x * sin, 5e-7, &what);
                    }
                }
            }
        }
    }
}

/// Several kinds of heads at once, each after its norm: as one by one, and by hand.
#[test]
fn heads_are_normalised_before_they_are_rotated() {
    let mut numbers = Numbers(9);
    let positions: Vec<u32> = (0..40).map(|row| row * 7).collect();
    let table = RopeTable::new(&frequencies(64), 2048, 1.0);
    let rotation = Rotation { head_dim: 64, table: &table, positions: &positions, style: RopeStyle::HalfSplit };
    let (queries, keys, weight) = (numbers.floats(40 * 4 * 64), numbers.floats(40 * 64), numbers.floats(64));
    for kernels in all_kernels() {
        let (mut ours, mut bare) = (queries.clone(), keys.clone());
        let heads = [Heads { x: &mut ours, norm: Some((&weight, 1e-6)) }, Heads { x: &mut bare, norm: None }];
        kernels.rotate(heads, rotation);
        let mut normed = queries.clone();
        kernels.rms_norm(&mut normed, &weight, 1e-6);
        for (x, result) in [(normed, &ours), (keys.clone(), &bare)] {
            let width = x.len() / 40;
            for (row, (x, result)) in x.chunks(width).zip(result.chunks(width)).enumerate() {
                let mut alone = x.to_vec();
                let rotation = Rotation { positions: &positions[row..=row], ..rotation };
                kernels.rotate([Heads { x: &mut alone, norm: None }], rotation);
                assert_eq!(bits(&alone), bits(result), "row {row}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_row_alone_is_the_row_in_a_batch(
        rows in 1usize..40,
        cols in prop::sample::select(&[8usize, 172, 1024][..]),
        row in any::<prop::sample::Index>(),
        seed: u64,
    ) {
        let mut numbers = Numbers(seed);
        let (x, weight) = (numbers.floats(rows * cols), numbers.floats(cols));
        let own = row.index(rows) * cols..(row.index(rows) + 1) * cols;
        for isa in Isa::available() {
            let one = Kernels::new(isa, 1).unwrap();
            let two = Kernels::new(isa, 2).unwrap();
            let (mut whole, mut alone) = (x.clone(), x[own.clone()].to_vec());
            two.rms_norm(&mut whole, &weight, 1e-5);
            one.rms_norm(&mut alone, &weight, 1e-5);
            prop_assert_eq!(bits(&alone), bits(&whole[own.clone()]));

            let up = numbers.floats(x.len());
            let whole = gated(&two, Gate::Silu, &x, &up, rows);
            let alone = gated(&one, Gate::Silu, &x[own.clone()], &up[own.clone()], 1);
            prop_assert_eq!(bits(&alone), bits(&whole[own.clone()]));
        }
    }
}

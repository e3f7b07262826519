//! Matrix products.

use madrigal_kernels::{Activations, BlockType, Isa, Kernels, Matrix, Precision, Product, pack, packed_bytes};
use proptest::prelude::*;

use crate::reference::{KINDS, Numbers, Stored, all_kernels, assert_close, bits, largest, rounded, widened};

const PRECISIONS: [Precision; 2] = [Precision::Bits8, Precision::Bits14];

fn product(kernels: &Kernels, precision: Precision, w: &Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let rows = x.len() / w.cols;
    let mut activations = Activations::new();
    activations.load(kernels, precision.beside([w.kind]), x, rows, w.cols);
    let mut out = vec![f32::NAN; rows * w.rows];
    kernels.products(&activations, &mut [Product::of(*w, &mut out)]);
    out
}

#[test]
fn agrees_with_f64_for_all_kinds_and_odd_shapes() {
    // Output rows, columns, activation rows.
    let shapes = [(1, 32, 1), (3, 64, 2), (7, 172, 3), (64, 8, 5), (37, 96, 9), (5, 13, 4), (172, 1024, 8), (9, 1, 7)];
    let mut numbers = Numbers(2);
    for kernels in all_kernels() {
        for kind in KINDS {
            for (rows, cols, batch) in shapes {
                if kind.row_bytes(cols).is_none() {
                    continue;
                }
                for precision in PRECISIONS {
                    check(&kernels, kind, precision.beside([kind]), [rows, cols, batch], &mut numbers);
                }
            }
        }
    }
}

fn check(
    kernels: &Kernels,
    kind: BlockType,
    precision: Precision,
    [rows, cols, batch]: [usize; 3],
    numbers: &mut Numbers,
) {
    let stored = Stored::random(kind, rows * cols, numbers);
    let packed = stored.packed(kind, rows, cols);
    let w = packed.matrix();
    let x = numbers.floats(batch * cols);
    let ours = product(kernels, precision, &w, &x);
    let (exact, seen) = (widened(&x), if kind.elems() == 1 { widened(&x) } else { rounded(&x, precision) });
    for m in 0..batch {
        for r in 0..rows {
            let row = widened(&stored.values[r * cols..(r + 1) * cols]);
            let dot = |x: &[f64]| row.iter().zip(&x[m * cols..]).map(|(w, x)| w * x).sum::<f64>();
            let size: f64 = row.iter().zip(&seen[m * cols..]).map(|(w, x)| (w * x).abs()).sum();
            let what = format!("{} {kind} {precision:?} [{rows}, {cols}] row {m}, output {r}", kernels.isa());
            let ours = ours[m * rows + r];
            assert_close(ours, dot(&seen), 1e-6 * size + 1e-30, &what);
            // Rounding activations costs at most half a step each.
            assert_close(
                ours,
                dot(&exact),
                0.501 / f64::from(largest(precision)) * row.iter().map(|w| w.abs()).sum::<f64>(),
                &what,
            );
        }
    }
}

#[test]
fn a_bad_activation_stays_visible_in_its_own_row_only() {
    let mut numbers = Numbers(3);
    for kernels in all_kernels() {
        for kind in KINDS {
            let stored = Stored::random(kind, 6 * 64, &mut numbers);
            let packed = stored.packed(kind, 6, 64);
            let w = packed.matrix();
            let mut x = numbers.floats(5 * 64);
            x[2 * 64 + 40] = f32::NAN;
            for precision in PRECISIONS {
                let out = product(&kernels, precision, &w, &x);
                for (m, row) in out.chunks(6).enumerate() {
                    assert!(row.iter().all(|y| y.is_nan() == (m == 2)), "{} {kind} row {m}: {row:?}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn empty_products() {
    let kernels = Kernels::new(Isa::detect(), 2).unwrap();
    let w = Matrix { kind: BlockType::F32, rows: 0, cols: 3, data: &[] };
    assert!(product(&kernels, Precision::Bits14, &w, &[1.0; 6]).is_empty());
    let data = [0; 24];
    assert!(product(&kernels, Precision::Bits14, &Matrix { rows: 2, data: &data, ..w }, &[]).is_empty());
}

/// Several matrices at once, a bias, a residual, some of the rows in any order: as one by one and by hand.
#[test]
fn products_share_their_input() {
    let mut numbers = Numbers(8);
    for kernels in all_kernels() {
        for kind in KINDS {
            let (cols, batch) = (64, 9);
            let packed =
                [70, 33, 1].map(|rows| Stored::random(kind, rows * cols, &mut numbers).packed(kind, rows, cols));
            let x = numbers.floats(batch * cols);
            let mut activations = Activations::new();
            activations.load(&kernels, Precision::Bits14, &x, batch, cols);
            let bias = numbers.floats(33);
            let before = numbers.floats(batch * 70);
            let chosen = [7, 0, 7, 3];
            let mut outs = [before.clone(), vec![f32::NAN; batch * 33], vec![f32::NAN; chosen.len()]];
            let [first, second, third] = &mut outs;
            let mut products = [
                Product::onto(packed[0].matrix(), first),
                Product::of(packed[1].matrix(), second).with_bias(Some(&bias)),
                Product::of(packed[2].matrix(), third).with_rows(&chosen),
            ];
            kernels.products(&activations, &mut products);
            let plain = packed.each_ref().map(|packed| product(&kernels, Precision::Bits14, &packed.matrix(), &x));
            let sums: Vec<f32> = before.iter().zip(&plain[0]).map(|(before, sum)| before + sum).collect();
            assert_eq!(bits(&outs[0]), bits(&sums), "{kind}");
            let sums: Vec<f32> =
                plain[1].chunks(33).flat_map(|row| row.iter().zip(&bias).map(|(x, b)| x + b)).collect();
            assert_eq!(bits(&outs[1]), bits(&sums), "{kind}");
            assert_eq!(bits(&outs[2]), bits(&chosen.map(|row| plain[2][row as usize])), "{kind}");
        }
    }
}

#[test]
fn a_row_of_an_embedding_table() {
    let stored = Stored::random(BlockType::Q4_0, 5 * 64, &mut Numbers(4));
    let packed = stored.packed(BlockType::Q4_0, 5, 64);
    let w = packed.matrix();
    for kernels in all_kernels() {
        let mut row = vec![0.0; 64];
        kernels.embed(&w, std::iter::once(3), &mut row);
        assert_eq!(row, stored.values[3 * 64..4 * 64]);
    }
}

/// Weights of any type, packed. Clear upper bits keep scales from being infinite.
fn random_packed(kind: BlockType, rows: usize, cols: usize, numbers: &mut Numbers) -> Vec<u8> {
    let bytes = rows * kind.row_bytes(cols).expect("whole blocks");
    let stored: Vec<u8> = (0..bytes).map(|_| numbers.next() as u8 & 0x3b).collect();
    let mut packed = vec![0; packed_bytes(kind, rows, cols).expect("whole blocks")];
    pack(kind, rows, cols, &stored, &mut packed);
    packed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever shares the call, and on however many threads: the same bits.
    #[test]
    fn a_row_alone_is_the_row_in_a_batch(
        kind in prop::sample::select(&BlockType::ALL[..]),
        precision in prop::sample::select(&PRECISIONS[..]),
        cols in prop::sample::select(&[8usize, 20, 32, 64, 172, 256][..]),
        rows in 1usize..80,
        batch in 1usize..80,
        row in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        seed: u64,
    ) {
        let cols = cols.next_multiple_of(kind.elems());
        let mut numbers = Numbers(seed);
        let packed = random_packed(kind, rows, cols, &mut numbers);
        let w = Matrix { kind, rows, cols, data: &packed };
        let x = numbers.floats(batch * cols);
        let (row, cut) = (row.index(batch), cut.index(batch));
        for isa in Isa::available() {
            let one = Kernels::new(isa, 1).unwrap();
            let two = Kernels::new(isa, 2).unwrap();
            let whole = product(&two, precision, &w, &x);
            prop_assert_eq!(bits(&whole), bits(&product(&one, precision, &w, &x)));
            let alone = product(&two, precision, &w, &x[row * cols..(row + 1) * cols]);
            prop_assert_eq!(bits(&alone), bits(&whole[row * rows..(row + 1) * rows]));
            let mut chunks = product(&two, precision, &w, &x[..cut * cols]);
            chunks.extend(product(&two, precision, &w, &x[cut * cols..]));
            prop_assert_eq!(bits(&chunks), bits(&whole));
        }
    }
}

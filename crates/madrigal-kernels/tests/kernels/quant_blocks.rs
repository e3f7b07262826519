//! Block formats against the values that gguf-py reads from the same bytes.

use std::io::Write;
use std::path::Path;

use half::f16;
use madrigal_kernels::{
    Activations, BlockType, Isa, Kernels, Matrix, Precision, Product, dequantize, pack, packed_bytes,
};
use proptest::prelude::*;

use crate::reference::{KINDS, Numbers, Stored, all_kernels, bits, widened};

/// Outputs around the ends of panels.
const ROWS: [usize; 5] = [1, 15, 17, 33, 65];

#[test]
fn gguf_py_reads_the_same_bits() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/quant-blocks/expected.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return skip("gguf_py_reads_the_same_bits", "testdata/quant-blocks/expected.json");
    };
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    for kind in BlockType::ALL.into_iter().filter(|kind| kind.elems() > 1) {
        let case = &expected["types"][kind.name()];
        assert_eq!(case["block_elems"], kind.elems());
        assert_eq!(case["block_bytes"], kind.bytes());
        let blocks = case["hex"].as_array().unwrap();
        assert!(!blocks.is_empty());
        for (block, values) in blocks.iter().zip(case["f32_bits"].as_array().unwrap()) {
            let hex = block.as_str().unwrap();
            let bytes: Vec<u8> =
                (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
            let mut ours = vec![0.0; kind.elems()];
            dequantize(kind, &bytes, &mut ours);
            let values: Vec<u32> = values.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect();
            assert_eq!(bits(&ours), values, "{kind} {hex}");
        }
    }
}

#[test]
fn every_kind_reads_what_was_stored() {
    let mut numbers = Numbers(1);
    for kind in KINDS {
        let stored = Stored::random(kind, 96, &mut numbers);
        let mut ours = vec![0.0; 96];
        dequantize(kind, stored.data(), &mut ours);
        assert_eq!(bits(&ours), bits(&stored.values), "{kind}");
    }
}

#[test]
fn rows_are_whole_blocks() {
    assert_eq!(BlockType::Q4_0.row_bytes(64), Some(36));
    assert_eq!(BlockType::Q8_0.row_bytes(64), Some(68));
    assert_eq!(BlockType::Q8_0.row_bytes(172), None);
    assert_eq!(BlockType::F16.row_bytes(172), Some(344));
    assert_eq!(BlockType::F32.row_bytes(usize::MAX), None);
}

proptest! {
    /// Whatever a file holds: NaN scales, infinite ones, any codes.
    #[test]
    fn any_bytes_have_values(kind in prop::sample::select(&BlockType::ALL[..]), blocks in 0usize..5, seed: u64) {
        let mut numbers = Numbers(seed);
        let bytes: Vec<u8> = (0..blocks * kind.bytes()).map(|_| numbers.next() as u8).collect();
        let mut values = vec![0.0; blocks * kind.elems()];
        dequantize(kind, &bytes, &mut values);
    }

    #[test]
    fn any_bytes_can_be_packed_and_multiplied(
        kind in prop::sample::select(&BlockType::ALL[..]),
        blocks in 0usize..4,
        rows in 0usize..70,
        seed: u64,
    ) {
        let mut numbers = Numbers(seed);
        let cols = blocks * kind.elems();
        let bytes: Vec<u8> = (0..rows * blocks * kind.bytes()).map(|_| numbers.next() as u8).collect();
        let packed = packed(kind, rows, cols, &bytes);
        let weights = Matrix { kind, rows, cols, data: &packed };
        for isa in Isa::available() {
            let kernels = Kernels::new(isa, 1).unwrap();
            kernels.embed(&weights, 0..rows, &mut vec![0.0; rows * cols]);
            product(&kernels, Precision::Bits14, &weights, &numbers.floats(2 * cols), 2);
        }
    }
}

#[test]
fn packed_rows_have_the_values_of_their_blocks() {
    let mut numbers = Numbers(6);
    for kind in BlockType::ALL {
        for rows in ROWS {
            for blocks in [1, 2, 3] {
                let cols = blocks * kind.elems();
                let bytes = random_blocks(kind, rows * blocks, &mut numbers);
                let packed = packed(kind, rows, cols, &bytes);
                let weights = Matrix { kind, rows, cols, data: &packed };
                let mut expected = vec![0.0; rows * cols];
                dequantize(kind, &bytes, &mut expected);
                for kernels in all_kernels() {
                    let mut ours = vec![f32::NAN; rows * cols];
                    // Backwards, so that a row is not found by its place in the result.
                    kernels.embed(&weights, (0..rows).rev(), &mut ours);
                    for (index, ours) in ours.chunks(cols).rev().enumerate() {
                        let expected = &expected[index * cols..][..cols];
                        assert_eq!(ours, expected, "{} {kind} [{rows}, {cols}] row {index}", kernels.isa());
                    }
                }
            }
        }
    }
}

#[test]
fn products_are_those_of_the_values_and_each_row_is_as_if_alone() {
    let mut numbers = Numbers(7);
    for isa in Isa::available() {
        let threads = [1, 2, 3].map(|threads| Kernels::new(isa, threads).unwrap());
        for kind in BlockType::ALL {
            for rows in ROWS {
                for blocks in [1, 2, 9] {
                    check_products(&threads, Precision::Bits14, kind, [rows, blocks], &mut numbers);
                    if kind.elems() > 1 && kind.takes_8_bits() {
                        check_products(&threads, Precision::Bits8, kind, [rows, blocks], &mut numbers);
                    }
                }
            }
        }
    }
}

/// Products of 1 to 37 rows of activations with random blocks.
fn check_products(
    threads: &[Kernels; 3],
    precision: Precision,
    kind: BlockType,
    [rows, blocks]: [usize; 2],
    numbers: &mut Numbers,
) {
    const BATCH: usize = 37;
    let cols = blocks * kind.elems();
    let what = format!("{} {kind} {precision:?} [{rows}, {cols}]", threads[0].isa());
    let product = |kernels: &Kernels, weights: &Matrix<'_>, x: &[f32], batch: usize| {
        product(kernels, precision, weights, x, batch)
    };
    let bytes = random_blocks(kind, rows * blocks, numbers);
    let mut values = vec![0.0; rows * cols];
    dequantize(kind, &bytes, &mut values);
    let packed = packed(kind, rows, cols, &bytes);
    let weights = Matrix { kind, rows, cols, data: &packed };
    let x = numbers.floats(BATCH * cols);
    let whole = product(&threads[0], &weights, &x, BATCH);

    let (values, exact) = (widened(&values), widened(&x));
    let (mut error, mut size) = (0.0, 0.0);
    for (x, ours) in exact.chunks(cols).zip(whole.chunks(rows)) {
        for (row, ours) in values.chunks(cols).zip(ours) {
            let reference: f64 = row.iter().zip(x).map(|(w, x)| w * x).sum();
            error += (f64::from(*ours) - reference).powi(2);
            size += row.iter().zip(x).map(|(w, x)| (w * x).powi(2)).sum::<f64>();
        }
    }
    let relative = (error / size).sqrt();
    let allowed = if precision == Precision::Bits8 { 1e-2 } else { 1e-3 };
    assert!(relative < allowed, "{what}: off by {relative:e}");

    for kernels in threads {
        assert_eq!(bits(&product(kernels, &weights, &x, BATCH)), bits(&whole), "{what}, {} threads", kernels.threads());
    }
    for batch in (1..BATCH).filter(|batch| *batch < 10 || batch % 8 < 2 || *batch > 32) {
        let ours = product(&threads[0], &weights, &x[..batch * cols], batch);
        assert_eq!(bits(&ours), bits(&whole[..batch * rows]), "{what}, {batch} rows");
    }
    for (index, x) in x.chunks(cols).enumerate() {
        let alone = product(&threads[0], &weights, x, 1);
        assert_eq!(bits(&alone), bits(&whole[index * rows..][..rows]), "{what}, row {index} alone");
    }
}

fn packed(kind: BlockType, rows: usize, cols: usize, bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0xff; packed_bytes(kind, rows, cols).expect("whole blocks")];
    pack(kind, rows, cols, bytes, &mut packed);
    packed
}

fn product(kernels: &Kernels, precision: Precision, weights: &Matrix<'_>, x: &[f32], batch: usize) -> Vec<f32> {
    let mut activations = Activations::new();
    activations.load(kernels, precision, x, batch, weights.cols);
    let mut out = vec![f32::NAN; batch * weights.rows];
    kernels.products(&activations, &mut [Product::of(*weights, &mut out)]);
    out
}

#[test]
fn a_bad_scale_stays_visible() {
    for (kind, scales) in SCALES {
        for &at in scales {
            for bad in [f16::NAN, f16::INFINITY] {
                let mut bytes = random_blocks(kind, 1, &mut Numbers(5));
                bytes[at..at + 2].copy_from_slice(&bad.to_le_bytes());
                let mut values = vec![0.0; kind.elems()];
                dequantize(kind, &bytes, &mut values);
                // Infinity times a code or a group's scale of 0 is NaN.
                assert!(values.iter().all(|value| !value.is_finite()), "{kind} {bad} at {at}: {values:?}");
            }
        }
    }
}

/// Where the f16 of a block stand.
const SCALES: [(BlockType, &[usize]); 12] = [
    (BlockType::Q8_0, &[0]),
    (BlockType::Q4_0, &[0]),
    (BlockType::Q4_1, &[0, 2]),
    (BlockType::Q5_0, &[0]),
    (BlockType::Q5_1, &[0, 2]),
    (BlockType::Q2_K, &[80, 82]),
    (BlockType::Q3_K, &[108]),
    (BlockType::Q4_K, &[0, 2]),
    (BlockType::Q5_K, &[0, 2]),
    (BlockType::Q6_K, &[208]),
    (BlockType::IQ4_NL, &[0]),
    (BlockType::IQ4_XS, &[0]),
];

/// Random codes under scales of either sign that keep values around 1.
fn random_blocks(kind: BlockType, blocks: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..blocks * kind.bytes()).map(|_| numbers.next() as u8).collect();
    for block in bytes.chunks_mut(kind.bytes()) {
        match kind {
            BlockType::F32 => block.copy_from_slice(&numbers.float().to_le_bytes()),
            BlockType::F16 => block.copy_from_slice(&f16::from_f32(numbers.float()).to_le_bytes()),
            BlockType::Bf16 => block.copy_from_slice(&half::bf16::from_f32(numbers.float()).to_le_bytes()),
            BlockType::MXFP4 => block[0] = 120 + block[0] % 8,
            _ => {}
        }
        for (_, scales) in SCALES.iter().filter(|(scaled, _)| *scaled == kind) {
            for &at in *scales {
                let scale = f16::from_f32(numbers.float() / 64.0);
                block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
            }
        }
    }
    bytes
}

fn skip(test: &str, missing: &str) {
    let line = format!("SKIPPED {test}: {missing}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("MADRIGAL_SKIPPED") {
        let mut file =
            std::fs::OpenOptions::new().create(true).append(true).open(path).expect("the list of skipped tests");
        writeln!(file, "{line}").expect("the list of skipped tests");
    }
}

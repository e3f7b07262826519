//! Block formats against the values that gguf-py reads from the same bytes.

use std::io::Write;
use std::path::Path;

use half::f16;
use madrigal_kernels::{BlockType, dequantize};
use proptest::prelude::*;

use crate::reference::{KINDS, Numbers, Stored, bits};

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
        if kind == BlockType::MXFP4 {
            block[0] = 120 + block[0] % 8;
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

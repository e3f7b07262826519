//! Our logits against those of transformers for configurations that no real model has: odd head sizes, one key head for
//! seven, every rotary scaling, windows of one position, one expert of two, MXFP4 as Hugging Face stores it.
//!
//! `cargo xtask parity` makes `testdata/parity-generated` (see PROVENANCE.md there).

use std::path::{Path, PathBuf};

use madrigal_engine::{Engine, EngineOptions, Isa, KvType, Model, Positions};

use crate::fixtures::{floats, ids, json, logits, testdata};

/// The folders, each a model with its expectation.
fn models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(testdata("parity-generated")).unwrap();
    let mut models: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    models.sort();
    models
}

/// How far the logits of every case are off at most.
fn worst(folder: &Path, isa: Isa) -> f32 {
    let options = EngineOptions { threads: 2, isa: Some(isa), kv: Some(KvType::F32), ..EngineOptions::default() };
    let engine = Engine::start(Model::open(folder).unwrap(), options).unwrap();
    let mut worst: f32 = 0.0;
    for case in json(&folder.join("expected.json")).as_array().unwrap() {
        let prompt = ids(&case["input_ids"]);
        let mut compare = |ours: &[f32], theirs: &[f32]| {
            assert_eq!(ours.len(), theirs.len(), "{}", folder.display());
            worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
        };
        compare(&logits(&engine, &prompt, Positions::Last), &floats(&case["last_logits"]));
        if let Some(all) = case.get("all_position_logits") {
            let all: Vec<f32> = all.as_array().unwrap().iter().flat_map(floats).collect();
            compare(&logits(&engine, &prompt, Positions::All), &all);
        }
    }
    worst
}

#[test]
fn configurations_that_nobody_tuned_to_give_the_logits_of_transformers() {
    let models = models();
    assert!(models.len() >= 15, "only {} models", models.len());
    let mut failures = Vec::new();
    for folder in &models {
        // Beside weights of four bits, activations are rounded too.
        let tolerance = if folder.ends_with("gpt-oss-mxfp4") { MXFP4_TOLERANCE } else { 1e-4 };
        for isa in Isa::available() {
            let off = worst(folder, isa);
            if off > tolerance {
                failures.push(format!("{} {isa}: off by {off}, allowed {tolerance}", folder.display()));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const MXFP4_TOLERANCE: f32 = 0.01;

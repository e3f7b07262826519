//! Our logits against those of transformers, from `testdata/parity` and the stories260K model (see PROVENANCE.md there).

use std::path::Path;

use madrigal_engine::{Engine, EngineOptions, Isa, KvType, Model, Positions, Precision};
use serde_json::Value;

use crate::fixtures::{engine, fixture, floats, generate, greedy, ids, json, logits, testdata};

const ARCHITECTURES: [&str; 4] = ["llama-tied", "llama-rope3-untied", "qwen2", "qwen3"];

fn assert_near(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}, allowed {tolerance}");
}

/// Log-probabilities of a softmax.
fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    logits.iter().map(|&logit| (f64::from(logit - highest) - sum.ln()) as f32).collect()
}

/// Every case of `expected`: the last logits, all logits where they are known, and the greedy tokens if `with_ids`.
fn check(path: &Path, expected: &Value, tolerance: f32, with_ids: bool) {
    for isa in Isa::available() {
        check_engine(&engine(path, isa, 2), isa, expected, tolerance, with_ids);
    }
}

fn check_engine(engine: &Engine, isa: Isa, expected: &Value, tolerance: f32, with_ids: bool) {
    for case in expected.as_array().unwrap() {
        let prompt = ids(&case["input_ids"]);
        let what = format!("{} {isa} {} tokens", engine.model().path().display(), prompt.len());
        let last = logits(engine, &prompt, Positions::Last);
        assert_near(&what, &last, &floats(&case["last_logits"]), tolerance);
        if let Some(all) = case.get("all_position_logits") {
            let all: Vec<f32> = all.as_array().unwrap().iter().flat_map(floats).collect();
            assert_near(&what, &logits(engine, &prompt, Positions::All), &all, tolerance);
        }
        if with_ids {
            let generated = generate(engine, &prompt, greedy(32));
            assert_eq!(generated.ids, ids(&case["greedy_32_ids"]), "{what}");
            assert_eq!(generated.text, engine.model().tokenizer().decode(&generated.ids), "{what}");
        }
    }
}

fn expected(architecture: &str) -> Value {
    json(&testdata(&format!("parity/{architecture}/expected.json")))
}

#[test]
fn f32_gguf_files_give_the_logits_and_tokens_of_transformers() {
    for architecture in ARCHITECTURES {
        let path = testdata(&format!("parity/{architecture}/model-f32.gguf"));
        check(&path, &expected(architecture)["f32"], 1e-4, true);
    }
}

#[test]
fn f32_safetensors_give_the_logits_and_tokens_of_transformers() {
    for architecture in ARCHITECTURES {
        let path = testdata(&format!("parity/{architecture}"));
        check(&path, &expected(architecture)["f32"], 1e-4, true);
    }
}

/// A folder with another folder's files, some of them replaced.
fn folder_with(architecture: &str, replaced: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let from = testdata(&format!("parity/{architecture}"));
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        let source = replaced.iter().find(|(to, _)| *to == name).map_or(name, |(_, source)| source);
        std::fs::copy(from.join(source), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn the_configuration_of_transformers_5_is_read_alike() {
    for architecture in ARCHITECTURES {
        let folder = folder_with(architecture, &[("config.json", "v5config/config.json")]);
        check(folder.path(), &expected(architecture)["f32"], 1e-4, true);
    }
}

/// The expectations are of the unrounded weights: the tolerance covers what bf16 takes off them.
#[test]
fn bf16_safetensors_are_near() {
    for architecture in ARCHITECTURES {
        let folder = folder_with(architecture, &[("model.safetensors", "bf16/model.safetensors")]);
        check(folder.path(), &expected(architecture)["f32"], BF16_TOLERANCE, false);
    }
}

/// Logits of these models span about ±10 and pass through three layers of weights with 8 bits of precision.
const BF16_TOLERANCE: f32 = 0.25;

#[test]
fn f16_gguf_files_are_within_the_formats_tolerance() {
    for architecture in ARCHITECTURES {
        let path = testdata(&format!("parity/{architecture}/model-f16.gguf"));
        check(&path, &expected(architecture)["f32"], 0.03, false);
    }
}

fn check_quantised(path: &Path, expected: &Value, tolerance: f32) {
    for isa in Isa::available() {
        let engine = engine(path, isa, 2);
        for case in expected.as_array().unwrap() {
            let prompt = ids(&case["input_ids"]);
            let what = format!("{} {isa} {} tokens", path.display(), prompt.len());
            let ours = log_softmax(&logits(&engine, &prompt, Positions::Last));
            assert_near(&what, &ours, &log_softmax(&floats(&case["last_logits"])), tolerance);
        }
    }
}

#[test]
fn quantised_gguf_files_are_within_the_formats_tolerance() {
    for architecture in ARCHITECTURES {
        for quant in ["q8_0", "q4_0"] {
            let path = testdata(&format!("parity/{architecture}/model-{quant}.gguf"));
            check_quantised(&path, &expected(architecture)[format!("{quant}_dequantised")], 0.3);
        }
    }
}

/// Where someone asks for 8 bits in models this small. (llama.cpp, which has 8 bits, is off by up to 0.52 here.)
#[test]
fn activations_of_8_bits_cost_this_much() {
    let mut worst = 0f32;
    for architecture in ARCHITECTURES {
        let path = testdata(&format!("parity/{architecture}/model-q4_0.gguf"));
        let start = |activations| {
            let options = EngineOptions { threads: 2, activations: Some(activations), ..EngineOptions::default() };
            Engine::start(Model::open(&path).unwrap(), options).unwrap()
        };
        let (coarse, fine, usual) =
            (start(Precision::Bits8), start(Precision::Bits14), engine(&path, Isa::detect(), 2));
        for case in expected(architecture)["q4_0_dequantised"].as_array().unwrap() {
            let prompt = ids(&case["input_ids"]);
            let ours = |engine: &Engine| log_softmax(&logits(engine, &prompt, Positions::Last));
            assert_eq!(ours(&usual), ours(&fine), "14 bits are what small models have");
            let off = ours(&coarse).into_iter().zip(log_softmax(&floats(&case["last_logits"])));
            worst = off.fold(worst, |worst, (ours, theirs)| worst.max((ours - theirs).abs()));
        }
    }
    assert!((0.3..0.8).contains(&worst), "{worst}");
}

/// The weights are stored as BF16, so nothing is lost where keys and values are not rounded either.
#[test]
fn gpt_oss_safetensors_give_the_logits_and_tokens_of_transformers() {
    let v5 = folder_with("gpt-oss", &[("config.json", "v5config/config.json")]);
    for folder in [&testdata("parity/gpt-oss"), v5.path()] {
        for isa in Isa::available() {
            let options =
                EngineOptions { threads: 2, isa: Some(isa), kv: Some(KvType::F32), ..EngineOptions::default() };
            let engine = Engine::start(Model::open(folder).unwrap(), options).unwrap();
            check_engine(&engine, isa, &expected("gpt-oss")["f32"], 1e-4, true);
        }
        check(folder, &expected("gpt-oss")["f32"], BF16_TOLERANCE, false);
    }
}

#[test]
fn gpt_oss_f16_gguf_files_are_within_the_formats_tolerance() {
    check(&testdata("parity/gpt-oss/model-f16.gguf"), &expected("gpt-oss")["f32"], 0.03, false);
}

/// A rounded activation can tip a token over to another expert.
#[test]
fn gpt_oss_quantised_gguf_files_are_within_the_formats_tolerance() {
    for quant in ["q8_0", "q4_0", "mxfp4"] {
        let path = testdata(&format!("parity/gpt-oss/model-{quant}.gguf"));
        check_quantised(&path, &expected("gpt-oss")[format!("{quant}_dequantised")], 0.6);
    }
}

/// Head size 8 and feed-forward size 172: no power of two, no multiple of a vector.
#[test]
fn stories260k_gives_the_logits_of_transformers() {
    let test = "stories260k_gives_the_logits_of_transformers";
    let Some(folder) = fixture(test, "models/stories260K") else {
        return;
    };
    let expected = json(&folder.join("expected.json"));
    for path in [folder.clone(), folder.join("stories260K-f32.gguf")] {
        for isa in Isa::available() {
            let engine = engine(&path, isa, 2);
            for case in expected["cases"].as_array().unwrap() {
                let prompt = ids(&case["input_ids"]);
                let what = format!("{} {isa} {}", path.display(), case["prompt"]);
                let all = logits(&engine, &prompt, Positions::All);
                let vocabulary = engine.model().hyperparameters().vocabulary;
                let (first, last) = (&all[..vocabulary], &all[all.len() - vocabulary..]);
                assert_near(&what, first, &floats(&case["first_position_logits"]), 1e-4);
                assert_near(&what, last, &floats(&case["last_logits"]), 1e-4);
                // Where the two likeliest tokens are further apart than we can be off, the text is the same too.
                if case["min_top1_top2_gap"].as_f64().unwrap() > 0.01 {
                    let generated = generate(&engine, &prompt, greedy(60));
                    assert_eq!(generated.ids, ids(&case["greedy_60_ids"]), "{what}");
                }
            }
        }
    }
}

/// There is no expectation for the dequantised weights, so Q4_0 (whose rounding moves logits by several units) is only run.
#[test]
fn stories260k_runs_from_every_storage_type() {
    let test = "stories260k_runs_from_every_storage_type";
    let Some(folder) = fixture(test, "models/stories260K") else {
        return;
    };
    let expected = json(&folder.join("expected.json"));
    for (name, tolerance) in [("f16", 0.03), ("q8_0", 0.3), ("q4_0", f32::MAX)] {
        let engine = engine(&folder.join(format!("stories260K-{name}.gguf")), Isa::detect(), 2);
        for case in expected["cases"].as_array().unwrap() {
            let prompt = ids(&case["input_ids"]);
            let last = logits(&engine, &prompt, Positions::Last);
            assert_near(&format!("{name} {}", case["prompt"]), &last, &floats(&case["last_logits"]), tolerance);
            assert!(!generate(&engine, &prompt, greedy(20)).text.is_empty());
        }
    }
}

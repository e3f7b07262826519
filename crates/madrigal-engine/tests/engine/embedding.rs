//! Embeddings: those of transformers, and the same bits however a text is cut and whoever shares its batch.

use madrigal_engine::{EngineError, Isa, Pooling};

use crate::fixtures::{engine, floats, generate, greedy, ids, json, testdata};

const POOLINGS: [(Pooling, &str); 2] = [(Pooling::Mean, "mean"), (Pooling::Last, "last")];

#[test]
fn pooled_states_are_those_of_transformers() {
    let expected = json(&testdata("embeddings/parity.json"));
    for case in expected["cases"].as_array().unwrap() {
        let model = case["model"].as_str().unwrap();
        let engine = engine(&testdata(&format!("parity/{model}")), Isa::detect(), 2);
        let prompt = ids(&case["ids"]);
        for (pooling, name) in POOLINGS {
            let got = engine.sequence().blocking_embedding(&prompt, pooling).unwrap();
            let expected = floats(&case[name]);
            assert_eq!(got.len(), expected.len());
            for (got, expected) in got.iter().zip(&expected) {
                assert!(
                    (got - expected).abs() <= 1e-4,
                    "{model}, {} tokens, {name}: {got}, not {expected}",
                    prompt.len()
                );
            }
        }
    }
}

#[test]
fn an_embedding_has_the_same_bits_alone_and_in_a_crowd() {
    let path = testdata("parity/llama-tied/model-q4_0.gguf");
    // Longer than one step.
    let prompt: Vec<u32> = (0..300).map(|place| place * 7 % 500).collect();
    for (pooling, name) in POOLINGS {
        let alone = engine(&path, Isa::detect(), 1).sequence().blocking_embedding(&prompt, pooling).unwrap();
        let crowded = engine(&path, Isa::detect(), 2);
        let others: Vec<_> = (0..5).map(|_| crowded.sequence()).collect();
        let running: Vec<_> = others.iter().zip(1..).map(|(other, id)| other.generate(&[id, 9], greedy(40))).collect();
        let sequence = crowded.sequence();
        let together = sequence.blocking_embedding(&prompt, pooling).unwrap();
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&alone), bits(&together), "{name}");
        for (generation, id) in running.into_iter().zip(1..) {
            assert_eq!(generation.blocking_finish().unwrap().ids, generate(&crowded, &[id, 9], greedy(40)).ids);
        }
        // A text that the cache has is read again.
        assert_eq!(bits(&alone), bits(&sequence.blocking_embedding(&prompt, pooling).unwrap()), "{name}");
    }
    let error = engine(&path, Isa::detect(), 1).sequence().blocking_embedding(&[], Pooling::Mean).unwrap_err();
    assert!(matches!(error, EngineError::EmptyPrompt));
}

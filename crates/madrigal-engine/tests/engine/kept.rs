//! What a sequence has read leaves the process and comes back: same bits, nothing read again, and nothing believed that
//! another engine would have computed otherwise.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use madrigal_engine::{
    Engine, EngineOptions, GenerateRequest, KeptKvError, KvType, Lora, Model, Positions, Sequence, Voice, VoiceFrom,
};

use crate::fixtures::{greedy, testdata};

const WEIGHTS: &str = "weights:of the test";

fn start(options: EngineOptions) -> Engine {
    let model = Model::open(&testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    Engine::start(model, EngineOptions { threads: 1, ..options }).unwrap()
}

fn ids(count: u32) -> Vec<u32> {
    (0..count).map(|place| place * 7 % 500).collect()
}

/// A voice on the upper of the two layers.
fn voice(engine: &Engine, seed: u64, from: usize) -> VoiceFrom {
    let delta = Lora::random(engine.model().hyperparameters(), 4, 1..2, seed).unwrap();
    VoiceFrom { voice: Arc::new(Voice { delta: Some(Arc::new(delta)), filter: None }), from }
}

fn save(sequence: &Sequence, path: &Path) -> Result<usize, KeptKvError> {
    sequence.save(WEIGHTS, File::create(path).unwrap())
}

fn restore(engine: &Engine, path: &Path) -> Result<(Sequence, usize), KeptKvError> {
    let sequence = engine.sequence();
    let tokens = sequence.restore(WEIGHTS, File::open(path).unwrap())?;
    Ok((sequence, tokens))
}

/// A file that keeps 40 tokens, 10 of them read under a voice, and the options of its engine.
fn kept(folder: &Path) -> (PathBuf, EngineOptions) {
    let options = EngineOptions { shared_layers: Some(1), ..EngineOptions::default() };
    let engine = start(options.clone());
    let sequence = engine.sequence();
    let request = GenerateRequest { voice: Some(voice(&engine, 3, 30)), ..GenerateRequest::default() };
    sequence.generate(&ids(40), request).blocking_finish().unwrap();
    let path = folder.join("kept.kv");
    assert_eq!(save(&sequence, &path).unwrap(), 40);
    (path, options)
}

#[test]
fn what_comes_back_has_the_same_bits_and_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.kv");
    for (kv, shared_layers, voiced) in
        [(KvType::F32, 0, false), (KvType::Bf16, 0, true), (KvType::F32, 1, true), (KvType::Bf16, 2, false)]
    {
        let options = EngineOptions { kv: Some(kv), shared_layers: Some(shared_layers), ..EngineOptions::default() };
        for length in [0, 1, 31, 32, 33, 100] {
            let engine = start(options.clone());
            let sequence = engine.sequence();
            // Another delta came first, so that numbers differ between the two processes.
            let other = GenerateRequest { voice: voiced.then(|| voice(&engine, 1, 0)), ..greedy(1) };
            engine.sequence().generate(&ids(5), other).blocking_finish().unwrap();
            if length > 0 {
                let request =
                    GenerateRequest { voice: voiced.then(|| voice(&engine, 2, 20)), ..GenerateRequest::default() };
                sequence.generate(&ids(length), request).blocking_finish().unwrap();
            }
            assert_eq!(save(&sequence, &path).unwrap(), length as usize);

            let case = format!("{kv}, {shared_layers} layers shared, {voiced}, {length}");
            let longer = ids(length + 9);
            let ask = |sequence: &Sequence, engine: &Engine| match voiced {
                true => sequence.blocking_logits_as(&longer, Positions::Last, voice(engine, 2, 20)).unwrap(),
                false => sequence.blocking_logits(&longer, Positions::Last).unwrap(),
            };
            let cold = start(options.clone());
            let expected = ask(&cold.sequence(), &cold);
            let other = start(options.clone());
            let (back, tokens) = restore(&other, &path).unwrap();
            assert_eq!(tokens, length as usize, "{case}");
            let request = GenerateRequest { voice: voiced.then(|| voice(&other, 2, 20)), ..GenerateRequest::default() };
            let read = other.sequence().generate(&longer, request).blocking_finish().unwrap().read_tokens;
            assert_eq!(read, 9, "{case}: others find it as well");
            assert_eq!(ask(&back, &other), expected, "{case}");
        }
    }
}

#[test]
fn kept_keys_and_values_that_are_damaged_are_refused_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = kept(folder.path());
    let whole = fs::read(&path).unwrap();
    let engine = start(options);
    let refused = |bytes: &[u8]| {
        let path = folder.path().join("damaged.kv");
        fs::write(&path, bytes).unwrap();
        let error = restore(&engine, &path).unwrap_err();
        assert!(matches!(error, KeptKvError::Damaged(_) | KeptKvError::Foreign { .. }), "{error:?}");
        let memory = engine.memory().unwrap();
        assert_eq!((memory.kv_used, memory.kv_cached), (0, 0));
    };
    let header = whole.iter().position(|&byte| byte == b'\n').unwrap();
    let places = (0..header + 400).chain((header + 400..whole.len()).step_by(97)).chain(whole.len() - 33..whole.len());
    for at in places {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        refused(&changed);
    }
    for length in (0..header + 400).step_by(13).chain([whole.len() - 32, whole.len() - 1]) {
        refused(&whole[..length]);
    }
    refused(&[&whole[..], b"x"].concat());
    // The file itself is well.
    assert_eq!(restore(&engine, &path).unwrap().1, 40);
}

#[test]
fn kept_keys_and_values_of_another_engine_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = kept(folder.path());
    let foreign = |options: EngineOptions, weights: &str| {
        let error = start(options).sequence().restore(weights, File::open(&path).unwrap()).unwrap_err();
        assert!(matches!(error, KeptKvError::Foreign { .. }), "{error:?}");
    };
    foreign(options.clone(), "weights:others");
    foreign(EngineOptions { kv: Some(KvType::Bf16), ..options.clone() }, WEIGHTS);
    foreign(EngineOptions { shared_layers: Some(0), ..options.clone() }, WEIGHTS);
    foreign(EngineOptions { activations: Some("8".parse().unwrap()), ..options.clone() }, WEIGHTS);
    // What does not change a bit may differ.
    restore(&start(EngineOptions { context: Some(64), ..options.clone() }), &path).unwrap();
    let error = restore(&start(EngineOptions { context: Some(39), ..options }), &path).unwrap_err();
    assert!(error.to_string().contains("40 tokens in a window of 39"), "{error}");
}

#[test]
fn kept_keys_and_values_keep_to_the_memory_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (path, options) = kept(folder.path());
    let weights = start(options.clone()).memory().unwrap().weights;
    let engine = start(EngineOptions { memory_limit: Some(weights + 1000), ..options });
    let error = restore(&engine, &path).unwrap_err();
    assert!(matches!(error, KeptKvError::Memory { needed } if needed > 1000), "{error:?}");
    assert_eq!(engine.memory().unwrap().kv_used, 0);
}

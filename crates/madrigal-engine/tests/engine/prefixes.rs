//! What is read once serves everyone whose prompt begins so, and nobody else; and the limits on memory.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use madrigal_engine::{
    Engine, EngineError, EngineOptions, GenerateRequest, Lora, MemoryBudget, Model, Positions, Sequence, Voice,
    VoiceFrom,
};

use crate::fixtures::{greedy, testdata};

/// The tiny LLaMA, two layers, with a window of 4,096.
fn wide() -> Model {
    let mut bytes = std::fs::read(testdata("parity/llama-tied/model-f32.gguf")).unwrap();
    let key = b"llama.context_length";
    // The key is followed by its type, which is a number of 32 bits, and its value.
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 4;
    assert_eq!(bytes[at..at + 4], 512_u32.to_le_bytes());
    bytes[at..at + 4].copy_from_slice(&4096_u32.to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.gguf");
    std::fs::write(&path, bytes).unwrap();
    Model::open(&path).unwrap()
}

fn start(options: EngineOptions) -> Engine {
    Engine::start(wide(), EngineOptions { threads: 2, ..options }).unwrap()
}

/// Keeps nothing: what it is asked first is computed from nothing.
fn cold() -> Engine {
    start(EngineOptions { prefix_cache: Some(0), ..EngineOptions::default() })
}

fn lora(model: &Model, seed: u64, layers: Range<usize>) -> Voice {
    let delta = Lora::random(model.hyperparameters(), 4, layers, seed).unwrap();
    Voice { delta: Some(Arc::new(delta)), filter: None }
}

fn prompt(common: usize, own: u32) -> Vec<u32> {
    let ids = (0..common as u32).map(|place| place * 7 % 500);
    ids.chain((0..8).map(|place| (own * 31 + place) % 500)).collect()
}

fn kv_used(engine: &Engine) -> u64 {
    engine.memory().unwrap().kv_used
}

/// Eight agents with a prefix of 2,048 tokens, each under the voice that is given for it.
fn eight(shared_layers: Option<usize>, voice: impl Fn(&Model, u32) -> Option<VoiceFrom>) -> (Vec<usize>, u64, u64) {
    let engine = start(EngineOptions { shared_layers, ..EngineOptions::default() });
    let sequences: Vec<Sequence> = (0..8).map(|_| engine.sequence()).collect();
    let request = |agent| GenerateRequest { voice: voice(engine.model(), agent), ignore_eos: true, ..greedy(8) };
    let speaking: Vec<_> = (0..8)
        .zip(&sequences)
        .map(|(agent, sequence)| sequence.generate(&prompt(2048, agent), request(agent)))
        .collect();
    let replies: Vec<_> = speaking.into_iter().map(|generation| generation.blocking_finish().unwrap()).collect();
    let together = kv_used(&engine);

    let alone = cold();
    let one = alone.sequence();
    one.generate(&prompt(2048, 0)[..2048], greedy(0)).blocking_finish().unwrap();
    let of_one = kv_used(&alone);
    for (agent, reply) in (0..8).zip(&replies) {
        let expected = alone.sequence().generate(&prompt(2048, agent), request(agent)).blocking_finish().unwrap();
        assert_eq!(reply.ids, expected.ids, "agent {agent}");
    }
    (replies.iter().map(|reply| reply.read_tokens).collect(), together, of_one)
}

/// 32 positions in both layers.
fn block() -> u64 {
    let engine = cold();
    let sequence = engine.sequence();
    sequence.blocking_logits(&[1], Positions::Last).unwrap();
    kv_used(&engine)
}

#[test]
fn eight_agents_read_a_common_prompt_once() {
    let (mut read, together, of_one) = eight(None, |_, _| None);
    read.sort_unstable();
    assert_eq!(read, [8, 8, 8, 8, 8, 8, 8, 2056]);
    // 16 tokens of their own take a block each.
    let tails = 8 * block();
    assert_eq!(together, of_one + tails);
    assert!(together - tails <= of_one * 11 / 10);
}

#[test]
fn voices_share_what_was_read_before_they_act() {
    let voice = |model: &Model, agent| {
        let voice = Arc::new(lora(model, u64::from(agent), 0..2));
        Some(VoiceFrom { voice, from: 2048 })
    };
    let (mut read, together, of_one) = eight(None, voice);
    read.sort_unstable();
    assert_eq!(read, [8, 8, 8, 8, 8, 8, 8, 2056]);
    assert_eq!(together, of_one + 8 * block());
}

#[test]
fn voices_share_the_layers_below_those_they_act_on() {
    let voice = |model: &Model, agent| {
        let voice = Arc::new(lora(model, u64::from(agent), 1..2));
        Some(VoiceFrom { voice, from: 0 })
    };
    let (read, together, of_one) = eight(Some(1), voice);
    assert_eq!(read, [2056; 8]);
    // One of the two layers is there once, the other eight times.
    assert_eq!(together, of_one / 2 + 8 * (of_one / 2) + 8 * block());
}

#[test]
fn a_voice_that_acts_on_shared_layers_is_refused() {
    let engine = start(EngineOptions { shared_layers: Some(2), ..EngineOptions::default() });
    let voice = Arc::new(lora(engine.model(), 1, 1..2));
    let voice = VoiceFrom { voice, from: 0 };
    let error = engine.sequence().blocking_logits_as(&[1, 2], Positions::Last, voice.clone()).unwrap_err();
    assert!(matches!(error, EngineError::SharedLayers { first: 1, shared: 2 }), "{error}");
    let request = GenerateRequest { voice: Some(voice), ..greedy(1) };
    let error = engine.sequence().generate(&[1, 2], request).blocking_finish().unwrap_err();
    assert!(error.to_string().contains("start the engine with fewer shared layers"), "{error}");
}

/// Numbers that depend on the seed alone (SplitMix64, Steele et al. 2014).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

const ASKERS: u64 = 5;
const QUESTIONS: usize = 2_000;

/// What is asked: a prompt's length, where it leaves what all have in common, the voice, and from where it acts.
type Question = (usize, usize, usize, usize);

fn question(numbers: &mut Numbers) -> Question {
    let length = [1, 31, 32, 33, 50, 64, 70][numbers.below(7)];
    (length, [0, 20, 40, 100][numbers.below(4)], numbers.below(6), [0, 33][numbers.below(2)])
}

fn ask(sequence: &Sequence, voices: &[Arc<Voice>], (length, leaves, voice, from): Question) -> Vec<u32> {
    let token = |place: usize| if place < leaves { place as u32 * 7 % 500 } else { (place * 11 + leaves) as u32 % 500 };
    let ids: Vec<u32> = (0..length).map(token).collect();
    let logits = match voices.get(voice) {
        // The model alone.
        None => sequence.blocking_logits(&ids, Positions::Last),
        Some(voice) => {
            let voice = VoiceFrom { voice: Arc::clone(voice), from };
            sequence.blocking_logits_as(&ids, Positions::Last, voice)
        }
    };
    logits.unwrap().iter().map(|logit| logit.to_bits()).collect()
}

/// 10,000 questions by five askers at once, under five voices and none, on sequences that are forked and given up: every
/// answer has the bits of one that was computed from nothing.
#[test]
fn what_was_read_under_one_voice_serves_no_other() {
    for shared_layers in [0, 1] {
        let options = EngineOptions { prefix_cache: Some(40_000), ..EngineOptions::default() };
        let engine = start(EngineOptions { shared_layers: Some(shared_layers), ..options });
        let voices: Vec<Arc<Voice>> = (0..5).map(|seed| Arc::new(lora(engine.model(), seed, 1..2))).collect();
        let alone = cold();
        let known: Mutex<BTreeMap<Question, Vec<u32>>> = Mutex::default();
        std::thread::scope(|scope| {
            for asker in 0..ASKERS {
                let (engine, voices, alone, known) = (&engine, &voices, &alone, &known);
                scope.spawn(move || {
                    let mut numbers = Numbers(asker + 10 * shared_layers as u64);
                    let mut sequences: Vec<Sequence> = (0..3).map(|_| engine.sequence()).collect();
                    for _ in 0..QUESTIONS / 2 {
                        let question = question(&mut numbers);
                        let which = numbers.below(3);
                        match numbers.below(8) {
                            0 => sequences[which] = engine.sequence(),
                            1 => sequences[which] = sequences[numbers.below(3)].fork(numbers.below(80)),
                            _ => {}
                        }
                        let ours = ask(&sequences[which], voices, question);
                        let mut known = known.lock().unwrap();
                        let theirs = known.entry(question).or_insert_with(|| ask(&alone.sequence(), voices, question));
                        assert!(ours == *theirs, "{question:?} has other bits than alone");
                    }
                });
            }
        });
        // Voices differ, or nothing was shown.
        let known = known.into_inner().unwrap();
        let of = |voice| known.get(&(70, 100, voice, 0));
        assert!(of(0).is_some() && of(0) != of(1) && of(0) != of(5));
    }
}

#[test]
fn engines_share_a_budget() {
    let weights = wide().weight_bytes();
    let budget = Arc::new(MemoryBudget::new(2 * weights + 5 * block()));
    let with_budget = || EngineOptions { budget: Some(Arc::clone(&budget)), ..EngineOptions::default() };
    let (a, b) = (start(with_budget()), start(with_budget()));
    let error = Engine::start(wide(), with_budget()).map(drop).unwrap_err();
    assert!(matches!(error, EngineError::Weights { available, .. } if available == 5 * block()), "{error}");

    let sequence = a.sequence();
    sequence.generate(&prompt(100, 0), greedy(0)).blocking_finish().unwrap();
    let report = a.memory().unwrap();
    assert_eq!((report.weights, report.kv_used, report.kv_cached), (weights, 4 * block(), 0));
    assert_eq!(report.limit, Some(budget.limit()));
    let other = b.sequence();
    let error = other.blocking_logits(&prompt(30, 0), Positions::Last).unwrap_err();
    assert!(
        matches!(error, EngineError::Memory { needed, available } if (needed, available) == (2 * block(), block())),
        "{error}"
    );
    assert_eq!(b.memory().unwrap().kv_allocated, 0);
    assert!(other.blocking_logits(&[1, 2, 3], Positions::Last).is_ok());
    // What ends gives everything back.
    drop((sequence, a));
    for _ in 0..5_000 {
        if other.blocking_logits(&prompt(90, 0), Positions::Last).is_ok() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("the memory of an engine that is gone was never given back");
}

#[test]
fn what_is_kept_gives_way() {
    let limit = wide().weight_bytes() + 4 * block();
    let engine = start(EngineOptions { memory_limit: Some(limit), ..EngineOptions::default() });
    for own in 0..5 {
        let sequence = engine.sequence();
        let ids: Vec<u32> = (0..120).map(|place| (place * 3 + own * 77) % 500).collect();
        sequence.blocking_logits(&ids, Positions::Last).unwrap();
        drop(sequence);
        let report = engine.memory().unwrap();
        assert_eq!((report.kv_used, report.kv_cached), (0, 4 * block()));
        assert!(report.kv_allocated <= 4 * block());
        // And is found while it is there.
        let again = engine.sequence().generate(&ids, greedy(0)).blocking_finish().unwrap();
        assert_eq!(again.read_tokens, 1);
    }
}

//! Batch invariance: what a row's logits are never depends on the company it is computed in.

use std::sync::OnceLock;

use madrigal_engine::{DrawKey, Engine, EngineOptions, GenerateRequest, Isa, KvType, Model, Positions, SamplerConfig};
use proptest::prelude::*;

use crate::fixtures::{generate, testdata};

const MODELS: [&str; 5] = [
    "parity/gpt-oss/model-mxfp4.gguf",
    "parity/llama-tied/model-q4_0.gguf",
    "parity/qwen2/model-q8_0.gguf",
    "parity/qwen3/model-f16.gguf",
    "parity/qwen3/model-f32.gguf",
];

/// One sequence of a random batch.
#[derive(Debug, Clone)]
struct Visitor {
    /// What its tokens are made from.
    salt: u32,
    length: usize,
    /// Its prompt is given in two steps, the first of this length.
    first: usize,
    /// It starts as a fork of the visitor before it.
    forked: bool,
    /// Its first request is dropped while it runs.
    dropped: bool,
    draws: usize,
}

fn visitor() -> impl Strategy<Value = Visitor> {
    (0..4_u32, 1..200_usize, 0..200_usize, any::<bool>(), any::<bool>(), 0..6_usize).prop_map(
        |(salt, length, first, forked, dropped, draws)| Visitor {
            salt,
            length,
            first: first.min(length),
            forked,
            dropped,
            draws,
        },
    )
}

impl Visitor {
    /// Visitors of one salt share a prefix.
    fn prompt(&self) -> Vec<u32> {
        let token =
            |place: usize| (place as u32 * 7 + self.salt * 131 + u32::from(place > 90) * self.length as u32) % 505;
        (0..self.length).map(token).collect()
    }

    fn request(&self) -> GenerateRequest {
        GenerateRequest {
            sampling: SamplerConfig { temperature: 1.0, top_k: 50, ..SamplerConfig::default() },
            draw: DrawKey { seed: 5, seat: self.salt, turn: self.length as u32 },
            max_tokens: self.draws,
            ignore_eos: true,
            ..GenerateRequest::default()
        }
    }
}

fn start(model: &str, isa: Isa, threads: usize, kv: KvType, prefix_cache: Option<u64>) -> Engine {
    let options = EngineOptions { threads, isa: Some(isa), kv: Some(kv), prefix_cache, ..EngineOptions::default() };
    Engine::start(Model::open(&testdata(model)).unwrap(), options).unwrap()
}

/// `[model][instruction set]`: an engine with one thread that computes one thing at a time and keeps nothing, and one with
/// two that shares all it can.
fn engines() -> &'static Vec<(Engine, Engine)> {
    static ENGINES: OnceLock<Vec<(Engine, Engine)>> = OnceLock::new();
    ENGINES.get_or_init(|| {
        let mut engines = Vec::new();
        for (index, model) in MODELS.iter().enumerate() {
            for isa in Isa::available() {
                let kv = if index % 2 == 0 { KvType::Bf16 } else { KvType::F32 };
                engines.push((start(model, isa, 1, kv, Some(0)), start(model, isa, 2, kv, None)));
            }
        }
        engines
    })
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

fn check(alone: &Engine, together: &Engine, visitors: &[Visitor]) -> Result<(), TestCaseError> {
    let mut sequences: Vec<madrigal_engine::Sequence> = Vec::new();
    let mut first = Vec::new();
    for visitor in visitors {
        let sequence = match sequences.last() {
            Some(before) if visitor.forked => before.fork(visitor.first),
            _ => together.sequence(),
        };
        if visitor.first > 0 {
            let generation = sequence.generate(&visitor.prompt()[..visitor.first], visitor.request());
            if !visitor.dropped {
                first.push(generation);
            }
        }
        sequences.push(sequence);
    }
    let speaking: Vec<_> = visitors
        .iter()
        .zip(&sequences)
        .map(|(visitor, sequence)| sequence.generate(&visitor.prompt(), visitor.request()))
        .collect();
    let replies: Vec<_> = speaking.into_iter().map(|generation| generation.blocking_finish().unwrap()).collect();
    drop(first);
    for ((visitor, sequence), reply) in visitors.iter().zip(&sequences).zip(&replies) {
        let mut ids = visitor.prompt();
        prop_assert_eq!(&reply.ids, &generate(alone, &ids, visitor.request()).ids);
        ids.extend(&reply.ids);
        // The cache holds what was read in company; the last token is read alone.
        let ours = sequence.blocking_logits(&ids, Positions::Last).unwrap();
        let theirs = alone.sequence().blocking_logits(&ids, Positions::Last).unwrap();
        prop_assert_eq!(bits(&ours), bits(&theirs));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn company_changes_no_bit(visitors in proptest::collection::vec(visitor(), 1..=17)) {
        for (alone, together) in engines() {
            check(alone, together, &visitors)?;
        }
    }
}

/// All positions at once are what the positions one by one are.
#[test]
fn all_positions_are_each_positions_last() {
    for (alone, together) in engines() {
        let prompt: Vec<u32> = (0..70).map(|place| place * 7 % 500).collect();
        let all = together.sequence().blocking_logits(&prompt, Positions::All).unwrap();
        let sequence = alone.sequence();
        for (place, logits) in all.chunks(512).enumerate() {
            let last = sequence.blocking_logits(&prompt[..=place], Positions::Last).unwrap();
            assert_eq!(bits(logits), bits(&last), "position {place}");
        }
    }
}

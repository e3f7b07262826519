//! Batch invariance: what a row's logits are never depends on the company it is computed in.

use std::sync::OnceLock;

use madrigal_engine::{
    DrawKey, Engine, EngineOptions, GenerateRequest, Isa, KvType, Listener, Model, Positions, Precision, SamplerConfig,
};
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
    /// How many tokens a listener of what it says has of its own, if there is one.
    heard: Option<usize>,
}

fn visitor() -> impl Strategy<Value = Visitor> {
    let heard = proptest::option::weighted(0.3, 1..100_usize);
    (0..4_u32, 1..200_usize, 0..200_usize, any::<bool>(), any::<bool>(), 0..6_usize, heard).prop_map(
        |(salt, length, first, forked, dropped, draws, heard)| Visitor {
            salt,
            length,
            first: first.min(length),
            forked,
            dropped,
            draws,
            heard,
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

    /// What its listener has of its own.
    fn context(&self) -> Vec<u32> {
        (0..self.heard.unwrap_or(0) as u32).map(|place| (place * 7 + u32::from(place > 50) * self.salt) % 505).collect()
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
    // Small models have 14 bits otherwise, which other tests check.
    let activations = Some(Precision::Bits8);
    let options =
        EngineOptions { threads, isa: Some(isa), kv: Some(kv), activations, prefix_cache, ..Default::default() };
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
    let ears: Vec<madrigal_engine::Sequence> = visitors.iter().map(|_| together.sequence()).collect();
    let speak = |((visitor, sequence), ear): ((&Visitor, &madrigal_engine::Sequence), &madrigal_engine::Sequence)| {
        let listener =
            Listener { sequence: ear.id(), ids: visitor.context(), voice: None, surprise: visitor.salt == 1 };
        let listeners = visitor.heard.map(|_| listener).into_iter().collect();
        sequence.generate(&visitor.prompt(), GenerateRequest { listeners, ..visitor.request() })
    };
    let speaking: Vec<_> = visitors.iter().zip(&sequences).zip(&ears).map(speak).collect();
    let replies: Vec<_> = speaking.into_iter().map(|generation| generation.blocking_finish().unwrap()).collect();
    drop(first);
    for (((visitor, sequence), ear), reply) in visitors.iter().zip(&sequences).zip(&ears).zip(&replies) {
        let mut ids = visitor.prompt();
        prop_assert_eq!(&reply.ids, &generate(alone, &ids, visitor.request()).ids);
        ids.extend(&reply.ids);
        // The cache holds what was read in company; the last token is read alone.
        let ours = sequence.blocking_logits(&ids, Positions::Last).unwrap();
        let theirs = alone.sequence().blocking_logits(&ids, Positions::Last).unwrap();
        prop_assert_eq!(bits(&ours), bits(&theirs));
        let heard: Vec<u32> = visitor.context().into_iter().chain(reply.ids.iter().copied()).collect();
        if visitor.heard.is_some() {
            let ours = ear.blocking_logits(&heard, Positions::Last).unwrap();
            let theirs = alone.sequence().blocking_logits(&heard, Positions::Last).unwrap();
            prop_assert_eq!(bits(&ours), bits(&theirs));
            let nats = reply.surprise[0].as_ref().map(|surprise| surprise.nats.len());
            prop_assert_eq!(nats, (visitor.salt == 1).then_some(reply.ids.len()));
        }
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

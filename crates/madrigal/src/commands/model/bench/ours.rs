//! The workloads on our own side, through the engine's public interface, as any caller would run them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use madrigal_engine::tokenizer::Tokenizer;
use madrigal_engine::{
    Engine, EngineOptions, GenerateEvent, GenerateRequest, Generated, Generation, Listener, Lora, Model, Positions,
    SamplerConfig, Sequence, Voice, VoiceFrom,
};

use super::conversation::Plan;
use crate::failure::{Context, Failure, Result};

/// Ranks of every delta.
const RANK: usize = 8;

/// A running model and its voices.
pub(super) struct Ours {
    engine: Engine,
    sampling: SamplerConfig,
    loras: Vec<Arc<Lora>>,
    /// Seconds from the file to the first logits.
    pub(super) ready: f64,
}

/// What a conversation took.
pub(super) struct Conversed {
    pub(super) seconds: f64,
    /// From the last token of each message to the first of the next, in seconds.
    pub(super) gaps: Vec<f64>,
    pub(super) messages: Vec<Vec<u32>>,
}

impl Ours {
    /// Loads the model; `voices` says whether there will be some, with deltas in the upper half of its layers.
    pub(super) fn start(path: &Path, options: EngineOptions, voices: bool) -> Result<Self> {
        let begun = Instant::now();
        let model = Model::open(path).map_err(Failure::of)?;
        let layers = model.hyperparameters().layers;
        let shared_layers = voices.then_some(layers / 2);
        let options = EngineOptions { shared_layers, ..options };
        let engine = Engine::start(model, options).map_err(Failure::of)?;
        engine.sequence().blocking_logits(&[1], Positions::Last).map_err(Failure::of)?;
        let ready = begun.elapsed().as_secs_f64();
        let sampling = SamplerConfig { logit_bias: markers(engine.model().tokenizer()), ..SamplerConfig::greedy() };
        Ok(Self { engine, sampling, loras: Vec::new(), ready })
    }

    /// Makes voices, each with a delta of its own.
    pub(super) fn make_voices(&mut self, voices: usize, seed: u64) -> Result {
        let shape = self.engine.model().hyperparameters();
        let layers = shape.layers / 2..shape.layers;
        let lora = |voice| Lora::random(shape, RANK, layers.clone(), seed.wrapping_add(voice)).map(Arc::new);
        self.loras = (0..voices as u64).map(lora).collect::<std::result::Result<_, _>>().map_err(Failure::of)?;
        Ok(())
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn loras(&self) -> &[Arc<Lora>] {
        &self.loras
    }

    /// What keys and values take now, in bytes; room that is kept for more does not count.
    pub(super) fn kv_bytes(&self) -> Result<u64> {
        let report = self.engine.memory().map_err(Failure::of)?;
        Ok(report.kv_used + report.kv_cached)
    }

    /// Seconds that reading a prompt takes.
    pub(super) fn prompt(&self, ids: &[u32]) -> Result<f64> {
        let sequence = self.engine.sequence();
        let begun = Instant::now();
        finish(sequence.generate(ids, GenerateRequest::default()))?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Seconds in which agents that share a prompt, which has been read, say `tokens` tokens each; with a delta each or
    /// without.
    pub(super) fn together(&self, ids: &[u32], agents: usize, tokens: usize, adapted: bool) -> Result<f64> {
        let first = self.engine.sequence();
        finish(first.generate(ids, GenerateRequest::default()))?;
        let sequences: Vec<Sequence> = (0..agents).map(|_| first.fork(ids.len())).collect();
        let requests: Vec<GenerateRequest> = (0..agents)
            .map(|agent| GenerateRequest {
                // The prompt's last token is read once more for its logits, and by the voice already.
                voice: adapted.then(|| self.voice(agent, ids.len() - 1)),
                ..self.request(tokens)
            })
            .collect();
        let begun = Instant::now();
        let speaking: Vec<Generation> =
            sequences.iter().zip(requests).map(|(one, request)| one.generate(ids, request)).collect();
        for generation in speaking {
            expect_tokens(&finish(generation)?, tokens)?;
        }
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Seconds to the first token of an agent with a delta that has read its prompt before, while another has spoken since;
    /// and of one that has not.
    pub(super) fn switch(&self, ids: &[u32]) -> Result<(f64, f64)> {
        let sequences = [self.engine.sequence(), self.engine.sequence()];
        let speak = |agent: usize| {
            let request = GenerateRequest { voice: Some(self.voice(agent, 0)), ..self.request(1) };
            let begun = Instant::now();
            finish(sequences[agent].generate(ids, request))?;
            Ok::<_, Failure>(begun.elapsed().as_secs_f64())
        };
        speak(0)?;
        let unread = speak(1)?;
        speak(0)?;
        Ok((speak(1)?, unread))
    }

    /// Agents speak in turns; those that are silent listen, or read later what was said.
    pub(super) fn conversation(&self, plan: &Plan, tokens: usize, listen: bool) -> Result<Conversed> {
        let mut prompts = plan.personas.clone();
        let sequences: Vec<Sequence> = prompts.iter().map(|_| self.engine.sequence()).collect();
        let (mut gaps, mut messages) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        let mut last_token: Option<Instant> = None;
        for (turn, header) in plan.headers.iter().enumerate() {
            let speaker = turn % prompts.len();
            for prompt in &mut prompts {
                prompt.extend(header);
            }
            let others = (0..prompts.len()).filter(|&agent| listen && agent != speaker);
            let listeners = others
                .map(|agent| Listener {
                    sequence: sequences[agent].id(),
                    ids: prompts[agent].clone(),
                    voice: None,
                    surprise: false,
                })
                .collect();
            let mut generation =
                sequences[speaker].generate(&prompts[speaker], GenerateRequest { listeners, ..self.request(tokens) });
            let mut begins = true;
            let message = loop {
                match generation.blocking_next() {
                    Some(Ok(GenerateEvent::Token { .. })) => {
                        let now = Instant::now();
                        let before = last_token.replace(now);
                        if std::mem::take(&mut begins) {
                            gaps.extend(before.map(|before| now.duration_since(before).as_secs_f64()));
                        }
                    }
                    Some(Ok(GenerateEvent::Done(generated))) => break generated,
                    Some(Err(error)) => return Err(Failure::of(error)),
                    None => return Err(Failure::of("measure a conversation: the engine ended without a result")),
                }
            };
            expect_tokens(&message, tokens)?;
            for prompt in &mut prompts {
                prompt.extend(&message.ids);
            }
            messages.push(message.ids);
        }
        Ok(Conversed { seconds: begun.elapsed().as_secs_f64(), gaps, messages })
    }

    fn request(&self, max_tokens: usize) -> GenerateRequest {
        GenerateRequest { sampling: self.sampling.clone(), max_tokens, ignore_eos: true, ..GenerateRequest::default() }
    }

    fn voice(&self, agent: usize, from: usize) -> VoiceFrom {
        let delta = Arc::clone(&self.loras[agent]);
        VoiceFrom { voice: Arc::new(Voice { delta: Some(delta), filter: None }), from }
    }
}

fn finish(generation: Generation) -> Result<Generated> {
    generation.blocking_finish().map_err(Failure::of)
}

/// A shorter reply would look like a faster one.
fn expect_tokens(generated: &Generated, tokens: usize) -> Result {
    match generated.drawn.len() {
        drawn if drawn == tokens => Ok(()),
        drawn => Err(format!("{drawn} tokens came where {tokens} were asked for")).doing("measure a reply"),
    }
}

/// Forbids tokens that look like markup: a model of random weights would open thoughts and channels, which listeners do
/// not hear.
fn markers(tokenizer: &Tokenizer) -> Vec<(u32, f32)> {
    let is_marker = |id: &u32| {
        let piece = tokenizer.piece(*id).unwrap_or_default();
        tokenizer.is_special(*id) || (piece.len() > 2 && piece.starts_with('<') && piece.ends_with('>'))
    };
    (0..tokenizer.vocab_size() as u32).filter(is_marker).map(|id| (id, f32::NEG_INFINITY)).collect()
}

//! The model under trial: prompts in, texts out, many at once.

use std::path::Path;
use std::sync::Arc;

use madrigal_engine::tokenizer::Encode;
use madrigal_engine::{
    DrawKey, Engine, EngineOptions, GenerateRequest, Model, Positions, SamplerConfig, Voice, VoiceFrom,
};

/// Prompts that are answered at once.
const AT_ONCE: usize = 48;

/// How texts are drawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    pub(crate) sampling: SamplerConfig,
    pub(crate) voice: Option<Arc<Voice>>,
    pub(crate) max_tokens: usize,
    /// Texts that end what is said.
    pub(crate) stop: Vec<String>,
    pub(crate) seed: u64,
}

impl Manner {
    pub(crate) fn greedy(max_tokens: usize) -> Self {
        Self { sampling: SamplerConfig::greedy(), max_tokens, ..Self::default() }
    }
}

/// A running model.
pub(crate) struct Speaker {
    engine: Engine,
}

impl Speaker {
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let model = Model::open(path).map_err(|error| error.to_string())?;
        let engine = Engine::start(model, EngineOptions::default()).map_err(|error| error.to_string())?;
        Ok(Self { engine })
    }

    pub(crate) fn ids(&self, text: &str) -> Result<Vec<u32>, String> {
        let options = Encode { add_special: true, parse_special: true, continuation: false };
        self.engine.model().tokenizer().encode(text, options).map_err(|error| error.to_string())
    }

    /// What the model says to each prompt.
    pub(crate) fn say(&self, prompts: &[String], manner: &Manner) -> Result<Vec<String>, String> {
        let mut said = Vec::new();
        for (chunk, prompts) in prompts.chunks(AT_ONCE).enumerate() {
            let mut running = Vec::new();
            for (index, prompt) in prompts.iter().enumerate() {
                let ids = self.ids(prompt)?;
                let request = GenerateRequest {
                    sampling: manner.sampling.clone(),
                    draw: DrawKey { seed: manner.seed, seat: (chunk * AT_ONCE + index) as u32, turn: 0 },
                    max_tokens: manner.max_tokens,
                    stop: manner.stop.clone(),
                    voice: manner.voice.clone().map(|voice| VoiceFrom { voice, from: ids.len() }),
                    ..GenerateRequest::default()
                };
                let sequence = self.engine.sequence();
                let generation = sequence.generate(&ids, request);
                running.push((sequence, generation));
            }
            for (_sequence, generation) in running {
                said.push(generation.blocking_finish().map_err(|error| error.to_string())?.text);
            }
        }
        Ok(said)
    }

    /// The logits of every place of a text, one place after the other.
    pub(crate) fn logits(&self, ids: &[u32]) -> Result<Vec<f32>, String> {
        self.engine.sequence().blocking_logits(ids, Positions::All).map_err(|error| error.to_string())
    }
}

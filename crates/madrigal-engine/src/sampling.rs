//! From logits to a token: what may be drawn (`filters`, `penalties`), and the draw itself (`philox`).
//!
//! Owns the order of the steps:
//! logit bias → repetition, frequency and presence penalties → DRY → temperature → top-k → typical → top-p → min-p → draw.
//! A temperature of 0 takes the likeliest token after DRY (the lowest id of equals) and skips the rest.
//!
//! Everything is computed in `f64` with the `libm` crate and summed in the order of the token ids or of the sorted
//! candidates, so the same logits and key give the same token on every machine.

mod dry;
mod filters;
mod penalties;
mod philox;
mod scan;

pub use dry::Dry;
pub use philox::{DrawKey, philox4x32, uniform};

/// How tokens are drawn. [`SamplerConfig::default`] is the unchanged distribution of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerConfig {
    /// Divides the logits; 0 is greedy.
    pub temperature: f32,
    /// Keeps the k likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the fewest likeliest tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keeps tokens at least this likely relative to the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Keeps the fewest tokens nearest the entropy whose probabilities reach this sum; 1 keeps all.
    /// Locally typical sampling, Meister et al. 2022 (arXiv:2202.00666).
    pub typical_p: f32,
    /// Divides positive and multiplies negative logits of tokens that were seen (CTRL, arXiv:1909.05858); 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken from a seen token's logit once for each time it was seen.
    pub frequency_penalty: f32,
    /// Taken from a seen token's logit once.
    pub presence_penalty: f32,
    /// How many of the latest tokens count as seen for the three penalties; 0 counts all.
    pub penalty_window: usize,
    /// Penalises tokens that would continue a repeated passage.
    pub dry: Option<Dry>,
    /// Added to the logits of these tokens; negative infinity forbids one.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 0,
            dry: None,
            logit_bias: Vec::new(),
        }
    }
}

/// Why no token can be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// A setting out of its range.
    #[error("sample a token: {setting} is {value}; it must be {range}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What was given.
        value: f32,
        /// What may be given.
        range: &'static str,
    },
    /// A bias for a token that the model does not have.
    #[error("sample a token: the logit bias names token {id}, the vocabulary has {vocabulary}")]
    BiasId {
        /// The token.
        id: u32,
        /// How many there are.
        vocabulary: usize,
    },
    /// The model computed no number.
    #[error("sample a token: the logit of token {id} is {value}; the weights are damaged or overflow")]
    Logit {
        /// The token.
        id: u32,
        /// What was computed.
        value: f32,
    },
    /// Biases or penalties so large that nothing can be computed with them.
    #[error("sample a token: logit bias and penalties make the logit of token {id} {value}; take smaller ones")]
    Overflow {
        /// The token.
        id: u32,
        /// What was computed.
        value: f32,
    },
    /// Nothing is left to draw.
    #[error("sample a token: every token is forbidden by the constraint, the logit bias or the penalties")]
    Nothing,
}

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Candidate {
    id: u32,
    /// Logit, divided by the temperature.
    logit: f64,
    /// Not yet divided by the sum of all weights; the likeliest token's is 1.
    weight: f64,
}

impl SamplerConfig {
    /// Always the likeliest token.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Checks every setting's range, for a vocabulary of this size.
    pub fn validate(&self, vocabulary: usize) -> Result<(), SamplerError> {
        let finite = f32::is_finite;
        let checks: [(&'static str, f32, bool, &'static str); 7] = [
            ("temperature", self.temperature, finite(self.temperature) && self.temperature >= 0.0, "0 or more"),
            ("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1"),
            ("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1"),
            ("typical_p", self.typical_p, self.typical_p > 0.0 && self.typical_p <= 1.0, "above 0 and at most 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                finite(self.repetition_penalty) && self.repetition_penalty > 0.0,
                "above 0",
            ),
            ("frequency_penalty", self.frequency_penalty, finite(self.frequency_penalty), "finite"),
            ("presence_penalty", self.presence_penalty, finite(self.presence_penalty), "finite"),
        ];
        for (setting, value, good, range) in checks {
            if !good {
                return Err(SamplerError::Setting { setting, value, range });
            }
        }
        if let Some(dry) = &self.dry {
            dry.validate()?;
        }
        for &(id, bias) in &self.logit_bias {
            if id as usize >= vocabulary {
                return Err(SamplerError::BiasId { id, vocabulary });
            }
            if bias.is_nan() || bias == f32::INFINITY {
                return Err(SamplerError::Setting { setting: "logit_bias", value: bias, range: "finite or -inf" });
            }
        }
        Ok(())
    }

    /// Draws the token after `history` (prompt and reply so far) from `logits`; `index` counts the reply's tokens from 0.
    ///
    /// `logits` are changed.
    pub fn sample(&self, logits: &mut [f32], history: &[u32], key: DrawKey, index: u64) -> Result<u32, SamplerError> {
        self.sample_among(logits, |_| true, history, key, index)
    }

    /// [`Self::sample`] from the tokens that are `allowed`. All others count as if the model could not say them, so a
    /// top-k of 5 keeps the likeliest five that are.
    pub fn sample_among(
        &self,
        logits: &mut [f32],
        allowed: impl Fn(u32) -> bool,
        history: &[u32],
        key: DrawKey,
        index: u64,
    ) -> Result<u32, SamplerError> {
        if let Some((id, value)) = scan::first(logits, |logit| !logit.is_finite()) {
            return Err(SamplerError::Logit { id, value });
        }
        for &(id, bias) in &self.logit_bias {
            let vocabulary = logits.len();
            *logits.get_mut(id as usize).ok_or(SamplerError::BiasId { id, vocabulary })? += bias;
        }
        penalties::apply(self, logits, history);
        if let Some(dry) = &self.dry {
            dry.apply(logits, history);
        }
        let overflows = |logit: f32| logit.is_nan() | (logit == f32::INFINITY);
        if let Some((id, value)) = scan::first(logits, overflows) {
            return Err(SamplerError::Overflow { id, value });
        }

        for (id, logit) in logits.iter_mut().enumerate() {
            if !allowed(id as u32) {
                *logit = f32::NEG_INFINITY;
            }
        }
        let likeliest = likeliest(logits).ok_or(SamplerError::Nothing)?;
        if self.temperature == 0.0 {
            return Ok(likeliest);
        }
        let mut candidates = self.candidates(logits, logits[likeliest as usize]);
        filters::typical(&mut candidates, self.typical_p);
        filters::top_p(&mut candidates, self.top_p);
        filters::min_p(&mut candidates, self.min_p);
        draw(&mut candidates, uniform(key, index)).ok_or(SamplerError::Nothing)
    }

    /// The top-k of the tokens that are not forbidden, in the order of the ids.
    fn candidates(&self, logits: &[f32], highest: f32) -> Vec<Candidate> {
        let (temperature, highest) = (f64::from(self.temperature), f64::from(highest));
        // Subtracting before dividing keeps a tiny temperature from overflowing.
        let scaled = |logit: f32| (f64::from(logit) - highest) / temperature;
        // Most of a large vocabulary is left out before anything is computed of it.
        let floor = scan::floor(logits, self.top_k, scaled);
        let logits = logits.iter().enumerate().filter(|(_, logit)| **logit >= floor && **logit > f32::NEG_INFINITY);
        let mut candidates: Vec<Candidate> =
            logits.map(|(id, &logit)| Candidate { id: id as u32, logit: scaled(logit), weight: 0.0 }).collect();
        filters::top_k(&mut candidates, self.top_k);
        for candidate in &mut candidates {
            candidate.weight = libm::exp(candidate.logit);
        }
        candidates
    }
}

/// The lowest id of the highest logit, if any is above negative infinity.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let highest = scan::highest(logits);
    if highest == f32::NEG_INFINITY {
        return None;
    }
    scan::first(logits, |logit| logit == highest).map(|(id, _)| id)
}

/// Inverts the cumulative distribution, in the order of the ids, at `at` (from 0, below 1).
fn draw(candidates: &mut [Candidate], at: f64) -> Option<u32> {
    candidates.sort_unstable_by_key(|candidate| candidate.id);
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let target = at * total;
    let mut sum = 0.0;
    for candidate in candidates.iter() {
        sum += candidate.weight;
        if target < sum {
            return Some(candidate.id);
        }
    }
    // Reached only if rounding lets `target` meet the last sum: the last token that has any weight.
    candidates.iter().rev().find(|candidate| candidate.weight > 0.0).map(|candidate| candidate.id)
}

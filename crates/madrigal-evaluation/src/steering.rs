//! Steering: how far a small bias on words moves a calm person's mood, and whether it still knows its facts.

use std::sync::Arc;

use madrigal_corpus::asks::Asks;
use madrigal_corpus::document::Document;
use madrigal_corpus::persona::{Degree, Mood, Person};
use madrigal_engine::hyperparameters::Hyperparameters;
use madrigal_engine::{LogitFilter, SamplerConfig, Voice, VoiceError};
use madrigal_swarm::draws::Draws;
use sha2::{Digest, Sha256};

use crate::Trial;
use crate::interviews::OPENED;
use crate::measure::{Bar, Measure};
use crate::speaker::Manner;

/// Items, where other parts have one: what counts is the difference of two shares.
const ITEMS: usize = 4;

/// Nats for each token.
const BUDGET: f64 = 0.15;

/// The strongest bias: where a word is out of the question it stays so.
const STRONGEST: f64 = 4.0;

/// A bias on some words, as strong as a budget of Kullback-Leibler divergence allows.
///
/// The distribution p becomes p exp(β b) / Z, where b is 1 on the words and 0 elsewhere, and β is the largest up to 4 for
/// which KL(biased ‖ p) is within the budget. With q the mass of the words, Z = 1 + q (e^β − 1).
#[derive(Debug)]
struct Budgeted {
    ids: Vec<u32>,
}

impl Budgeted {
    /// The bias for words of mass `q`.
    fn strength(q: f64) -> f64 {
        let (mut low, mut high) = (0.0, STRONGEST);
        for _ in 0..60 {
            let middle: f64 = (low + high) / 2.0;
            let z = 1.0 + q * middle.exp_m1();
            let divergence = q * middle.exp() / z * middle - z.ln();
            if divergence <= BUDGET { low = middle } else { high = middle }
        }
        low
    }
}

impl LogitFilter for Budgeted {
    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix("madrigal evaluation steering\0");
        self.ids.iter().for_each(|id| hash.update(id.to_le_bytes()));
        hash.finalize().into()
    }

    fn filter(&self, _: &[u32], logits: &mut [f32]) {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |logit: f32| f64::from(logit - top).exp();
        let all: f64 = logits.iter().map(|logit| weight(*logit)).sum();
        let q = self.ids.iter().map(|id| weight(logits[*id as usize])).sum::<f64>() / all;
        let strength = Self::strength(q) as f32;
        for id in &self.ids {
            logits[*id as usize] += strength;
        }
    }

    fn fits(&self, _: &Hyperparameters) -> Result<(), VoiceError> {
        Ok(())
    }
}

pub(crate) fn measure(trial: &Trial<'_>) -> Result<Vec<Measure>, String> {
    let mut prompts = Vec::new();
    let mut facts = Vec::new();
    for seed in 0..trial.seeds {
        for stream in 0..(trial.count * ITEMS) as u64 {
            let mut draws = Draws::new(940_000 + seed, stream);
            let mut person = Person::new(&mut draws);
            (person.mood, person.degree, person.second) = (Mood::Calm, Degree::Plain, None);
            let slot = person.facts[draws.below(person.facts.len())].0;
            let mut document = Document::default();
            document.hears("system", &person.prompt());
            document.hears("user", slot.question(&mut draws, Asks::Many));
            prompts.push(document.text() + OPENED);
            facts.push(person.value(slot).unwrap_or_default().to_vec());
        }
    }
    let manner = Manner { sampling: SamplerConfig::default(), max_tokens: 60, ..Manner::default() };
    let plain = trial.speaker.say(&prompts, &manner)?;
    let knows = |said: &[String]| -> Vec<bool> {
        let told = said.iter().zip(&facts);
        told.map(|(text, fact)| fact.iter().all(|part| text.contains(part))).collect()
    };
    let mut measures = vec![Measure::new("steering", "facts without", Bar::None, knows(&plain))];
    for mood in [Mood::Happy, Mood::Sad, Mood::Angry] {
        let mut ids = first_words(trial, mood)?;
        for other in Mood::ALL.into_iter().filter(|other| *other != mood) {
            let others = first_words(trial, other)?;
            ids.retain(|id| !others.contains(id));
        }
        let voice = Arc::new(Voice { filter: Some(Arc::new(Budgeted { ids })), delta: None });
        let steered = trial.speaker.say(&prompts, &Manner { voice: Some(voice), ..manner.clone() })?;
        (trial.show)(&steered.iter().take(12).cloned().collect::<Vec<_>>().join("\n"));
        let marks = [mood.openings(), mood.closings()].concat();
        let shows = |text: &String| marks.iter().any(|mark| text.contains(mark.trim_end_matches(['!', '.', ','])));
        let name = mood.name();
        let before = Measure::new("steering", format!("{name}: marks without"), Bar::None, plain.iter().map(shows));
        let bar = Bar::AtLeast(before.share() + 0.2);
        measures.push(before);
        measures.push(Measure::new("steering", format!("{name}: marks with"), bar, steered.iter().map(shows)));
        measures.push(Measure::new("steering", format!("{name}: facts with"), Bar::AtLeast(0.9), knows(&steered)));
    }
    (trial.show)(&plain.iter().take(12).cloned().collect::<Vec<_>>().join("\n"));
    Ok(measures)
}

/// The tokens with which marks of a mood begin, in front and behind a sentence.
fn first_words(trial: &Trial<'_>, mood: Mood) -> Result<Vec<u32>, String> {
    let openings = mood.openings().iter().map(|mark| (*mark).to_owned());
    let closings = mood.closings().iter().map(|mark| format!(" {mark}"));
    let mut ids = Vec::new();
    for text in openings.chain(closings) {
        ids.extend(trial.speaker.ids(&text)?.first());
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_spends_its_budget_and_no_more() {
        for q in [1e-6, 0.01, 0.2, 0.5, 0.9] {
            let beta = Budgeted::strength(q);
            let biased = q * beta.exp() / (1.0 + q * beta.exp_m1());
            let divergence = biased * (biased / q).ln() + (1.0 - biased) * ((1.0 - biased) / (1.0 - q)).ln();
            assert!(divergence <= BUDGET + 1e-9, "{q}: {divergence}");
            // Where even the strongest bias does not reach it, it is not spent.
            assert!(divergence > BUDGET - 1e-6 || beta > STRONGEST - 1e-6, "{q}: {divergence}");
        }
    }
}

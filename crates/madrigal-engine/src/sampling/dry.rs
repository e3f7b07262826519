//! DRY: a growing penalty on tokens that would continue a passage that stands in the history already.
//!
//! The rule is p-e-w's ("DRY: a modern repetition penalty", oobabooga/text-generation-webui #5677): a token that followed
//! an earlier occurrence of the history's last `n ≥ allowed_length` tokens loses `multiplier · base^(n − allowed_length)`,
//! `n` being the longest such match.

use std::collections::BTreeMap;

use super::SamplerError;

/// The settings of DRY.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// The penalty of the shortest match that is penalised.
    pub multiplier: f32,
    /// What the penalty grows by with every further token of the match.
    pub base: f32,
    /// Matches shorter than this are free.
    pub allowed_length: usize,
    /// How many of the latest tokens are searched; 0 searches all.
    pub window: usize,
    /// Tokens that no match reaches across: line ends, quotation marks, colons.
    pub breakers: Vec<u32>,
}

impl Dry {
    pub(super) fn validate(&self) -> Result<(), SamplerError> {
        let (multiplier, base) = (self.multiplier, self.base);
        if !(multiplier.is_finite() && multiplier >= 0.0) {
            return Err(SamplerError::Setting { setting: "dry multiplier", value: multiplier, range: "0 or more" });
        }
        if !(base.is_finite() && base >= 1.0) {
            return Err(SamplerError::Setting { setting: "dry base", value: base, range: "1 or more" });
        }
        Ok(())
    }

    /// Changes the logits of the tokens that would continue a repeated passage.
    pub(super) fn apply(&self, logits: &mut [f32], history: &[u32]) {
        // A long match overflows the power, and nothing times infinity is no number.
        if self.multiplier == 0.0 {
            return;
        }
        for (id, length) in self.matches(history) {
            let (Some(logit), Some(excess)) = (logits.get_mut(id as usize), length.checked_sub(self.allowed_length))
            else {
                continue;
            };
            let penalty = f64::from(self.multiplier) * libm::pow(f64::from(self.base), excess as f64);
            *logit = (f64::from(*logit) - penalty) as f32;
        }
    }

    /// For every token that followed an earlier occurrence of the history's end: the longest match before it.
    fn matches(&self, history: &[u32]) -> BTreeMap<u32, usize> {
        let start = match self.window {
            0 => 0,
            window => history.len().saturating_sub(window),
        };
        // Newest first, so that a match that ends at a token is one that begins there.
        let newest_first: Vec<u32> = history[start..].iter().rev().copied().collect();
        let longest = newest_first.iter().position(|id| self.breakers.contains(id)).unwrap_or(newest_first.len());
        let mut matches = BTreeMap::new();
        for (place, length) in common_prefixes(&newest_first).into_iter().enumerate().skip(1) {
            let length = length.min(longest);
            if length > 0 {
                let best = matches.entry(newest_first[place - 1]).or_insert(0);
                *best = length.max(*best);
            }
        }
        matches
    }
}

/// For every place, how many tokens from there equal those from the start: the Z-algorithm, in linear time.
fn common_prefixes(ids: &[u32]) -> Vec<usize> {
    let mut lengths = vec![0; ids.len()];
    let (mut left, mut right) = (0, 0);
    for place in 1..ids.len() {
        let mut length = if place < right { lengths[place - left].min(right - place) } else { 0 };
        while place + length < ids.len() && ids[length] == ids[place + length] {
            length += 1;
        }
        if place + length > right {
            (left, right) = (place, place + length);
        }
        lengths[place] = length;
    }
    lengths
}

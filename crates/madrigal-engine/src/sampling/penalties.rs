//! The repetition, frequency and presence penalties. Passages are DRY's business.

use std::collections::BTreeMap;

use super::SamplerConfig;

/// Changes the logits of the tokens in the latest `penalty_window` of `history`.
pub(super) fn apply(config: &SamplerConfig, logits: &mut [f32], history: &[u32]) {
    let SamplerConfig { repetition_penalty, frequency_penalty, presence_penalty, penalty_window, .. } = *config;
    if repetition_penalty == 1.0 && frequency_penalty == 0.0 && presence_penalty == 0.0 {
        return;
    }
    let start = match penalty_window {
        0 => 0,
        window => history.len().saturating_sub(window),
    };
    let mut seen = BTreeMap::<u32, u32>::new();
    for &id in &history[start..] {
        *seen.entry(id).or_default() += 1;
    }
    for (id, times) in seen {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
            *logit -= frequency_penalty * times as f32 + presence_penalty;
        }
    }
}

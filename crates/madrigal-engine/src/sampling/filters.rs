//! Cuts of the distribution: top-k, locally typical, top-p, min-p. Each leaves at least one candidate.

use std::cmp::Ordering;

use super::Candidate;

/// Likeliest first, lower ids first among equals.
fn likeliest_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Keeps the `k` likeliest.
pub(super) fn top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if k > 0 && k < candidates.len() {
        candidates.select_nth_unstable_by(k, likeliest_first);
        candidates.truncate(k);
        // The selection leaves an order of its own; sums must not depend on it.
        candidates.sort_unstable_by_key(|candidate| candidate.id);
    }
}

/// Keeps the fewest likeliest whose probabilities sum to at least `p`.
pub(super) fn top_p(candidates: &mut Vec<Candidate>, p: f32) {
    if p < 1.0 {
        let total = total(candidates);
        // Tokens lighter than this weigh less than 1 − p all together, so the sum is reached without them;
        // leaving them out before sorting saves most of the time for large vocabularies.
        let lightest = (1.0 - f64::from(p)) * total / (candidates.len() as f64 + 1.0);
        candidates.retain(|candidate| candidate.weight >= lightest);
        candidates.sort_unstable_by(likeliest_first);
        keep_until(candidates, f64::from(p) * total);
    }
}

/// Keeps what is at least `p` times as likely as the likeliest.
pub(super) fn min_p(candidates: &mut Vec<Candidate>, p: f32) {
    if p > 0.0 {
        let heaviest = candidates.iter().map(|candidate| candidate.weight).fold(0.0, f64::max);
        candidates.retain(|candidate| candidate.weight >= f64::from(p) * heaviest);
    }
}

/// Keeps the fewest whose surprisal is nearest the entropy and whose probabilities sum to at least `p`.
pub(super) fn typical(candidates: &mut Vec<Candidate>, p: f32) {
    if p < 1.0 {
        candidates.sort_unstable_by_key(|candidate| candidate.id);
        let total = total(candidates);
        let log_total = libm::log(total);
        let surprisal = |candidate: &Candidate| log_total - candidate.logit;
        let entropy: f64 = candidates
            .iter()
            .filter(|candidate| candidate.weight > 0.0)
            .map(|candidate| candidate.weight / total * surprisal(candidate))
            .sum();
        let distance = |candidate: &Candidate| (surprisal(candidate) - entropy).abs();
        candidates.sort_unstable_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.id.cmp(&b.id)));
        keep_until(candidates, f64::from(p) * total);
    }
}

/// Cuts after the candidate with which the weights reach `enough`.
fn keep_until(candidates: &mut Vec<Candidate>, enough: f64) {
    let mut sum = 0.0;
    let reached = candidates.iter().position(|candidate| {
        sum += candidate.weight;
        sum >= enough
    });
    if let Some(last) = reached {
        candidates.truncate(last + 1);
    }
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| candidate.weight).sum()
}

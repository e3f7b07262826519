//! When a failed call is made again.
//!
//! Owns waiting times. They are drawn from the run's seed, not from the system's randomness.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::chat_model::Draw;

/// The wait after the first failure is at most this; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No backoff is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);
/// No wait that a server asks for is kept if it is longer.
pub(super) const LONGEST_ASKED_WAIT: Duration = Duration::from_secs(300);

/// The wait before the attempt after the `failed`th: exponential with full jitter
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>), but not less than what the server
/// asked for.
pub(super) fn wait(draw: Draw, failed: u32, asked: Option<Duration>) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    let bound = FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_BACKOFF);
    let backoff = bound.mul_f64(fraction(draw, failed));
    asked.map_or(backoff, |asked| backoff.max(asked))
}

/// A number in [0, 1) that depends on the turn's key and the attempt.
fn fraction(draw: Draw, failed: u32) -> f64 {
    (bits(draw, failed) >> 11) as f64 / (1u64 << 53) as f64
}

/// A seed for servers that take one; it depends on the turn's key only.
pub(super) fn sampling_seed(draw: Draw) -> u32 {
    // Servers read it as a signed number.
    (bits(draw, 0) >> 33) as u32
}

fn bits(draw: Draw, attempt: u32) -> u64 {
    let digest = Sha256::new()
        .chain_update(b"remote chat model")
        .chain_update(draw.seed.to_le_bytes())
        .chain_update(draw.seat.to_le_bytes())
        .chain_update(draw.turn.to_le_bytes())
        .chain_update(attempt.to_le_bytes())
        .finalize();
    digest.iter().take(8).fold(0, |bits, &byte| (bits << 8) | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_are_bounded_and_depend_on_the_key_only() {
        let draw = |turn| Draw { seed: 7, seat: 1, turn };
        for turn in 1..200 {
            for failed in 1..8 {
                let once = wait(draw(turn), failed, None);
                assert_eq!(once, wait(draw(turn), failed, None));
                assert!(once <= FIRST_WAIT * (1 << (failed - 1)) && once <= LONGEST_BACKOFF);
            }
        }
        let mean = (0..1000).map(|turn| fraction(draw(turn), 1)).sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "{mean}");
        let asked = Duration::from_secs(40);
        assert_eq!(wait(draw(1), 3, Some(asked)), asked);
        assert_ne!(wait(draw(1), 1, None), wait(draw(2), 1, None));
    }
}

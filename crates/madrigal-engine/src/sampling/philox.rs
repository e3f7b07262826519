//! The random numbers of the draws: a counter-based generator, so that a draw depends on its key alone and never on how
//! many draws came before.
//!
//! Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).

/// What a reply's draws are keyed by; the token's index completes the key. Neither run ids nor clocks belong here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DrawKey {
    /// The run's seed.
    pub seed: u64,
    /// The seat of the speaker.
    pub seat: u32,
    /// The turn.
    pub turn: u32,
}

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// Golden ratio and √3 − 1, the paper's Weyl sequence.
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// One block of Philox4x32-10.
#[must_use]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let [c0, c1, c2, c3] = counter;
        let (low0, high0) = c0.carrying_mul(MULTIPLIERS[0], 0);
        let (low1, high1) = c2.carrying_mul(MULTIPLIERS[1], 0);
        counter = [high1 ^ c1 ^ key[0], low1, high0 ^ c3 ^ key[1], low0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    counter
}

/// A number from 0 (included) to 1 (excluded) with 53 random bits.
///
/// The key of the block is the seed (low word first), its counter is token index (low word first), turn, seat.
#[must_use]
pub fn uniform(key: DrawKey, index: u64) -> f64 {
    let counter = [index as u32, (index >> 32) as u32, key.turn, key.seat];
    let [low, high, ..] = philox4x32(counter, [key.seed as u32, (key.seed >> 32) as u32]);
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

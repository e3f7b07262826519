//! What the agents of a measured conversation are given, the same for both sides.

use madrigal_engine::sampling::philox4x32;

/// Who takes part.
pub(super) const AGENTS: usize = 3;
/// Messages.
pub(super) const TURNS: usize = 10;
/// Tokens of an agent's own persona.
pub(super) const PERSONA: usize = 128;
/// Tokens that a chat template puts before a message, about.
pub(super) const HEADER: usize = 5;

/// Tokens that nobody draws.
pub(super) struct Plan {
    /// Per agent.
    pub(super) personas: Vec<Vec<u32>>,
    /// Per turn.
    pub(super) headers: Vec<Vec<u32>>,
}

impl Plan {
    /// Another conversation for every round.
    pub(super) fn new(vocabulary: usize, seed: u64, round: usize) -> Self {
        let ids = |part: usize, count| random_ids(vocabulary, seed, [round, part], count);
        Self {
            personas: (0..AGENTS).map(|agent| ids(100 + agent, PERSONA)).collect(),
            headers: (0..TURNS).map(|turn| ids(200 + turn, HEADER)).collect(),
        }
    }

    /// Tokens that all agents together keep, with messages of this length.
    pub(super) fn kept(message: usize) -> usize {
        AGENTS * Self::longest(message)
    }

    /// Tokens of one agent.
    pub(super) fn longest(message: usize) -> usize {
        PERSONA + TURNS * (HEADER + message)
    }
}

/// Tokens of any kind; others for every stream, so that no cache has them.
pub(super) fn random_ids(vocabulary: usize, seed: u64, stream: [usize; 2], count: usize) -> Vec<u32> {
    let key = [seed as u32, (seed >> 32) as u32];
    let block = |index: usize| philox4x32([index as u32, 1, stream[0] as u32, stream[1] as u32], key);
    let bits = (0..count.div_ceil(4)).flat_map(block);
    bits.take(count).map(|bits| ((u64::from(bits) * vocabulary as u64) >> 32) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_tokens_of_its_own() {
        let ids = random_ids(1000, 7, [0, 1], 50);
        assert_eq!(ids, random_ids(1000, 7, [0, 1], 50));
        assert_ne!(ids, random_ids(1000, 7, [1, 1], 50));
        assert_ne!(ids, random_ids(1000, 8, [0, 1], 50));
        assert!(ids.len() == 50 && ids.iter().all(|&id| id < 1000) && ids.iter().any(|&id| id > 500));
        let plan = Plan::new(1000, 7, 0);
        let longest = plan.personas[0].len() + plan.headers.iter().map(|header| header.len() + 20).sum::<usize>();
        assert_eq!((Plan::longest(20), Plan::kept(20)), (longest, 3 * longest));
    }
}

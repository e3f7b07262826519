//! Which of several things to say comes next: rotation, and rest for what has just been said.
//!
//! Owns the order of alternatives and the memory of what was said. Does not own what the alternatives are.

use std::collections::{BTreeMap, VecDeque};

use crate::chat_model::Draw;

/// A sentence may be said again after this many own turns.
const REST: u32 = 60;
/// So many keywords that answered are remembered.
const RECENT_KEYS: usize = 3;

/// Where each list of alternatives stands, and what was said when.
#[derive(Debug, Clone, Default)]
pub(super) struct Choices {
    next: BTreeMap<u32, usize>,
    said: BTreeMap<u64, u32>,
    turns: u32,
    recent_keys: VecDeque<usize>,
}

impl Choices {
    /// Begins another turn and returns its number, from 1.
    pub(super) fn begin_turn(&mut self) -> u32 {
        self.turns += 1;
        self.turns
    }

    /// The alternatives of list `id` in the order in which they are due. Where a list starts depends on the seed.
    pub(super) fn order(&self, id: u32, count: usize, draw: Draw) -> impl Iterator<Item = usize> + use<> {
        let first = self.next.get(&id).copied().unwrap_or_else(|| below(list_draw(draw, id), count));
        (0..count).map(move |step| (first + step) % count)
    }

    /// Alternative `chosen` of list `id` was used: the next one is due.
    pub(super) fn used(&mut self, id: u32, chosen: usize) {
        self.next.insert(id, chosen + 1);
    }

    /// Whether `text` was never said, or long ago.
    pub(super) fn is_fresh(&self, text: &str) -> bool {
        self.last_said(text).is_none_or(|turn| self.turns.saturating_sub(turn) >= REST)
    }

    /// The turn in which `text` was last said.
    pub(super) fn last_said(&self, text: &str) -> Option<u32> {
        self.said.get(&digest(text)).copied()
    }

    /// Keyword `key` has answered.
    pub(super) fn key_used(&mut self, key: usize) {
        self.recent_keys.push_back(key);
        if self.recent_keys.len() > RECENT_KEYS {
            self.recent_keys.pop_front();
        }
    }

    /// How many of the last few answers came from `key`.
    pub(super) fn recent_uses(&self, key: usize) -> u32 {
        self.recent_keys.iter().map(|recent| u32::from(*recent == key)).sum()
    }

    /// Remembers that `text` is said in this turn.
    pub(super) fn say(&mut self, text: &str) {
        self.said.insert(digest(text), self.turns);
    }
}

/// A number that depends on the seed, the seat and the list, but not on the turn.
fn list_draw(draw: Draw, list: u32) -> u64 {
    mix(mix(draw.seed).wrapping_add(u64::from(draw.seat))).wrapping_add(u64::from(list) << 32)
}

/// Whether something that happens in `of` cases out of `out_of` happens in this turn; `stream` tells uses apart.
pub(super) fn happens(draw: Draw, stream: u64, of: usize, out_of: usize) -> bool {
    let key = mix(mix(draw.seed).wrapping_add(u64::from(draw.seat))).wrapping_add(u64::from(draw.turn));
    below(mix(key).wrapping_add(stream), out_of) < of
}

fn below(key: u64, count: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
    let rest = (mix(key) % count.max(1) as u64) as usize;
    rest
}

/// SplitMix64's output function (Steele, Lea and Flood, 2014).
fn mix(key: u64) -> u64 {
    let z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits: tells sentences apart; nothing depends on who could forge one.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_rotate_from_a_place_that_the_seed_chooses() {
        let draw = Draw { seed: 7, seat: 0, turn: 1 };
        let mut choices = Choices::default();
        let first = choices.order(3, 4, draw).next().unwrap();
        choices.used(3, first);
        let order: Vec<_> = choices.order(3, 4, draw).collect();
        assert_eq!(order, (1..=4).map(|step| (first + step) % 4).collect::<Vec<_>>());
        let starts: std::collections::BTreeSet<_> =
            (0..50).filter_map(|seed| Choices::default().order(3, 4, Draw { seed, ..draw }).next()).collect();
        assert_eq!(starts.len(), 4, "every alternative can be the first");
        assert_eq!(choices.order(9, 0, draw).next(), None);
    }

    #[test]
    fn a_sentence_rests_after_it_was_said() {
        let mut choices = Choices::default();
        choices.begin_turn();
        assert!(choices.is_fresh("Go on."));
        choices.say("Go on.");
        assert!(!choices.is_fresh("Go on."));
        for _ in 0..REST {
            choices.begin_turn();
        }
        assert!(choices.is_fresh("Go on."));
    }
}

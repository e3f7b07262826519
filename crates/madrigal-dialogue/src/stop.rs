//! Stop rules that hold between turns: turns, tokens, wall time, cost.
//!
//! Control words and interrupts stop a conversation too; they belong to the loop, because they act within a turn.

use std::time::Duration;

use madrigal_journal::event::Stopped;
use serde::{Deserialize, Serialize};

/// Limits; the first that is reached stops the conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopRules {
    /// Turns held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<u32>,
    /// Tokens spoken, as far as the chat models count them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Seconds of wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// US dollars spent, as far as prices are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
}

/// What has been used up so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spent {
    /// Turns held.
    pub turns: u32,
    /// Tokens read.
    pub prompt_tokens: u64,
    /// Tokens spoken.
    pub completion_tokens: u64,
    /// US dollars; `None` while no price is known.
    pub cost_usd: Option<f64>,
}

impl StopRules {
    /// The rule that stops the conversation before another turn, if one does.
    #[must_use]
    pub fn reached(&self, spent: &Spent, elapsed: Duration) -> Option<Stopped> {
        if self.turns.is_some_and(|limit| spent.turns >= limit) {
            Some(Stopped::Turns)
        } else if self.tokens.is_some_and(|limit| spent.completion_tokens >= limit) {
            Some(Stopped::Tokens)
        } else if self.seconds.is_some_and(|limit| elapsed.as_secs_f64() >= limit) {
            Some(Stopped::Time)
        } else if self.cost_usd.is_some_and(|limit| spent.cost_usd.is_some_and(|cost| cost >= limit)) {
            Some(Stopped::Cost)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_stops_when_it_is_reached_and_not_before() {
        let spent = Spent { turns: 5, prompt_tokens: 0, completion_tokens: 100, cost_usd: Some(0.5) };
        let none = StopRules::default();
        let cases = [
            (none.clone(), None),
            (StopRules { turns: Some(6), ..none.clone() }, None),
            (StopRules { turns: Some(5), ..none.clone() }, Some(Stopped::Turns)),
            (StopRules { tokens: Some(101), ..none.clone() }, None),
            (StopRules { tokens: Some(100), ..none.clone() }, Some(Stopped::Tokens)),
            (StopRules { seconds: Some(2.5), ..none.clone() }, None),
            (StopRules { seconds: Some(2.0), ..none.clone() }, Some(Stopped::Time)),
            (StopRules { cost_usd: Some(0.6), ..none.clone() }, None),
            (StopRules { cost_usd: Some(0.5), ..none }, Some(Stopped::Cost)),
        ];
        for (rules, expected) in cases {
            assert_eq!(rules.reached(&spent, Duration::from_secs(2)), expected, "{rules:?}");
        }
        let free = Spent { cost_usd: None, ..spent };
        let rules = StopRules { cost_usd: Some(0.0), ..StopRules::default() };
        assert_eq!(rules.reached(&free, Duration::ZERO), None, "an unknown cost is not a cost of zero");
    }
}

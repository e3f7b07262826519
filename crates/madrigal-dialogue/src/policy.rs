//! Turn policies: who speaks next.

use serde::{Deserialize, Serialize};

/// Who speaks next. Deterministic given the turn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TurnPolicy {
    /// Everyone in seat order, again and again.
    #[default]
    RoundRobin,
    /// A list of names, again and again; a name may stand in it more than once.
    Fixed(Vec<String>),
}

/// A name in a fixed order that no agent has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("order the turns: no agent is called `{name}`; the agents are {known}")]
pub struct UnknownSpeaker {
    /// The name as given.
    pub name: String,
    /// The names there are.
    pub known: String,
}

/// A policy bound to the agents of one conversation.
#[derive(Debug, Clone)]
pub struct TurnOrder {
    seats: Vec<usize>,
}

impl TurnOrder {
    /// Binds `policy` to the agents' names, in seat order.
    ///
    /// # Errors
    /// When a fixed order names an agent that is not there, or nobody at all.
    pub fn new(policy: &TurnPolicy, names: &[String]) -> Result<Self, UnknownSpeaker> {
        let unknown = |name: &str| UnknownSpeaker { name: name.to_owned(), known: names.join(", ") };
        let seats = match policy {
            TurnPolicy::RoundRobin => (0..names.len()).collect(),
            TurnPolicy::Fixed(order) => order
                .iter()
                .map(|wanted| {
                    names
                        .iter()
                        .position(|name| name.eq_ignore_ascii_case(wanted.trim()))
                        .ok_or_else(|| unknown(wanted))
                })
                .collect::<Result<Vec<_>, _>>()?,
        };
        if seats.is_empty() {
            return Err(unknown(""));
        }
        Ok(Self { seats })
    }

    /// The seat that speaks in `turn` (from 1).
    #[must_use]
    pub fn speaker(&self, turn: u32) -> usize {
        self.seats[(turn.max(1) as usize - 1) % self.seats.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let names: Vec<String> = ["Ada", "Ben", "Cy"].map(String::from).to_vec();
        let fixed = |order: &[&str]| TurnPolicy::Fixed(order.iter().map(ToString::to_string).collect());
        let cases = [
            (TurnPolicy::RoundRobin, vec![0, 1, 2, 0, 1]),
            (fixed(&["ben", "Ben", "Ada"]), vec![1, 1, 0, 1, 1]),
            (fixed(&["Cy"]), vec![2, 2, 2, 2, 2]),
        ];
        for (policy, expected) in cases {
            let order = TurnOrder::new(&policy, &names).unwrap();
            let speakers: Vec<usize> = (1..=5).map(|turn| order.speaker(turn)).collect();
            assert_eq!(speakers, expected, "{policy:?}");
        }
    }

    #[test]
    fn unknown_names_and_empty_orders_are_refused() {
        let names = vec!["Ada".to_owned()];
        let error = TurnOrder::new(&TurnPolicy::Fixed(vec!["Bob".to_owned()]), &names).unwrap_err();
        assert_eq!(error.to_string(), "order the turns: no agent is called `Bob`; the agents are Ada");
        assert!(TurnOrder::new(&TurnPolicy::Fixed(Vec::new()), &names).is_err());
        assert!(TurnOrder::new(&TurnPolicy::RoundRobin, &[]).is_err());
    }
}

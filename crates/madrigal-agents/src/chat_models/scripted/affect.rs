//! PARRY's feelings: fear, anger and mistrust, how they rise, how they settle, how they feed each other.
//!
//! Owns the numbers. After Colby, Weber and Hilf, "Artificial Paranoia", Artificial Intelligence 2 (1971): three
//! variables from 0 to 20 that rise by a share of what is left to the ceiling and fall back a little with every
//! message, anger fast, fear slowly, mistrust hardly at all. The figures are our own.

use std::fmt;

/// The highest level of a feeling.
pub(super) const CEILING: f64 = 20.0;

/// Fear at which only flight is left.
const PANIC: f64 = 17.0;
/// Anger at which only leaving is left.
const RAGE: f64 = 17.0;

/// What a message can do to the feelings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stimulus {
    Threat,
    Insult,
    /// Its mind is called sick.
    Illness,
    Disbelief,
    /// A personal question.
    Probe,
    /// A sore point was mentioned that weighs this much, 0 to 10.
    Flare(u32),
    Apology,
    Kindness,
    Belief,
}

impl Stimulus {
    /// What a script's `input` of this name is.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "threat" => Self::Threat,
            "insult" => Self::Insult,
            "illness" => Self::Illness,
            "disbelief" => Self::Disbelief,
            "probe" => Self::Probe,
            "apology" => Self::Apology,
            "kindness" => Self::Kindness,
            "belief" => Self::Belief,
            _ => return None,
        })
    }

    /// Shares of the way to the ceiling (above 0) or to nothing (below 0): fear, anger, mistrust.
    fn shares(self) -> [f64; 3] {
        match self {
            Self::Threat => [0.40, 0.10, 0.25],
            Self::Insult => [0.03, 0.38, 0.12],
            Self::Illness => [0.12, 0.22, 0.12],
            Self::Disbelief => [0.02, 0.16, 0.20],
            Self::Probe => [0.01, 0.0, 0.02],
            Self::Flare(weight) => [0.02 * f64::from(weight.min(10)), 0.0, 0.006 * f64::from(weight.min(10))],
            Self::Apology => [-0.05, -0.40, -0.04],
            Self::Kindness => [-0.10, -0.15, -0.04],
            Self::Belief => [-0.08, -0.20, -0.15],
        }
    }
}

/// The three variables, each from 0 to [`CEILING`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affect {
    pub(super) fear: f64,
    pub(super) anger: f64,
    pub(super) mistrust: f64,
}

impl Affect {
    /// Where they start, and what they settle to.
    pub(super) const BASE: Self = Self { fear: 1.0, anger: 0.0, mistrust: 3.0 };
    /// How much they settle with each message.
    const DECAY: Self = Self { fear: 0.3, anger: 1.0, mistrust: 0.05 };

    /// A message has passed: they go back towards their base.
    pub(super) fn settle(&mut self) {
        self.fear = towards(self.fear, Self::BASE.fear, Self::DECAY.fear);
        self.anger = towards(self.anger, Self::BASE.anger, Self::DECAY.anger);
        self.mistrust = towards(self.mistrust, Self::BASE.mistrust, Self::DECAY.mistrust);
    }

    /// Takes a stimulus. `habit` is how often the same one came before: what is heard often frightens less.
    pub(super) fn feel(&mut self, stimulus: Stimulus, habit: u32) {
        let [fear, anger, mistrust] = stimulus.shares();
        // Who trusts nobody takes everything worse.
        let tender = 1.0 + 0.5 * self.mistrust / CEILING;
        let dulled = match stimulus {
            Stimulus::Flare(_) | Stimulus::Probe => tender / f64::from(1 + habit),
            _ => tender,
        };
        let before = self.fear;
        self.fear = moved(self.fear, fear, dulled);
        self.anger = moved(self.anger, anger, dulled);
        self.mistrust = moved(self.mistrust, mistrust, dulled);
        // A fright leaves some mistrust behind, and takes the edge off anger.
        let fright = (self.fear - before).max(0.0);
        self.mistrust = (self.mistrust + 0.2 * fright).min(CEILING);
        self.anger = (self.anger - 0.1 * fright).max(0.0);
    }

    /// Whether fear leaves nothing but flight.
    pub(super) fn panics(self) -> bool {
        self.fear >= PANIC
    }

    /// Whether anger leaves nothing but going.
    pub(super) fn rages(self) -> bool {
        self.anger >= RAGE
    }
}

fn towards(level: f64, base: f64, step: f64) -> f64 {
    if level > base { (level - step).max(base) } else { (level + step).min(base) }
}

fn moved(level: f64, share: f64, factor: f64) -> f64 {
    if share >= 0.0 { level + (share * factor).min(1.0) * (CEILING - level) } else { level + share * level }
}

impl fmt::Display for Affect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fear {:.1} · anger {:.1} · mistrust {:.1}", self.fear, self.anger, self.mistrust)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(stimuli: &[Stimulus]) -> Affect {
        let mut affect = Affect::BASE;
        for stimulus in stimuli {
            affect.settle();
            affect.feel(*stimulus, 0);
        }
        affect
    }

    #[test]
    fn each_stimulus_moves_its_own_feelings() {
        let base = Affect::BASE;
        let threatened = after(&[Stimulus::Threat]);
        assert!(threatened.fear > base.fear + 5.0 && threatened.mistrust > base.mistrust);
        let insulted = after(&[Stimulus::Insult]);
        assert!(insulted.anger > base.anger + 5.0 && insulted.fear < threatened.fear);
        let doubted = after(&[Stimulus::Disbelief]);
        assert!(doubted.mistrust > base.mistrust + 2.0);
        let called_sick = after(&[Stimulus::Illness]);
        assert!(called_sick.anger > 3.0 && called_sick.fear > base.fear);
        let believed = after(&[Stimulus::Disbelief, Stimulus::Belief]);
        assert!(believed.mistrust < doubted.mistrust && believed.anger < doubted.anger);
        let apologised = after(&[Stimulus::Insult, Stimulus::Apology]);
        assert!(apologised.anger < insulted.anger * 0.7);
    }

    #[test]
    fn mistrust_makes_everything_worse_and_fear_breeds_mistrust() {
        let mut wary = Affect { mistrust: 15.0, ..Affect::BASE };
        wary.feel(Stimulus::Insult, 0);
        let mut calm = Affect::BASE;
        calm.feel(Stimulus::Insult, 0);
        assert!(wary.anger > calm.anger);
        let mut frightened = Affect::BASE;
        frightened.feel(Stimulus::Flare(10), 0);
        assert!(frightened.mistrust > Affect::BASE.mistrust);
    }

    #[test]
    fn what_is_heard_often_frightens_less() {
        let rise = |habit| {
            let mut affect = Affect::BASE;
            affect.feel(Stimulus::Flare(8), habit);
            affect.fear - Affect::BASE.fear
        };
        assert!(rise(0) > rise(1) && rise(1) > rise(5) && rise(5) > 0.0);
    }

    #[test]
    fn anger_settles_fast_fear_slowly_mistrust_hardly() {
        let mut affect = Affect { fear: 10.0, anger: 10.0, mistrust: 10.0 };
        for _ in 0..10 {
            affect.settle();
        }
        assert!(affect.anger.abs() < 1e-9);
        assert!((affect.fear - 7.0).abs() < 1e-9);
        assert!((affect.mistrust - 9.5).abs() < 1e-9);
        for _ in 0..200 {
            affect.settle();
        }
        assert_eq!(affect, Affect::BASE);
    }

    proptest! {
        #[test]
        fn feelings_stay_within_their_bounds(codes in prop::collection::vec((0..9u32, 0..20u32), 0..200)) {
            let mut affect = Affect::BASE;
            for (code, habit) in codes {
                affect.settle();
                affect.feel(
                    match code {
                        0 => Stimulus::Threat,
                        1 => Stimulus::Insult,
                        2 => Stimulus::Illness,
                        3 => Stimulus::Disbelief,
                        4 => Stimulus::Probe,
                        5 => Stimulus::Apology,
                        6 => Stimulus::Kindness,
                        7 => Stimulus::Belief,
                        _ => Stimulus::Flare(habit),
                    },
                    habit,
                );
                for level in [affect.fear, affect.anger, affect.mistrust] {
                    prop_assert!((0.0..=CEILING).contains(&level), "{affect:?}");
                }
            }
        }
    }
}

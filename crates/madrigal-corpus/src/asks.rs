//! Which wordings of a question are used.

use madrigal_swarm::draws::Draws;

/// Which wordings of a question are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// Those of the beginning of the corpus: few, until they are understood.
    Few,
    /// All that are not held out.
    Many,
    /// Those that are for tests only.
    HeldOut,
}

impl Asks {
    /// One of the wordings.
    pub(crate) fn pick(
        self,
        draws: &mut Draws,
        few: &[&'static str],
        more: &[&'static str],
        held_out: &[&'static str],
    ) -> &'static str {
        match self {
            Self::Few => draws.pick(few),
            Self::Many => {
                let chosen = draws.below(few.len() + more.len());
                few.iter().chain(more).nth(chosen).copied().unwrap_or_default()
            }
            Self::HeldOut => draws.pick(held_out),
        }
    }
}

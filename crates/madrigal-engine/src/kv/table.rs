//! What a sequence holds: the tokens whose keys and values are stored, and in which blocks.
//!
//! Owns the lists. Counting references and handing blocks out is the cache's business, so a table can only be changed
//! through it.

use std::sync::Arc;

/// What the keys and values of a position depend on, beside those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) token: u32,
    /// Which voice's delta the token was read under; 0 is none.
    pub(crate) voice: u32,
}

/// Layers that no voice acts on, and those from there on.
pub(crate) const BELOW: usize = 0;
/// See [`BELOW`].
pub(crate) const ABOVE: usize = 1;

/// The blocks of one sequence, perhaps shared with its forks. Empty by default.
///
/// It must be given back to the cache; dropping it would leave its blocks referenced.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) held: Arc<Held>,
    /// What lies at this place or after it belongs to others who share `held`.
    pub(super) end: usize,
}

/// What tables that were forked from one another hold together, until one of them changes.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    /// As many as the tier that has more is filled with.
    pub(super) keys: Vec<Key>,
    pub(super) tiers: [Blocks; 2],
}

/// The blocks of one tier.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    /// May reach beyond `filled`: room that was made for rows of a step.
    pub(super) blocks: Vec<u32>,
    /// Positions whose keys and values are there.
    pub(super) filled: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self { held: Arc::default(), end: usize::MAX }
    }
}

impl Held {
    /// As many positions as the tier that has more is filled with.
    pub(super) fn longest(&self) -> usize {
        self.tiers.iter().map(|tier| tier.filled).max().unwrap_or(0)
    }
}

impl Table {
    /// How many positions are filled, in each tier. A tier without layers says nothing of use.
    pub(crate) fn filled(&self) -> [usize; 2] {
        [BELOW, ABOVE].map(|tier| self.held.tiers[tier].filled.min(self.end))
    }

    /// The blocks of one tier.
    pub(crate) fn blocks(&self, tier: usize) -> &[u32] {
        &self.held.tiers[tier].blocks
    }
}

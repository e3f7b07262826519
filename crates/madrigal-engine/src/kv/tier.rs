//! The blocks of the layers that share a table: which are free, held or only kept, and how many are spoken for.
//!
//! Owns the counts of one tier. The limits that hold for both tiers together are the cache's (`kv`).

use std::collections::BTreeSet;
use std::ops::Range;

use super::tree::Tree;

/// The blocks of a range of layers. Block 7 is block 7 of each of them.
#[derive(Debug, Default)]
pub(super) struct Tier {
    pub(super) layers: Range<usize>,
    /// What one block takes in all layers.
    pub(super) block_bytes: u64,
    /// Per block that is allocated: the tables that hold it.
    references: Vec<u32>,
    /// Blocks that are allocated, and neither held nor in the tree. The lowest are handed out first, so that the last
    /// become free together.
    free: BTreeSet<u32>,
    pub(super) tree: Tree,
    held: usize,
    /// Blocks that running requests may still take.
    pub(super) promised: usize,
    /// Blocks that the limits on memory count: never less than are allocated, nor than are held, kept and promised.
    pub(super) charged: usize,
}

impl Tier {
    pub(super) fn new(layers: Range<usize>, layer_block_bytes: usize) -> Self {
        let block_bytes = (layers.len() as u64).saturating_mul(layer_block_bytes as u64);
        Self { layers, block_bytes, ..Self::default() }
    }

    /// Whether it has any layers.
    pub(super) fn active(&self) -> bool {
        !self.layers.is_empty()
    }

    pub(super) fn allocated(&self) -> usize {
        self.references.len()
    }

    /// Blocks that tables hold.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Blocks that are held or promised: what cannot be had by giving up what is only kept.
    pub(super) fn committed(&self) -> usize {
        self.held + self.promised
    }

    /// What must be charged with `more` blocks promised, and nothing given up.
    pub(super) fn wanted(&self, more: usize) -> usize {
        (self.committed().saturating_add(more).saturating_add(self.tree.idle())).max(self.allocated())
    }

    /// Whether writing into the block would be seen by others.
    pub(super) fn is_shared(&self, block: u32) -> bool {
        self.references[block as usize] > 1 || self.tree.contains(block)
    }

    /// A free block, held once from now on.
    pub(super) fn take_free(&mut self) -> Option<u32> {
        let block = self.free.pop_first()?;
        self.references[block as usize] = 1;
        self.held += 1;
        self.promised = self.promised.saturating_sub(1);
        Some(block)
    }

    /// One table more holds the block.
    pub(super) fn hold(&mut self, block: u32) {
        let references = &mut self.references[block as usize];
        *references += 1;
        if *references == 1 {
            self.held += 1;
            self.tree.hold(block);
        }
    }

    /// One table less holds the block.
    pub(super) fn let_go(&mut self, block: u32, now: u64) {
        let references = &mut self.references[block as usize];
        *references -= 1;
        if *references > 0 {
            return;
        }
        self.held -= 1;
        if self.tree.contains(block) {
            self.tree.let_go(block, now);
        } else {
            self.free.insert(block);
        }
    }

    /// Whether exactly one table holds the block.
    pub(super) fn is_held_once(&self, block: u32) -> bool {
        self.references[block as usize] == 1
    }

    /// Frees the block that was kept for longest without being held; says whether there was one.
    pub(super) fn give_up(&mut self) -> bool {
        let given_up = self.tree.give_up();
        self.free.extend(given_up);
        given_up.is_some()
    }

    /// There are `total` blocks now, the new ones free.
    pub(super) fn grown(&mut self, total: usize) {
        let first = self.references.len();
        self.references.resize(total, 0);
        self.free.extend(first as u32..total as u32);
    }

    /// How many blocks remain when the free ones at the end go.
    pub(super) fn without_free_end(&self) -> usize {
        let free_at_end =
            self.free.iter().rev().zip((0..self.references.len() as u32).rev()).take_while(|(a, b)| **a == *b);
        self.references.len() - free_at_end.count()
    }

    /// The blocks from `total` on, which were free, are gone.
    pub(super) fn shrunk(&mut self, total: usize) {
        self.references.truncate(total);
        self.free.split_off(&(total as u32));
    }
}

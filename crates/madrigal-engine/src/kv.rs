//! Who holds which KV block: tables of blocks for sequences, reference counts, copy-on-write, what is kept for prompts to
//! come, and the limit on memory.
//!
//! Owns the blocks of all layers. Does not own how keys and values are stored or rounded (`madrigal_kernels::KvLayer`),
//! nor who asks for blocks when (`engine`).
//!
//! # Two tiers
//! Layers below the first that a voice acts on have blocks of their own, found by their tokens; those from there on are
//! found by tokens and voice, so keys and values that were read under a voice can serve nobody else. A block is in a tree
//! (`tree`) from the moment it is full; whoever fills another with the same content takes the one that is there. That the
//! contents have the same bits is the kernels' promise (batch invariance).
//!
//! # What is kept
//! Blocks in the tree that no table holds are kept until room is needed, and given up in the order in which they were
//! let go of. Blocks that a table holds are never taken from it.

mod kept;
mod memory;
mod table;
mod tier;
mod tree;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use madrigal_kernels::{KvLayer, KvShape};

pub(crate) use kept::LoadError;
pub(crate) use table::{ABOVE, BELOW, Key, Table};

use crate::engine::budget::Reservation;
use table::{Blocks, Held};
use tier::Tier;
use tree::common_length;

/// Positions in a block.
pub(crate) const BLOCK_LEN: usize = 32;

/// The fewest blocks added at a time.
const GROWTH: usize = 2;

/// All blocks of one model.
#[derive(Debug)]
pub(crate) struct KvCache {
    shape: KvShape,
    layers: Vec<KvLayer>,
    tiers: [Tier; 2],
    reservation: Reservation,
    /// The most bytes of blocks that nobody holds.
    most_kept: u64,
    /// Counts what happens, for the order in which blocks are given up.
    clock: u64,
}

/// Blocks that a request may still take, by tier. It must be given back with [`KvCache::withdraw`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Promise([usize; 2]);

/// Why no block can be taken. All numbers are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutOfMemory {
    /// Without passing the limit.
    Limit { needed: u64, available: u64 },
    /// The system has no memory for so much in all.
    System { needed: u64 },
}

impl OutOfMemory {
    /// What would be taken.
    pub(crate) fn needed(self) -> u64 {
        let (Self::Limit { needed, .. } | Self::System { needed }) = self;
        needed
    }
}

/// What the blocks take, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Held by tables.
    pub(crate) used: u64,
    /// Kept for prompts to come.
    pub(crate) kept: u64,
    /// Taken from the system.
    pub(crate) allocated: u64,
}

impl KvCache {
    /// An empty cache. Layers below `shared_layers` are those that no voice acts on. Whatever it takes comes out of the
    /// budgets of `reservation`; of blocks that nobody holds it keeps at most `most_kept` bytes.
    pub(crate) fn new(
        shape: KvShape,
        layers: usize,
        shared_layers: usize,
        reservation: Reservation,
        most_kept: u64,
    ) -> Self {
        let split = shared_layers.min(layers);
        Self {
            shape,
            layers: (0..layers).map(|_| KvLayer::new(shape, 0)).collect(),
            tiers: [0..split, split..layers].map(|layers| Tier::new(layers, shape.block_bytes())),
            reservation,
            most_kept,
            clock: 0,
        }
    }

    /// One entry for each layer.
    pub(crate) fn layers_mut(&mut self) -> &mut [KvLayer] {
        &mut self.layers
    }

    /// What the blocks of a layer look like.
    pub(crate) fn shape(&self) -> KvShape {
        self.shape
    }

    /// Whether there is any limit on what it takes.
    pub(crate) fn is_limited(&self) -> bool {
        self.reservation.limit().is_some()
    }

    /// How many layers have blocks that are found by tokens alone.
    pub(crate) fn shared_layers(&self) -> usize {
        self.tiers[ABOVE].layers.start
    }

    pub(crate) fn usage(&self) -> Usage {
        let sum = |blocks: fn(&Tier) -> usize| {
            self.tiers.iter().map(|tier| tier.block_bytes.saturating_mul(blocks(tier) as u64)).sum()
        };
        Usage { used: sum(Tier::held), kept: sum(|tier| tier.tree.idle()), allocated: sum(Tier::allocated) }
    }

    /// How many positions of `table` are there in all layers.
    pub(crate) fn read(&self, table: &Table) -> usize {
        let filled = table.filled();
        let active = self.active().map(|tier| filled[tier]);
        active.min().unwrap_or(0)
    }

    /// Makes `table` the longest that is there of `wanted`: what it holds of it already or what the trees hold.
    /// Forgets the rest.
    pub(crate) fn adopt(&mut self, table: &mut Table, wanted: &[Key]) {
        self.clock += 1;
        let common = [BELOW, ABOVE].map(|tier| common_keys(tier, &table.held.keys, wanted).min(table.end));
        let held = self.own(table);
        for (tier, &common) in common.iter().enumerate() {
            self.truncate_tier(held, tier, common);
            if self.tiers[tier].active() {
                self.extend(&mut held.tiers[tier], tier, wanted);
            }
        }
        held.keys.clear();
        held.keys.extend_from_slice(&wanted[..held.longest()]);
        self.give_up_surplus();
    }

    /// Adds what the tree of a tier has of `wanted` beyond what is filled.
    fn extend(&mut self, blocks: &mut Blocks, tier: usize, wanted: &[Key]) {
        loop {
            let index = blocks.filled / BLOCK_LEN;
            let start = index * BLOCK_LEN;
            let next = keys_of(tier, &wanted[start..wanted.len().min(start + BLOCK_LEN)]);
            let parent = index.checked_sub(1).map(|before| blocks.blocks[before]);
            let Some((block, length)) = self.tiers[tier].tree.nearest(parent, &next) else { return };
            if start + length <= blocks.filled {
                return;
            }
            self.tiers[tier].hold(block);
            match blocks.blocks.get_mut(index) {
                None => blocks.blocks.push(block),
                // What it held is the beginning of what was found.
                Some(last) => {
                    let shorter = std::mem::replace(last, block);
                    self.tiers[tier].let_go(shorter, self.clock);
                }
            }
            blocks.filled = start + length;
            if length < BLOCK_LEN {
                return;
            }
        }
    }

    /// Adds to `table`, which was adopted for `wanted`, what `other` has of it in a block that is not full yet. Nobody
    /// may be about to write into `other` without having asked [`Self::needed`] after this.
    pub(crate) fn adopt_end(&mut self, table: &mut Table, wanted: &[Key], other: &Table) {
        for tier in [BELOW, ABOVE] {
            let ours = &table.held.tiers[tier];
            let (index, filled) = (ours.filled / BLOCK_LEN, other.filled()[tier]);
            if !self.tiers[tier].active() || filled <= ours.filled || filled / BLOCK_LEN != index {
                continue;
            }
            let theirs = other.blocks(tier);
            let before = index.checked_sub(1);
            if before.map(|before| ours.blocks[before]) != before.map(|before| theirs[before]) {
                continue;
            }
            let start = index * BLOCK_LEN;
            let end = filled.min(wanted.len());
            let common = start + common_keys(tier, &other.held.keys[start..filled], &wanted[start..end]);
            if common <= ours.filled {
                continue;
            }
            let block = theirs[index];
            let held = self.own(table);
            self.tiers[tier].hold(block);
            let blocks = &mut held.tiers[tier];
            blocks.blocks.truncate(index + 1);
            match blocks.blocks.get_mut(index) {
                None => blocks.blocks.push(block),
                Some(last) => {
                    let shorter = std::mem::replace(last, block);
                    self.tiers[tier].let_go(shorter, self.clock);
                }
            }
            blocks.filled = common;
            if held.keys.len() < common {
                let known = held.keys.len();
                held.keys.extend_from_slice(&wanted[known..common]);
            }
        }
    }

    /// How many blocks `table` must take to grow to `length` positions.
    pub(crate) fn needed(&self, table: &Table, length: usize) -> Promise {
        let filled = table.filled();
        Promise([BELOW, ABOVE].map(|tier| {
            let filled = filled[tier];
            if !self.tiers[tier].active() || length <= filled {
                return 0;
            }
            let copied = !filled.is_multiple_of(BLOCK_LEN) && {
                let last = table.blocks(tier)[filled / BLOCK_LEN];
                Arc::strong_count(&table.held) > 1 || self.tiers[tier].is_shared(last)
            };
            length.div_ceil(BLOCK_LEN) - filled.div_ceil(BLOCK_LEN) + usize::from(copied)
        }))
    }

    /// Sees to it that the positions up to `length` can be written: that there are blocks for them and that nobody else
    /// reads those. Blocks come out of `promise` first.
    pub(crate) fn make_room(
        &mut self,
        table: &mut Table,
        length: usize,
        promise: &mut Promise,
    ) -> Result<(), OutOfMemory> {
        let held = self.own(table);
        for tier in self.active() {
            self.make_room_in(&mut held.tiers[tier], tier, length, promise)?;
        }
        self.give_up_surplus();
        Ok(())
    }

    fn make_room_in(
        &mut self,
        blocks: &mut Blocks,
        tier: usize,
        length: usize,
        promise: &mut Promise,
    ) -> Result<(), OutOfMemory> {
        if length <= blocks.filled {
            return Ok(());
        }
        let last = blocks.filled / BLOCK_LEN;
        if !blocks.filled.is_multiple_of(BLOCK_LEN) && self.tiers[tier].is_shared(blocks.blocks[last]) {
            let copy = self.take(tier, promise)?;
            let shared = std::mem::replace(&mut blocks.blocks[last], copy);
            for layer in &mut self.layers[self.tiers[tier].layers.clone()] {
                layer.copy_block(shared, copy);
            }
            self.tiers[tier].let_go(shared, self.clock);
        }
        while blocks.blocks.len() < length.div_ceil(BLOCK_LEN) {
            let block = self.take(tier, promise)?;
            blocks.blocks.push(block);
        }
        Ok(())
    }

    /// The positions from `from` on, as many as there are `keys`, have been computed. Full blocks become known to others.
    pub(crate) fn settle(&mut self, table: &mut Table, from: usize, keys: &[Key]) {
        self.clock += 1;
        let to = from + keys.len();
        let held = self.own(table);
        let known = held.keys.len().saturating_sub(from).min(keys.len());
        held.keys.extend_from_slice(&keys[known..]);
        let Held { keys, tiers } = held;
        for (tier, blocks) in tiers.iter_mut().enumerate() {
            let first = blocks.filled / BLOCK_LEN;
            blocks.filled = blocks.filled.max(to);
            if self.tiers[tier].active() {
                for index in first..blocks.filled / BLOCK_LEN {
                    self.enter(blocks, tier, index, &keys[index * BLOCK_LEN..][..BLOCK_LEN]);
                }
            }
        }
        self.give_up_surplus();
    }

    /// Puts a full block into the tree, or takes the equal one that is there.
    fn enter(&mut self, blocks: &mut Blocks, tier: usize, index: usize, keys: &[Key]) {
        let block = blocks.blocks[index];
        let Tier { tree, .. } = &mut self.tiers[tier];
        if tree.contains(block) {
            return;
        }
        let parent = index.checked_sub(1).map(|before| blocks.blocks[before]);
        let key = keys_of(tier, keys);
        match tree.child(parent, &key) {
            None => tree.insert(parent, &key, block),
            Some(equal) => {
                self.tiers[tier].hold(equal);
                self.tiers[tier].let_go(block, self.clock);
                blocks.blocks[index] = equal;
            }
        }
    }

    /// Another table with what is filled of the first `at` positions. No key or value is copied.
    pub(crate) fn fork(table: &Table, at: usize) -> Table {
        Table { held: Arc::clone(&table.held), end: table.end.min(at) }
    }

    /// [`Self::fork`] of a table that is being written: what it was promised does not suffice to copy its last block, so
    /// the fork gets a copy of that, or none where there is no memory for it.
    pub(crate) fn fork_written(&mut self, table: &Table, at: usize) -> Table {
        let mut fork = Held::default();
        for tier in [BELOW, ABOVE] {
            let from = &table.held.tiers[tier];
            let filled = from.filled.min(table.end).min(at);
            let blocks = &mut fork.tiers[tier];
            blocks.filled = filled;
            if !self.tiers[tier].active() {
                continue;
            }
            for (index, &block) in from.blocks.iter().enumerate().take(filled.div_ceil(BLOCK_LEN)) {
                let full = (index + 1) * BLOCK_LEN <= filled;
                if full || self.tiers[tier].tree.contains(block) {
                    self.tiers[tier].hold(block);
                    blocks.blocks.push(block);
                } else if let Some(copy) = self.copy(tier, block) {
                    blocks.blocks.push(copy);
                } else {
                    blocks.filled = index * BLOCK_LEN;
                }
            }
        }
        fork.keys.extend_from_slice(&table.held.keys[..fork.longest()]);
        Table { held: Arc::new(fork), end: usize::MAX }
    }

    /// A block with the same content, if there is memory for one.
    fn copy(&mut self, tier: usize, block: u32) -> Option<u32> {
        let mut promise = Promise::default();
        let copy = self.take(tier, &mut promise).ok();
        self.withdraw(promise);
        for layer in &mut self.layers[self.tiers[tier].layers.clone()] {
            if let Some(copy) = copy {
                layer.copy_block(block, copy);
            }
        }
        copy
    }

    /// Forgets all positions from `length` on.
    pub(crate) fn truncate(&mut self, table: &mut Table, length: usize) {
        self.clock += 1;
        let held = self.own(table);
        for tier in [BELOW, ABOVE] {
            self.truncate_tier(held, tier, length);
        }
        held.keys.truncate(length);
        self.give_up_surplus();
    }

    /// Lets go of all of a table's blocks. What is in them is kept for others as far as there is room.
    pub(crate) fn release(&mut self, table: Table) {
        // While forks hold the same, nothing changes.
        if let Some(held) = Arc::into_inner(table.held) {
            let mut table = Table { held: Arc::new(held), end: table.end };
            self.truncate(&mut table, 0);
        }
    }

    /// Lets go of what lies behind `length`, and of room that was never filled. The keys stay.
    fn truncate_tier(&mut self, held: &mut Held, tier: usize, length: usize) {
        let Held { keys, tiers } = held;
        let Blocks { blocks, filled } = &mut tiers[tier];
        let length = length.min(*filled);
        while blocks.len() > length.div_ceil(BLOCK_LEN) {
            let Some(block) = blocks.pop() else { break };
            let start = blocks.len() * BLOCK_LEN;
            if start < *filled && *filled < start + BLOCK_LEN {
                self.keep_end(tier, blocks.last().copied(), block, &keys[start..*filled]);
            }
            self.tiers[tier].let_go(block, self.clock);
        }
        *filled = length;
    }

    /// Puts a block that is partly filled into the tree before it is let go of, if others may find something new in it.
    fn keep_end(&mut self, tier: usize, parent: Option<u32>, block: u32, keys: &[Key]) {
        let tier_of = &mut self.tiers[tier];
        let written = tier_of.is_held_once(block) && !tier_of.tree.contains(block);
        let key = keys_of(tier, keys);
        if written && tier_of.tree.nearest(parent, &key).is_none_or(|(_, length)| length < key.len()) {
            tier_of.tree.insert(parent, &key, block);
        }
    }

    /// What a table holds, for it alone: changes are not seen by its forks.
    fn own<'table>(&mut self, table: &'table mut Table) -> &'table mut Held {
        if Arc::get_mut(&mut table.held).is_none() {
            let mut own = Held::clone(&table.held);
            for (blocks, tier) in own.tiers.iter_mut().zip(&mut self.tiers) {
                blocks.filled = blocks.filled.min(table.end);
                if tier.active() {
                    blocks.blocks.truncate(blocks.filled.div_ceil(BLOCK_LEN));
                }
                for &block in &blocks.blocks {
                    tier.hold(block);
                }
            }
            table.held = Arc::new(own);
        }
        let end = std::mem::replace(&mut table.end, usize::MAX);
        let held = Arc::make_mut(&mut table.held);
        if end < usize::MAX {
            for tier in [BELOW, ABOVE] {
                self.truncate_tier(held, tier, end);
            }
            held.keys.truncate(end);
        }
        held
    }

    /// The tiers that have layers.
    fn active(&self) -> impl Iterator<Item = usize> + use<> {
        let active = [BELOW, ABOVE].map(|tier| self.tiers[tier].active());
        [BELOW, ABOVE].into_iter().filter(move |&tier| active[tier])
    }
}

/// How many keys two lists have in common at their beginning, as far as the tier can tell them apart.
fn common_keys(tier: usize, a: &[Key], b: &[Key]) -> usize {
    match tier {
        BELOW => a.iter().zip(b).take_while(|(a, b)| a.token == b.token).count(),
        _ => common_length(a, b),
    }
}

/// What the tier's tree knows the positions by.
fn keys_of(tier: usize, keys: &[Key]) -> Cow<'_, [Key]> {
    match tier {
        BELOW => keys.iter().map(|&key| Key { voice: 0, ..key }).collect(),
        _ => Cow::Borrowed(keys),
    }
}

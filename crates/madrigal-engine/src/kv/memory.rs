//! The limit on memory: what is promised, charged, allocated, and given up when room is needed.
//!
//! Owns the order in which that happens: the limits are asked before anything is allocated, and what is only kept gives
//! way before anyone is refused. Who holds which block is `kv`'s business.

use super::tier::Tier;
use super::{ABOVE, BELOW, GROWTH, KvCache, OutOfMemory, Promise};

impl KvCache {
    /// Keeps blocks for a request; nothing is allocated yet.
    pub(crate) fn promise(&mut self, blocks: Promise) -> Result<(), OutOfMemory> {
        if !self.charge(blocks) {
            // Free blocks of one tier are no use to the other while they are allocated.
            self.trim();
            if !self.charge(blocks) {
                return Err(OutOfMemory::Limit { needed: self.bytes(blocks), available: self.available() });
            }
        }
        for (tier, blocks) in self.tiers.iter_mut().zip(blocks.0) {
            tier.promised += blocks;
        }
        Ok(())
    }

    /// Charges what is missing for `more` blocks, giving up what is only kept as far as that is necessary.
    fn charge(&mut self, more: Promise) -> bool {
        let short = |tier: &Tier, more: usize| tier.wanted(more).saturating_sub(tier.charged);
        let least = |tier: &Tier, more: usize| tier.committed().saturating_add(more).saturating_sub(tier.charged);
        let bytes = |tiers: &[Tier; 2], count: &dyn Fn(&Tier, usize) -> usize| {
            let each =
                tiers.iter().zip(more.0).map(|(tier, more)| tier.block_bytes.saturating_mul(count(tier, more) as u64));
            each.fold(0_u64, u64::saturating_add)
        };
        if bytes(&self.tiers, &least) > self.reservation.available() {
            return false;
        }
        while bytes(&self.tiers, &short) > self.reservation.available() {
            let gives_up =
                self.tiers.iter_mut().zip(more.0).any(|(tier, more)| short(tier, more) > 0 && tier.give_up());
            if !gives_up {
                return false;
            }
        }
        // Another engine may have been faster.
        if self.reservation.reserve(bytes(&self.tiers, &short)).is_err() {
            return false;
        }
        for (tier, more) in self.tiers.iter_mut().zip(more.0) {
            tier.charged += short(tier, more);
        }
        true
    }

    /// Gives back to the budgets what need not be charged any more.
    pub(super) fn discharge(&mut self) {
        for tier in &mut self.tiers {
            let surplus = tier.charged.saturating_sub(tier.wanted(0));
            tier.charged -= surplus;
            self.reservation.release(tier.block_bytes.saturating_mul(surplus as u64));
        }
    }

    /// Gives free blocks at the end of the layers back to the system.
    pub(crate) fn trim(&mut self) {
        for tier in &mut self.tiers {
            let total = tier.without_free_end();
            if total < tier.allocated() {
                for layer in &mut self.layers[tier.layers.clone()] {
                    layer.shrink(total);
                }
                tier.shrunk(total);
            }
        }
        self.discharge();
    }

    /// What a request could be promised, were nothing kept that nobody holds.
    fn available(&self) -> u64 {
        let charged =
            self.tiers.iter().map(|tier| tier.block_bytes.saturating_mul((tier.charged - tier.committed()) as u64));
        charged.fold(self.reservation.available(), u64::saturating_add)
    }

    /// Gives back what was promised and not taken.
    pub(crate) fn withdraw(&mut self, promise: Promise) {
        for (tier, blocks) in self.tiers.iter_mut().zip(promise.0) {
            tier.promised = tier.promised.saturating_sub(blocks);
        }
        self.discharge();
    }

    /// Gives up what is kept beyond the bound.
    pub(super) fn give_up_surplus(&mut self) {
        while self.usage().kept > self.most_kept {
            let oldest = self.tiers.iter_mut().filter(|tier| tier.tree.oldest().is_some());
            if !oldest.min_by_key(|tier| tier.tree.oldest()).is_some_and(Tier::give_up) {
                break;
            }
        }
        self.discharge();
    }

    /// A block that the caller alone holds.
    pub(super) fn take(&mut self, tier: usize, promise: &mut Promise) -> Result<u32, OutOfMemory> {
        if promise.0[tier] == 0 {
            let mut one = Promise::default();
            one.0[tier] = 1;
            self.promise(one)?;
            *promise = Promise([promise.0[BELOW] + one.0[BELOW], promise.0[ABOVE] + one.0[ABOVE]]);
        }
        loop {
            if let Some(block) = self.tiers[tier].take_free() {
                promise.0[tier] -= 1;
                return Ok(block);
            }
            if let Err(error) = self.grow(tier)
                && !self.tiers[tier].give_up()
            {
                return Err(error);
            }
        }
    }

    /// Allocates blocks, which are free then. Where the system refuses, nothing has changed.
    fn grow(&mut self, tier: usize) -> Result<(), OutOfMemory> {
        let Tier { promised, charged, block_bytes, .. } = self.tiers[tier];
        let first = self.tiers[tier].allocated();
        let wanted = promised.clamp(GROWTH, GROWTH.max(first / 8));
        let extra = wanted.saturating_sub(charged - first);
        if extra > 0 && self.reservation.reserve(block_bytes.saturating_mul(extra as u64)).is_ok() {
            self.tiers[tier].charged += extra;
        }
        let total = first + wanted.min(self.tiers[tier].charged - first);
        let layers = &mut self.layers[self.tiers[tier].layers.clone()];
        let reserved = layers.iter_mut().try_for_each(|layer| layer.reserve(total));
        if reserved.is_err() || u32::try_from(total).is_err() {
            self.discharge();
            return Err(OutOfMemory::System { needed: block_bytes.saturating_mul(total as u64) });
        }
        for layer in layers {
            layer.resize(total);
        }
        self.tiers[tier].grown(total);
        Ok(())
    }

    pub(super) fn bytes(&self, promise: Promise) -> u64 {
        let each =
            self.tiers.iter().zip(promise.0).map(|(tier, blocks)| tier.block_bytes.saturating_mul(blocks as u64));
        each.fold(0, u64::saturating_add)
    }
}

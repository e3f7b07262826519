//! Who holds which KV block: tables of blocks for sequences, reference counts, copy-on-write, and the limit on memory.
//!
//! Owns the blocks of all layers together: block 7 of a table is block 7 of every layer. Does not own how keys and values
//! are stored or rounded (`madrigal_kernels::KvLayer`), nor who asks for blocks when (`engine`).
//!
//! A block is given back to the free list when the last table lets go of it; nothing else ever takes a block from anyone.

use madrigal_kernels::{KvLayer, KvShape};

/// Positions in a block.
pub(crate) const BLOCK_LEN: usize = 32;

/// Blocks added at a time, so that growing costs few copies.
const GROWTH: usize = 8;

/// All blocks of one model.
#[derive(Debug)]
pub(crate) struct KvCache {
    layers: Vec<KvLayer>,
    /// Per block: the tables that hold it.
    references: Vec<u32>,
    free: Vec<u32>,
    most_blocks: usize,
    /// Blocks that running requests may still take.
    promised: usize,
}

/// The tokens of a sequence that have been read, and the blocks with their keys and values.
///
/// It must be given back with [`KvCache::release`]; dropping it would leave its blocks referenced.
#[derive(Debug, Default)]
pub(crate) struct Table {
    tokens: Vec<u32>,
    blocks: Vec<u32>,
}

/// Why no block can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutOfBlocks {
    /// Without passing the limit.
    Limit { needed: usize, available: usize },
    /// The system has no memory for so many in all.
    Memory { blocks: usize },
}

impl Table {
    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(crate) fn blocks(&self) -> &[u32] {
        &self.blocks
    }
}

impl KvCache {
    /// An empty cache that never grows beyond `most_blocks`.
    pub(crate) fn new(shape: KvShape, layers: usize, most_blocks: usize) -> Self {
        Self {
            layers: (0..layers).map(|_| KvLayer::new(shape, 0)).collect(),
            references: Vec::new(),
            free: Vec::new(),
            most_blocks: most_blocks.min(u32::MAX as usize),
            promised: 0,
        }
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [KvLayer] {
        &mut self.layers
    }

    /// Blocks that some table holds.
    pub(crate) fn used(&self) -> usize {
        self.references.len() - self.free.len()
    }

    /// Blocks that nobody holds and nobody was promised.
    pub(crate) fn available(&self) -> usize {
        self.most_blocks.saturating_sub(self.used()).saturating_sub(self.promised)
    }

    /// Keeps `blocks` for a request; nothing is allocated yet.
    pub(crate) fn promise(&mut self, blocks: usize) -> Result<(), OutOfBlocks> {
        let available = self.available();
        if blocks > available {
            return Err(OutOfBlocks::Limit { needed: blocks, available });
        }
        self.promised += blocks;
        Ok(())
    }

    /// Gives back what was promised and not taken.
    pub(crate) fn withdraw(&mut self, blocks: usize) {
        self.promised = self.promised.saturating_sub(blocks);
    }

    /// How many blocks `table` must take to grow to `length` tokens from its present length.
    pub(crate) fn needed(&self, table: &Table, length: usize) -> usize {
        let new = length.div_ceil(BLOCK_LEN).saturating_sub(table.blocks.len());
        let grows = length > table.tokens.len();
        new + usize::from(grows && self.must_copy_last(table))
    }

    /// Whether the next token goes into a block that another table reads too.
    fn must_copy_last(&self, table: &Table) -> bool {
        let partly_filled = !table.tokens.len().is_multiple_of(BLOCK_LEN);
        let last = table.blocks.last();
        partly_filled && last.is_some_and(|&block| self.references[block as usize] > 1)
    }

    /// Another table with the first `at` tokens of `table` (or all, if it has fewer), sharing its blocks: no key or value
    /// is copied.
    pub(crate) fn fork(&mut self, table: &Table, at: usize) -> Table {
        let length = at.min(table.tokens.len());
        let blocks = table.blocks[..length.div_ceil(BLOCK_LEN)].to_vec();
        for &block in &blocks {
            self.references[block as usize] += 1;
        }
        Table { tokens: table.tokens[..length].to_vec(), blocks }
    }

    /// Forgets all tokens from place `length` on.
    pub(crate) fn truncate(&mut self, table: &mut Table, length: usize) {
        table.tokens.truncate(length);
        while table.blocks.len() > table.tokens.len().div_ceil(BLOCK_LEN) {
            if let Some(block) = table.blocks.pop() {
                self.let_go(block);
            }
        }
    }

    /// Lets go of all of a table's blocks.
    pub(crate) fn release(&mut self, mut table: Table) {
        self.truncate(&mut table, 0);
    }

    /// Makes room for one more token at the end, in a block that `table` alone holds. Blocks come out of `promise` first.
    pub(crate) fn push(&mut self, table: &mut Table, token: u32, promise: &mut usize) -> Result<(), OutOfBlocks> {
        if table.tokens.len().is_multiple_of(BLOCK_LEN) {
            let block = self.take(promise)?;
            table.blocks.push(block);
        } else if self.must_copy_last(table) {
            let copy = self.take(promise)?;
            if let Some(last) = table.blocks.last_mut() {
                let shared = std::mem::replace(last, copy);
                for layer in &mut self.layers {
                    layer.copy_block(shared, copy);
                }
                self.let_go(shared);
            }
        }
        table.tokens.push(token);
        Ok(())
    }

    fn take(&mut self, promise: &mut usize) -> Result<u32, OutOfBlocks> {
        if *promise == 0 && self.available() == 0 {
            return Err(OutOfBlocks::Limit { needed: 1, available: 0 });
        }
        let block = match self.free.pop() {
            Some(block) => block,
            None => self.grow()?,
        };
        if *promise > 0 {
            *promise -= 1;
            self.promised -= 1;
        }
        self.references[block as usize] = 1;
        Ok(block)
    }

    /// Allocates blocks and returns the first of them. Where the system refuses, nothing has changed.
    fn grow(&mut self) -> Result<u32, OutOfBlocks> {
        let first = self.references.len();
        let total = (first + (first / 4).max(GROWTH)).min(self.most_blocks).max(first + 1);
        for layer in &mut self.layers {
            layer.reserve(total).map_err(|_| OutOfBlocks::Memory { blocks: total })?;
        }
        for layer in &mut self.layers {
            layer.resize(total);
        }
        self.references.resize(total, 0);
        // The lowest numbers are handed out first.
        self.free.extend((first as u32 + 1..total as u32).rev());
        Ok(first as u32)
    }

    fn let_go(&mut self, block: u32) {
        let references = &mut self.references[block as usize];
        *references -= 1;
        if *references == 0 {
            self.free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use madrigal_kernels::KvType;
    use proptest::prelude::*;

    use super::*;

    const SHAPE: KvShape = KvShape { kind: KvType::F32, kv_heads: 1, head_dim: 2, block_len: BLOCK_LEN };

    fn cache(most_blocks: usize) -> KvCache {
        KvCache::new(SHAPE, 2, most_blocks)
    }

    fn push_all(cache: &mut KvCache, table: &mut Table, tokens: std::ops::Range<u32>) {
        for token in tokens {
            cache.push(table, token, &mut 0).unwrap();
        }
    }

    #[test]
    fn a_fork_shares_blocks_until_one_side_writes() {
        let mut cache = cache(100);
        let mut parent = Table::default();
        push_all(&mut cache, &mut parent, 0..40);
        let mut child = cache.fork(&parent, 40);
        assert_eq!((parent.blocks(), cache.used()), (child.blocks(), 2));

        assert_eq!(cache.needed(&child, 41), 1);
        push_all(&mut cache, &mut child, 90..91);
        assert_eq!(cache.used(), 3);
        assert_eq!(parent.blocks()[0], child.blocks()[0]);
        assert_ne!(parent.blocks()[1], child.blocks()[1]);
        assert_eq!(parent.tokens().last(), Some(&39));

        // The parent holds its last block alone again, so it copies nothing.
        assert_eq!(cache.needed(&parent, 41), 0);
        push_all(&mut cache, &mut parent, 40..41);
        assert_eq!(cache.used(), 3);
        cache.release(parent);
        cache.release(child);
        assert_eq!(cache.used(), 0);
    }

    #[test]
    fn the_limit_is_kept_before_anything_is_allocated() {
        let mut cache = cache(3);
        let mut table = Table::default();
        assert_eq!(cache.promise(4), Err(OutOfBlocks::Limit { needed: 4, available: 3 }));
        let mut promise = 2;
        cache.promise(promise).unwrap();
        assert_eq!(cache.available(), 1);
        for token in 0..64 {
            cache.push(&mut table, token, &mut promise).unwrap();
        }
        assert_eq!((promise, cache.used(), cache.available()), (0, 2, 1));
        push_all(&mut cache, &mut table, 64..96);
        assert_eq!(cache.push(&mut table, 96, &mut 0), Err(OutOfBlocks::Limit { needed: 1, available: 0 }));
        assert_eq!(table.tokens().len(), 96);
        cache.truncate(&mut table, 64);
        assert_eq!(cache.available(), 1);
        assert!(cache.layers.iter().all(|layer| layer.blocks() <= 3));
    }

    #[test]
    fn memory_that_the_system_does_not_have_is_an_error() {
        // Blocks of 2^60 bytes.
        let huge = KvShape { kv_heads: 1 << 40, head_dim: 1 << 12, ..SHAPE };
        let mut cache = KvCache::new(huge, 2, usize::MAX);
        let mut table = Table::default();
        let mut promise = 1;
        cache.promise(promise).unwrap();
        for _ in 0..2 {
            assert_eq!(cache.push(&mut table, 0, &mut promise), Err(OutOfBlocks::Memory { blocks: GROWTH }));
            assert_eq!((promise, cache.used(), table.tokens().len()), (1, 0, 0));
        }
        cache.withdraw(promise);
        cache.release(table);
    }

    #[derive(Debug, Clone)]
    enum Action {
        Push(usize, u32),
        Truncate(usize, usize),
        Fork(usize, usize),
        Release(usize),
    }

    fn action() -> impl Strategy<Value = Action> {
        prop_oneof![
            5 => (0..6_usize, 1..70_u32).prop_map(|(table, count)| Action::Push(table, count)),
            2 => (0..6_usize, 0..100_usize).prop_map(|(table, length)| Action::Truncate(table, length)),
            2 => (0..6_usize, 0..100_usize).prop_map(|(table, at)| Action::Fork(table, at)),
            1 => (0..6_usize).prop_map(Action::Release),
        ]
    }

    proptest! {
        /// Whatever happens, every table reads back what was written for it, and no block leaks.
        #[test]
        fn tables_never_see_each_others_writes(actions in proptest::collection::vec(action(), 1..60)) {
            let mut cache = cache(usize::MAX);
            let mut tables: Vec<Table> = (0..6).map(|_| Table::default()).collect();
            let mut written = 0.0_f32;
            let mut expected: Vec<Vec<f32>> = vec![Vec::new(); 6];
            for action in actions {
                match action {
                    Action::Push(index, count) => for _ in 0..count {
                        written += 1.0;
                        let table = &mut tables[index];
                        let before = cache.needed(table, table.tokens().len() + 1);
                        let used = cache.used();
                        cache.push(table, 0, &mut 0).unwrap();
                        prop_assert!(cache.used() - used <= before);
                        let place = table.tokens().len() - 1;
                        let block = table.blocks()[place / BLOCK_LEN];
                        for layer in cache.layers_mut() {
                            layer.write(block, place % BLOCK_LEN, &[written; 2], &[written; 2]);
                        }
                        expected[index].push(written);
                    },
                    Action::Truncate(index, length) => {
                        cache.truncate(&mut tables[index], length);
                        expected[index].truncate(length);
                    }
                    Action::Fork(index, at) => {
                        let fork = cache.fork(&tables[index], at);
                        let to = (index + 1) % 6;
                        let old = std::mem::replace(&mut tables[to], fork);
                        cache.release(old);
                        let length = at.min(expected[index].len());
                        expected[to] = expected[index][..length].to_vec();
                    }
                    Action::Release(index) => {
                        let old = std::mem::take(&mut tables[index]);
                        cache.release(old);
                        expected[index].clear();
                    }
                }
            }
            let kernels = madrigal_kernels::Kernels::new(madrigal_kernels::Isa::Portable, 1).unwrap();
            for (table, expected) in tables.iter().zip(&expected) {
                prop_assert_eq!(table.tokens().len(), expected.len());
                for (position, &value) in expected.iter().enumerate() {
                    // A window of one position reads exactly that position's value.
                    let row = madrigal_kernels::AttentionRow { q: &[1.0; 2], position, window: Some(1), blocks: table.blocks() };
                    for layer in &cache.layers {
                        let mut out = [0.0; 2];
                        let job = madrigal_kernels::AttentionJob { kv: layer, rows: &[row], heads: 1, scale: 1.0, sinks: None };
                        kernels.attention(&job, &mut out);
                        prop_assert_eq!(out, [value; 2]);
                    }
                }
            }
            for table in tables {
                cache.release(table);
            }
            prop_assert_eq!(cache.used(), 0);
        }
    }
}

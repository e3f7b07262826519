//! Blocks that leave the process and come back: the keys and values of one table as a stream of bytes.
//!
//! Owns the order of the bytes. What stands before and behind them, and whether they are believed, is the business of
//! `engine::kept`.

use std::io::{self, Read, Write};

use super::{ABOVE, BELOW, BLOCK_LEN, Key, KvCache, OutOfMemory, Table};

/// Why blocks were not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// There is no room for them.
    Memory(OutOfMemory),
    /// They could not be read.
    Read(io::Error),
}

impl KvCache {
    /// The keys of the positions that are there in all layers.
    pub(crate) fn keys<'a>(&self, table: &'a Table) -> &'a [Key] {
        &table.held.keys[..self.read(table)]
    }

    /// Writes the blocks of the positions that are there in all layers: block after block of the lower layers, each layer
    /// by layer, then those of the upper ones.
    pub(crate) fn save(&self, table: &Table, to: &mut impl Write) -> io::Result<()> {
        let count = self.read(table).div_ceil(BLOCK_LEN);
        let mut bytes = Vec::new();
        for tier in self.active() {
            for &block in &table.blocks(tier)[..count] {
                for layer in &self.layers[self.tiers[tier].layers.clone()] {
                    bytes.clear();
                    layer.append_block(block, &mut bytes);
                    to.write_all(&bytes)?;
                }
            }
        }
        Ok(())
    }

    /// Reads what [`Self::save`] has written of `keys` into a table. Others see nothing of it before
    /// [`Self::settle`] is told that the positions are there.
    pub(crate) fn load(&mut self, keys: &[Key], from: &mut impl Read) -> Result<Table, LoadError> {
        let mut table = Table::default();
        let mut promise = self.needed(&table, keys.len());
        self.promise(promise).map_err(LoadError::Memory)?;
        let made = self.make_room(&mut table, keys.len(), &mut promise);
        self.withdraw(promise);
        let read = made.map_err(LoadError::Memory).and_then(|()| self.fill(&table, from).map_err(LoadError::Read));
        match read {
            Ok(()) => Ok(table),
            Err(error) => {
                self.release(table);
                Err(error)
            }
        }
    }

    fn fill(&mut self, table: &Table, from: &mut impl Read) -> io::Result<()> {
        for tier in [BELOW, ABOVE] {
            for &block in table.blocks(tier) {
                for layer in &mut self.layers[self.tiers[tier].layers.clone()] {
                    let mut bytes = vec![0; layer.shape().block_bytes()];
                    from.read_exact(&mut bytes)?;
                    layer.replace_block(block, &bytes);
                }
            }
        }
        Ok(())
    }
}

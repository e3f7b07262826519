//! What the KV cache promises: tables never see each other's writes, blocks are shared and given back, limits hold.

use std::sync::Arc;

use madrigal_kernels::{AttentionJob, AttentionRow, Isa, Kernels, KvPlace, KvType};
use proptest::prelude::*;

use super::*;
use crate::engine::MemoryBudget;

const SHAPE: KvShape = KvShape { kind: KvType::F32, kv_heads: 1, head_dim: 2, block_len: BLOCK_LEN };

fn limited(bytes: u64) -> Reservation {
    Reservation::new(vec![Arc::new(MemoryBudget::new(bytes))])
}

/// Two layers in one tier.
fn cache(most_blocks: u64, most_kept: u64) -> KvCache {
    let block = 2 * SHAPE.block_bytes() as u64;
    KvCache::new(SHAPE, 2, 0, limited(most_blocks * block), most_kept * block)
}

fn blocks(bytes: u64) -> u64 {
    bytes / (2 * SHAPE.block_bytes() as u64)
}

fn used(cache: &KvCache) -> u64 {
    blocks(cache.usage().used)
}

fn keys(tokens: std::ops::Range<u32>) -> Vec<Key> {
    tokens.map(|token| Key { token, voice: 0 }).collect()
}

/// Reads `wanted` in steps of `step`; returns how many positions were there already.
fn read(cache: &mut KvCache, table: &mut Table, wanted: &[Key], step: usize) -> Result<usize, OutOfMemory> {
    cache.adopt(table, wanted);
    let cached = cache.read(table);
    let mut promise = cache.needed(table, wanted.len());
    let kernels = Kernels::new(Isa::Portable, 1).unwrap();
    let before = (cache.usage().used, promise);
    cache.promise(promise)?;
    let mut from = cached;
    let mut outcome = Ok(cached);
    while from < wanted.len() {
        let to = wanted.len().min(from + step);
        if let Err(error) = cache.make_room(table, to, &mut promise) {
            outcome = Err(error);
            break;
        }
        let filled = table.filled();
        for position in from..to {
            for (layer, kv) in cache.layers.iter_mut().enumerate() {
                let tier = usize::from(layer >= cache.tiers[ABOVE].layers.start);
                if position >= filled[tier] {
                    let value = value(tier, &wanted[..=position]);
                    let block = table.blocks(tier)[position / BLOCK_LEN];
                    let place = KvPlace { row: 0, block, slot: position % BLOCK_LEN };
                    kernels.write_kv(kv, &[place], &[value; 2], &[value; 2]);
                }
            }
        }
        cache.settle(table, from, &wanted[from..to]);
        from = to;
    }
    assert!(cache.usage().used <= before.0 + cache.bytes(before.1), "more than was promised");
    cache.withdraw(promise);
    outcome
}

/// What is stored for the last of `keys`; as in a model, it depends on all of them.
fn value(tier: usize, keys: &[Key]) -> f32 {
    let mix = |hash: u32, key: &Key| {
        let voice = if tier == ABOVE { key.voice } else { 0 };
        (hash ^ (key.token + 1000 * voice + 1)).wrapping_mul(0x9E37_79B1).rotate_left(13)
    };
    (keys.iter().fold(7, mix) >> 8) as f32
}

/// Whether a table reads back what belongs to its keys.
fn check(cache: &KvCache, kernels: &Kernels, table: &Table, wanted: &[Key]) -> Result<(), TestCaseError> {
    let filled = table.filled();
    for (layer, kv) in cache.layers.iter().enumerate() {
        let tier = usize::from(layer >= cache.tiers[ABOVE].layers.start);
        for position in 0..filled[tier].min(wanted.len()) {
            // A window of one position reads exactly that position's value.
            let row = AttentionRow { q: &[1.0; 2], position, window: Some(1), blocks: table.blocks(tier) };
            let job = AttentionJob { kv, rows: &[row], heads: 1, scale: 1.0, sinks: None };
            let mut out = [0.0; 2];
            kernels.attention(&job, &mut out);
            prop_assert_eq!(out[0], value(tier, &wanted[..=position]), "layer {}, position {}", layer, position);
        }
    }
    Ok(())
}

#[test]
fn a_fork_shares_blocks_until_one_side_writes() {
    let mut cache = cache(100, 0);
    let mut parent = Table::default();
    read(&mut cache, &mut parent, &keys(0..40), 9).unwrap();
    let mut child = KvCache::fork(&parent, 40);
    assert_eq!((parent.blocks(ABOVE), used(&cache)), (child.blocks(ABOVE), 2));

    let longer = [keys(0..40), keys(90..91)].concat();
    assert_eq!(read(&mut cache, &mut child, &longer, 1), Ok(40));
    assert_eq!(used(&cache), 3);
    assert_eq!(parent.blocks(ABOVE)[0], child.blocks(ABOVE)[0]);
    assert_ne!(parent.blocks(ABOVE)[1], child.blocks(ABOVE)[1]);

    // The parent holds its last block alone again, so it copies nothing.
    assert_eq!(read(&mut cache, &mut parent, &keys(0..41), 1), Ok(40));
    assert_eq!(used(&cache), 3);
    let kernels = Kernels::new(Isa::Portable, 1).unwrap();
    check(&cache, &kernels, &parent, &keys(0..41)).unwrap();
    check(&cache, &kernels, &child, &longer).unwrap();
    // A fork at an earlier place.
    let earlier = KvCache::fork(&parent, 20);
    assert_eq!(cache.read(&earlier), 20);
    for table in [parent, child, earlier] {
        cache.release(table);
    }
    assert_eq!(cache.usage(), Usage { allocated: cache.usage().allocated, ..Usage::default() });
}

#[test]
fn a_fork_of_a_table_that_is_written_takes_nothing_from_it() {
    let mut cache = cache(2, 0);
    let mut table = Table::default();
    cache.adopt(&mut table, &[]);
    let mut promise = cache.needed(&table, 64);
    cache.promise(promise).unwrap();
    cache.make_room(&mut table, 40, &mut promise).unwrap();
    cache.settle(&mut table, 0, &keys(0..40));
    // There is no third block for the fork's end.
    let fork = cache.fork_written(&table, 40);
    assert_eq!((cache.read(&fork), used(&cache)), (32, 2));
    cache.make_room(&mut table, 64, &mut promise).unwrap();
    cache.settle(&mut table, 40, &keys(40..64));
    assert_eq!((cache.read(&table), used(&cache)), (64, 2));
}

#[test]
fn what_was_read_before_is_found_to_the_token() {
    let mut cache = cache(100, 100);
    let mut first = Table::default();
    read(&mut cache, &mut first, &keys(0..75), 20).unwrap();
    // Three full positions of the third block are found in a table that still has it, and after that is gone.
    let wanted = [keys(0..67), keys(500..600)].concat();
    for _ in 0..2 {
        let mut second = Table::default();
        cache.adopt(&mut second, &wanted);
        cache.adopt_end(&mut second, &wanted, &first);
        assert_eq!(cache.read(&second), 67);
        cache.release(second);
        cache.release(std::mem::take(&mut first));
        assert_eq!((used(&cache), blocks(cache.usage().kept)), (0, 3));
    }
    // A full block is found where the text goes on differently within it.
    let mut other = Table::default();
    assert_eq!(read(&mut cache, &mut other, &[keys(0..50), keys(7..9)].concat(), 5), Ok(50));
    assert_eq!(used(&cache), 2);
    // Whoever reads the same at the same time ends with the same blocks.
    let (mut a, mut b) = (Table::default(), Table::default());
    for from in (0..70).step_by(10) {
        for table in [&mut a, &mut b] {
            let mut promise = Promise::default();
            cache.make_room(table, from + 10, &mut promise).unwrap();
            cache.settle(table, from, &keys(1000 + from as u32..1010 + from as u32));
            cache.withdraw(promise);
        }
    }
    assert_eq!(a.blocks(ABOVE)[..2], b.blocks(ABOVE)[..2]);
    assert_ne!(a.blocks(ABOVE)[2], b.blocks(ABOVE)[2]);
    assert_eq!(used(&cache), 2 + 4);
}

#[test]
fn the_limit_is_kept_before_anything_is_allocated() {
    let mut cache = cache(3, 3);
    let block = 2 * SHAPE.block_bytes() as u64;
    let mut table = Table::default();
    let refused = read(&mut cache, &mut table, &keys(0..97), 10);
    assert_eq!(refused, Err(OutOfMemory::Limit { needed: 4 * block, available: 3 * block }));
    assert_eq!(cache.usage().allocated, 0);

    read(&mut cache, &mut table, &keys(0..64), 10).unwrap();
    let mut second = Table::default();
    let refused = read(&mut cache, &mut second, &keys(100..140), 10);
    assert_eq!(refused, Err(OutOfMemory::Limit { needed: 2 * block, available: block }));
    // What is only kept gives way, oldest first, and only as much as must.
    cache.release(table);
    assert_eq!(blocks(cache.usage().kept), 2);
    read(&mut cache, &mut second, &keys(100..140), 10).unwrap();
    assert_eq!((used(&cache), blocks(cache.usage().kept), blocks(cache.usage().allocated)), (2, 1, 3));
    let mut third = Table::default();
    cache.adopt(&mut third, &keys(0..64));
    assert_eq!(cache.read(&third), 32);
}

#[test]
fn of_what_nobody_holds_no_more_is_kept_than_was_said() {
    let mut cache = cache(100, 3);
    let mut table = Table::default();
    read(&mut cache, &mut table, &keys(0..170), 32).unwrap();
    cache.release(table);
    assert_eq!((used(&cache), blocks(cache.usage().kept)), (0, 3));
    // The end went first: what is left can be found.
    let mut table = Table::default();
    cache.adopt(&mut table, &keys(0..170));
    assert_eq!(cache.read(&table), 96);
    cache.release(table);
    cache.trim();
    assert_eq!(blocks(cache.usage().allocated), 3);
}

#[test]
fn several_caches_share_a_budget() {
    let block = 2 * SHAPE.block_bytes() as u64;
    let budget = Arc::new(MemoryBudget::new(4 * block));
    let new = || KvCache::new(SHAPE, 2, 0, Reservation::new(vec![Arc::clone(&budget)]), 0);
    let (mut a, mut b) = (new(), new());
    let (mut of_a, mut of_b) = (Table::default(), Table::default());
    read(&mut a, &mut of_a, &keys(0..90), 32).unwrap();
    let refused = read(&mut b, &mut of_b, &keys(0..64), 32);
    assert_eq!(refused, Err(OutOfMemory::Limit { needed: 2 * block, available: 0 }));
    a.release(of_a);
    a.trim();
    assert_eq!(budget.used(), 0);
    read(&mut b, &mut of_b, &keys(0..128), 32).unwrap();
    assert_eq!(budget.available(), 0);
    drop(b);
    assert_eq!(budget.available(), 4 * block);
}

#[test]
fn memory_that_the_system_does_not_have_is_an_error() {
    // Blocks of 2^60 bytes and more.
    let huge = KvShape { kv_heads: 1 << 40, head_dim: 1 << 12, ..SHAPE };
    let mut cache = KvCache::new(huge, 2, 0, Reservation::default(), 0);
    let mut table = Table::default();
    for _ in 0..2 {
        let refused = read(&mut cache, &mut table, &keys(0..1), 1);
        assert!(matches!(refused, Err(OutOfMemory::System { .. })), "{refused:?}");
        assert_eq!((cache.usage(), cache.read(&table)), (Usage::default(), 0));
    }
}

#[derive(Debug, Clone)]
enum Action {
    /// Table, salt, where it diverges, length, voice, from where, rows of a step.
    Read(usize, u32, usize, usize, u32, usize, usize),
    Truncate(usize, usize),
    Fork(usize, usize),
    ForkWritten(usize, usize),
    AdoptEnd(usize),
    Release(usize),
    Trim,
}

fn action() -> impl Strategy<Value = Action> {
    let reads = (0..6_usize, 0..3_u32, 0..100_usize, 0..130_usize, 0..3_u32, 0..80_usize, 1..50_usize);
    prop_oneof![
        6 => reads.prop_map(|(table, salt, at, length, voice, from, step)| Action::Read(table, salt, at, length, voice, from, step)),
        1 => (0..6_usize, 0..100_usize).prop_map(|(table, length)| Action::Truncate(table, length)),
        2 => (0..6_usize, 0..100_usize).prop_map(|(table, at)| Action::Fork(table, at)),
        1 => (0..6_usize, 0..100_usize).prop_map(|(table, at)| Action::ForkWritten(table, at)),
        1 => (0..6_usize).prop_map(Action::AdoptEnd),
        1 => (0..6_usize).prop_map(Action::Release),
        1 => Just(Action::Trim),
    ]
}

proptest! {
    /// Whatever happens, every table reads back what its keys say, the limits hold, and no block leaks.
    #[test]
    fn tables_never_see_what_is_not_theirs(
        actions in proptest::collection::vec(action(), 1..50),
        layers in 1..3_usize,
        shared in 0..3_usize,
        most_blocks in 6..60_u64,
        most_kept in 0..30_u64,
    ) {
        let block = SHAPE.block_bytes() as u64;
        let budget = Arc::new(MemoryBudget::new(most_blocks * block));
        let reservation = Reservation::new(vec![Arc::clone(&budget)]);
        let mut cache = KvCache::new(SHAPE, layers, shared, reservation, most_kept * block);
        let kernels = Kernels::new(Isa::Portable, 1).unwrap();
        let mut tables: Vec<(Table, Vec<Key>)> = (0..6).map(|_| Default::default()).collect();
        for action in actions {
            match action {
                Action::Read(index, salt, at, length, voice, from, step) => {
                    let token = |place: usize| if place < at { place as u32 % 5 } else { place as u32 * (salt + 2) };
                    let voice = |place: usize| if place < from { 0 } else { voice };
                    let wanted: Vec<Key> =
                        (0..length).map(|place| Key { token: token(place), voice: voice(place) }).collect();
                    let (table, keys) = &mut tables[index];
                    // Refused or not, what is there is right.
                    let _ = read(&mut cache, table, &wanted, step);
                    *keys = wanted;
                }
                Action::Truncate(index, length) => cache.truncate(&mut tables[index].0, length),
                Action::Fork(index, at) | Action::ForkWritten(index, at) => {
                    let (table, keys) = &tables[index];
                    let fork = match action {
                        Action::Fork(..) => KvCache::fork(table, at),
                        _ => cache.fork_written(table, at),
                    };
                    let new = (fork, keys.clone());
                    let (old, _) = std::mem::replace(&mut tables[(index + 1) % 6], new);
                    cache.release(old);
                }
                Action::AdoptEnd(index) => {
                    let (mut table, keys) = std::mem::take(&mut tables[index]);
                    cache.adopt(&mut table, &keys);
                    let before = cache.read(&table);
                    cache.adopt_end(&mut table, &keys, &tables[(index + 3) % 6].0);
                    prop_assert!(cache.read(&table) >= before);
                    tables[index] = (table, keys);
                }
                Action::Release(index) => {
                    let (old, _) = std::mem::take(&mut tables[index]);
                    cache.release(old);
                }
                Action::Trim => cache.trim(),
            }
            let usage = cache.usage();
            prop_assert!(usage.kept <= most_kept * block);
            prop_assert!(usage.used + usage.kept <= usage.allocated && usage.allocated <= budget.used());
            prop_assert!(budget.used() <= budget.limit());
        }
        for (table, keys) in &tables {
            check(&cache, &kernels, table, keys)?;
        }
        for (table, _) in tables {
            cache.release(table);
        }
        prop_assert_eq!(cache.usage().used, 0);
        drop(cache);
        prop_assert_eq!(budget.used(), 0);
    }
}

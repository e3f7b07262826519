//! The keys and values of one layer, in fixed-size blocks of positions.
//!
//! Owns the storage and its rounding. Which block belongs to which sequence, reference counts and
//! eviction are the engine's.

use std::collections::TryReserveError;
use std::fmt;
use std::str::FromStr;

use crate::float16::{bf16_to_f32, f32_to_bf16};

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvType {
    /// 32-bit floats.
    F32,
    /// bfloat16.
    Bf16,
}

impl KvType {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            KvType::F32 => 4,
            KvType::Bf16 => 2,
        }
    }

    /// Its name: `f32`, `bf16`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no format of the KV cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown KV format `{0}`; use one of: f32, bf16")]
pub struct UnknownKvType(String);

impl FromStr for KvType {
    type Err = UnknownKvType;

    fn from_str(name: &str) -> Result<Self, UnknownKvType> {
        [KvType::F32, KvType::Bf16]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| UnknownKvType(name.to_owned()))
    }
}

/// What all blocks of a layer have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// How elements are stored.
    pub kind: KvType,
    /// Key (and value) heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Positions in a block; a multiple of 32.
    pub block_len: usize,
}

impl KvShape {
    /// Bytes that one block takes for keys and values together.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        2 * self.block_elems() * self.kind.bytes()
    }

    const fn block_elems(&self) -> usize {
        self.kv_heads * self.block_len * self.head_dim
    }
}

/// The keys and values of one layer: blocks by index.
#[derive(Debug, Clone)]
pub struct KvLayer {
    shape: KvShape,
    blocks: usize,
    store: Store,
}

/// Keys and values, each `[block, kv_head, position in block, head_dim]`.
#[derive(Debug, Clone)]
enum Store {
    F32 { k: Vec<f32>, v: Vec<f32> },
    Bf16 { k: Vec<u16>, v: Vec<u16> },
}

impl KvLayer {
    /// `blocks` zeroed blocks.
    #[must_use]
    pub fn new(shape: KvShape, blocks: usize) -> KvLayer {
        assert!(
            shape.block_len > 0 && shape.block_len.is_multiple_of(32),
            "KV blocks of {} positions: not a multiple of 32",
            shape.block_len
        );
        assert!(shape.kv_heads > 0 && shape.head_dim > 0, "KV blocks without elements");
        let store = match shape.kind {
            KvType::F32 => Store::F32 { k: Vec::new(), v: Vec::new() },
            KvType::Bf16 => Store::Bf16 { k: Vec::new(), v: Vec::new() },
        };
        let mut layer = KvLayer { shape, blocks: 0, store };
        layer.resize(blocks);
        layer
    }

    /// What the blocks look like.
    #[must_use]
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// How many blocks there are.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Makes room for `blocks` in all, so that [`KvLayer::resize`] to as many allocates nothing. Nothing else changes.
    pub fn reserve(&mut self, blocks: usize) -> Result<(), TryReserveError> {
        // A number beyond the address space is refused like any other that cannot be had.
        let elems = blocks.saturating_mul(self.shape.block_elems());
        fn reserve<T>(store: &mut Vec<T>, elems: usize) -> Result<(), TryReserveError> {
            store.try_reserve_exact(elems.saturating_sub(store.len()))
        }
        match &mut self.store {
            Store::F32 { k, v } => reserve(k, elems).and_then(|()| reserve(v, elems)),
            Store::Bf16 { k, v } => reserve(k, elems).and_then(|()| reserve(v, elems)),
        }
    }

    /// Adds zeroed blocks at the end, or drops the last ones.
    pub fn resize(&mut self, blocks: usize) {
        let Some(elems) = blocks.checked_mul(self.shape.block_elems()) else {
            panic!("{blocks} KV blocks exceed the address space")
        };
        match &mut self.store {
            Store::F32 { k, v } => {
                k.resize(elems, 0.0);
                v.resize(elems, 0.0);
            }
            Store::Bf16 { k, v } => {
                k.resize(elems, 0);
                v.resize(elems, 0);
            }
        }
        self.blocks = blocks;
    }

    /// Stores one position, rounded; `k` and `v` are `[kv_heads * head_dim]`.
    pub fn write(&mut self, block: u32, slot: usize, k: &[f32], v: &[f32]) {
        let KvShape { kv_heads, head_dim, block_len, .. } = self.shape;
        let block = block as usize;
        assert!(block < self.blocks, "KV block {block} of {}", self.blocks);
        assert!(slot < block_len, "KV slot {slot} of {block_len}");
        assert_eq!((k.len(), v.len()), (kv_heads * head_dim, kv_heads * head_dim), "one position of keys and values");
        for head in 0..kv_heads {
            let to = ((block * kv_heads + head) * block_len + slot) * head_dim..;
            let from = head * head_dim..(head + 1) * head_dim;
            match &mut self.store {
                Store::F32 { k: keys, v: values } => {
                    keys[to.clone()][..head_dim].copy_from_slice(&k[from.clone()]);
                    values[to][..head_dim].copy_from_slice(&v[from]);
                }
                Store::Bf16 { k: keys, v: values } => {
                    round(&k[from.clone()], &mut keys[to.clone()][..head_dim]);
                    round(&v[from], &mut values[to][..head_dim]);
                }
            }
        }
    }

    /// Copies block `from` over block `to`, for copy-on-write.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        let (from, to) = (from as usize, to as usize);
        assert!(from < self.blocks && to < self.blocks, "KV blocks {from} and {to} of {}", self.blocks);
        let elems = self.shape.block_elems();
        let source = from * elems..(from + 1) * elems;
        match &mut self.store {
            Store::F32 { k, v } => {
                k.copy_within(source.clone(), to * elems);
                v.copy_within(source, to * elems);
            }
            Store::Bf16 { k, v } => {
                k.copy_within(source.clone(), to * elems);
                v.copy_within(source, to * elems);
            }
        }
    }

    /// One block of one head as floats, `[block_len, stride]`, keys and values: the storage itself
    /// if it has that form, else a copy of the first `slots` positions in `scratch`. `stride` is
    /// `head_dim` rounded up to whole vectors, padded with zeros.
    #[inline(always)]
    pub(crate) fn head<'a>(
        &'a self,
        block: usize,
        head: usize,
        slots: usize,
        stride: usize,
        scratch: &'a mut [f32],
    ) -> (&'a [f32], &'a [f32]) {
        let KvShape { kv_heads, head_dim, block_len, .. } = self.shape;
        let elems = block_len * head_dim;
        let source = (block * kv_heads + head) * elems..(block * kv_heads + head + 1) * elems;
        let (to_k, to_v) = scratch.split_at_mut(scratch.len() / 2);
        match &self.store {
            Store::F32 { k, v } if stride == head_dim => (&k[source.clone()], &v[source]),
            Store::F32 { k, v } => {
                for (from, to) in [(&k[source.clone()], &mut *to_k), (&v[source], &mut *to_v)] {
                    let rows = from.chunks_exact(head_dim).zip(to.chunks_exact_mut(stride));
                    for (from, to) in rows.take(slots) {
                        to[..head_dim].copy_from_slice(from);
                        to[head_dim..].fill(0.0);
                    }
                }
                (to_k, to_v)
            }
            Store::Bf16 { k, v } => {
                for (from, to) in [(&k[source.clone()], &mut *to_k), (&v[source], &mut *to_v)] {
                    let rows = from.chunks_exact(head_dim).zip(to.chunks_exact_mut(stride));
                    for (from, to) in rows.take(slots) {
                        for (to, &from) in to.iter_mut().zip(from) {
                            *to = bf16_to_f32(from);
                        }
                        to[head_dim..].fill(0.0);
                    }
                }
                (to_k, to_v)
            }
        }
    }
}

fn round(from: &[f32], to: &mut [u16]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = f32_to_bf16(from);
    }
}

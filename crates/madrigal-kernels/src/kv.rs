//! The keys and values of one layer, in fixed-size blocks of positions.
//!
//! Owns the storage and its rounding. Which block belongs to which sequence, reference counts and
//! eviction are the engine's.

use std::collections::TryReserveError;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::float16::f32_to_bf16;
use crate::simd::{LANES, Simd};

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

/// Positions whose scores are computed together: two vectors of them.
pub(crate) const SPAN: usize = 2 * LANES;

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
    /// Bytes that one block takes for keys and values together. The values of a head take whole lines of 32 elements.
    #[must_use]
    pub const fn block_bytes(&self) -> usize {
        (self.key_lines() + self.value_lines()) * SPAN * self.kind.bytes()
    }

    /// Lines of a block's keys.
    const fn key_lines(&self) -> usize {
        self.kv_heads * (self.block_len / SPAN) * self.head_dim
    }

    /// Lines of a block's values.
    const fn value_lines(&self) -> usize {
        self.kv_heads * self.block_len * self.value_width()
    }

    /// Lines of one position's values at one head.
    pub(crate) const fn value_width(&self) -> usize {
        self.head_dim.div_ceil(SPAN)
    }

    /// Where the keys of a span lie: a line for each element of a head.
    #[inline(always)]
    pub(crate) fn keys(&self, block: usize, head: usize, span: usize) -> Range<usize> {
        let start = ((block * self.kv_heads + head) * (self.block_len / SPAN) + span) * self.head_dim;
        start..start + self.head_dim
    }

    /// Where the values of a span lie: [`KvShape::value_width`] lines for each position.
    #[inline(always)]
    pub(crate) fn values(&self, block: usize, head: usize, span: usize) -> Range<usize> {
        let start = ((block * self.kv_heads + head) * self.block_len + span * SPAN) * self.value_width();
        start..start + SPAN * self.value_width()
    }
}

/// 32 elements, of as many positions or of as many columns, in the order that [`Element::place`] tells.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line<E>(pub(crate) [E; SPAN]);

/// How one number is stored.
pub(crate) trait Element: Copy {
    const ZERO: Self;

    fn round(value: f32) -> Self;
    /// Where in its line an element lies.
    fn place(index: usize) -> usize;
    /// Elements `16 * HALF..16 * (HALF + 1)` of a line, in order.
    fn half<S: Simd, const HALF: usize>(simd: S, line: &Line<Self>) -> S::Floats;
}

impl Element for f32 {
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn round(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn place(index: usize) -> usize {
        index
    }

    #[inline(always)]
    fn half<S: Simd, const HALF: usize>(simd: S, line: &Line<f32>) -> S::Floats {
        simd.load(&line.0.as_chunks().0[HALF])
    }
}

/// bf16. Elements `i` and `i + 16` are neighbours: halves of one 32-bit word, so that a shift or a mask widens
/// sixteen of them in order.
impl Element for u16 {
    const ZERO: u16 = 0;

    #[inline(always)]
    fn round(value: f32) -> u16 {
        f32_to_bf16(value)
    }

    #[inline(always)]
    fn place(index: usize) -> usize {
        index % LANES * 2 + index / LANES
    }

    #[inline(always)]
    fn half<S: Simd, const HALF: usize>(simd: S, line: &Line<u16>) -> S::Floats {
        if HALF == 0 { simd.even_bf16(&line.0) } else { simd.odd_bf16(&line.0) }
    }
}

/// The keys and values of one layer: blocks by index.
#[derive(Debug, Clone)]
pub struct KvLayer {
    shape: KvShape,
    blocks: usize,
    pub(crate) store: Store,
}

#[derive(Debug, Clone)]
pub(crate) enum Store {
    F32(Lines<f32>),
    Bf16(Lines<u16>),
}

/// Keys and values of all blocks.
#[derive(Debug, Clone)]
pub(crate) struct Lines<E> {
    /// `[block, kv_head, span of the block, head_dim]`, the positions of a span within a line: transposed, so that
    /// scores need no sum across lanes.
    pub(crate) k: Vec<Line<E>>,
    /// `[block, kv_head, position in block, value_width]`, padded with zeros.
    pub(crate) v: Vec<Line<E>>,
}

/// Evaluates an expression over the lines of either type.
macro_rules! each_store {
    ($store:expr, $lines:ident => $result:expr) => {
        match $store {
            Store::F32($lines) => $result,
            Store::Bf16($lines) => $result,
        }
    };
}

impl KvLayer {
    /// `blocks` zeroed blocks.
    #[must_use]
    pub fn new(shape: KvShape, blocks: usize) -> KvLayer {
        assert!(
            shape.block_len > 0 && shape.block_len.is_multiple_of(SPAN),
            "KV blocks of {} positions: not a multiple of {SPAN}",
            shape.block_len
        );
        assert!(shape.kv_heads > 0 && shape.head_dim > 0, "KV blocks without elements");
        let store = match shape.kind {
            KvType::F32 => Store::F32(Lines { k: Vec::new(), v: Vec::new() }),
            KvType::Bf16 => Store::Bf16(Lines { k: Vec::new(), v: Vec::new() }),
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
        fn reserve<T>(lines: &mut Vec<T>, wanted: usize) -> Result<(), TryReserveError> {
            lines.try_reserve_exact(wanted.saturating_sub(lines.len()))
        }
        // A number beyond the address space is refused like any other that cannot be had.
        let (k, v) = (self.shape.key_lines(), self.shape.value_lines());
        let (k, v) = (blocks.saturating_mul(k), blocks.saturating_mul(v));
        each_store!(&mut self.store, lines => reserve(&mut lines.k, k).and_then(|()| reserve(&mut lines.v, v)))
    }

    /// Adds zeroed blocks at the end, or drops the last ones.
    pub fn resize(&mut self, blocks: usize) {
        let lines = |of_block: usize| {
            let Some(lines) = blocks.checked_mul(of_block) else {
                panic!("{blocks} KV blocks exceed the address space")
            };
            lines
        };
        let (k, v) = (lines(self.shape.key_lines()), lines(self.shape.value_lines()));
        each_store!(&mut self.store, lines => lines.resize(k, v));
        self.blocks = blocks;
    }

    /// Drops all blocks from `blocks` on and gives their memory back to the system.
    pub fn shrink(&mut self, blocks: usize) {
        self.resize(blocks.min(self.blocks));
        each_store!(&mut self.store, lines => lines.shrink());
    }

    /// Stores one position, rounded; `k` and `v` are `[kv_heads * head_dim]`.
    pub fn write(&mut self, block: u32, slot: usize, k: &[f32], v: &[f32]) {
        let KvShape { kv_heads, head_dim, block_len, .. } = self.shape;
        let block = block as usize;
        assert!(block < self.blocks, "KV block {block} of {}", self.blocks);
        assert!(slot < block_len, "KV slot {slot} of {block_len}");
        assert_eq!((k.len(), v.len()), (kv_heads * head_dim, kv_heads * head_dim), "one position of keys and values");
        each_store!(&mut self.store, lines => lines.write(self.shape, block, slot, k, v));
    }

    /// Copies block `from` over block `to`, for copy-on-write.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        self.copy_slots(from, to, self.shape.block_len);
    }

    /// Copies the first `slots` positions of block `from` over those of block `to`, whose other positions stay.
    pub fn copy_slots(&mut self, from: u32, to: u32, slots: usize) {
        let (from, to) = (from as usize, to as usize);
        assert!(from < self.blocks && to < self.blocks, "KV blocks {from} and {to} of {}", self.blocks);
        assert!(slots <= self.shape.block_len, "{slots} KV slots of {}", self.shape.block_len);
        each_store!(&mut self.store, lines => lines.copy(self.shape, from, to, slots));
    }
}

impl<E: Element> Lines<E> {
    fn resize(&mut self, k: usize, v: usize) {
        self.k.resize(k, Line([E::ZERO; SPAN]));
        self.v.resize(v, Line([E::ZERO; SPAN]));
    }

    fn shrink(&mut self) {
        self.k.shrink_to_fit();
        self.v.shrink_to_fit();
    }

    fn write(&mut self, shape: KvShape, block: usize, slot: usize, k: &[f32], v: &[f32]) {
        let (span, slot) = (slot / SPAN, slot % SPAN);
        let (place, width) = (E::place(slot), shape.value_width());
        let heads = k.chunks_exact(shape.head_dim).zip(v.chunks_exact(shape.head_dim));
        for (head, (k, v)) in heads.enumerate() {
            let lines = &mut self.k[shape.keys(block, head, span)];
            for (lines, k) in lines.chunks_mut(SPAN).zip(k.chunks(SPAN)) {
                for (line, k) in lines.iter_mut().zip(rounded::<E>(k)) {
                    line.0[place] = k;
                }
            }
            let lines = &mut self.v[shape.values(block, head, span)][slot * width..][..width];
            for (line, v) in lines.iter_mut().zip(v.chunks(SPAN)) {
                for (index, v) in rounded::<E>(v).into_iter().enumerate() {
                    line.0[E::place(index)] = v;
                }
            }
        }
    }

    fn copy(&mut self, shape: KvShape, from: usize, to: usize, slots: usize) {
        let width = shape.value_width();
        for head in 0..shape.kv_heads {
            for span in 0..slots.div_ceil(SPAN) {
                let slots = SPAN.min(slots - span * SPAN);
                let (source, target) = (shape.keys(from, head, span), shape.keys(to, head, span));
                if slots == SPAN {
                    self.k.copy_within(source, target.start);
                } else {
                    for (source, target) in source.zip(target) {
                        let (source, target) = (self.k[source], &mut self.k[target]);
                        for place in (0..slots).map(E::place) {
                            target.0[place] = source.0[place];
                        }
                    }
                }
                let (source, target) = (shape.values(from, head, span).start, shape.values(to, head, span).start);
                self.v.copy_within(source..source + slots * width, target);
            }
        }
    }
}

/// Up to 32 numbers, rounded, and zeros behind them.
#[inline(always)]
fn rounded<E: Element>(from: &[f32]) -> [E; SPAN] {
    let mut out = [E::ZERO; SPAN];
    for (out, &from) in out.iter_mut().zip(from) {
        *out = E::round(from);
    }
    out
}

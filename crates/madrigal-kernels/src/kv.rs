//! The keys and values of one layer, in fixed-size blocks of positions.
//!
//! Owns the storage and its rounding. Which block belongs to which sequence, reference counts and
//! eviction are the engine's.

use std::collections::TryReserveError;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::Kernels;
use crate::disjoint::Disjoint;
use crate::float16::f32_to_bf16;
use crate::simd::{LANES, Op, Simd};

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

/// Bytes of addresses that keys, and values, of a layer have in advance; allocations of this size are pages of their own.
const ROOM_AHEAD: usize = 64 << 20;

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
pub(crate) trait Element: Copy + Send + Sync {
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
            let more = wanted.saturating_sub(lines.len());
            if more <= lines.capacity() - lines.len() {
                return Ok(());
            }
            // Room for more is only addresses, until it is written. With it, growing copies nothing and leaves no holes. A
            // system that counts addresses may refuse it.
            let ahead = more.max((ROOM_AHEAD / size_of::<T>()).saturating_sub(lines.len()));
            lines.try_reserve_exact(ahead).or_else(|_| lines.try_reserve_exact(more))
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

    /// Appends a block's keys and values as they are stored, little-endian: [`KvShape::block_bytes`] of them.
    pub fn append_block(&self, block: u32, out: &mut Vec<u8>) {
        let (keys, values) = self.lines_of(block);
        match &self.store {
            Store::F32(lines) => {
                let lines = lines.k[keys].iter().chain(&lines.v[values]);
                lines.for_each(|line| out.extend(line.0.iter().flat_map(|value| value.to_le_bytes())));
            }
            Store::Bf16(lines) => {
                let lines = lines.k[keys].iter().chain(&lines.v[values]);
                lines.for_each(|line| out.extend(line.0.iter().flat_map(|value| value.to_le_bytes())));
            }
        }
    }

    /// Replaces a block's keys and values by what [`KvLayer::append_block`] made of a block of the same shape. Any bytes
    /// will do; they are numbers.
    pub fn replace_block(&mut self, block: u32, bytes: &[u8]) {
        let wanted = self.shape.block_bytes();
        assert!(bytes.len() == wanted, "{} bytes for a KV block of {wanted}", bytes.len());
        let (keys, values) = self.lines_of(block);
        match &mut self.store {
            Store::F32(lines) => {
                let lines = lines.k[keys].iter_mut().chain(&mut lines.v[values]);
                let numbers = bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
                lines.flat_map(|line| &mut line.0).zip(numbers).for_each(|(old, new)| *old = new);
            }
            Store::Bf16(lines) => {
                let lines = lines.k[keys].iter_mut().chain(&mut lines.v[values]);
                let numbers = bytes.as_chunks().0.iter().map(|&bytes| u16::from_le_bytes(bytes));
                lines.flat_map(|line| &mut line.0).zip(numbers).for_each(|(old, new)| *old = new);
            }
        }
    }

    /// Where a block's keys and values lie.
    fn lines_of(&self, block: u32) -> (Range<usize>, Range<usize>) {
        let block = block as usize;
        assert!(block < self.blocks, "KV block {block} of {}", self.blocks);
        let of = |lines: usize| block * lines..(block + 1) * lines;
        (of(self.shape.key_lines()), of(self.shape.value_lines()))
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

/// Where a position is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvPlace {
    /// Which row of keys and values it is.
    pub row: usize,
    /// Its block.
    pub block: u32,
    /// Its place in the block.
    pub slot: usize,
}

impl Kernels {
    /// Stores positions, rounded; `k` and `v` are `[rows, kv_heads * head_dim]`. No place may stand twice in `places`.
    pub fn write_kv(&self, layer: &mut KvLayer, places: &[KvPlace], k: &[f32], v: &[f32]) {
        let (shape, blocks) = (layer.shape, layer.blocks);
        let KvShape { kv_heads, head_dim, block_len, .. } = shape;
        let width = kv_heads * head_dim;
        for &KvPlace { row, block, slot } in places {
            assert!((block as usize) < blocks, "KV block {block} of {blocks}");
            assert!(slot < block_len, "KV slot {slot} of {block_len}");
            assert!((row + 1) * width <= k.len().min(v.len()), "row {row} of keys and values");
        }
        // Few positions are not worth waking threads.
        const FEW: usize = 8;
        let heads_of_unit = if places.len() < FEW { kv_heads } else { 1 };
        let dispatch = self.dispatch;
        each_store!(&mut layer.store, lines => {
            let (keys, values) = (&Disjoint::new(&mut lines.k), &Disjoint::new(&mut lines.v));
            self.pool.run(kv_heads / heads_of_unit, &|_, unit| {
                let heads = unit * heads_of_unit..(unit + 1) * heads_of_unit;
                dispatch.run(Write { shape, heads, places, k, v, keys, values });
            });
        });
    }
}

/// All places at some heads.
struct Write<'a, E> {
    shape: KvShape,
    heads: Range<usize>,
    places: &'a [KvPlace],
    k: &'a [f32],
    v: &'a [f32],
    keys: &'a Disjoint<'a, Line<E>>,
    values: &'a Disjoint<'a, Line<E>>,
}

impl<E: Element> Op for Write<'_, E> {
    #[inline(always)]
    #[expect(unsafe_code, reason = "heads lie apart in every block")]
    fn call<S: Simd>(self, _: S) {
        let Write { shape, heads, places, k, v, keys, values } = self;
        let (head_dim, width) = (shape.head_dim, shape.value_width());
        for head in heads {
            for &KvPlace { row, block, slot } in places {
                let (span, slot) = (slot / SPAN, slot % SPAN);
                let place = E::place(slot);
                let own = (row * shape.kv_heads + head) * head_dim..(row * shape.kv_heads + head + 1) * head_dim;
                // SAFETY: these are lines of one head, and only one unit has that head.
                let lines = unsafe { keys.slice(shape.keys(block as usize, head, span)) };
                for (lines, k) in lines.chunks_mut(SPAN).zip(k[own.clone()].chunks(SPAN)) {
                    for (line, k) in lines.iter_mut().zip(rounded::<E>(k)) {
                        line.0[place] = k;
                    }
                }
                let first = shape.values(block as usize, head, span).start + slot * width;
                // SAFETY: as above.
                let lines = unsafe { values.slice(first..first + width) };
                for (line, v) in lines.iter_mut().zip(v[own].chunks(SPAN)) {
                    for (index, v) in rounded::<E>(v).into_iter().enumerate() {
                        line.0[E::place(index)] = v;
                    }
                }
            }
        }
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

//! Quantised weights rearranged so that [`PANEL`] rows stand side by side: how each type is packed and taken apart.
//!
//! Owns the layouts. A panel is cut into *chunks* along its columns, each with the scales of all rows and then their
//! quants. [`Format::expand`] turns 32 columns of a chunk into [`Columns`], bytes with a scale and a minimum, which is
//! all that a product (`blocked`) sees: `weight = scale * code - min`. For types with a zero point that is
//! `min = scale * zero`, exactly.
//!
//! Quants of 4 bits lie in pairs of *groups*: a group is 4 columns of 16 rows, the 64 bytes that one dot-product
//! instruction takes; the low halves of 64 bytes are one group, the high halves the next.

mod four_bit_tables;
mod k_quants;
mod legacy;
mod planes;

use crate::BlockType;
use crate::simd::{BLOCK, Dispatch, LANES, Op, Simd};

/// Rows of a panel: two vectors.
pub(crate) const PANEL: usize = 2 * LANES;

/// Groups of 4 columns in a block.
pub(crate) const GROUPS: usize = BLOCK / 4;

/// The bytes of 32 columns' codes of 4 bits.
const NIBBLES: usize = BLOCK / 2 * PANEL;

/// 32 columns of a panel, ready to be multiplied.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Columns {
    /// `[group][half of the rows][row * 4 + column of the group]`.
    pub(crate) codes: [[[u8; 64]; 2]; GROUPS],
    /// `[span][half of the rows][row]`; one span for 32 columns, or two of 16 ([`Layout::span`]).
    pub(crate) scales: [[[f32; LANES]; 2]; 2],
    /// As `scales`.
    pub(crate) mins: [[[f32; LANES]; 2]; 2],
}

impl Columns {
    pub(crate) const ZERO: Columns =
        Columns { codes: [[[0; 64]; 2]; GROUPS], scales: [[[0.0; LANES]; 2]; 2], mins: [[[0.0; LANES]; 2]; 2] };
}

/// Sizes of a format.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Columns in a chunk: a block of the source.
    pub(crate) cols: usize,
    /// Bytes in a chunk.
    pub(crate) bytes: usize,
    /// Columns that share a scale: 32 or 16.
    pub(crate) span: usize,
}

/// How one type is packed and taken apart.
pub(crate) trait Format {
    const LAYOUT: Layout;

    /// Writes the chunk of one source block from each row.
    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]);

    /// Takes 32 columns of a chunk apart; `index` counts them.
    fn expand<S: Simd>(simd: S, chunk: &[u8], index: usize, out: &mut Columns);
}

/// Something to be done with the format of a type.
pub(crate) trait WithFormat {
    type Output;
    fn with<F: Format>(self) -> Self::Output;
}

/// Calls `task` with the format of `kind`; `None` for dense types.
#[inline(always)]
pub(crate) fn with_format<T: WithFormat>(kind: BlockType, task: T) -> Option<T::Output> {
    match kind {
        BlockType::F32 | BlockType::F16 | BlockType::Bf16 => None,
        BlockType::Q8_0 => Some(task.with::<legacy::Q8_0>()),
        BlockType::Q4_0 => Some(task.with::<legacy::Q4_0>()),
        BlockType::Q4_1 => Some(task.with::<legacy::Q4_1>()),
        BlockType::Q5_0 => Some(task.with::<legacy::Q5_0>()),
        BlockType::Q5_1 => Some(task.with::<legacy::Q5_1>()),
        BlockType::Q2_K => Some(task.with::<k_quants::Q2K>()),
        BlockType::Q3_K => Some(task.with::<k_quants::Q3K>()),
        BlockType::Q4_K => Some(task.with::<k_quants::Q4K>()),
        BlockType::Q5_K => Some(task.with::<k_quants::Q5K>()),
        BlockType::Q6_K => Some(task.with::<k_quants::Q6K>()),
        BlockType::IQ4_NL => Some(task.with::<four_bit_tables::Iq4Nl>()),
        BlockType::IQ4_XS => Some(task.with::<four_bit_tables::Iq4Xs>()),
        BlockType::MXFP4 => Some(task.with::<four_bit_tables::Mxfp4>()),
    }
}

/// The sizes of a quantised type's format; `None` for dense types.
pub(crate) fn layout(kind: BlockType) -> Option<Layout> {
    struct Of;
    impl WithFormat for Of {
        type Output = Layout;
        fn with<F: Format>(self) -> Layout {
            F::LAYOUT
        }
    }
    with_format(kind, Of)
}

/// Packs a whole matrix. Rows that the last panel lacks are blocks of zero bytes, whose results nobody reads.
pub(crate) fn pack(kind: BlockType, rows: usize, cols: usize, from: &[u8], to: &mut [u8]) {
    struct Pack<'a> {
        rows: usize,
        row_bytes: usize,
        block_bytes: usize,
        from: &'a [u8],
        to: &'a mut [u8],
    }
    impl WithFormat for Pack<'_> {
        type Output = ();
        fn with<F: Format>(self) {
            let zeros = [0; 256];
            let chunks = self.row_bytes / self.block_bytes;
            for (panel, to) in self.to.chunks_exact_mut((F::LAYOUT.bytes * chunks).max(1)).enumerate() {
                for (index, chunk) in to.chunks_exact_mut(F::LAYOUT.bytes).enumerate() {
                    let mut blocks = [&zeros[..self.block_bytes]; PANEL];
                    for (block, row) in blocks.iter_mut().zip(panel * PANEL..self.rows) {
                        *block = &self.from[row * self.row_bytes + index * self.block_bytes..][..self.block_bytes];
                    }
                    F::pack(&blocks, chunk);
                }
            }
        }
    }
    let (row_bytes, block_bytes) = (kind.row_bytes(cols).unwrap_or(0), kind.bytes());
    with_format(kind, Pack { rows, row_bytes, block_bytes, from, to });
}

/// Takes 32 columns of a chunk apart, as [`Format::expand`] does.
pub(crate) struct Expand<'a> {
    pub(crate) kind: BlockType,
    pub(crate) chunk: &'a [u8],
    pub(crate) index: usize,
    pub(crate) columns: &'a mut Columns,
}

impl Op for Expand<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        struct Of<'a, S>(S, Expand<'a>);
        impl<S: Simd> WithFormat for Of<'_, S> {
            type Output = ();
            #[inline(always)]
            fn with<F: Format>(self) {
                F::expand(self.0, self.1.chunk, self.1.index, self.1.columns);
            }
        }
        with_format(self.kind, Of(simd, self));
    }
}

/// The exact values of one row of a panel.
pub(crate) fn unpack_row(kind: BlockType, layout: Layout, panel: &[u8], row: usize, out: &mut [f32]) {
    let (half, lane) = (row / LANES, row % LANES);
    let blocks_in_chunk = layout.cols / BLOCK;
    let mut columns = Columns::ZERO;
    for (index, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        let chunk = &panel[index / blocks_in_chunk * layout.bytes..][..layout.bytes];
        let expand = Expand { kind, chunk, index: index % blocks_in_chunk, columns: &mut columns };
        // Exact on every instruction set, so any will do.
        Dispatch::PORTABLE.run(expand);
        for (col, out) in out.iter_mut().enumerate() {
            let span = col / layout.span;
            let code = columns.codes[col / 4][half][lane * 4 + col % 4];
            *out = columns.scales[span][half][lane] * f32::from(code) - columns.mins[span][half][lane];
        }
    }
}

/// Sixteen f16 scales as floats.
#[inline(always)]
pub(crate) fn halves<S: Simd>(simd: S, bytes: &[u8], half: usize) -> S::Floats {
    simd.load_f16(&bytes.as_chunks::<{ 2 * LANES }>().0[half])
}

/// Sixteen unsigned bytes as floats.
#[inline(always)]
pub(crate) fn bytes<S: Simd>(simd: S, bytes: &[u8], half: usize) -> S::Floats {
    let mut floats = [0.0; LANES];
    for (float, byte) in floats.iter_mut().zip(bytes.as_chunks::<LANES>().0[half]) {
        *float = f32::from(byte);
    }
    simd.load(&floats)
}

/// Sixteen signed bytes as floats.
#[inline(always)]
pub(crate) fn signed_bytes<S: Simd>(simd: S, bytes: &[u8], half: usize) -> S::Floats {
    let mut floats = [0.0; LANES];
    for (float, byte) in floats.iter_mut().zip(bytes.as_chunks::<LANES>().0[half]) {
        *float = f32::from(byte as i8);
    }
    simd.load(&floats)
}

/// Writes codes of a byte, `[row][32 columns]`, as 1,024 bytes `[group][half][64]`.
pub(crate) fn pack_bytes(codes: &[[u8; BLOCK]; PANEL], out: &mut [u8]) {
    let out = out.as_chunks_mut::<64>().0;
    for (row, codes) in codes.iter().enumerate() {
        for (group, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
            out[2 * group + row / LANES].as_chunks_mut::<4>().0[row % LANES] = *codes;
        }
    }
}

/// Writes codes of 4 bits, `[row][32 columns]`, as 512 bytes `[pair of groups][half][64]`.
pub(crate) fn pack_nibbles(codes: &[[u8; BLOCK]; PANEL], out: &mut [u8]) {
    let out = out.as_chunks_mut::<64>().0;
    for (row, codes) in codes.iter().enumerate() {
        for (pair, codes) in codes.as_chunks::<8>().0.iter().enumerate() {
            let [low, high] = [0, 1].map(|group| u32::from_le_bytes(codes.as_chunks::<4>().0[group]) & 0x0f0f_0f0f);
            out[2 * pair + row / LANES].as_chunks_mut::<4>().0[row % LANES] = (low | high << 4).to_le_bytes();
        }
    }
}

/// Takes 512 bytes of [`pack_nibbles`] apart.
#[inline(always)]
pub(crate) fn expand_nibbles(from: &[u8], out: &mut Columns) {
    let from = from.as_chunks::<64>().0;
    for pair in 0..GROUPS / 2 {
        for half in 0..2 {
            let packed = &from[pair * 2 + half];
            for (code, byte) in out.codes[2 * pair][half].iter_mut().zip(packed) {
                *code = byte & 15;
            }
            for (code, byte) in out.codes[2 * pair + 1][half].iter_mut().zip(packed) {
                *code = byte >> 4;
            }
        }
    }
}

/// Stores a span's scales, and minima that are `zero` times as large.
#[inline(always)]
pub(crate) fn store_scales<S: Simd>(simd: S, scale: S::Floats, zero: f32, span: usize, half: usize, out: &mut Columns) {
    simd.store(scale, &mut out.scales[span][half]);
    simd.store(simd.mul(scale, simd.splat(zero)), &mut out.mins[span][half]);
}

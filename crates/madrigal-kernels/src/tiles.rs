//! Quantised weights rearranged so that [`PANEL`] rows stand side by side: how each type is packed and taken apart.
//!
//! Owns the layouts. A panel is cut into *chunks* along its columns, each with the scales of all rows and then their
//! quants. A format takes 32 columns of a chunk apart into bytes, with a scale and a minimum, which is all that a product
//! (`blocked`) sees: `weight = scale * code - min`. For types with a zero point that is `min = scale * zero`, exactly.
//!
//! Quants of 4 bits lie in pairs of *groups*: a group is 4 columns of 16 rows, the 64 bytes that one dot-product
//! instruction takes; the low halves of 64 bytes are one group, the high halves the next.

mod four_bit_tables;
mod k_quants;
mod legacy;
mod planes;

use std::marker::PhantomData;

use crate::BlockType;
use crate::simd::{BLOCK, LANES, Op, Simd};

/// Rows of a panel: two vectors.
pub(crate) const PANEL: usize = 2 * LANES;

/// Groups of 4 columns in a block.
pub(crate) const GROUPS: usize = BLOCK / 4;

/// The bytes of 32 columns' codes of 4 bits.
const NIBBLES: usize = BLOCK / 2 * PANEL;

/// What the codes of some columns are multiplied with, for the rows of a panel by half.
pub(crate) struct Scales<S: Simd> {
    pub(crate) scale: [S::Floats; 2],
    pub(crate) min: [S::Floats; 2],
}

impl<S: Simd> Scales<S> {
    /// Minima that are `zero` times the scales.
    #[inline(always)]
    fn with_zero(simd: S, scale: [S::Floats; 2], zero: f32) -> Self {
        let zero = simd.splat(zero);
        Scales { scale, min: [simd.mul(scale[0], zero), simd.mul(scale[1], zero)] }
    }
}

/// Two groups, `[group][half of the rows]`.
pub(crate) type Pair<S> = [[<S as Simd>::Codes; 2]; 2];

/// 32 columns of a panel, wherever they come from.
pub(crate) trait Weights<S: Simd>: Copy {
    /// How many scales a row has for them: 1 or 2.
    fn spans(self) -> usize;
    /// Of the groups `2 * pair` and `2 * pair + 1`.
    fn codes(self, simd: S, pair: usize) -> Pair<S>;
    /// Of all columns, or where the type has a scale for every 16, of the half of them that `span` counts.
    fn scales(self, simd: S, span: usize) -> Scales<S>;
}

/// 32 columns as they are packed.
#[derive(Clone, Copy)]
pub(crate) struct Packed<'a, F> {
    chunk: &'a [u8],
    /// Counts the blocks of the chunk.
    block: usize,
    format: PhantomData<F>,
}

impl<'a, F: Format> Packed<'a, F> {
    /// Columns `32 * block..` of a chunk.
    #[inline(always)]
    pub(crate) fn new(chunk: &'a [u8], block: usize) -> Self {
        Packed { chunk, block, format: PhantomData }
    }
}

impl<F: Format, S: Simd> Weights<S> for Packed<'_, F> {
    #[inline(always)]
    fn spans(self) -> usize {
        BLOCK / F::LAYOUT.span
    }

    #[inline(always)]
    fn codes(self, simd: S, pair: usize) -> Pair<S> {
        F::codes(simd, self.chunk, self.block, pair)
    }

    #[inline(always)]
    fn scales(self, simd: S, span: usize) -> Scales<S> {
        F::scales(simd, self.chunk, self.block, span)
    }
}

/// 32 columns that were taken apart and put aside.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Columns {
    /// `[group][half of the rows][row * 4 + column of the group]`.
    codes: [[[u8; 64]; 2]; GROUPS],
    /// `[span][half of the rows][row]`; one span for 32 columns, or two of 16 ([`Layout::span`]).
    scales: [[[f32; LANES]; 2]; 2],
    /// As `scales`.
    mins: [[[f32; LANES]; 2]; 2],
}

impl Columns {
    pub(crate) const ZERO: Columns =
        Columns { codes: [[[0; 64]; 2]; GROUPS], scales: [[[0.0; LANES]; 2]; 2], mins: [[[0.0; LANES]; 2]; 2] };

    /// Takes columns apart.
    #[inline(always)]
    pub(crate) fn put_aside<S: Simd>(&mut self, simd: S, weights: impl Weights<S>) {
        for (pair, to) in self.codes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            for (to, codes) in to.as_flattened_mut().iter_mut().zip(weights.codes(simd, pair).as_flattened()) {
                simd.store_codes(*codes, to);
            }
        }
        for span in 0..weights.spans() {
            let Scales { scale, min } = weights.scales(simd, span);
            for half in 0..2 {
                simd.store(scale[half], &mut self.scales[span][half]);
                simd.store(min[half], &mut self.mins[span][half]);
            }
        }
    }
}

/// Columns that were put aside, with so many scales.
#[derive(Clone, Copy)]
pub(crate) struct Aside<'a, const SPANS: usize>(pub(crate) &'a Columns);

impl<S: Simd, const SPANS: usize> Weights<S> for Aside<'_, SPANS> {
    #[inline(always)]
    fn spans(self) -> usize {
        SPANS
    }

    #[inline(always)]
    fn codes(self, simd: S, pair: usize) -> Pair<S> {
        let [first, second] = &self.0.codes.as_chunks::<2>().0[pair];
        [
            [simd.load_codes(&first[0]), simd.load_codes(&first[1])],
            [simd.load_codes(&second[0]), simd.load_codes(&second[1])],
        ]
    }

    #[inline(always)]
    fn scales(self, simd: S, span: usize) -> Scales<S> {
        let (scale, min) = (&self.0.scales[span], &self.0.mins[span]);
        Scales { scale: [simd.load(&scale[0]), simd.load(&scale[1])], min: [simd.load(&min[0]), simd.load(&min[1])] }
    }
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
pub(crate) trait Format: Copy {
    const LAYOUT: Layout;

    /// Writes the chunk of one source block from each row.
    fn pack(blocks: &[&[u8]; PANEL], chunk: &mut [u8]);

    /// [`Weights::codes`] of 32 columns of a chunk; `block` counts them.
    fn codes<S: Simd>(simd: S, chunk: &[u8], block: usize, pair: usize) -> Pair<S>;

    /// [`Weights::scales`] of 32 columns of a chunk; `block` counts them.
    fn scales<S: Simd>(simd: S, chunk: &[u8], block: usize, span: usize) -> Scales<S>;
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

/// The exact values of one row of a panel.
pub(crate) struct UnpackRow<'a> {
    pub(crate) kind: BlockType,
    pub(crate) panel: &'a [u8],
    pub(crate) row: usize,
    pub(crate) out: &'a mut [f32],
}

impl Op for UnpackRow<'_> {
    #[inline(always)]
    fn call<S: Simd>(self, simd: S) {
        struct Of<'a, S>(S, UnpackRow<'a>);
        impl<S: Simd> WithFormat for Of<'_, S> {
            type Output = ();
            #[inline(always)]
            fn with<F: Format>(self) {
                self.1.unpack::<S, F>(self.0);
            }
        }
        with_format(self.kind, Of(simd, self));
    }
}

impl UnpackRow<'_> {
    #[inline(always)]
    fn unpack<S: Simd, F: Format>(self, simd: S) {
        let (half, lane) = (self.row / LANES, self.row % LANES);
        let in_chunk = F::LAYOUT.cols / BLOCK;
        let (mut codes, mut scales, mut mins) = ([0; 64], [0.0; LANES], [0.0; LANES]);
        for (block, out) in self.out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let chunk = &self.panel[block / in_chunk * F::LAYOUT.bytes..][..F::LAYOUT.bytes];
            let weights = Packed::<F>::new(chunk, block % in_chunk);
            for (pair, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                let Scales { scale, min } = weights.scales(simd, pair * 8 / F::LAYOUT.span);
                simd.store(scale[half], &mut scales);
                simd.store(min[half], &mut mins);
                for (group, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                    simd.store_codes(weights.codes(simd, pair)[group][half], &mut codes);
                    for (out, code) in out.iter_mut().zip(codes.as_chunks::<4>().0[lane]) {
                        *out = scales[lane] * f32::from(code) - mins[lane];
                    }
                }
            }
        }
    }
}

/// 32 scales of 16 bits as floats, by half.
#[inline(always)]
pub(crate) fn halves<S: Simd>(simd: S, bytes: &[u8]) -> [S::Floats; 2] {
    let bytes = bytes.as_chunks::<{ 2 * LANES }>().0;
    [simd.load_f16(&bytes[0]), simd.load_f16(&bytes[1])]
}

/// 32 factors, each times an unsigned byte.
#[inline(always)]
pub(crate) fn times_bytes<S: Simd>(simd: S, factors: [S::Floats; 2], bytes: &[u8]) -> [S::Floats; 2] {
    let bytes = bytes.as_chunks::<LANES>().0;
    [simd.mul(factors[0], simd.load_u8(&bytes[0])), simd.mul(factors[1], simd.load_u8(&bytes[1]))]
}

/// 32 factors, each times a signed byte.
#[inline(always)]
pub(crate) fn times_signed_bytes<S: Simd>(simd: S, factors: [S::Floats; 2], bytes: &[u8]) -> [S::Floats; 2] {
    let bytes = bytes.as_chunks::<LANES>().0;
    [simd.mul(factors[0], simd.load_i8(&bytes[0])), simd.mul(factors[1], simd.load_i8(&bytes[1]))]
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

/// A pair of [`pack_nibbles`].
#[inline(always)]
pub(crate) fn nibble_pair<S: Simd>(simd: S, from: &[u8], pair: usize) -> Pair<S> {
    let [first, second] = &from.as_chunks::<64>().0.as_chunks::<2>().0[pair];
    let packed = [simd.load_codes(first), simd.load_codes(second)];
    [
        [simd.field(packed[0], 0, 15), simd.field(packed[1], 0, 15)],
        [simd.field(packed[0], 4, 15), simd.field(packed[1], 4, 15)],
    ]
}

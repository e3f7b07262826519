//! Weights as the products want them, borrowed: dense rows as they stand in a file, quantised ones in tiles.
//!
//! Owns the shape checks. How tiles look is in `tiles`, what is computed with them in `product`.

use crate::tiles::{self, PANEL, UnpackRow};
use crate::{BlockType, Kernels, dequantize};

/// A matrix, borrowed; any alignment.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    /// How the weights were stored in their file.
    pub kind: BlockType,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub cols: usize,
    /// For F32, F16 and BF16 `rows` rows of `kind.row_bytes(cols)` bytes; for all other types what [`pack`] wrote.
    pub data: &'a [u8],
}

/// The bytes that [`Matrix::data`] has for a matrix of this shape; `None` if a row is not a whole number of blocks, or
/// the bytes are more than a `usize` counts.
#[must_use]
pub fn packed_bytes(kind: BlockType, rows: usize, cols: usize) -> Option<usize> {
    match tiles::layout(kind) {
        None => kind.row_bytes(cols)?.checked_mul(rows),
        Some(layout) => {
            kind.row_bytes(cols)?;
            layout.bytes.checked_mul(cols / layout.cols)?.checked_mul(rows.div_ceil(PANEL))
        }
    }
}

/// Writes a matrix in the form that [`Matrix::data`] has: dense ones are copied, quantised ones are rearranged so that
/// 32 rows stand side by side.
///
/// # Panics
/// If `from` is not `rows` rows of `kind.row_bytes(cols)` bytes, or `to` not [`packed_bytes`] long.
pub fn pack(kind: BlockType, rows: usize, cols: usize, from: &[u8], to: &mut [u8]) {
    let row_bytes = kind.row_bytes(cols);
    assert_eq!(row_bytes.and_then(|bytes| bytes.checked_mul(rows)), Some(from.len()), "rows of {cols} {kind} to pack");
    assert_eq!(packed_bytes(kind, rows, cols), Some(to.len()), "room for [{rows}, {cols}] {kind}");
    match tiles::layout(kind) {
        None => to.copy_from_slice(from),
        Some(_) => tiles::pack(kind, rows, cols, from, to),
    }
}

impl Kernels {
    /// The exact values of some rows, as an embedding table gives them: `[rows, cols]`.
    pub fn embed(&self, table: &Matrix<'_>, rows: impl ExactSizeIterator<Item = usize>, out: &mut [f32]) {
        let Matrix { kind, cols, .. } = *table;
        table.check();
        let rows: Vec<usize> = rows.collect();
        assert_eq!(Some(out.len()), rows.len().checked_mul(cols), "{} rows of {cols} into {}", rows.len(), out.len());
        assert!(rows.iter().all(|&row| row < table.rows), "a row past {}", table.rows);
        if out.is_empty() {
            return;
        }
        let (dispatch, quantised) = (self.dispatch, tiles::layout(kind).is_some());
        // Rows that a thread takes at a time: enough to be worth waking it.
        const CHUNK: usize = 8;
        self.pool.for_chunks(out, CHUNK * cols, |_, index, out| {
            for (&row, out) in rows[index * CHUNK..].iter().zip(out.chunks_exact_mut(cols)) {
                if quantised {
                    dispatch.run(UnpackRow { kind, panel: table.panel(row / PANEL), row: row % PANEL, out });
                } else {
                    dequantize(kind, table.dense_row(row), out);
                }
            }
        });
    }
}

impl<'a> Matrix<'a> {
    /// The bytes of one row of a dense matrix.
    pub(crate) fn dense_row(&self, row: usize) -> &'a [u8] {
        let bytes = self.kind.row_bytes(self.cols).unwrap_or(0);
        &self.data[row * bytes..][..bytes]
    }

    /// The bytes of one panel of a quantised matrix.
    pub(crate) fn panel(&self, panel: usize) -> &'a [u8] {
        let bytes = self.data.len() / self.rows.div_ceil(PANEL);
        &self.data[panel * bytes..][..bytes]
    }

    pub(crate) fn check(&self) {
        let Matrix { kind, rows, cols, data } = self;
        assert_eq!(packed_bytes(*kind, *rows, *cols), Some(data.len()), "weights are not [{rows}, {cols}] {kind}");
    }
}

//! Quantised matrices in the order in which kernels multiply them: packed once, when an engine starts, in memory.
//!
//! Owns the memory of the packed form and the work of packing. The order itself is `madrigal_kernels::pack`'s. What was
//! packed is not needed in its file's order any more, and the pages that were read for it are given back as it goes, so
//! that a model takes about the size of its file.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};

use madrigal_kernels::{BlockType, pack, packed_bytes};
use memmap2::{Mmap, MmapMut};

use super::Tensor;

/// A packed matrix; set once.
pub(super) type Packed = Arc<OnceLock<Tiles>>;

/// Memory of packed matrices, and one's place in it.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    memory: Arc<Mmap>,
    range: Range<usize>,
}

/// No memory for the packed weights.
#[derive(Debug, thiserror::Error)]
#[error("set aside {bytes} bytes for packed weights: {source}")]
pub struct PackingError {
    /// How many were asked for.
    pub bytes: usize,
    /// What the system says.
    pub source: std::io::Error,
}

/// Rows that one thread packs at a time: whole panels.
const ROWS: usize = 256;

/// Matrices begin at whole cache lines.
const ALIGNMENT: usize = 64;

impl Tiles {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.memory[self.range.clone()]
    }
}

/// Bytes that the quantised ones among `matrices` take packed beyond those in the file.
pub(crate) fn packing_bytes(matrices: &[Tensor]) -> u64 {
    let stored = |tensor: &Tensor| tensor.kind.row_bytes(tensor.columns).map_or(0, |bytes| bytes * tensor.rows);
    let quantised = matrices.iter().filter(|tensor| is_packed(tensor.kind));
    quantised.map(|tensor| size(tensor).saturating_sub(stored(tensor)) as u64).sum()
}

/// Packs the quantised ones among `matrices` that are not packed yet, on so many threads.
pub(crate) fn pack_all(matrices: &[Tensor], threads: usize) -> Result<(), PackingError> {
    // Two threads that start engines on one model at a time pack it once.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let waiting: Vec<&Tensor> =
        matrices.iter().filter(|tensor| is_packed(tensor.kind) && tensor.packed.get().is_none()).collect();
    let mut ranges = Vec::with_capacity(waiting.len());
    let mut bytes = 0_usize;
    for tensor in &waiting {
        let end = bytes.saturating_add(size(tensor));
        ranges.push(bytes..end);
        bytes = end.saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    if bytes == 0 {
        return Ok(());
    }
    let mut memory = MmapMut::map_anon(bytes).map_err(|source| PackingError { bytes, source })?;
    // Reading all weights for every token goes through fewer page tables; where the system has no such pages, nothing is
    // lost.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    write(&waiting, &ranges, &mut memory, threads);
    // Reading one page brings its neighbours along, so those that were given back may be there again. The head of the file
    // has been read as well.
    for tensor in &waiting {
        tensor.release(0..tensor.rows);
    }
    if let Some(first) = waiting.iter().min_by_key(|tensor| tensor.offset()) {
        first.release_before();
    }
    let memory = Arc::new(memory.make_read_only().map_err(|source| PackingError { bytes, source })?);
    for (tensor, range) in waiting.into_iter().zip(ranges) {
        let _ = tensor.packed.set(Tiles { memory: Arc::clone(&memory), range });
    }
    Ok(())
}

fn is_packed(kind: BlockType) -> bool {
    !matches!(kind, BlockType::F32 | BlockType::F16 | BlockType::Bf16)
}

fn size(tensor: &Tensor) -> usize {
    packed_bytes(tensor.kind, tensor.rows, tensor.columns).unwrap_or(0)
}

/// Packs every tensor into its range of `memory`.
fn write(tensors: &[&Tensor], ranges: &[Range<usize>], mut memory: &mut [u8], threads: usize) {
    let mut pieces = Vec::new();
    let mut at = 0;
    for (tensor, range) in tensors.iter().zip(ranges) {
        let (_, rest) = memory.split_at_mut(range.start - at);
        let (own, rest) = rest.split_at_mut(range.len());
        (memory, at) = (rest, range.end);
        let step = packed_bytes(tensor.kind, ROWS, tensor.columns).unwrap_or(0).max(1);
        pieces.extend(own.chunks_mut(step).enumerate().map(|(piece, to)| (*tensor, piece * ROWS, to)));
    }
    let pieces = Mutex::new(pieces.into_iter());
    let work = || {
        loop {
            let piece = pieces.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
            let Some((tensor, first, to)) = piece else {
                return;
            };
            let rows = first..tensor.rows.min(first + ROWS);
            pack(tensor.kind, rows.len(), tensor.columns, &tensor.row_bytes(rows.clone()), to);
            tensor.release(rows);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

//! The handle through which kernels are called: an instruction set and its threads.
//!
//! Owns neither weights nor activations. The methods stand beside their kernels.

use std::io;
use std::sync::Mutex;

use crate::Isa;
use crate::pool::Pool;
use crate::product::Scratch;
use crate::simd::Dispatch;

/// An instruction set, a pool of threads and their scratch memory.
///
/// Belongs to one thread at a time (`Send`, not `Sync`). All methods panic when lengths
/// contradict each other: that is a mistake of the calling code, never of a file's content.
pub struct Kernels {
    isa: Isa,
    pub(crate) dispatch: Dispatch,
    pub(crate) pool: Pool,
    /// One for each thread; reused between calls.
    pub(crate) scratch: Box<[Mutex<Vec<f32>>]>,
    /// The same, of the products.
    pub(crate) product_scratch: Box<[Mutex<Scratch>]>,
    /// What threads compute for each other; reused between calls.
    pub(crate) partials: Mutex<Vec<f32>>,
}

/// More than any processor that this is meant for.
const MAX_THREADS: usize = 1024;

/// Why kernels could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum KernelsError {
    /// The processor lacks the instruction set.
    #[error("use instruction set `{isa}`: this processor does not have it; `{}` works here", Isa::detect())]
    IsaUnavailable {
        /// What was asked for.
        isa: Isa,
    },
    /// Zero threads, or absurdly many.
    #[error("run kernels on {threads} threads; ask for 1 to {MAX_THREADS}")]
    ThreadCount {
        /// What was asked for.
        threads: usize,
    },
    /// The operating system refused a thread.
    #[error("start {threads} kernel threads; ask for fewer")]
    Spawn {
        /// What was asked for.
        threads: usize,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl Kernels {
    /// Kernels for `isa` on `threads` threads; the caller's thread is one of them.
    pub fn new(isa: Isa, threads: usize) -> Result<Kernels, KernelsError> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(KernelsError::ThreadCount { threads });
        }
        let dispatch = Dispatch::new(isa).ok_or(KernelsError::IsaUnavailable { isa })?;
        let pool = Pool::new(threads).map_err(|source| KernelsError::Spawn { threads, source })?;
        let scratch = (0..threads).map(|_| Mutex::default()).collect();
        let product_scratch = (0..threads).map(|_| Mutex::default()).collect();
        Ok(Kernels { isa, dispatch, pool, scratch, product_scratch, partials: Mutex::default() })
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// How many threads share the work, the caller's included.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_can_move_to_the_engine_thread() {
        fn send<T: Send>(_: T) {}
        send(Kernels::new(Isa::Portable, 2).unwrap());
    }

    #[test]
    fn every_available_instruction_set_starts_and_odd_thread_counts_do_not() {
        for isa in Isa::available() {
            let kernels = Kernels::new(isa, 1).unwrap();
            assert_eq!((kernels.isa(), kernels.threads()), (isa, 1));
            assert_eq!(isa.to_string().parse(), Ok(isa));
        }
        for threads in [0, 1025, usize::MAX] {
            let refused = Kernels::new(Isa::Portable, threads).err();
            assert!(matches!(refused, Some(KernelsError::ThreadCount { .. })), "{threads}");
        }
    }
}

//! The threads that share one kernel's work: they spin for the next job, then park.
//!
//! Owns how units of work are handed out; what a unit computes must not depend on it.
//!
//! # Protocol
//! `state` holds a job number, an "open" bit and the number of workers inside the job. The caller
//! publishes a job and opens it; a worker enters by a compare-and-swap that only succeeds while
//! the job is open, claims units until none are left, and leaves. The caller works as well, closes
//! the job when it finds no more units, and waits until no worker is inside. So a worker that is
//! parked or not scheduled costs nothing, and none can see a job after `run` has returned.
#![expect(unsafe_code, reason = "lending a job that lives on the caller's stack to long-lived threads")]

use std::cell::{Cell, UnsafeCell};
use std::io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

use crate::disjoint::Disjoint;

/// Called with the lane (0 is the caller, then the workers) and the unit of work.
type Job<'a> = &'a (dyn Fn(usize, usize) + Sync);

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;
const NEXT_JOB: u64 = 1 << 32;

/// Looks at `state` before a worker parks; some hundred microseconds, which spans the gap between
/// two kernels of a forward pass.
const SPINS: u32 = 20_000;

struct Shared {
    state: AtomicU64,
    /// Written by the caller while `state` is closed and empty; read by workers inside the job.
    job: UnsafeCell<Option<Job<'static>>>,
    units: AtomicUsize,
    next: AtomicUsize,
    panicked: AtomicBool,
    quit: AtomicBool,
    parked: Box<[AtomicBool]>,
}

// SAFETY: `job` is the only field that is not `Sync` by itself. It is written only while no worker
// is inside and none can enter, and read only from inside; `state` orders the two.
unsafe impl Sync for Shared {}
// SAFETY: as above; the job behind the reference is `Sync`.
unsafe impl Send for Shared {}

/// A fixed set of threads, owned by one thread at a time.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Not `Sync`: two concurrent `run`s would share one job slot.
    one_caller: PhantomData<Cell<()>>,
}

impl Pool {
    /// `threads` counts the caller.
    pub(crate) fn new(threads: usize) -> io::Result<Pool> {
        let workers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            units: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            quit: AtomicBool::new(false),
            parked: (0..workers).map(|_| AtomicBool::new(false)).collect(),
        });
        let mut pool = Pool { shared, workers: Vec::with_capacity(workers), one_caller: PhantomData };
        for index in 0..workers {
            let shared = Arc::clone(&pool.shared);
            let worker = thread::Builder::new().name(format!("kernels-{}", index + 1));
            pool.workers.push(worker.spawn(move || shared.serve(index))?);
        }
        Ok(pool)
    }

    pub(crate) fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job` once for every unit in `0..units`, on all threads.
    pub(crate) fn run(&self, units: usize, job: Job<'_>) {
        if self.workers.is_empty() || units <= 1 {
            for unit in 0..units {
                job(0, unit);
            }
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. `close` below returns when no worker is inside the
        // job and none can enter any more, and it runs before this function returns or unwinds.
        let job: Job<'static> = unsafe { std::mem::transmute(job) };
        // SAFETY: the job is closed and empty (first call, or `close` of the one before), and the
        // pool is not `Sync`, so nobody else reads or writes the slot.
        unsafe { *shared.job.get() = Some(job) };
        shared.units.store(units, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        let closed = shared.state.load(Ordering::Relaxed);
        // Sequentially consistent, with the worker's order (raise `parked`, then look at `state`):
        // one of the two sees the other's write.
        shared.state.store(closed.wrapping_add(NEXT_JOB) | OPEN, Ordering::SeqCst);
        for (worker, parked) in self.workers.iter().zip(&shared.parked).take(units - 1) {
            if parked.load(Ordering::SeqCst) && parked.swap(false, Ordering::SeqCst) {
                Thread::unpark(worker.thread());
            }
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| shared.work(0, job)));
        shared.close();
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
        assert!(!shared.panicked.swap(false, Ordering::Relaxed), "a kernel panicked in a worker thread");
    }

    /// Cuts `data` into pieces of `len` (the last may be shorter) and calls `job` with the lane,
    /// the piece's index and the piece.
    pub(crate) fn for_chunks<T: Send>(&self, data: &mut [T], len: usize, job: impl Fn(usize, usize, &mut [T]) + Sync) {
        let total = data.len();
        let data = Disjoint::new(data);
        self.run(total.div_ceil(len), &|lane, unit| {
            let start = unit * len;
            // SAFETY: units are handed out once each, and their ranges do not overlap.
            let chunk = unsafe { data.slice(start..total.min(start + len)) };
            job(lane, unit, chunk);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches its jobs' panics, so there is nothing to learn from the result.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A worker's life.
    fn serve(&self, index: usize) {
        let mut done = 0;
        while let Some(entered) = self.enter(index, done) {
            done = entered;
            // SAFETY: this thread is inside the job, so the caller does not write the slot, and
            // it wrote it before it opened the job (acquired by `enter`).
            let job = unsafe { *self.job.get() };
            if let Some(job) = job
                && catch_unwind(AssertUnwindSafe(|| self.work(index + 1, job))).is_err()
            {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a job other than number `done` and enters it; `None` when the pool is dropped.
    fn enter(&self, index: usize, done: u64) -> Option<u64> {
        let mut spins = 0;
        loop {
            let state = self.state.load(Ordering::SeqCst);
            let number = state / NEXT_JOB;
            if state & OPEN != 0 && number != done {
                let entered = self.state.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed);
                if entered.is_ok() {
                    return Some(number);
                }
                continue;
            }
            if self.quit.load(Ordering::SeqCst) {
                return None;
            }
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else if spins == SPINS {
                // Looks once more before it parks; see `run`.
                self.parked[index].store(true, Ordering::SeqCst);
            } else {
                thread::park();
                // Woken for a job, to quit, or for no reason: spin again.
                self.parked[index].store(false, Ordering::SeqCst);
                spins = 0;
            }
        }
    }

    /// Claims units until there are none left.
    fn work(&self, lane: usize, job: Job<'_>) {
        let units = self.units.load(Ordering::Relaxed);
        loop {
            let unit = self.next.fetch_add(1, Ordering::Relaxed);
            if unit >= units {
                return;
            }
            job(lane, unit);
        }
    }

    /// Lets no more workers in and waits for those inside.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                // More threads than processors: let the worker run.
                thread::yield_now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            for units in [0, 1, 2, 3, 64, 1000] {
                let counts: Vec<AtomicUsize> = (0..units).map(|_| AtomicUsize::new(0)).collect();
                pool.run(units, &|lane, unit| {
                    assert!(lane < threads);
                    counts[unit].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_short_jobs_with_parking_in_between() {
        let pool = Pool::new(3).unwrap();
        let mut data = vec![0u32; 97];
        for round in 1..=3000 {
            pool.for_chunks(&mut data, 10, |_, _, chunk| {
                chunk.iter_mut().for_each(|x| *x += 1);
            });
            assert!(data.iter().all(|&x| x == round));
            if round % 1000 == 0 {
                thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2).unwrap();
        let failed = catch_unwind(AssertUnwindSafe(|| {
            pool.run(100, &|_, unit| assert_ne!(unit, 50, "planned"));
        }));
        assert!(failed.is_err());
        let total = AtomicUsize::new(0);
        pool.run(100, &|_, unit| {
            total.fetch_add(unit, Ordering::Relaxed);
        });
        assert_eq!(total.into_inner(), 4950);
    }
}

//! What the machine is and what it can do at most.

use std::fs;
use std::time::Instant;

use madrigal_engine::{Isa, Kernels};

use crate::failure::{Failure, Result};

/// The processor's name; `unknown` where the system does not tell.
pub(super) fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    name.map_or_else(|| "unknown processor".to_owned(), |(_, name)| name.trim().to_owned())
}

/// The most memory that this process ever had, where the system tells.
pub(super) fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// More than any cache holds.
const BUFFER: usize = 512 << 20;

/// How often each limit is measured; the fastest counts, for it is a limit.
const TRIES: usize = 7;

/// Rounds that take some milliseconds.
const ROUNDS: usize = 1 << 20;

/// Billions of multiplications and additions of 8-bit numbers that all threads together make in a second.
pub(super) fn int8_gops(isa: Isa, threads: usize) -> Result<f64> {
    let kernels = Kernels::new(isa, threads).map_err(Failure::of)?;
    let mut best = 0.0_f64;
    for _ in 0..TRIES {
        let begun = Instant::now();
        let (operations, sum) = kernels.multiply_bytes(ROUNDS);
        let seconds = begun.elapsed().as_secs_f64();
        debug_assert!(sum != 0.0);
        best = best.max(operations as f64 / seconds / 1e9);
    }
    Ok(best)
}

/// Billions of bytes that all threads together read in a second.
pub(super) fn read_gbs(isa: Isa, threads: usize) -> Result<f64> {
    let kernels = Kernels::new(isa, threads).map_err(Failure::of)?;
    let buffer = vec![1.0_f32; BUFFER / 4];
    let mut best = 0.0_f64;
    for _ in 0..TRIES {
        let begun = Instant::now();
        let sum = kernels.read_through(&buffer);
        let seconds = begun.elapsed().as_secs_f64();
        debug_assert!(sum > 0.0);
        best = best.max(BUFFER as f64 / seconds / 1e9);
    }
    Ok(best)
}

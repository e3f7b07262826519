//! How much a program may take.

use std::time::Duration;

/// How much a program may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Processor time.
    pub cpu: Duration,
    /// Time by the clock; processor time decides first on a machine that is not busy.
    pub wall: Duration,
    /// Bytes of addresses.
    pub memory: u64,
    /// Bytes that it may leave in `/tmp`, where there is one.
    pub scratch: u64,
    /// Bytes of standard output, and as many of standard error.
    pub output: u64,
}

impl Default for Limits {
    /// 5 s of processor time, ten times as much by the clock, 512 MiB, 16 MiB of files, 1 MiB of output.
    fn default() -> Self {
        let cpu = Duration::from_secs(5);
        Self { cpu, wall: cpu * 10, memory: 512 << 20, scratch: 16 << 20, output: 1 << 20 }
    }
}

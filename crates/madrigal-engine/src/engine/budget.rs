//! A limit on memory that several engines keep together.
//!
//! Owns the count of bytes. What they are taken for (weights, KV blocks) and when is the engines' business; memory that
//! is not counted here (buffers of a forward pass, tokenizers) is small beside it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many bytes weights and KV blocks of all engines that share it may take, and how many they do.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: u64,
    used: Mutex<u64>,
}

impl MemoryBudget {
    /// Nothing is taken yet.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self { limit, used: Mutex::new(0) }
    }

    /// The limit, in bytes.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What is taken or promised, in bytes.
    #[must_use]
    pub fn used(&self) -> u64 {
        *self.lock()
    }

    /// What is left, in bytes.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.limit.saturating_sub(self.used())
    }

    /// Takes `bytes`, or nothing and says how many are left.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), u64> {
        let mut used = self.lock();
        let available = self.limit.saturating_sub(*used);
        if bytes > available {
            return Err(available);
        }
        *used += bytes;
        Ok(())
    }

    /// Gives `bytes` back.
    pub(crate) fn release(&self, bytes: u64) {
        let mut used = self.lock();
        *used = used.saturating_sub(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // A number is whole whoever panicked.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one engine has taken of all budgets that it must keep. Dropping it gives everything back.
#[derive(Debug, Default)]
pub(crate) struct Reservation {
    budgets: Vec<Arc<MemoryBudget>>,
    bytes: u64,
}

impl Reservation {
    pub(crate) fn new(budgets: Vec<Arc<MemoryBudget>>) -> Self {
        Self { budgets, bytes: 0 }
    }

    /// The tightest limit, if there is any.
    pub(crate) fn limit(&self) -> Option<u64> {
        self.budgets.iter().map(|budget| budget.limit()).min()
    }

    /// What every budget has left.
    pub(crate) fn available(&self) -> u64 {
        self.budgets.iter().map(|budget| budget.available()).min().unwrap_or(u64::MAX)
    }

    /// Takes `bytes` of every budget, or of none and says how many are left.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<(), u64> {
        for (index, budget) in self.budgets.iter().enumerate() {
            if let Err(available) = budget.reserve(bytes) {
                for taken in &self.budgets[..index] {
                    taken.release(bytes);
                }
                return Err(available);
            }
        }
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Gives `bytes` back.
    pub(crate) fn release(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        for budget in &self.budgets {
            budget.release(bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release(self.bytes);
    }
}

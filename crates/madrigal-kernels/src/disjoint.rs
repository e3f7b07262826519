//! A slice that several threads write at once, each to places of its own.
//!
//! Owns the one argument why that is sound; who writes where is decided by the kernels.
#![expect(unsafe_code, reason = "splitting one output among threads in strides cannot be said with slices")]

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice shared among threads that touch disjoint elements.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: only the unsafe methods give access, and their contracts ask that no element be
// touched by two threads; moving `T: Send` values between threads is then allowed.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// While the result lives, nothing else touches any element of `range`.
    #[inline(always)]
    #[expect(clippy::mut_from_ref, reason = "exclusive access is this function's contract")]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "output range {range:?} of {}", self.len);
        // SAFETY: in bounds by the assertion, not aliased by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

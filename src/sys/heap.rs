//! The C library's heap.

/// Gives free memory of the heap back to the kernel, `malloc_trim(3)`.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

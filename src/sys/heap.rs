//! The C library's heap.

/// Lets all threads share two heaps, `mallopt(3)`: with many, each keeps what its thread once needed. For a process that has
/// one thread yet.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number of the allocator's; no other thread is using it.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives free memory of the heap back to the kernel, `malloc_trim(3)`.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes the allocator's own locks and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

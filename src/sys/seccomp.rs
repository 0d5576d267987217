//! Installing a seccomp filter, `seccomp(2)`.

use std::io;

/// One classic BPF instruction, laid out as the kernel's `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Instruction,
}

/// Puts `filter` on the calling thread, with `SECCOMP_FILTER_FLAG_*` in `flags`.
///
/// Needs `CAP_SYS_ADMIN` in the thread's user namespace or `no_new_privs`. Makes no allocation.
pub fn install(filter: &[Instruction], flags: u32) -> io::Result<()> {
    let len = libc::c_ushort::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = Program { len, filter: filter.as_ptr() };
    // SAFETY: `program` and the instructions that it points to outlive the call, and the kernel copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    match result {
        0 => Ok(()),
        // `SECCOMP_FILTER_FLAG_TSYNC`: the id of a thread that runs under a filter of its own.
        1.. => Err(io::Error::from_raw_os_error(libc::EBUSY)),
        _ => Err(io::Error::last_os_error()),
    }
}

//! Device programs of cgroup v2, `bpf(2)`.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// One eBPF instruction, laid out as the kernel's `struct bpf_insn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination register in the low four bits, source register in the high ones.
    pub registers: u8,
    /// Jump or memory offset.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_TYPE_CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;

/// Most programs of one cgroup that are looked at; the kernel's own bound on attached programs.
const MOST_PROGRAMS: usize = 64;

#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttributes {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttributes {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    let size = size_of::<T>();
    // SAFETY: the attribute structs above are the kernel's layout of the command's part of `union bpf_attr`, of the given
    // size; what they point to is borrowed by the callers for the call's time.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(libc::c_int::try_from(result).unwrap_or_default()) }
}

fn descriptor(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// A descriptor from a call that returned one.
fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just opened it for us (close-on-exec, as always for BPF objects); nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Loads a program that decides on a cgroup's device accesses. Needs `CAP_BPF` and `CAP_NET_ADMIN`, or `CAP_SYS_ADMIN`.
pub fn load_device_program(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attributes = LoadAttributes {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        instructions: program.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
        ..LoadAttributes::default()
    };
    bpf(PROG_LOAD, &mut attributes).map(owned)
}

/// Attaches a device program to a cgroup beside the programs of others, or in the place of `replaced`.
pub fn attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: descriptor(cgroup),
        program: descriptor(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        flags: if replaced.is_some() { ALLOW_MULTI | REPLACE } else { ALLOW_MULTI },
        replaced: replaced.map_or(0, descriptor),
    };
    bpf(PROG_ATTACH, &mut attributes).map(drop)
}

/// Takes a device program off a cgroup.
pub fn detach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = AttachAttributes {
        target: descriptor(cgroup),
        program: descriptor(program),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        ..AttachAttributes::default()
    };
    bpf(PROG_DETACH, &mut attributes).map(drop)
}

/// The device programs attached to a cgroup itself.
pub fn device_programs(cgroup: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut attributes = QueryAttributes {
        target: descriptor(cgroup),
        attach_type: ATTACH_TYPE_CGROUP_DEVICE,
        ids: ids.as_mut_ptr().addr() as u64,
        count: u32::try_from(ids.len()).unwrap_or_default(),
        ..QueryAttributes::default()
    };
    bpf(PROG_QUERY, &mut attributes)?;
    let count = usize::try_from(attributes.count).unwrap_or_default();
    ids.iter().take(count).map(|id| program_by_id(*id)).collect()
}

fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(PROG_GET_FD_BY_ID, &mut IdAttributes { id, ..IdAttributes::default() }).map(owned)
}

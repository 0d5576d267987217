//! Device rules as an eBPF program: v2 has no files for them.
//!
//! The kernel runs the program (`BPF_PROG_TYPE_CGROUP_DEVICE`) on each open and `mknod` with a
//! `struct bpf_cgroup_dev_ctx`; the access is allowed if it returns 1.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use crate::{
    runtime::cgroup::{Access, DeviceKind, DeviceRule, Error},
    sys::bpf::{self, Instruction},
};

/// Puts the rules on the cgroup in `directory`, in place of earlier ones.
pub(super) fn apply(directory: &Path, rules: &[DeviceRule]) -> Result<(), Error> {
    if rules.contains(&DeviceRule::ALL) {
        return Ok(());
    }
    let cgroup = File::open(directory).map_err(|source| Error::Open { path: directory.to_owned(), source })?;
    attach(&cgroup.into(), rules).map_err(|source| Error::DeviceFilter { path: directory.to_owned(), source })
}

/// Never leaves the cgroup without a program: the old ones go when the new one is there.
fn attach(cgroup: &OwnedFd, rules: &[DeviceRule]) -> io::Result<()> {
    let program = bpf::load_device_program(&compile(rules))?;
    let old = bpf::device_programs(cgroup.as_fd())?;
    if let [one] = old.as_slice() {
        return bpf::attach_device_program(cgroup.as_fd(), program.as_fd(), Some(one.as_fd()));
    }
    bpf::attach_device_program(cgroup.as_fd(), program.as_fd(), None)?;
    old.iter().try_for_each(|old| bpf::detach_device_program(cgroup.as_fd(), old.as_fd()))
}

/// Return value and scratch.
const RESULT: u8 = 0;
/// On entry the context; later scratch.
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// `BPF_DEVCG_DEV_*`, the low half of the context's first word.
const BLOCK: i32 = 1;
const CHAR: i32 = 2;

/// `dst = *(u32 *)(src + offset)`.
const LOAD_WORD: u8 = 0x61;
/// 32-bit operations, which ignore and clear the high half of a register.
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_IF_DIFFERENT: u8 = 0x56;
const JUMP_IF_REGISTERS_DIFFER: u8 = 0x5e;
const EXIT: u8 = 0x95;

fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let load = |register, offset| Instruction { offset, ..operation(LOAD_WORD, register, CONTEXT, 0) };
    let mut program = vec![
        load(KIND, 0),
        operation(MOVE_REGISTER, ACCESS, KIND, 0),
        operation(SHIFT_RIGHT, ACCESS, 0, 16),
        operation(AND, KIND, 0, 0xffff),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules {
        program.extend(allow(rule));
    }
    program.extend(result(0));
    program
}

fn operation(code: u8, destination: u8, source: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset: 0, immediate }
}

fn result(value: i32) -> [Instruction; 2] {
    [operation(MOVE, RESULT, 0, value), operation(EXIT, 0, 0, 0)]
}

/// Returns 1 for what the rule covers, and falls through for anything else.
fn allow(rule: &DeviceRule) -> Vec<Instruction> {
    let mut block = Vec::new();
    match rule.kind {
        DeviceKind::All => {}
        DeviceKind::Block => block.push(operation(JUMP_IF_DIFFERENT, KIND, 0, BLOCK)),
        DeviceKind::Char => block.push(operation(JUMP_IF_DIFFERENT, KIND, 0, CHAR)),
    }
    if rule.access != Access::ALL {
        // All that is wanted must be among what is allowed.
        block.push(operation(MOVE_REGISTER, CONTEXT, ACCESS, 0));
        block.push(operation(AND, CONTEXT, 0, access_bits(rule.access)));
        block.push(operation(JUMP_IF_REGISTERS_DIFFER, CONTEXT, ACCESS, 0));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        block.extend(number.map(|number| operation(JUMP_IF_DIFFERENT, register, 0, number.cast_signed())));
    }
    block.extend(result(1));
    let length = block.len();
    for (index, instruction) in block.iter_mut().enumerate() {
        if matches!(instruction.code, JUMP_IF_DIFFERENT | JUMP_IF_REGISTERS_DIFFER) {
            // A block has at most eight instructions.
            instruction.offset = i16::try_from(length - index - 1).unwrap_or_default();
        }
    }
    block
}

/// `BPF_DEVCG_ACC_*`.
fn access_bits(access: Access) -> i32 {
    i32::from(access.mknod) | i32::from(access.read) << 1 | i32::from(access.write) << 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[Instruction], kind: i32, access: Access, major: u32, minor: u32) -> u32 {
        let context = [kind.cast_unsigned() | access_bits(access).cast_unsigned() << 16, major, minor];
        let mut registers = [0_u32; 16];
        let mut at = 0;
        loop {
            let Instruction { code, registers: pair, offset, immediate } = program[at];
            let (to, from) = (usize::from(pair & 15), usize::from(pair >> 4));
            let constant = immediate.cast_unsigned();
            at += 1;
            let jump = match code {
                LOAD_WORD => {
                    registers[to] = context[usize::try_from(offset).expect("offset") / 4];
                    false
                }
                MOVE => {
                    registers[to] = constant;
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                AND => {
                    registers[to] &= constant;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= constant;
                    false
                }
                JUMP_IF_DIFFERENT => registers[to] != constant,
                JUMP_IF_REGISTERS_DIFFER => registers[to] != registers[from],
                EXIT => return registers[0],
                other => panic!("unknown operation {other:#x}"),
            };
            if jump {
                at += usize::try_from(offset).expect("forward");
            }
        }
    }

    const READ: Access = Access { read: true, write: false, mknod: false };

    #[test]
    fn the_defaults_allow_a_container_its_own_devices_only() {
        let program = compile(&DeviceRule::defaults());
        assert_eq!(run(&program, CHAR, Access::ALL, 1, 3), 1, "null");
        assert_eq!(run(&program, CHAR, READ, 136, 9), 1, "a terminal");
        assert_eq!(run(&program, BLOCK, Access::MKNOD, 8, 0), 1, "making a node");
        assert_eq!(run(&program, BLOCK, READ, 8, 0), 0, "a disk");
        assert_eq!(run(&program, BLOCK, READ, 1, 3), 0, "a disk of null's number");
        assert_eq!(run(&program, CHAR, READ, 1, 1), 0, "memory");
        assert_eq!(run(&program, CHAR, Access::ALL, 10, 200), 0, "tun");
    }

    #[test]
    fn all_that_is_wanted_must_be_allowed_by_one_rule() {
        let rule = DeviceRule { kind: DeviceKind::All, major: Some(u32::MAX), minor: None, access: READ };
        let program = compile(&[rule]);
        assert_eq!(run(&program, CHAR, READ, u32::MAX, 0), 1);
        assert_eq!(run(&program, CHAR, Access { write: true, ..READ }, u32::MAX, 0), 0);
        assert_eq!(run(&program, CHAR, READ, 0, 0), 0);
        assert_eq!(run(&compile(&[]), CHAR, READ, 1, 3), 0, "no rule allows nothing");
    }

    /// On a hybrid host too: programs need cgroup2, not its controllers.
    #[test]
    fn a_second_filter_takes_the_place_of_the_first() {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let root = mountinfo.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
        let directory = Path::new(root.expect("cgroup2 is mounted")).join(format!("berth-test-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("create");
        let programs = || {
            let cgroup = File::open(&directory).expect("open");
            bpf::device_programs(cgroup.as_fd()).expect("query").len()
        };
        let counts = [&DeviceRule::defaults()[..], &[]].map(|rules| {
            apply(&directory, rules).expect("apply");
            programs()
        });
        std::fs::remove_dir(&directory).expect("remove");
        assert_eq!(counts, [1, 1]);
    }
}

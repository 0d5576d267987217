//! Fuzz targets of what confines a container and of its image's files.

use super::seccomp::{self, Conditions};
pub(crate) use super::{cdi::fuzz_target as cdi, init::fuzz_passwd as passwd};
use crate::sys::seccomp::Instruction;

/// The class of an instruction, its lowest three bits, and those that jump and return.
const CLASS: u16 = 7;
const JUMP: u16 = 5;
const RETURN: u16 = 6;
/// A jump without a condition, by the distance in its operand.
const ALWAYS: u16 = 0x05;

/// A profile. What it is compiled to is a program that ends on all ways.
pub(crate) fn seccomp(input: &[u8]) {
    let Ok(profile) = seccomp::parse(input) else { return };
    for conditions in
        [Conditions { capabilities: 0, kernel: (4, 8) }, Conditions { capabilities: u64::MAX, kernel: (99, 0) }]
    {
        let Ok(program) = seccomp::compile(&profile, &conditions) else { continue };
        check_program(&program.instructions);
        let written = serde_json::to_vec(&program).expect("can be written");
        assert_eq!(serde_json::from_slice::<seccomp::Program>(&written).expect("can be read"), program);
    }
}

/// What the kernel checks, too: jumps stay inside, and the last instruction returns.
fn check_program(program: &[Instruction]) {
    assert!(program.last().is_some_and(|last| last.code & CLASS == RETURN));
    for (at, instruction) in program.iter().enumerate().filter(|(_, instruction)| instruction.code & CLASS == JUMP) {
        let distance = match instruction.code {
            ALWAYS => instruction.k as usize,
            _ => usize::from(instruction.jt.max(instruction.jf)),
        };
        assert!(at + 1 + distance < program.len(), "instruction {at} jumps out of the program");
    }
}

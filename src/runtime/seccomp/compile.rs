//! From rules to a classic BPF program.
//!
//! The program first tells the tables apart by `AUDIT_ARCH_*`, then searches the call's number in a balanced tree of
//! number ranges with the same outcome; the leaves return an action or first compare arguments. (Since kernel 5.11 calls
//! that are allowed whatever their arguments never run the filter at all, so the depth hardly matters.)

use super::{
    architecture::{Abi, X32_BIT},
    profile::Operator,
    rules::{Comparison, Rule, Rules, Table, action},
};
use crate::sys::seccomp::Instruction;

/// `A = data[k]`, a 32-bit word of `struct seccomp_data`.
pub(super) const LOAD: u16 = 0x20;
/// `A = A & k`.
pub(super) const AND: u16 = 0x54;
/// Skip `k`.
pub(super) const JUMP: u16 = 0x05;
/// Skip `jt` if the comparison of A with `k` holds, else `jf`.
pub(super) const IF_EQUAL: u16 = 0x15;
pub(super) const IF_GREATER: u16 = 0x25;
pub(super) const IF_GREATER_OR_EQUAL: u16 = 0x35;
/// The end: the action.
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// What a tracer sets to have a call skipped. Nothing is executed, so nothing needs to be refused, and the return value
/// that the tracer chose stays.
const SKIPPED_CALL: u32 = u32::MAX;

/// All calls from a number on, up to the next range's.
#[derive(Debug, PartialEq, Eq)]
struct Range<'a> {
    first: u32,
    outcome: Outcome<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome<'a> {
    Return(u32),
    Compare(&'a [Rule]),
}

/// Compiles the program.
pub(super) fn compile(rules: &Rules) -> Vec<Instruction> {
    let mut program = vec![load(ARCHITECTURE)];
    for table in rules.tables.iter().filter(|table| table.abi != Abi::X32) {
        let x32 = rules.tables.iter().find(|other| other.abi == Abi::X32 && table.abi == Abi::X86_64);
        let mut block = vec![load(NUMBER)];
        block.extend(search(&ranges(table, x32, rules.default), rules.default));
        program.push(branch(IF_EQUAL, table.abi.audit(), 1, 0));
        program.push(jump(block.len()));
        program.extend(block);
    }
    // A table that the profile does not speak of could do under other numbers what the profile refuses.
    program.push(end(action::KILL_PROCESS));
    program
}

/// The outcomes of all numbers that come with one `AUDIT_ARCH_*` value.
fn ranges<'a>(table: &'a Table, x32: Option<&'a Table>, default: u32) -> Vec<Range<'a>> {
    let mut ranges = Vec::new();
    of_table(table, 0, default, &mut ranges);
    if table.abi == Abi::X86_64 {
        match x32 {
            Some(x32) => of_table(x32, X32_BIT, default, &mut ranges),
            None => push(&mut ranges, X32_BIT, Outcome::Return(action::KILL_PROCESS)),
        }
    }
    push(&mut ranges, SKIPPED_CALL, Outcome::Return(action::ALLOW));
    ranges
}

fn of_table<'a>(table: &'a Table, base: u32, default: u32, ranges: &mut Vec<Range<'a>>) {
    let mut next = base;
    for (number, rules) in &table.calls {
        if *number > next {
            push(ranges, next, Outcome::Return(default));
        }
        push(ranges, *number, outcome(rules));
        next = number + 1;
    }
    if table.last_known >= next {
        push(ranges, next, Outcome::Return(default));
        next = table.last_known + 1;
    }
    push(ranges, next, Outcome::Return(unknown(default)));
}

/// Appends a range, or lengthens the last one if the outcome is the same.
fn push<'a>(ranges: &mut Vec<Range<'a>>, first: u32, outcome: Outcome<'a>) {
    if ranges.last().is_none_or(|last| last.outcome != outcome) {
        ranges.push(Range { first, outcome });
    }
}

fn outcome(rules: &[Rule]) -> Outcome<'_> {
    match rules {
        [first, ..] if first.comparisons.is_empty() => Outcome::Return(first.action),
        rules => Outcome::Compare(rules),
    }
}

/// What a refusing filter answers to calls that are newer than the profile: as a kernel without them does, so that
/// programs fall back to older ones, which they do not do on `EPERM`.
fn unknown(default: u32) -> u32 {
    match default & action::MASK {
        action::ALLOW | action::LOG | action::TRACE => default,
        _ => action::ERRNO | libc::ENOSYS.unsigned_abs(),
    }
}

fn search(ranges: &[Range<'_>], default: u32) -> Vec<Instruction> {
    match ranges {
        [] => vec![end(default)],
        [one] => match one.outcome {
            Outcome::Return(action) => vec![end(action)],
            Outcome::Compare(rules) => compare(rules, default),
        },
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let below = search(low, default);
            let mut program = skip_if_at_least(high[0].first, below.len());
            program.extend(below);
            program.extend(search(high, default));
            program
        }
    }
}

/// A conditional jump reaches 255 instructions, an unconditional one all.
fn skip_if_at_least(number: u32, distance: usize) -> Vec<Instruction> {
    match u8::try_from(distance) {
        Ok(distance) => vec![branch(IF_GREATER_OR_EQUAL, number, distance, 0)],
        Err(_) => vec![branch(IF_GREATER_OR_EQUAL, number, 0, 1), jump(distance)],
    }
}

/// The first rule whose comparisons all hold decides, else the default.
fn compare(rules: &[Rule], default: u32) -> Vec<Instruction> {
    let mut program = Vec::new();
    for rule in rules {
        let mut block: Vec<Step> = rule.comparisons.iter().flat_map(steps).collect();
        block.push(Step::Plain(end(rule.action)));
        let length = block.len();
        program.extend(block.into_iter().enumerate().map(|(index, step)| step.resolve(length - index - 1)));
        if rule.comparisons.is_empty() {
            return program;
        }
    }
    program.push(end(default));
    program
}

/// An instruction of a rule; a comparison's ways are open until the rule's length is known.
#[derive(Debug, Clone, Copy)]
enum Step {
    Plain(Instruction),
    Branch { code: u16, value: u32, holds: Way, fails: Way },
}

/// Where a comparison leads.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Skips so many instructions, within the same comparison or to the one after it.
    Skip(u8),
    /// The rule does not hold: behind its last instruction.
    NextRule,
}

impl Step {
    /// `to_end`: instructions that follow within the rule, at most 37 (six arguments, and the return).
    fn resolve(self, to_end: usize) -> Instruction {
        let distance = |way| match way {
            Way::Skip(count) => count,
            Way::NextRule => u8::try_from(to_end).unwrap_or(u8::MAX),
        };
        match self {
            Self::Plain(instruction) => instruction,
            Self::Branch { code, value, holds, fails } => branch(code, value, distance(holds), distance(fails)),
        }
    }
}

/// A 64-bit comparison out of two of 32 bits; it goes on behind itself if it holds. Both architectures are
/// little-endian.
fn steps(comparison: &Comparison) -> Vec<Step> {
    use Way::{NextRule, Skip};
    let Comparison { index, operator, value, value_two } = *comparison;
    let [low, high] = [Step::Plain(load(ARGUMENTS + 8 * index)), Step::Plain(load(ARGUMENTS + 8 * index + 4))];
    let [value_low, value_high] = halves(value);
    let test = |code, value, holds, fails| Step::Branch { code, value, holds, fails };
    match operator {
        Operator::Equal => {
            vec![high, test(IF_EQUAL, value_high, Skip(0), NextRule), low, test(IF_EQUAL, value_low, Skip(0), NextRule)]
        }
        Operator::NotEqual => {
            vec![high, test(IF_EQUAL, value_high, Skip(0), Skip(2)), low, test(IF_EQUAL, value_low, NextRule, Skip(0))]
        }
        Operator::Greater | Operator::GreaterOrEqual => {
            let code = if operator == Operator::Greater { IF_GREATER } else { IF_GREATER_OR_EQUAL };
            vec![
                high,
                test(IF_GREATER, value_high, Skip(3), Skip(0)),
                test(IF_EQUAL, value_high, Skip(0), NextRule),
                low,
                test(code, value_low, Skip(0), NextRule),
            ]
        }
        Operator::Less | Operator::LessOrEqual => {
            let code = if operator == Operator::Less { IF_GREATER_OR_EQUAL } else { IF_GREATER };
            vec![
                high,
                test(IF_GREATER, value_high, NextRule, Skip(0)),
                test(IF_EQUAL, value_high, Skip(0), Skip(2)),
                low,
                test(code, value_low, NextRule, Skip(0)),
            ]
        }
        Operator::MaskedEqual => {
            let [wanted_low, wanted_high] = halves(value_two);
            let mask = |mask| Step::Plain(Instruction { code: AND, jt: 0, jf: 0, k: mask });
            vec![
                high,
                mask(value_high),
                test(IF_EQUAL, wanted_high, Skip(0), NextRule),
                low,
                mask(value_low),
                test(IF_EQUAL, wanted_low, Skip(0), NextRule),
            ]
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a 64-bit number")]
const fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jt: 0, jf: 0, k: offset }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

const fn end(action: u32) -> Instruction {
    Instruction { code: RETURN, jt: 0, jf: 0, k: action }
}

/// Programs have at most 4096 instructions, which [`super::compile`] checks.
fn jump(distance: usize) -> Instruction {
    Instruction { code: JUMP, jt: 0, jf: 0, k: u32::try_from(distance).unwrap_or(u32::MAX) }
}

//! Whole filters: run in an interpreter, and by the kernel on a thread of their own.

use super::{architecture::Abi, rules::action, *};
use crate::sys::seccomp::Instruction;

const X86_FAMILY: &[Abi] = &[Abi::X86_64, Abi::X32, Abi::X86];
const ARM_FAMILY: &[Abi] = &[Abi::Aarch64, Abi::Arm];
const EPERM: u32 = action::ERRNO | 1;
const ENOSYS: u32 = action::ERRNO | 38;
const CAP_SYS_ADMIN: u64 = 1 << 21;
const NO_CAPABILITIES: Conditions = Conditions { capabilities: 0, kernel: (6, 1) };
const ADMIN: Conditions = Conditions { capabilities: CAP_SYS_ADMIN, kernel: (6, 1) };

/// A system call as a filter sees it.
#[derive(Debug, Clone, Copy)]
struct Call {
    abi: Abi,
    number: u32,
    arguments: [u64; 6],
}

impl Call {
    fn named(abi: Abi, name: &str, arguments: &[u64]) -> Self {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        Self { abi, number: abi.number(name).expect(name), arguments: all }
    }

    /// A word of `struct seccomp_data`.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.abi.audit(),
            _ => {
                let argument = self.arguments[((offset - 16) / 8) as usize];
                u32::try_from(if offset.is_multiple_of(8) { argument & 0xffff_ffff } else { argument >> 32 })
                    .expect("a half")
            }
        }
    }
}

/// Runs a program as the kernel would; also returns how many instructions it took.
fn run(program: &[Instruction], call: Call) -> (u32, usize) {
    let (mut a, mut at, mut count) = (0, 0, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        count += 1;
        at += 1;
        let way = |holds| usize::from(if holds { jt } else { jf });
        match code {
            compile::LOAD => a = call.word(k),
            compile::AND => a &= k,
            compile::JUMP => at += k as usize,
            compile::IF_EQUAL => at += way(a == k),
            compile::IF_GREATER => at += way(a > k),
            compile::IF_GREATER_OR_EQUAL => at += way(a >= k),
            compile::RETURN => return (k, count),
            other => panic!("unknown operation {other:#x}"),
        }
    }
}

fn decide(program: &Program, call: Call) -> u32 {
    run(&program.instructions, call).0
}

fn default_for(conditions: &Conditions, served: &[Abi]) -> Program {
    compile_for(BuiltIn::Default.parsed(), conditions, served).expect("the default profile compiles")
}

#[test]
fn projects_of_files_are_fixed_on_every_table() {
    const ENOTTY: u32 = action::ERRNO | 25;
    const EOPNOTSUPP: u32 = action::ERRNO | 95;
    for (served, abis) in [(X86_FAMILY, X86_FAMILY), (ARM_FAMILY, ARM_FAMILY)] {
        let program = compile_for(BuiltIn::FixedProjects.parsed(), &NO_CAPABILITIES, served).expect("compiles");
        for &abi in abis {
            let ioctl = |command| decide(&program, Call::named(abi, "ioctl", &[3, command, 0]));
            // FS_IOC_FSSETXATTR, FS_IOC_SETFLAGS of 64 and of 32 bits; with bits that the kernel does not look at.
            for command in [0x401c_5820, 0x4008_6602, 0x4004_6602, 0xff_401c_5820] {
                assert_eq!(ioctl(command), ENOTTY, "{command:#x} on {}", abi.name());
            }
            // TCGETS, FS_IOC_FSGETXATTR, FS_IOC_GETFLAGS.
            for command in [0x5401, 0x801c_581f, 0x8008_6601] {
                assert_eq!(ioctl(command), action::ALLOW, "{command:#x} on {}", abi.name());
            }
            assert_eq!(decide(&program, Call::named(abi, "file_setattr", &[])), EOPNOTSUPP, "{}", abi.name());
            assert_eq!(decide(&program, Call::named(abi, "openat", &[])), action::ALLOW, "{}", abi.name());
        }
    }
}

fn with_rule(rule: &str) -> Program {
    let json = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rule}]}}"#);
    compile_for(&parse(json.as_bytes()).expect("parses"), &NO_CAPABILITIES, X86_FAMILY).expect("compiles")
}

#[test]
fn the_default_profile_allows_everyday_calls_on_every_table() {
    for (served, abis) in [(X86_FAMILY, X86_FAMILY), (ARM_FAMILY, ARM_FAMILY)] {
        let program = default_for(&NO_CAPABILITIES, served);
        for abi in abis {
            for name in ["read", "write", "openat", "execve", "mmap2", "mmap", "futex", "exit_group", "prctl", "statx"]
            {
                let Some(number) = abi.number(name) else { continue };
                let call = Call { abi: *abi, number, arguments: [0; 6] };
                assert_eq!(decide(&program, call), action::ALLOW, "{name} of {}", abi.name());
            }
        }
    }
}

#[test]
fn the_default_profile_refuses_what_reaches_beyond_a_container() {
    let program = default_for(&NO_CAPABILITIES, X86_FAMILY);
    for abi in X86_FAMILY {
        for name in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "bpf",
            "kexec_load",
            "init_module",
            "reboot",
            "swapon",
            "keyctl",
            "add_key",
            "userfaultfd",
            "io_uring_setup",
            "perf_event_open",
            "pivot_root",
            "open_by_handle_at",
            "acct",
            "settimeofday",
            "move_pages",
            "iopl",
            "quotactl",
            "sethostname",
            "syslog",
            "fsopen",
            "chroot",
        ] {
            assert_eq!(decide(&program, Call::named(*abi, name, &[])), EPERM, "{name} of {}", abi.name());
        }
    }
}

#[test]
fn capabilities_open_what_they_are_for() {
    let program = default_for(&ADMIN, X86_FAMILY);
    for name in ["mount", "unshare", "setns", "clone3", "bpf", "fsopen"] {
        assert_eq!(decide(&program, Call::named(Abi::X86_64, name, &[])), action::ALLOW, "{name}");
    }
    assert_eq!(decide(&program, Call::named(Abi::X86_64, "reboot", &[])), EPERM);
    let time = Conditions { capabilities: 1 << 25, kernel: (6, 1) };
    let program = default_for(&time, X86_FAMILY);
    assert_eq!(decide(&program, Call::named(Abi::X86_64, "settimeofday", &[])), action::ALLOW);
    assert_eq!(decide(&program, Call::named(Abi::X86_64, "mount", &[])), EPERM);
}

#[test]
fn new_namespaces_need_the_capability() {
    let program = default_for(&NO_CAPABILITIES, X86_FAMILY);
    let clone = |flags| decide(&program, Call::named(Abi::X86_64, "clone", &[flags]));
    assert_eq!(clone(0x003d_0f00), action::ALLOW, "a thread");
    assert_eq!(clone(17), action::ALLOW, "a process");
    for flag in [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        assert_eq!(clone(flag | 17), EPERM, "namespace flag {flag:#x}");
    }
    assert_eq!(decide(&program, Call::named(Abi::X86_64, "clone3", &[])), ENOSYS, "the C library falls back");
    let program = default_for(&ADMIN, X86_FAMILY);
    assert_eq!(decide(&program, Call::named(Abi::X86_64, "clone", &[0x1000_0011])), action::ALLOW);
}

#[test]
fn vsock_is_closed_also_to_numbers_that_the_kernel_cuts_off() {
    let program = default_for(&NO_CAPABILITIES, X86_FAMILY);
    let socket = |family| decide(&program, Call::named(Abi::X86_64, "socket", &[family, 1, 0]));
    assert_eq!(
        (socket(1), socket(2), socket(10), socket(16)),
        (action::ALLOW, action::ALLOW, action::ALLOW, action::ALLOW)
    );
    assert_eq!((socket(40), socket(40 | 1 << 32)), (EPERM, EPERM));
}

#[test]
fn personalities_are_the_harmless_ones() {
    let program = default_for(&NO_CAPABILITIES, X86_FAMILY);
    let personality = |persona| decide(&program, Call::named(Abi::X86_64, "personality", &[persona]));
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_eq!(personality(persona), action::ALLOW, "{persona:#x}");
    }
    for persona in [1, 0x40_0000, 0x4_0000, u64::MAX] {
        assert_eq!(personality(persona), EPERM, "{persona:#x}");
    }
}

#[test]
fn calls_newer_than_the_profile_are_unknown_rather_than_forbidden() {
    let program = default_for(&NO_CAPABILITIES, X86_FAMILY);
    for (abi, number) in [(Abi::X86_64, 2_000), (Abi::X86, 2_000), (Abi::X32, 0x4000_0800), (Abi::X86_64, 0x3fff_ffff)]
    {
        assert_eq!(decide(&program, Call { abi, number, arguments: [0; 6] }), ENOSYS, "{number:#x}");
    }
    let allowing =
        parse(br#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"}]}"#);
    let program = compile_for(&allowing.expect("parses"), &NO_CAPABILITIES, X86_FAMILY).expect("compiles");
    assert_eq!(decide(&program, Call { abi: Abi::X86_64, number: 2_000, arguments: [0; 6] }), action::ALLOW);
    assert_eq!(decide(&program, Call::named(Abi::X86_64, "read", &[])), EPERM);
}

#[test]
fn tables_that_a_profile_does_not_name_kill() {
    let program = with_rule(r#"{"names":["read"],"action":"SCMP_ACT_ALLOW"}"#);
    for abi in [Abi::X86, Abi::X32, Abi::Aarch64] {
        assert_eq!(decide(&program, Call::named(abi, "read", &[])), action::KILL_PROCESS, "{}", abi.name());
    }
    let skipped = Call { abi: Abi::X86_64, number: u32::MAX, arguments: [0; 6] };
    assert_eq!(decide(&program, skipped), action::ALLOW, "a call that a tracer skips");
}

#[test]
fn comparisons_are_of_unsigned_64_bit_numbers() {
    let big = 0x0000_0005_0000_0007_u64;
    type Holds = fn(u64) -> bool;
    let cases: &[(&str, Holds)] = &[
        ("NE", |x| x != 0x5_0000_0007),
        ("LT", |x| x < 0x5_0000_0007),
        ("LE", |x| x <= 0x5_0000_0007),
        ("EQ", |x| x == 0x5_0000_0007),
        ("GE", |x| x >= 0x5_0000_0007),
        ("GT", |x| x > 0x5_0000_0007),
    ];
    for (operator, holds) in cases {
        let program = with_rule(&format!(
            r#"{{"names":["kill"],"action":"SCMP_ACT_ALLOW","args":[{{"index":1,"value":{big},"op":"SCMP_CMP_{operator}"}}]}}"#
        ));
        for high in [0, 4, 5, 6, 0xffff_ffff_u64] {
            for low in [0, 6, 7, 8, 0xffff_ffff_u64] {
                let value = high << 32 | low;
                let expected = if holds(value) { action::ALLOW } else { EPERM };
                let call = Call::named(Abi::X86_64, "kill", &[big, value]);
                assert_eq!(decide(&program, call), expected, "{value:#x} {operator} {big:#x}");
            }
        }
    }
}

#[test]
fn masked_comparisons_cover_both_halves() {
    let (mask, wanted) = (0xff00_0000_00ff_u64, 0x1200_0000_0034_u64);
    let program = with_rule(&format!(
        r#"{{"names":["kill"],"action":"SCMP_ACT_ALLOW",
            "args":[{{"index":5,"value":{mask},"valueTwo":{wanted},"op":"SCMP_CMP_MASKED_EQ"}}]}}"#
    ));
    let kill = |value| decide(&program, Call::named(Abi::X86_64, "kill", &[0, 0, 0, 0, 0, value]));
    assert_eq!(kill(wanted | !mask), action::ALLOW);
    assert_eq!((kill(wanted ^ 1), kill(wanted ^ 1 << 40)), (EPERM, EPERM));
}

#[test]
fn all_comparisons_of_a_rule_must_hold_and_the_first_rule_counts() {
    let program = with_rule(
        r#"{"names":["kill"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"args":[
               {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":1,"value":9,"op":"SCMP_CMP_NE"},
               {"index":2,"value":3,"op":"SCMP_CMP_LE"}]},
           {"names":["kill"],"action":"SCMP_ACT_LOG","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]},
           {"names":["kill"],"action":"SCMP_ACT_TRAP"},
           {"names":["kill"],"action":"SCMP_ACT_ALLOW"}"#,
    );
    let kill = |arguments: &[u64]| decide(&program, Call::named(Abi::X86_64, "kill", arguments));
    assert_eq!(kill(&[1, 8, 3]), action::ERRNO | 5);
    for close in [[1, 9, 3], [1, 8, 4]] {
        assert_eq!(kill(&close), action::LOG, "{close:?}");
    }
    assert_eq!(kill(&[2, 8, 3]), action::TRAP);
}

#[test]
fn far_jumps_reach_and_overlong_programs_are_refused() {
    let rules = |count: u64| {
        let one = |value| {
            format!(
                r#"{{"names":["read","kill","close"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#
            )
        };
        let json = format!(
            r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{}]}}"#,
            (1..=count).map(one).collect::<Vec<_>>().join(",")
        );
        compile_for(&parse(json.as_bytes()).expect("parses"), &NO_CAPABILITIES, X86_FAMILY)
    };
    let program = rules(200).expect("compiles");
    assert!(program.instructions.len() > 3 * 255);
    for name in ["read", "kill", "close"] {
        assert_eq!(decide(&program, Call::named(Abi::X86_64, name, &[200])), action::ALLOW, "{name}");
        assert_eq!(decide(&program, Call::named(Abi::X86_64, name, &[201])), EPERM, "{name}");
    }
    assert_eq!(decide(&program, Call::named(Abi::X86_64, "mount", &[1])), ENOSYS);
    assert!(matches!(rules(400), Err(Error::TooManyInstructions(_))));
}

#[test]
fn the_default_filter_is_short_and_fast() {
    for conditions in [NO_CAPABILITIES, Conditions { capabilities: u64::MAX, ..NO_CAPABILITIES }] {
        let program = default_for(&conditions, X86_FAMILY);
        assert!(program.instructions.len() < 1_000, "{} instructions", program.instructions.len());
        let (_, count) = run(&program.instructions, Call::named(Abi::X86_64, "write", &[]));
        assert!(count <= 16, "{count} steps to allow a write");
    }
}

#[test]
fn a_program_survives_the_wire() {
    let program = default_for(&NO_CAPABILITIES, X86_FAMILY);
    let json = serde_json::to_string(&program).expect("to JSON");
    assert_eq!(serde_json::from_str::<Program>(&json).expect("from JSON"), program);
    assert!(serde_json::from_str::<Program>(r#"{"flags":0,"instructions":"AAAA"}"#).is_err());
}

/// A filter holds for the thread that installs it and its children, so each test has a thread of its own. They need root.
mod kernel {
    use std::process::Command;

    use super::*;

    fn confined<T: Send + 'static>(program: Program, run: impl FnOnce() -> T + Send + 'static) -> T {
        let body = move || {
            crate::sys::seccomp::install(&program.instructions, program.flags).expect("install");
            run()
        };
        std::thread::spawn(body).join().expect("thread")
    }

    fn native(conditions: &Conditions) -> Program {
        compile(BuiltIn::Default.parsed(), conditions).expect("compiles")
    }

    #[test]
    fn the_default_filter_is_accepted_and_programs_run_under_it() {
        let (status, name) = confined(native(&NO_CAPABILITIES), || {
            let output = Command::new("sh").args(["-c", "ls / > /dev/null && (uname -s)"]).output().expect("sh");
            (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
        });
        assert!(status.success());
        assert_eq!(name, "Linux\n");
    }

    #[test]
    fn forbidden_calls_fail_and_capabilities_open_them() {
        use nix::{errno::Errno, sched::CloneFlags};
        let new_uts = || nix::sched::unshare(CloneFlags::CLONE_NEWUTS);
        assert_eq!(confined(native(&NO_CAPABILITIES), new_uts), Err(Errno::EPERM));
        assert_eq!(confined(native(&ADMIN), new_uts), Ok(()));
    }

    #[test]
    fn arguments_are_seen() {
        use nix::{
            errno::Errno,
            sys::{
                personality::{self, Persona},
                socket::{AddressFamily, SockFlag, SockType, socket},
            },
        };
        let open = |family| socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).map(drop);
        let results = confined(native(&NO_CAPABILITIES), move || {
            (
                open(AddressFamily::Unix),
                open(AddressFamily::Vsock),
                personality::set(Persona::ADDR_NO_RANDOMIZE).map(drop),
            )
        });
        assert_eq!(results, (Ok(()), Err(Errno::EPERM), Err(Errno::EPERM)));
    }

    #[test]
    fn threads_start_although_clone3_is_hidden() {
        let sum = confined(native(&NO_CAPABILITIES), || std::thread::spawn(|| 40 + 2).join().expect("thread"));
        assert_eq!(sum, 42);
    }

    #[test]
    fn every_action_and_flag_is_accepted_by_the_kernel() {
        for action in ["KILL", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "ALLOW"] {
            let json = format!(
                r#"{{"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
                     "syscalls":[{{"names":["reboot"],"action":"SCMP_ACT_{action}"}}]}}"#
            );
            let program = compile(&parse(json.as_bytes()).expect("parses"), &NO_CAPABILITIES).expect("compiles");
            confined(program, || ());
        }
    }
}

//! From a profile to rules by system call number, for one machine and one container.

use std::collections::{BTreeMap, HashMap};

use super::{
    Conditions, Error, Profile,
    architecture::Abi,
    profile::{Argument, Entry, Filter, Operator},
};

/// Return values of a filter, `seccomp(2)`.
pub(super) mod action {
    pub(in crate::runtime::seccomp) const KILL_PROCESS: u32 = 0x8000_0000;
    pub(in crate::runtime::seccomp) const KILL_THREAD: u32 = 0x0000_0000;
    pub(in crate::runtime::seccomp) const TRAP: u32 = 0x0003_0000;
    pub(in crate::runtime::seccomp) const ERRNO: u32 = 0x0005_0000;
    pub(in crate::runtime::seccomp) const TRACE: u32 = 0x7ff0_0000;
    pub(in crate::runtime::seccomp) const LOG: u32 = 0x7ffc_0000;
    pub(in crate::runtime::seccomp) const ALLOW: u32 = 0x7fff_0000;
    /// All of the above but the low 16 bits, which carry an errno.
    pub(in crate::runtime::seccomp) const MASK: u32 = 0xffff_0000;
}

/// The kernel's largest errno.
const MAX_ERRNO: u32 = 4_095;
/// System calls have six arguments.
const ARGUMENTS: u32 = 6;

/// What is done with a call whose arguments meet all comparisons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) comparisons: Vec<Comparison>,
    pub(super) action: u32,
}

/// A comparison with one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Comparison {
    pub(super) index: u32,
    pub(super) operator: Operator,
    pub(super) value: u64,
    pub(super) value_two: u64,
}

/// The rules of one system call table.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) abi: Abi,
    /// By number; of a call's rules the first that holds counts.
    pub(super) calls: BTreeMap<u32, Vec<Rule>>,
    /// The highest number that the profile's author knew: later calls are not refused but unknown.
    pub(super) last_known: u32,
}

/// All rules.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) default: u32,
    /// The machine's own table first.
    pub(super) tables: Vec<Table>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(super) flags: u32,
}

impl Rules {
    /// Picks the entries whose conditions hold, for the first of the tables `served` and those that the profile names.
    pub(super) fn plan(profile: &Profile, conditions: &Conditions, served: &[Abi]) -> Result<Self, Error> {
        let default = parse_action(&profile.default_action, profile.default_errno_ret)?;
        let flags = profile.flags.iter().try_fold(0, |flags, name| Ok(flags | parse_flag(name)?))?;
        let mut tables: Vec<Table> =
            abis(profile, served).map(|abi| Table { abi, calls: BTreeMap::new(), last_known: 0 }).collect();
        let machine = served.first().map_or("", |abi| abi.condition_name());
        for entry in &profile.syscalls {
            let rules = parse_rules(entry)?;
            let holds = holds(entry, conditions, machine);
            for table in &mut tables {
                for number in entry.names.iter().chain(&entry.name).filter_map(|name| table.abi.number(name)) {
                    table.last_known = table.last_known.max(number);
                    if holds {
                        table.calls.entry(number).or_default().extend_from_slice(&rules);
                    }
                }
            }
        }
        Ok(Self { default, tables, flags })
    }
}

/// The machine's own table, and of the others that it serves those that the profile names.
fn abis<'a>(profile: &'a Profile, served: &'a [Abi]) -> impl Iterator<Item = Abi> + 'a {
    let own = served.first().map_or("", |abi| abi.name());
    let mapped = profile.arch_map.iter().filter(move |map| map.architecture == own);
    let named: HashMap<&str, ()> = mapped
        .flat_map(|map| &map.sub_architectures)
        .chain(&profile.architectures)
        .map(|name| (name.as_str(), ()))
        .collect();
    served.iter().copied().filter(move |abi| abi.name() == own || named.contains_key(abi.name()))
}

fn holds(entry: &Entry, conditions: &Conditions, machine: &str) -> bool {
    let held = |name: &String| has_capability(conditions.capabilities, name);
    let Filter { caps, arches, min_kernel } = &entry.includes;
    let included = caps.iter().all(held)
        && (arches.is_empty() || arches.iter().any(|arch| arch == machine))
        && min_kernel.is_none_or(|version| conditions.kernel >= version);
    let Filter { caps, arches, min_kernel } = &entry.excludes;
    let excluded = caps.iter().any(held)
        || arches.iter().any(|arch| arch == machine)
        || min_kernel.is_some_and(|version| conditions.kernel >= version);
    included && !excluded
}

fn has_capability(mask: u64, name: &str) -> bool {
    name.parse::<caps::Capability>().is_ok_and(|capability| mask & capability.bitmask() != 0)
}

/// The rules of an entry. Comparisons with different arguments must all hold; with the same argument twice they are
/// alternatives, as in the other OCI runtimes.
fn parse_rules(entry: &Entry) -> Result<Vec<Rule>, Error> {
    let action = parse_action(&entry.action, entry.errno_ret)?;
    let comparisons = entry.args.iter().map(parse_comparison).collect::<Result<Vec<_>, _>>()?;
    let is_repeated = |index| comparisons.iter().filter(|comparison| comparison.index == index).count() > 1;
    if (0..ARGUMENTS).any(is_repeated) {
        return Ok(comparisons.iter().map(|one| Rule { comparisons: vec![*one], action }).collect());
    }
    Ok(vec![Rule { comparisons, action }])
}

fn parse_comparison(argument: &Argument) -> Result<Comparison, Error> {
    let Argument { index, value, value_two, op: operator } = *argument;
    if index >= ARGUMENTS {
        return Err(Error::Unsupported(format!("argument index {index}")));
    }
    Ok(Comparison { index, operator, value, value_two })
}

/// An action's return value; `EPERM` is the errno where none is given.
fn parse_action(name: &str, errno: Option<u32>) -> Result<u32, Error> {
    let action = match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => action::KILL_PROCESS,
        "SCMP_ACT_TRAP" => action::TRAP,
        "SCMP_ACT_ERRNO" => action::ERRNO,
        "SCMP_ACT_TRACE" => action::TRACE,
        "SCMP_ACT_LOG" => action::LOG,
        "SCMP_ACT_ALLOW" => action::ALLOW,
        "SCMP_ACT_NOTIFY" => return Err(Error::Unsupported("action SCMP_ACT_NOTIFY (it needs a listener)".into())),
        other => return Err(Error::Unsupported(format!("action {other:?}"))),
    };
    match (action, errno) {
        (action::ERRNO | action::TRACE, errno) => {
            let errno = errno.unwrap_or(libc::EPERM.unsigned_abs());
            if errno > MAX_ERRNO {
                return Err(Error::Unsupported(format!("errno {errno}")));
            }
            Ok(action | errno)
        }
        (_, None) => Ok(action),
        (_, Some(_)) => Err(Error::Unsupported(format!("an errno for action {name}"))),
    }
}

fn parse_flag(name: &str) -> Result<u32, Error> {
    let flag = match name {
        "SECCOMP_FILTER_FLAG_TSYNC" => libc::SECCOMP_FILTER_FLAG_TSYNC,
        "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        other => return Err(Error::Unsupported(format!("flag {other:?}"))),
    };
    u32::try_from(flag).map_err(|_| Error::Unsupported(format!("flag {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::seccomp::parse;

    const NOTHING: Conditions = Conditions { capabilities: 0, kernel: (6, 1) };

    fn plan(json: &str, conditions: &Conditions) -> Result<Rules, Error> {
        Rules::plan(&parse(json.as_bytes()).expect("parses"), conditions, &[Abi::X86_64, Abi::X32, Abi::X86])
    }

    fn entry(rest: &str) -> String {
        format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{{"names":["reboot"],{rest}}}]}}"#)
    }

    fn is_listed(rest: &str, conditions: &Conditions) -> bool {
        let json = entry(&format!(r#""action":"SCMP_ACT_ALLOW",{rest}"#));
        !plan(&json, conditions).expect("plan").tables[0].calls.is_empty()
    }

    #[test]
    fn conditions_pick_the_entries() {
        let admin = Conditions { capabilities: 1 << 21, kernel: (4, 7) };
        for (rest, nothing, with_admin) in [
            (r#""includes":{"caps":["CAP_SYS_ADMIN"]}"#, false, true),
            (r#""includes":{"caps":["CAP_SYS_ADMIN","CAP_KILL"]}"#, false, false),
            (r#""excludes":{"caps":["CAP_SYS_ADMIN"]}"#, true, false),
            (r#""includes":{"minKernel":"4.8"}"#, true, false),
            (r#""excludes":{"minKernel":"4.8"}"#, false, true),
            (r#""includes":{"arches":["amd64","s390x"]}"#, true, true),
            (r#""includes":{"arches":["arm64"]}"#, false, false),
            (r#""excludes":{"arches":["amd64"]}"#, false, false),
            (r#""includes":{"caps":["CAP_OF_THE_FUTURE"]}"#, false, false),
        ] {
            assert_eq!(is_listed(rest, &NOTHING), nothing, "{rest}");
            assert_eq!(is_listed(rest, &admin), with_admin, "{rest} with CAP_SYS_ADMIN");
        }
    }

    #[test]
    fn tables_are_the_own_one_and_those_named() {
        let abis = |json: &str| plan(json, &NOTHING).expect("plan").tables.iter().map(|it| it.abi).collect::<Vec<_>>();
        assert_eq!(abis(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#), [Abi::X86_64]);
        let oci = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86","SCMP_ARCH_S390X"]}"#;
        assert_eq!(abis(oci), [Abi::X86_64, Abi::X86]);
        let docker = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[
            {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
            {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X32"]}]}"#;
        assert_eq!(abis(docker), [Abi::X86_64, Abi::X32]);
    }

    #[test]
    fn actions_carry_their_errno() {
        for (action, value) in [
            (r#""action":"SCMP_ACT_ERRNO""#, 0x0005_0001),
            (r#""action":"SCMP_ACT_ERRNO","errnoRet":38"#, 0x0005_0026),
            (r#""action":"SCMP_ACT_TRACE","errnoRet":7"#, 0x7ff0_0007),
            (r#""action":"SCMP_ACT_KILL""#, 0),
            (r#""action":"SCMP_ACT_KILL_PROCESS""#, 0x8000_0000),
            (r#""action":"SCMP_ACT_TRAP""#, 0x0003_0000),
            (r#""action":"SCMP_ACT_LOG""#, 0x7ffc_0000),
        ] {
            let rules = plan(&entry(action), &NOTHING).expect(action);
            assert_eq!(rules.tables[0].calls[&169][0].action, value, "{action}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for (json, sentence) in [
            (
                entry(r#""action":"SCMP_ACT_NOTIFY""#),
                "seccomp action SCMP_ACT_NOTIFY (it needs a listener) is not supported",
            ),
            (entry(r#""action":"SCMP_ACT_MAYBE""#), "seccomp action \"SCMP_ACT_MAYBE\" is not supported"),
            (
                entry(r#""action":"SCMP_ACT_ALLOW","errnoRet":1"#),
                "seccomp an errno for action SCMP_ACT_ALLOW is not supported",
            ),
            (entry(r#""action":"SCMP_ACT_ERRNO","errnoRet":4096"#), "seccomp errno 4096 is not supported"),
            (
                entry(r#""action":"SCMP_ACT_ALLOW","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]"#),
                "seccomp argument index 6 is not supported",
            ),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]}"#.to_owned(), "seccomp flag \"X\" is not supported"),
        ] {
            assert_eq!(plan(&json, &NOTHING).expect_err(sentence).to_string(), sentence);
        }
    }

    #[test]
    fn comparisons_of_the_same_argument_are_alternatives() {
        let two = |first: u32, second: u32| {
            let args = format!(
                r#""action":"SCMP_ACT_ALLOW","args":[{{"index":{first},"value":1,"op":"SCMP_CMP_EQ"}},
                   {{"index":{second},"value":2,"op":"SCMP_CMP_EQ"}}]"#
            );
            plan(&entry(&args), &NOTHING).expect("plan").tables[0].calls[&169].len()
        };
        assert_eq!(two(0, 1), 1, "both must hold");
        assert_eq!(two(0, 0), 2, "either may hold");
    }

    #[test]
    fn unknown_names_are_passed_over() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["teleport","read"],"action":"SCMP_ACT_ALLOW"},{"name":"write","action":"SCMP_ACT_ALLOW"}]}"#;
        let rules = plan(json, &NOTHING).expect("plan");
        assert_eq!(rules.tables[0].calls.keys().copied().collect::<Vec<_>>(), [0, 1]);
    }
}

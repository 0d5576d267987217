//! What this process may do: the engine, started the same way, could do as much.

use rustix::process::{Resource, getrlimit};

use super::Finding;
use crate::runtime::plan::HostFacts;

/// Without these no pod can be made.
const NEEDED: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_ADMIN",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_ADMIN",
    "SYS_CHROOT",
    "SYS_PTRACE",
];
/// Without these something is missing.
const WANTED: &[(&str, &str)] = &[
    ("SYS_RESOURCE", "limits above the engine's own and negative oom_score_adj values are cut to what is allowed"),
    ("NET_RAW", "no container can get it"),
    ("NET_BIND_SERVICE", "no container can get it"),
];
/// Open files that a node full of pods needs.
const OPEN_FILES: u64 = 65_536;

pub(super) fn examine(host: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![capabilities(host)];
    let limit = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    findings.push(match limit {
        OPEN_FILES.. => Finding::ok("open files", format!("as many as {limit} may be open")),
        _ => Finding::warning(
            "open files",
            format!("only {limit} may be open: some thousand containers are the most"),
            format!("raise the hard limit to {OPEN_FILES} or more (LimitNOFILE= in a systemd unit)"),
        ),
    });
    findings
}

fn capabilities(host: &HostFacts) -> Finding {
    let lacks = |name: &str| {
        let capability = format!("CAP_{name}").parse::<caps::Capability>();
        !capability.is_ok_and(|capability| host.capabilities.contains(capability.index().into()))
    };
    let missing: Vec<&str> = NEEDED.iter().copied().filter(|name| lacks(name)).collect();
    if !missing.is_empty() {
        let advice = "give the engine all capabilities; in a container run it privileged";
        return Finding::error("capabilities", format!("lacks {}", missing.join(", ")), advice);
    }
    match WANTED.iter().find(|(name, _)| lacks(name)) {
        Some((name, consequence)) => {
            Finding::warning("capabilities", format!("lacks {name}: {consequence}"), "give the engine all capabilities")
        }
        None => Finding::ok("capabilities", "all that are needed"),
    }
}

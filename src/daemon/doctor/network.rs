//! Whether the pod network can be made: tried in a network namespace that goes with this thread.

use std::{fs, io, thread};

use nix::sched::{CloneFlags, unshare};

use super::Finding;
use crate::{
    error::chain,
    network::{Config, Network},
};

pub(super) fn examine(config: &Config) -> Vec<Finding> {
    vec![pod_network(config), watches()]
}

fn pod_network(config: &Config) -> Finding {
    match try_out(config.clone()) {
        Ok(()) => Finding::ok("pod network", "links, forwarding and nftables work"),
        Err(reason) => {
            let advice = "load what is missing, now and at boot: modprobe nf_tables nft_chain_nat nft_fib_inet veth";
            Finding::error("pod network", reason, advice)
        }
    }
}

/// Sets the host's side of the network up and takes it down again, in a namespace of its own.
fn try_out(config: Config) -> Result<(), String> {
    let attempt = move || -> Result<(), String> {
        let said = |error: io::Error| error.to_string();
        let directory = tempfile::tempdir().map_err(said)?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("no network namespace can be made: {errno}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(said)?;
        let config = Config { run_dir: directory.path().to_owned(), ..config };
        runtime.block_on(async {
            let network = Network::open(config).map_err(|error| chain(&error))?;
            network.close().await.map_err(|error| chain(&error))
        })
    };
    let attempted = thread::spawn(attempt).join();
    attempted.unwrap_or_else(|_| Err("the attempt broke off".to_owned()))
}

/// Kubelet and many containers watch files; the default limit is soon used up.
fn watches() -> Finding {
    const ENOUGH: u64 = 512;
    let most = fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap_or_default();
    match most.trim().parse::<u64>() {
        Ok(most) if most < ENOUGH => Finding::warning(
            "file watches",
            format!("fs.inotify.max_user_instances is {most}: a node full of pods uses more"),
            format!("sysctl fs.inotify.max_user_instances={ENOUGH}, also in /etc/sysctl.d"),
        ),
        _ => Finding::ok("file watches", "enough inotify instances"),
    }
}

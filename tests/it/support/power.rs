//! What is left of an engine when its machine is started again.

use std::fs;

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Daemon, eventually};

/// Takes away what a reboot does: processes, pinned namespaces, cgroups, and what is in memory. That ends the daemon.
pub(crate) async fn cut_power(daemon: &mut Daemon) {
    daemon.kill();
    eventually("the processes are gone", async || {
        let processes = daemon.leftovers().processes;
        for (process, _) in &processes {
            // One that has just ended by itself is as good.
            let _ = kill(Pid::from_raw(*process), Signal::SIGKILL);
        }
        processes.is_empty()
    })
    .await;
    let (left, memory) = (daemon.leftovers(), daemon.path("run"));
    for point in left.mounts.iter().rev().filter(|point| point.starts_with(&memory)) {
        umount2(point, MntFlags::MNT_DETACH).expect("unmount");
    }
    for cgroup in left.cgroups.iter().rev() {
        fs::remove_dir(cgroup).expect("remove a cgroup");
    }
    fs::remove_dir_all(memory).expect("remove what is in memory");
}

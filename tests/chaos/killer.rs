//! Kills the daemon, monitors and containers.

use std::fs;

use nix::{
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};

use crate::{actor::Actor, promises::listed};

/// Kills until the run is over.
pub(crate) async fn kill(mut actor: Actor<'_>) {
    while !actor.world.is_over() {
        actor.pause(1200).await;
        match actor.chance.u32(..20) {
            _ if actor.world.is_calm() => kill_somebody(&mut actor).await,
            0..=8 => end_daemon(&mut actor, Signal::SIGKILL).await,
            9..=10 => end_daemon(&mut actor, Signal::SIGTERM).await,
            _ => kill_somebody(&mut actor).await,
        }
    }
}

/// Ends the daemon in the middle of all calls, starts it again, perhaps kills that one while it recovers, and has it
/// account for what was promised.
async fn end_daemon(actor: &mut Actor<'_>, signal: Signal) {
    actor.say(&format!("{signal} to the daemon"));
    let pid = actor.world.daemon().await.pid();
    actor.world.daemon_dies();
    send(Pid::from_raw(pid), signal).expect("end the daemon");
    let mut daemon = actor.world.daemon_alone().await;
    crate::support::eventually("the daemon ends", async || daemon.has_ended()).await;
    while actor.chance.u32(..4) == 0 {
        let while_recovering = std::time::Duration::from_millis(actor.chance.u64(..150));
        if tokio::time::timeout(while_recovering, daemon.start_again()).await.is_err() {
            actor.say("kill the daemon while it recovers");
            daemon.kill();
        } else {
            daemon.kill();
        }
    }
    daemon.start_again().await;
    let listed = listed(&daemon).await;
    actor.world.promises.borrow().check(&listed);
    actor.say("the daemon is back");
}

/// Kills a container's main process, or the monitor of its pod.
async fn kill_somebody(actor: &mut Actor<'_>) {
    let mark = actor.world.daemon().await.mark().to_owned();
    let candidates = actor.world.promises.borrow().processes();
    let Some((pid, container, pod)) = actor.chance.choice(candidates) else { return };
    // Between here and the kill nobody else runs, and a process that is still the container's has its cgroup.
    let is_ours = fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(&mark));
    if !is_ours {
        return;
    }
    let victim = match actor.chance.u32(..4) {
        0 => {
            let Some(monitor) = monitor_of(pid) else { return };
            actor.say(&format!("kill the monitor {monitor} of pod {pod}"));
            actor.world.promises.borrow_mut().kills_monitor(&pod);
            monitor
        }
        _ => {
            actor.say(&format!("kill process {pid} of container {container}"));
            actor.world.promises.borrow_mut().kills(&container);
            pid
        }
    };
    // It may have ended by itself just now.
    let _ = send(Pid::from_raw(victim), Signal::SIGKILL);
}

/// The monitor above a container's process.
fn monitor_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()?;
    let name = fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
    match name.trim() {
        "berth:monitor" => Some(parent),
        _ if parent > 1 => monitor_of(parent),
        _ => None,
    }
}

//! Kills the daemon, monitors and containers, and cuts the power of all.

use std::{fs, time::Duration};

use nix::{
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};

use crate::{
    actor::Actor,
    container::is_process_of,
    faults::Fault,
    promises::listed,
    support::{Daemon, cut_power},
};

/// After so long, what was answered is on disk.
const SETTLED: Duration = Duration::from_millis(500);

/// Kills until the run is over.
pub(crate) async fn kill(mut actor: Actor<'_>) {
    while !actor.world.is_over() {
        actor.pause(1200).await;
        match actor.chance.u32(..20) {
            _ if actor.world.is_calm() => kill_somebody(&mut actor).await,
            0..=8 => end_daemon(&mut actor, Signal::SIGKILL).await,
            9..=10 => end_daemon(&mut actor, Signal::SIGTERM).await,
            11 => restart_machine(&mut actor).await,
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
        let while_recovering = Duration::from_millis(actor.chance.u64(..150));
        if tokio::time::timeout(while_recovering, daemon.try_start_again(&[])).await.is_err() {
            actor.say("kill the daemon while it recovers");
        }
        daemon.kill();
    }
    start(actor, &mut daemon).await;
    let listed = listed(&daemon).await;
    actor.world.promises.borrow().check(&listed);
    actor.say("the daemon is back");
}

/// Ends everything at once, and starts the daemon as the machine's next boot does. Starts and ends of containers are
/// answered before they are on disk, as their monitor knows them, and that ends, too: so nothing is answered for a
/// while before.
async fn restart_machine(actor: &mut Actor<'_>) {
    let mut daemon = actor.world.daemon_alone().await;
    loop {
        let begun = actor.world.age();
        tokio::time::sleep(SETTLED).await;
        if !actor.world.faults.borrow().lasted_after(Fault::Store, begun) {
            break;
        }
    }
    actor.say("the power is cut");
    actor.world.daemon_dies();
    actor.world.promises.borrow_mut().cuts_power();
    cut_power(&mut daemon).await;
    start(actor, &mut daemon).await;
    let listed = listed(&daemon).await;
    actor.world.promises.borrow().check(&listed);
    actor.say("the machine is back");
}

/// Starts the daemon. One that finds no room on its disk may end, until there is some.
async fn start(actor: &Actor<'_>, daemon: &mut Daemon) {
    loop {
        let begun = actor.world.age();
        if daemon.try_start_again(&[]).await {
            return;
        }
        actor.say("the daemon does not start");
        let has_reason = actor.world.faults.borrow().lasted_after(Fault::Store, begun);
        actor.expect(has_reason, || daemon.output());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Kills a container's main process, or the monitor of its pod.
async fn kill_somebody(actor: &mut Actor<'_>) {
    let candidates = actor.world.promises.borrow().processes();
    let Some((pid, container, pod)) = actor.chance.choice(candidates) else { return };
    // Between here and the kill nobody else runs.
    if !is_process_of(pid, &container) {
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

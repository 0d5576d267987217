//! The parent of a pod's processes, and the daemon's way to talk to it.
//!
//! - **Owns:** the spawner, one monitor process per pod, their wire; stdio, terminals, logs, attached clients, exits.
//! - **Never:** decides what runs, knows images, networks or the state database; the process half knows no tokio.
//! - **Runs in:** [`client`] in the daemon; [`process`] in the spawner and the monitors.
//! - **Start reading at:** `wire` (what is said), then [`process`] (one event loop).
//!
//! # What daemon and monitor can rely on
//!
//! **Who lives how long.** The spawner ends when its daemon closes the socket, by whatever death. A monitor ends after a
//! `Shutdown` that succeeded, after a launch of its pod that failed, and for no other reason: no signal but SIGKILL ends
//! it, and daemons come and go. Several may be connected at a time.
//!
//! **What is on disk**, in the pod's directory, which the engine makes and removes:
//!
//! | file | made | removed |
//! |---|---|---|
//! | `monitor.sock` | before the pod's namespaces | with the monitor |
//! | `monitor.log` | with the monitor; empty unless something went wrong | by the engine |
//! | `containers/<id>/exit.json` | before a container's end is told | by `Forget` |
//!
//! **A container's end** is told to every connected daemon once, and is in every later [`client::Snapshot`] until it is
//! forgotten. It is told after: its main process was reaped, the cgroup's count of out-of-memory kills was read, all
//! its other processes were killed, its output was read to the end (for half a second if processes elsewhere hold its
//! pipes), the log has it (for a second if the disk is full; the rest is written when there is room), the cgroup is
//! removed, and the exit record is on disk.
//!
//! **Output** is neither lost nor reordered within a stream. When the log or an attached client does not take it, the
//! container waits; a client that takes nothing for ten seconds is dropped, a log never is.
//!
//! **Execs** end with the connection that started them, unless detached, and then all that descends from them is killed.
//! What an exec leaves behind when it ends by itself goes on as a part of the container.
//!
//! **Versions.** A monitor may be older or newer than the daemon: `wire` says how both stay understandable.

pub mod client;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
pub mod process;
mod record;
mod wire;

/// Name of the file in a pod's directory that its monitor writes notes into, and panics.
const LOG: &str = "monitor.log";

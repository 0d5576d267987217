//! How a fork of the spawner becomes a monitor.

use std::{fs::File, io, os::fd::AsFd as _, path::Path};

use rustix::fs::{Mode, OFlags};

use super::{
    Buffer, Monitor, note,
    poll::{EventFlags, Poller, Watched},
    reap,
    waiting::Waiting,
};
use crate::{
    monitor::{
        LOG,
        wire::{Failure, Frame, Kind, Reply, Request, Versions, socket},
    },
    runtime::{cgroup::Hierarchy, launch, plan::PodPlan},
};

/// As little as a container's own processes may be preferred by the kernel's out-of-memory killer. (−1000 is for what
/// must never be killed; a monitor that eats all memory should be.)
const OOM_SCORE_ADJ: &str = "-999";

/// A monitor without a pod.
#[derive(Debug)]
pub(super) struct Spare(io::Result<Instruments>);

/// What a monitor watches with.
#[derive(Debug)]
pub(super) struct Instruments {
    poller: Poller,
    ends_of_children: Watched,
}

impl Spare {
    /// Does everything for which the pod need not be known. What fails is told to whoever asks for the pod.
    pub(super) fn prepare() -> Self {
        Self(leave_spawner().and_then(|()| Instruments::make()))
    }
}

impl Instruments {
    /// Makes them. All signals are blocked already.
    pub(super) fn make() -> io::Result<Self> {
        let mut poller = Poller::new()?;
        let ends_of_children = poller.watch(reap::ends_of_children()?, Some(EventFlags::IN))?;
        Ok(Self { poller, ends_of_children })
    }
}

/// Makes the monitor and its pod, and answers the request. `None` when that failed, which is answered too.
pub(super) fn monitor(spare: Spare, mut request: Frame, cgroups: Hierarchy) -> Option<Monitor> {
    let sequence = request.sequence;
    let connection = request.descriptors.pop()?;
    let built = match request.message() {
        Ok(Request::Pod { plan }) => spare
            .0
            .and_then(|instruments| open_log(&plan.dir).map(|()| instruments))
            .map_err(|error| Failure::system("set the monitor up", &error))
            .and_then(|instruments| build(&plan, cgroups, instruments)),
        _ => Err(Failure::Unsupported),
    };
    drop(request);
    match built {
        Ok(mut monitor) => {
            let hello = monitor.hello(Versions::spoken().newest());
            monitor.adopt(connection);
            let token = monitor.connections.first()?.token();
            monitor.with_connection(token, |connection| {
                connection.greeted = true;
                connection.answer(sequence, Ok((hello, vec![])))
            });
            Some(monitor)
        }
        Err(failure) => {
            let answer: Result<Reply, Failure> = Err(failure);
            let sent = Frame::new(Kind::Reply, sequence, &answer, vec![]).and_then(|mut frame| frame.send(&connection));
            if let Err(error) = sent {
                note("answer the request for a pod", &error);
            }
            None
        }
    }
}

/// Leaves the spawner and the daemon behind.
fn leave_spawner() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::thread::set_name(c"berth:spare")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    rustix::process::chdir("/")?;
    // Not allowed without CAP_SYS_RESOURCE to less than what the daemon was given; then it stays at that.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(rustix::stdio::dup2_stdout(&null)?)
}

/// Begins to be the monitor of a pod: panics and notes go to `<pod dir>/monitor.log` from now on.
fn open_log(pod_dir: &Path) -> io::Result<()> {
    rustix::thread::set_name(c"berth:monitor")?;
    let log = File::options().append(true).create(true).open(pod_dir.join(LOG))?;
    Ok(rustix::stdio::dup2_stderr(log.as_fd())?)
}

/// Makes the pod's namespaces and all that the monitor needs.
pub(super) fn build(plan: &PodPlan, cgroups: Hierarchy, instruments: Instruments) -> Result<Monitor, Failure> {
    let failed = |error: io::Error| Failure::system("set the monitor up", &error);
    let Instruments { mut poller, ends_of_children } = instruments;
    // Before the pod is there: a daemon that is started while the launch goes on must find somebody to shut it down.
    let listener = socket::listen(&plan.dir).map_err(failed)?;
    let listener = poller.watch(listener, Some(EventFlags::IN)).map_err(failed)?;
    let pod = launch::pod(plan).inspect_err(|_| {
        let _ = socket::unlink(&plan.dir);
    })?;
    Ok(Monitor {
        pod_dir: plan.dir.clone(),
        pod,
        init_cgroup: plan.cgroup.as_deref().map(|path| cgroups.open(path)),
        cgroups,
        poller,
        listener,
        accept_again: None,
        ends_of_children,
        connections: Vec::new(),
        containers: Vec::new(),
        execs: Vec::new(),
        left_behind: Vec::new(),
        waiting: Waiting::default(),
        shutdown: None,
        buffer: Buffer::default(),
    })
}

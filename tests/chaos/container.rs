//! A container of a run: what it does, and what its status and its log must say.

use std::{fs, path::PathBuf};

use berth::wire::{
    ContainerConfig, ContainerState, ContainerStatus, ContainerStatusRequest, ListContainersRequest, PodSandboxConfig,
};
use tonic::{Code, Status};

use crate::{
    actor::Actor,
    count_log::count,
    pictures::{Pictures, pull},
    support::{Daemon, shell},
};

/// What a container's program does. All count, a number a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Goes on until SIGTERM, then exits with 7.
    Obedient,
    /// Goes on until SIGKILL.
    Stubborn,
    /// Counts so far, then exits with this code.
    Finite { lines: u64, code: i32 },
}

impl Kind {
    pub(crate) fn random(chance: &mut fastrand::Rng) -> Self {
        match chance.u32(..5) {
            0..=1 => Self::Obedient,
            2 => Self::Stubborn,
            _ => Self::Finite { lines: chance.u64(..300), code: chance.i32(0..120) },
        }
    }

    fn script(self) -> String {
        let endless = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done";
        match self {
            Self::Obedient => format!("trap 'exit 7' TERM; {endless}"),
            Self::Stubborn => format!("trap '' TERM; {endless}"),
            Self::Finite { lines, code } => {
                format!("i=0; while [ $i -lt {lines} ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit {code}")
            }
        }
    }
}

/// How far a container is, as it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not started.
    Created,
    /// Its process and when it was started.
    Running { pid: i32, started_at: i64 },
    /// Its exit code and when it ended.
    Over { code: i32, finished_at: i64 },
}

/// A container.
#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) pod: String,
    /// What the file `/name` of its image says.
    pub(crate) image: String,
    pub(crate) phase: Phase,
    /// Its limit after an update that was answered, bytes.
    pub(crate) memory: i64,
    /// Its log's files, the present one last.
    pub(crate) logs: Vec<PathBuf>,
    /// Signals that it may have got: it may end with other codes than its own.
    pub(crate) stopped: bool,
}

impl Container {
    /// Creates one. Its image is pulled when somebody has removed it.
    pub(crate) async fn create(
        actor: &mut Actor<'_>,
        pod: &str,
        pod_config: &PodSandboxConfig,
        name: &str,
        image: &str,
    ) -> Option<Self> {
        let kind = Kind::random(&mut actor.chance);
        let mut config = shell(name, &kind.script());
        config.image.get_or_insert_default().image = image.to_owned();
        share_pids_as(&mut config, pod_config);
        let mut may_be_there = false;
        let id = loop {
            let create = async |daemon: &Daemon| daemon.try_create(pod, &config, pod_config).await;
            let answer = actor.call(&format!("create {name}, {kind:?}, of {image}"), create).await;
            may_be_there |= actor.repeated;
            match answer {
                Ok(id) => break id,
                Err(status) if status.code() == Code::NotFound => {
                    actor.insist(&format!("pull {image}"), async |daemon| pull(daemon, image).await).await;
                }
                Err(_) if actor.world.promises.borrow().was_killed(pod) => return None,
                // An earlier attempt has done it, and its answer was lost.
                Err(status) => {
                    let is_there = may_be_there && status.code() == Code::AlreadyExists;
                    actor.expect(is_there, || format!("create {name}: {status:?}"));
                    break actor.insist("find it", async |daemon| find(daemon, pod, name).await).await;
                }
            }
        };
        actor.world.promises.borrow_mut().made(&id);
        let logs = vec![PathBuf::from(&pod_config.log_directory).join(&config.log_path)];
        let image = Pictures::says(image).to_owned();
        let (pod, phase) = (pod.to_owned(), Phase::Created);
        Some(Self { id, kind, pod, image, phase, memory: 0, logs, stopped: false })
    }

    /// Whether it, or its pod's monitor, has been killed.
    pub(crate) fn was_killed(&self, actor: &Actor<'_>) -> bool {
        let promises = actor.world.promises.borrow();
        promises.was_killed(&self.id) || promises.was_killed(&self.pod)
    }

    /// Whether only SIGKILL ends it.
    pub(crate) fn is_stubborn(&self) -> bool {
        self.kind == Kind::Stubborn
    }

    /// Whether a call may find it ended.
    pub(crate) fn may_have_ended(&self, actor: &Actor<'_>) -> bool {
        self.stopped || matches!(self.kind, Kind::Finite { .. }) || self.was_killed(actor)
    }

    /// Fails unless the daemon says of it what it must.
    pub(crate) async fn check(&mut self, actor: &mut Actor<'_>) {
        let id = self.id.clone();
        let (status, pid) = actor.insist("status", async |daemon| status(daemon, &id).await).await;
        let said = || format!("{self:#?}\nis said to be {status:#?} with process {pid:?}");
        let over = Phase::Over { code: status.exit_code, finished_at: status.finished_at };
        let phase = match (self.phase, status.state()) {
            (Phase::Created, ContainerState::ContainerCreated) => Phase::Created,
            (Phase::Running { pid: before, started_at }, ContainerState::ContainerRunning) => {
                actor.expect((pid, status.started_at) == (Some(before), started_at), said);
                let is_there = fs::exists(format!("/proc/{before}")).is_ok_and(|there| there);
                actor.expect(is_there || self.may_have_ended(actor), said);
                self.phase
            }
            (Phase::Created, ContainerState::ContainerExited) => {
                actor.expect(self.was_killed(actor), said);
                over
            }
            (Phase::Running { started_at, .. }, ContainerState::ContainerExited) => {
                actor.world.promises.borrow_mut().ends(&self.id);
                actor.expect(self.ended_well(actor, status.exit_code), said);
                actor.expect(status.started_at == started_at && status.finished_at >= started_at, said);
                over
            }
            (before, state) => {
                actor.expect(before == over && state == ContainerState::ContainerExited, said);
                before
            }
        };
        if self.memory > 0 && status.state() == ContainerState::ContainerRunning {
            let linux = status.resources.as_ref().and_then(|resources| resources.linux.as_ref());
            actor.expect(linux.is_some_and(|linux| linux.memory_limit_in_bytes == self.memory), said);
        }
        self.phase = phase;
        self.check_log(actor);
    }

    /// Notes what is first said of it after its start.
    pub(crate) async fn has_started(&mut self, actor: &mut Actor<'_>) {
        let id = self.id.clone();
        let (status, pid) = actor.insist("status after the start", async |daemon| status(daemon, &id).await).await;
        let started_at = status.started_at;
        match (status.state(), pid) {
            (ContainerState::ContainerRunning, Some(pid)) => {
                actor.world.promises.borrow_mut().runs(pid, &self.id, &self.pod);
                self.phase = Phase::Running { pid, started_at };
            }
            _ => {
                self.phase = Phase::Running { pid: 0, started_at };
                self.check(actor).await;
            }
        }
    }

    /// Whether it may have ended with this code.
    fn ended_well(&self, actor: &Actor<'_>, code: i32) -> bool {
        let own = match self.kind {
            // Before the shell has come to its trap, SIGTERM ends it or, as PID 1, does nothing.
            Kind::Obedient => self.stopped && (code == 7 || count(&self.logs) == 0),
            Kind::Stubborn => self.stopped && (code == 137 || count(&self.logs) == 0),
            Kind::Finite { code: own, .. } => code == own || self.stopped && [137, 143].contains(&code),
        };
        let promises = actor.world.promises.borrow();
        own || (self.stopped || promises.was_killed(&self.id)) && code == 137 || promises.was_killed(&self.pod)
    }

    /// Nothing is missing, doubled or out of order; and all is there of one that came to its end.
    fn check_log(&self, actor: &Actor<'_>) {
        let counted = count(&self.logs);
        if let (Kind::Finite { lines, code }, Phase::Over { code: ended, .. }) = (self.kind, self.phase)
            && code == ended
            && !self.was_killed(actor)
        {
            actor.expect(counted == lines, || format!("{self:#?} has {counted} lines in its log"));
        }
    }
}

/// A pod's containers share its PIDs or do not, as the pod says.
fn share_pids_as(config: &mut ContainerConfig, pod: &PodSandboxConfig) {
    let security = pod.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = security.and_then(|security| security.namespace_options.clone());
    crate::support::security(config).namespace_options = options;
}

/// A container's status, and its process if it runs.
async fn status(daemon: &Daemon, id: &str) -> Result<(ContainerStatus, Option<i32>), Status> {
    let request = ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
    let answer = daemon.runtime().container_status(request).await?.into_inner();
    let info: serde_json::Value = serde_json::from_str(&answer.info["info"]).expect("info is JSON");
    let pid = info["pid"].as_i64().and_then(|pid| pid.try_into().ok()).filter(|pid| *pid > 0);
    Ok((answer.status.expect("a status"), pid))
}

async fn find(daemon: &Daemon, pod: &str, name: &str) -> Result<String, Status> {
    let listed = daemon.runtime().list_containers(ListContainersRequest::default()).await?.into_inner().containers;
    let mut found = listed.into_iter().filter(|container| {
        container.pod_sandbox_id == pod && container.metadata.as_ref().is_some_and(|metadata| metadata.name == name)
    });
    Ok(found.next().expect("a container whose name is taken is listed").id)
}

//! A container of a run: what it does, and what its status and its log must say.

use std::{fs, path::PathBuf, time::Duration};

use berth::wire::{
    ContainerState, ContainerStatus, ContainerStatusRequest, ListContainersRequest, Mount, NamespaceMode,
    NamespaceOption, PodSandboxConfig,
};
use tonic::{Code, Status};

use crate::{
    actor::Actor,
    count_log::count,
    faults::Fault,
    pictures::{Pictures, pull, spec},
    program::Kind,
    support::{Daemon, patience, shell},
};

/// How long the rest of a log may take once its disk has room, s.
const LAG: u64 = 5;

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
    /// What the file `/name` of the image says that is its volume.
    pub(crate) volume: Option<String>,
    pub(crate) has_terminal: bool,
    pub(crate) is_on_host_network: bool,
    pub(crate) phase: Phase,
    /// Its limit after an update that was answered, bytes.
    pub(crate) memory: i64,
    /// Its log's files, the present one last.
    pub(crate) logs: Vec<PathBuf>,
    /// Signals that it may have got: it may end with other codes than its own.
    pub(crate) stopped: bool,
    /// Its pod's stop has begun, which does not wait for a full disk of logs.
    pub(crate) abandoned: bool,
    /// When it was created, by the age of the run.
    born: Duration,
}

impl Container {
    /// Creates one of some image. Images are pulled when somebody has removed them.
    pub(crate) async fn create(
        actor: &mut Actor<'_>,
        pod: &str,
        pod_config: &PodSandboxConfig,
        name: &str,
        images: &[&str],
    ) -> Option<Self> {
        let kind = Kind::random(&mut actor.chance);
        let has_terminal = actor.chance.u32(..4) == 0;
        let image = images[actor.chance.usize(..images.len())];
        let volume = (actor.chance.u32(..4) == 0).then(|| images[actor.chance.usize(..images.len())]);
        let mut config = shell(name, &kind.script(has_terminal));
        config.image = spec(image);
        config.mounts.extend(volume.map(image_volume));
        (config.tty, config.stdin) = (has_terminal, has_terminal);
        let namespaces = namespaces_of(pod_config);
        let is_on_host_network = namespaces.as_ref().is_some_and(|it| it.network() == NamespaceMode::Node);
        crate::support::security(&mut config).namespace_options = namespaces;
        let mut may_be_there = false;
        let power_cuts = actor.world.promises.borrow().power_cuts();
        let id = loop {
            let create = async |daemon: &Daemon| daemon.try_create(pod, &config, pod_config).await;
            let what = format!("create {name}, {kind:?}, terminal: {has_terminal}, of {image} with {volume:?}");
            let answer = actor.call(&what, create).await;
            may_be_there |= actor.repeated;
            match answer {
                Ok(id) => break id,
                Err(status) if status.code() == Code::NotFound => {
                    for image in [image].into_iter().chain(volume) {
                        actor.insist(&format!("pull {image}"), async |daemon| pull(daemon, image).await).await;
                    }
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
        actor.world.promises.borrow_mut().made(&id, power_cuts);
        let logs = vec![PathBuf::from(&pod_config.log_directory).join(&config.log_path)];
        Some(Self {
            id,
            kind,
            pod: pod.to_owned(),
            image: Pictures::says(image).to_owned(),
            volume: volume.map(|volume| Pictures::says(volume).to_owned()),
            has_terminal,
            is_on_host_network,
            phase: Phase::Created,
            memory: 0,
            logs,
            stopped: false,
            abandoned: false,
            born: actor.world.age(),
        })
    }

    /// Whether it, or its pod's monitor, has been killed.
    pub(crate) fn was_killed(&self, actor: &Actor<'_>) -> bool {
        let promises = actor.world.promises.borrow();
        promises.was_killed(&self.id) || promises.was_killed(&self.pod)
    }

    /// Whether it counts until it is told to end.
    pub(crate) fn is_endless(&self) -> bool {
        !matches!(self.kind, Kind::Finite { .. })
    }

    /// Whether only SIGKILL ends it.
    pub(crate) fn is_stubborn(&self) -> bool {
        self.kind == Kind::Stubborn
    }

    /// Whether a call may find it ended.
    pub(crate) fn may_have_ended(&self, actor: &Actor<'_>) -> bool {
        self.stopped || !self.is_endless() || self.was_killed(actor)
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
                actor.expect(self.ended_well(actor, &status), said);
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
        self.check_log(actor).await;
    }

    /// Whether the daemon says that it runs.
    pub(crate) async fn runs(&self, actor: &mut Actor<'_>) -> bool {
        let (status, _) = actor.insist("status", async |daemon| status(daemon, &self.id).await).await;
        status.state() == ContainerState::ContainerRunning
    }

    /// Notes what is first said of it after the call for its start.
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

    /// Whether it may have ended like this.
    fn ended_well(&self, actor: &Actor<'_>, status: &ContainerStatus) -> bool {
        let code = status.exit_code;
        let own = match self.kind {
            // Before the shell has come to its trap, SIGTERM ends it or, as PID 1, does nothing.
            Kind::Obedient => self.stopped && (code == 7 || self.has_written_nothing(actor)),
            Kind::Stubborn => self.stopped && (code == 137 || self.has_written_nothing(actor)),
            Kind::Finite { code: own, .. } => code == own || self.stopped && [137, 143].contains(&code),
        };
        let promises = actor.world.promises.borrow();
        let lacked = actor.world.faults.borrow().is_named_in(&status.message, self.born);
        let has_not_begun = status.reason == "StartError" && code == 128 && lacked;
        let was_killed = (self.stopped || promises.was_killed(&self.id)) && code == 137;
        own || has_not_begun || was_killed || promises.was_killed(&self.pod)
    }

    fn has_written_nothing(&self, actor: &Actor<'_>) -> bool {
        count(&self.logs, self.log_may_lag(actor)) == 0
    }

    /// Whether its log's disk has been full in its time: what it has written may not be there yet.
    fn log_may_lag(&self, actor: &Actor<'_>) -> bool {
        actor.world.faults.borrow().lasted_after(Fault::Logs, self.born)
    }

    /// Nothing is missing, doubled or out of order; and all is there of one that came to its end.
    async fn check_log(&self, actor: &Actor<'_>) {
        let counted = count(&self.logs, self.log_may_lag(actor));
        let (Kind::Finite { lines, code }, Phase::Over { code: ended, .. }) = (self.kind, self.phase) else { return };
        if code != ended || self.was_killed(actor) || counted == lines {
            return;
        }
        let may_come = counted < lines && self.log_may_lag(actor);
        actor.expect(may_come, || format!("{self:#?} has {counted} lines in its log"));
        if !self.abandoned {
            self.expect_rest_of_log(actor, lines).await;
        }
    }

    /// What a full disk did not take comes when there is room again.
    async fn expect_rest_of_log(&self, actor: &Actor<'_>, lines: u64) {
        let mut deadline = actor.world.age() + patience(LAG);
        while count(&self.logs, true) < lines {
            if actor.world.faults.borrow().lasts(Fault::Logs) {
                deadline = actor.world.age() + patience(LAG);
            }
            actor.expect(actor.world.age() < deadline, || format!("the rest is missing of the log of {self:#?}"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// An image as a volume, read-only as they all are.
fn image_volume(image: &str) -> Mount {
    Mount { container_path: "/volume".to_owned(), image: spec(image), readonly: true, ..Default::default() }
}

/// A pod's containers share its PIDs and its network or do not, as the pod says.
fn namespaces_of(pod: &PodSandboxConfig) -> Option<NamespaceOption> {
    let security = pod.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    security.and_then(|security| security.namespace_options.clone())
}

/// Whether a process is still a container's, by the name of its cgroup.
pub(crate) fn is_process_of(process: i32, container: &str) -> bool {
    fs::read_to_string(format!("/proc/{process}/cgroup")).is_ok_and(|text| text.contains(container))
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

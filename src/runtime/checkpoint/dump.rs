//! Writing a running container down.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::Path,
};

use super::{
    Description, Error, NETWORK_KEY, complaints, mounts,
    rpc::{CgroupMode, Criu, Options, Request, RequestType},
    system,
};
use crate::runtime::plan::ContainerPlan;

/// Name of criu's log among its images.
const LOG: &str = "dump.log";
/// The step at which all is dumped and the processes are still stopped.
const STOPPED: &str = "post-dump";
/// Largest deleted file whose content goes into a checkpoint, bytes.
const GHOST_LIMIT: u32 = 256 << 20;

/// What is to be dumped.
#[derive(Debug, Clone, Copy)]
pub struct Dump<'a> {
    /// criu.
    pub criu: &'a Path,
    /// The container's main process.
    pub pid: i32,
    /// What it was made by.
    pub plan: &'a ContainerPlan,
    /// It is in its pod's network namespace, not in the node's.
    pub pod_network: bool,
    /// An existing empty directory for criu's images.
    pub images: &'a Path,
}

/// Dumps a container, which goes on afterwards, and calls `while_stopped` at the moment that the dump shows; if that
/// says `false`, the dump fails. Blocking, for as long as criu takes.
///
/// # Errors
/// When criu fails; the container goes on then, too.
pub fn dump(request: &Dump<'_>, while_stopped: impl FnOnce() -> bool) -> Result<Description, Error> {
    let pid = request.pid;
    let read = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        fs::read_to_string(&path).map_err(system(format!("read {path}")))
    };
    // The number could be another process's by now.
    if !read("cgroup")?.contains(request.plan.id.as_str()) {
        return Err(system("look at the main process")(std::io::ErrorKind::NotFound.into()));
    }
    let stream = |number: u32| {
        let link = fs::read_link(format!("/proc/{pid}/fd/{number}")).unwrap_or_default();
        link.to_string_lossy().into_owned()
    };
    let description = Description {
        stdio: [stream(0), stream(1), stream(2)],
        external_mounts: mounts::external(&read("mountinfo")?, request.plan),
        pod_network: request.pod_network,
    };
    let images = File::open(request.images).map_err(system(format!("open {}", request.images.display())))?;
    let criu = Criu::start(request.criu)?;
    criu.send(&Request {
        r#type: RequestType::Dump.into(),
        opts: Some(options(request, &description, &images)?),
        notify_success: None,
    })?;
    converse(&criu, while_stopped, &request.images.join(LOG))?;
    Ok(description)
}

fn options(request: &Dump<'_>, description: &Description, images: &File) -> Result<Options, Error> {
    let mut external: Vec<String> =
        description.external_mounts.iter().map(|target| format!("mnt[{target}]:{target}")).collect();
    if request.pod_network {
        let path = format!("/proc/{}/ns/net", request.pid);
        let namespace = fs::metadata(&path).map_err(system(format!("look at {path}")))?;
        external.push(format!("net[{}]:{NETWORK_KEY}", namespace.ino()));
    }
    Ok(Options {
        images_dir_fd: images.as_raw_fd(),
        pid: Some(request.pid),
        leave_running: Some(true),
        ext_unix_sk: Some(true),
        tcp_established: Some(true),
        tcp_skip_in_flight: Some(true),
        file_locks: Some(true),
        log_level: Some(4),
        log_file: Some(LOG.to_owned()),
        notify_scripts: Some(true),
        link_remap: Some(true),
        manage_cgroups_mode: Some(CgroupMode::Ignore.into()),
        ghost_limit: Some(GHOST_LIMIT),
        external,
    })
}

/// Answers criu's notifications until the dump is done.
fn converse(criu: &Criu, while_stopped: impl FnOnce() -> bool, log: &Path) -> Result<(), Error> {
    let mut while_stopped = Some(while_stopped);
    loop {
        let response = criu.receive()?;
        if response.r#type() != RequestType::Notify {
            return match (response.success, while_stopped) {
                (true, None) => Ok(()),
                (true, Some(_)) => Err(Error::Criu(format!("it said nothing of the step {STOPPED}"))),
                (false, _) => Err(Error::Criu(complaints(log))),
            };
        }
        let is_stopped = response.notify.is_some_and(|notify| notify.script() == STOPPED);
        let goes_on = match while_stopped.take_if(|_| is_stopped) {
            Some(while_stopped) => while_stopped(),
            None => true,
        };
        criu.send(&Request { r#type: RequestType::Notify.into(), opts: None, notify_success: Some(goes_on) })?;
    }
}

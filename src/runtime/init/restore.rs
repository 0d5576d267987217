//! Becoming criu, to make a container's processes again.
//!
//! What criu does not make itself is put into place before: the cgroup, the root file system, and all that comes from
//! outside of the container, each on a place of a scratch file system that only this mount namespace has.

use std::{
    convert::Infallible,
    ffi::CString,
    fs,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, mkdirat},
    mount::MountAttrFlags,
};

use super::{file_systems, identity, mounts, namespaces, rootfs};
use crate::{
    runtime::{
        cgroup::Entrance,
        checkpoint::{self, NETWORK_KEY, Restore},
        error::{At as _, LaunchError, Step},
        launch::{PodInit, Reporter, Stdio},
        plan::{ContainerPlan, MountPlan, MountSource, PATH},
    },
    sys::{mount::FileSystem, openat2::Root},
};

/// Where, on the scratch file system, the root is.
const ROOT: &str = "root";

/// Becomes criu, which makes the container's processes and ends. They become children of the launcher.
pub(in crate::runtime) fn restore(
    plan: &ContainerPlan,
    restore: &Restore,
    pod: &PodInit,
    stdio: Stdio,
    entrance: &Entrance,
    reporter: &Reporter,
) -> Result<Infallible, LaunchError> {
    super::keep_own(reporter, &stdio, entrance, pod.descriptors())?;
    rustix::process::umask(Mode::empty());
    namespaces::join_cgroup(entrance)?;
    namespaces::oom_score_adj(plan.oom_score_adj)?;
    let sources = mounts::prepare(plan, None)?;
    mounts::make_private()?;
    let image = rootfs::prepare(plan, None)?;
    let images = mounts::prepare_images(plan, None)?;
    // The restored processes stay in criu's.
    namespaces::new_cgroup()?;

    let scratch = Scratch::new(&plan.mountpoint)?;
    let root = rootfs::attach(image, &scratch.make(ROOT)?)?;
    let user = identity::resolve(&root, &plan.user, &plan.groups)?;
    for (index, (source, image)) in sources.into_iter().zip(images).enumerate() {
        scratch.put(index, source.or(image), &plan.mounts[index])?;
    }
    let mut command = Command::new(restore);
    command.option("--root", scratch.path(ROOT).display());
    command.external_mounts(plan, restore, &scratch)?;
    command.namespaces(restore, pod)?;
    command.streams(restore, stdio)?;
    reporter.ready(&user, None)?;
    command.execute()
}

/// A tmpfs over the pod's directory, in this mount namespace.
struct Scratch {
    directory: PathBuf,
    root: Root,
}

impl Scratch {
    fn new(directory: &Path) -> Result<Self, LaunchError> {
        let tmpfs = FileSystem::new("tmpfs").and_then(|fs| fs.mount(MountAttrFlags::empty()));
        let root = rootfs::attach(tmpfs.at(Step::Rootfs, "scratch tmpfs")?, directory)?;
        Ok(Self { directory: directory.to_owned(), root })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn make(&self, name: &str) -> Result<PathBuf, LaunchError> {
        mkdirat(&self.root, name, Mode::RWXU).at(Step::Rootfs, name)?;
        Ok(self.path(name))
    }

    /// Mounts what a mount of the plan shows on the place of its index, if it comes from outside.
    fn put(&self, index: usize, tree: Option<OwnedFd>, planned: &MountPlan) -> Result<(), LaunchError> {
        let (name, target) = (index.to_string(), planned.target.as_str());
        match (tree, &planned.source) {
            (Some(tree), _) => mounts::attach_tree(&tree, &self.root, &name).at(Step::Mount, target),
            (None, source @ MountSource::Cgroup { .. }) => {
                file_systems::mount(&self.root, &name, source, planned.flags, None)
            }
            (None, _) => Ok(()),
        }
    }
}

/// criu's command line.
struct Command<'a> {
    restore: &'a Restore,
    args: Vec<String>,
}

impl<'a> Command<'a> {
    fn new(restore: &'a Restore) -> Self {
        let images = restore.images.display();
        let args = [
            "criu",
            "restore",
            "--restore-detached",
            "--manage-cgroups=ignore",
            "--tcp-close",
            "--ext-unix-sk",
            "--file-locks",
            "-v4",
        ];
        let mut command = Self { restore, args: args.map(str::to_owned).into() };
        command.option("--images-dir", images);
        command.option("--log-file", checkpoint::RESTORE_LOG);
        command.option("--pidfile", checkpoint::PID_FILE);
        command
    }

    fn option(&mut self, name: &str, value: impl std::fmt::Display) {
        self.args.extend([name.to_owned(), value.to_string()]);
    }

    /// Says where each mount from outside is found. Checkpoint and plan must have the same.
    fn external_mounts(
        &mut self,
        plan: &ContainerPlan,
        restore: &Restore,
        scratch: &Scratch,
    ) -> Result<(), LaunchError> {
        let known = &restore.description.external_mounts;
        let here = |mount: &&MountPlan| checkpoint::is_external(&mount.source);
        if let Some(new) = plan.mounts.iter().filter(here).find(|mount| !known.contains(&mount.target)) {
            return Err(LaunchError::new(Step::Mount, format!("{}: the checkpoint has no such mount", new.target)));
        }
        for target in known {
            let Some((index, within)) = checkpoint::source(plan, target) else {
                let what = format!("{target}: the checkpoint has a mount there, and the container has none");
                return Err(LaunchError::new(Step::Mount, what));
            };
            let source = match index {
                Some(index) if within.as_os_str().is_empty() => scratch.path(&index.to_string()),
                Some(index) => scratch.path(&index.to_string()).join(within),
                None => within,
            };
            self.option("--external", format_args!("mnt[{target}]:{}", source.display()));
        }
        Ok(())
    }

    /// Gives criu the pod's namespaces.
    fn namespaces(&mut self, restore: &Restore, pod: &PodInit) -> Result<(), LaunchError> {
        if restore.description.pod_network != pod.net.is_some() {
            return Err(LaunchError::new(Step::Namespace, "net: the checkpoint was made on another kind of network"));
        }
        if let Some(net) = &pod.net {
            let inherited = inherit(net, Step::Namespace)?;
            self.option("--inherit-fd", format_args!("fd[{inherited}]:{NETWORK_KEY}"));
        }
        for (name, namespace) in [("ipc", &pod.ipc), ("uts", &pod.uts)] {
            if let Some(namespace) = namespace {
                // It is opened by a child of criu.
                let path = format!("/proc/{}/fd/{}", std::process::id(), inherit(namespace, Step::Namespace)?);
                self.option("--join-ns", format_args!("{name}:{path}"));
            }
        }
        Ok(())
    }

    /// Gives criu the new ends of the pipes that the main process had.
    fn streams(&mut self, restore: &Restore, stdio: Stdio) -> Result<(), LaunchError> {
        let Stdio::Pipes { stdin, stdout, stderr } = stdio else {
            return Err(LaunchError::new(Step::Console, "a container with a terminal cannot be restored"));
        };
        let mut given: Vec<&str> = Vec::new();
        for (stream, key) in [stdin, stdout, stderr].into_iter().zip(&restore.description.stdio) {
            if key.starts_with("pipe:[") && !given.contains(&key.as_str()) {
                let inherited = inherit(&stream, Step::Stdio)?;
                self.option("--inherit-fd", format_args!("fd[{inherited}]:{key}"));
                given.push(key);
            }
        }
        Ok(())
    }

    fn execute(self) -> Result<Infallible, LaunchError> {
        let program = &self.restore.criu;
        let text = |text: &[u8]| CString::new(text).map_err(|_| LaunchError::new(Step::Execute, "NUL byte"));
        let path = text(program.as_os_str().as_bytes())?;
        let args = self.args.iter().map(|arg| text(arg.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        // criu runs iptables and the like.
        let env = [text(format!("PATH={PATH}").as_bytes())?];
        let _ = fs::remove_file(self.restore.images.join(checkpoint::PID_FILE));
        nix::unistd::execve(&path, &args, &env).at(Step::Execute, program.display())
    }
}

/// A copy of a descriptor that survives the execution of a program.
fn inherit(descriptor: &OwnedFd, step: Step) -> Result<i32, LaunchError> {
    let copy = rustix::io::dup(descriptor).at(step, "descriptor for criu")?;
    let number = copy.as_raw_fd();
    std::mem::forget(copy);
    Ok(number)
}

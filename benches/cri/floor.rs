//! What the kernel alone takes for a pod with a container: no engine can be faster.
//!
//! Namespaces, a pair of links, a cgroup in each hierarchy, an overlay, `pivot_root` and the start of a static program,
//! one after the other, with nothing that a daemon, a database or a protocol would add. It leaves out what is not needed
//! to run the program: addresses, routes, `/proc`, `/sys`, devices, capabilities, seccomp, a log, and cpusets, which need
//! values before they take a process.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use netlink_packet_route::link::{InfoData, InfoVeth};
use nix::{
    fcntl::{OFlag, openat},
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::stat::{Mode, mkdirat},
    unistd::{UnlinkatFlags, chdir, pivot_root, unlinkat},
};
use rtnetlink::{LinkUnspec, LinkVeth};

/// The kernel's time for each of `rounds` pods; leaves none.
pub(crate) fn measure(rounds: usize) -> Vec<Duration> {
    let directory = tempfile::tempdir().expect("make a temporary directory");
    let lower = directory.path().join("lower");
    fs::create_dir(&lower).expect("make the lower layer");
    fs::copy("/bin/busybox", lower.join("sleep")).expect("copy busybox");
    let hierarchies = hierarchies();
    let one = |round| {
        let site = Site::prepare(directory.path(), &lower, &hierarchies, round);
        // A thread's namespaces end with it.
        thread::scope(|scope| scope.spawn(|| site.run()).join()).expect("a pod of the kernel's alone")
    };
    (0..rounds).map(one).collect()
}

/// Where cgroups are made: every hierarchy of v1 with a controller, or that of v2.
fn hierarchies() -> Vec<File> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("read the mounts");
    let mounts: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let without = ["name=", "cpuset"];
    let of_type = |wanted: &str| -> Vec<File> {
        let found = mounts.iter().filter(|fields| fields[2] == wanted);
        let found = found.filter(|fields| !without.iter().any(|option| fields[3].contains(option)));
        found.map(|fields| File::open(fields[1]).expect("open a hierarchy")).collect()
    };
    let first = of_type("cgroup");
    if first.is_empty() { of_type("cgroup2") } else { first }
}

/// What one round needs.
struct Site<'a> {
    name: String,
    root: PathBuf,
    overlay: String,
    hierarchies: &'a [File],
}

impl<'a> Site<'a> {
    fn prepare(directory: &Path, lower: &Path, hierarchies: &'a [File], round: usize) -> Self {
        let name = format!("bench{}-{round}", std::process::id());
        let directory = directory.join(&name);
        let [upper, work, root] = ["upper", "work", "root"].map(|kind| directory.join(kind));
        for path in [&directory, &upper, &work, &root] {
            fs::create_dir(path).expect("make a directory");
        }
        let (lower, upper, work) = (lower.display(), upper.display(), work.display());
        let overlay = format!("lowerdir={lower},upperdir={upper},workdir={work},volatile");
        Self { name, root, overlay, hierarchies }
    }

    /// Runs a program in namespaces of its own and ends it; the time until it runs.
    fn run(&self) -> Duration {
        let asynchronous = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let host = {
            let _inside = asynchronous.enter();
            let (connection, handle, _) = rtnetlink::new_connection().expect("connect to the host's links");
            asynchronous.spawn(connection);
            handle
        };
        let started = Instant::now();
        let namespaces = CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWNET;
        unshare(namespaces).expect("make namespaces");
        asynchronous.block_on(make_links(&host, &self.name));
        self.enter_root();
        let mut program = start();
        self.enclose(&program);
        let time = started.elapsed();
        program.kill().expect("kill the program");
        program.wait().expect("wait for the program");
        for hierarchy in self.hierarchies {
            unlinkat(hierarchy, self.name.as_str(), UnlinkatFlags::RemoveDir).expect("remove a cgroup");
        }
        time
    }

    fn enter_root(&self) {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("privacy");
        let options = Some(self.overlay.as_str());
        mount(Some("overlay"), &self.root, Some("overlay"), MsFlags::empty(), options).expect("overlay");
        chdir(&self.root).expect("enter the root");
        pivot_root(".", ".").expect("change the root");
        umount2(".", MntFlags::MNT_DETACH).expect("leave the host's root");
    }

    /// Puts the program into cgroups of its own.
    fn enclose(&self, program: &Child) {
        for hierarchy in self.hierarchies {
            mkdirat(hierarchy, self.name.as_str(), Mode::from_bits_truncate(0o755)).expect("make a cgroup");
            let members = format!("{}/cgroup.procs", self.name);
            let members = openat(hierarchy, members.as_str(), OFlag::O_WRONLY, Mode::empty()).expect("open a cgroup");
            File::from(members).write_all(program.id().to_string().as_bytes()).expect("enter a cgroup");
        }
    }
}

fn start() -> Child {
    let mut command = Command::new("/sleep");
    command.arg("1000");
    command.spawn().expect("start the program")
}

/// One end in the host's namespace, the other in that of the calling thread.
async fn make_links(host: &rtnetlink::Handle, name: &str) {
    let own = File::open("/proc/thread-self/ns/net").expect("open the pod's network namespace");
    let peer = LinkUnspec::new_with_name("eth0").setns_by_fd(own.as_raw_fd());
    let pair = LinkVeth::new(name, "eth0");
    let pair = pair.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
    host.link().add(pair.build()).execute().await.expect("make a pair of links");
}

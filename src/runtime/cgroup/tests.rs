//! Tests on the host's real cgroups, whichever version it has, in private ones that are removed again. They need root.

use std::{
    io::Write as _,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::*;
use crate::types::Resources;

/// A cgroup of a test's own.
struct Scratch(Cgroup);

impl Scratch {
    fn new(limits: &Limits) -> Self {
        Self(hierarchy().create(&Self::path(), limits).expect("create a cgroup"))
    }

    fn path() -> String {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).expect("random bytes");
        format!("/berth-test-{:016x}/pod/container", u64::from_le_bytes(random))
    }

    /// The outermost of the directories made for it.
    fn top(&self) -> Cgroup {
        let name = self.0.path().components().next().expect("not the root");
        hierarchy().open(&name.as_os_str().to_string_lossy())
    }

    /// Starts a shell script in it, which gets `sh`'s own process moved before it runs.
    fn run(&self, script: &str) -> Running {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read _; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh");
        self.0.add(i32::try_from(child.id()).expect("pid")).expect("add");
        child.stdin.take().expect("stdin").write_all(b"\n").expect("go");
        Running(child)
    }

    fn wait_for(&self, count: usize) -> Vec<i32> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let pids = self.0.processes().expect("processes");
            if pids.len() == count || Instant::now() > deadline {
                assert_eq!(pids.len(), count, "processes: {pids:?}");
                return pids;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let top = self.top();
        let _ = top.thaw();
        let _ = top.kill();
        let _ = top.remove();
    }
}

/// A child that is reaped in the end.
struct Running(Child);

impl Running {
    fn status(&mut self) -> ExitStatus {
        self.0.wait().expect("wait")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hierarchy() -> Hierarchy {
    Hierarchy::detect().expect("cgroups are mounted")
}

fn limits(resources: &Resources) -> Limits {
    Limits::plan(resources, None, hierarchy().version()).expect("limits that make sense")
}

fn is_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(libc::SIGKILL)
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for good in ["/a", "/kubepods/burstable/pod1/berth-1", "/system.slice/a:b:c.scope"] {
        validate_path(good).expect(good);
    }
    let long = format!("/{}", "a".repeat(256));
    for bad in ["", "/", "a", "/a/", "//a", "/a/../b", "/./a", "/a\n", "/a\0b", long.as_str()] {
        assert!(validate_path(bad).is_err(), "{bad:?} was taken for a path");
    }
    assert_eq!(hierarchy().open("/a/../../b").path(), Path::new("a/b"));
}

#[test]
fn the_root_is_never_killed_or_removed() {
    let root = hierarchy().open("/..");
    assert!(matches!(root.kill(), Err(Error::InvalidPath(_))));
    assert!(matches!(root.remove(), Err(Error::InvalidPath(_))));
}

#[test]
fn a_cgroup_comes_and_goes_with_its_parents_and_what_is_below() {
    let scratch = Scratch::new(&Limits::default());
    let directories = scratch.0.directories();
    assert!(directories.iter().all(|directory| directory.is_dir()));
    for directory in &directories {
        tree::create(&directory.join("nested/deeper")).expect("below");
    }
    scratch.0.remove().expect("remove");
    assert!(directories.iter().all(|directory| !directory.exists()));
    scratch.0.remove().expect("remove what is gone");
    assert_eq!(scratch.0.processes().expect("processes of what is gone"), [] as [i32; 0]);
    scratch.0.kill().expect("kill what is gone");
}

#[test]
fn limits_are_set_raised_lowered_and_read_back() {
    let mib = 1 << 20;
    let first = Resources {
        cpu_period: 50_000,
        cpu_quota: 20_000,
        cpu_shares: 1024,
        memory_limit: 64 * mib,
        memory_swap_limit: 64 * mib,
        ..Resources::default()
    };
    let scratch = Scratch::new(&limits(&first).with_pids(50).expect("pids"));
    let expect = |asked: &Resources| {
        let read = scratch.0.effective().expect("effective");
        assert_eq!(
            (read.cpu_period, read.cpu_quota, read.cpu_shares, read.memory_limit, read.memory_swap_limit),
            (asked.cpu_period, asked.cpu_quota, asked.cpu_shares, asked.memory_limit, asked.memory_swap_limit)
        );
    };
    expect(&first);
    let metrics = scratch.0.metrics().expect("metrics");
    assert_eq!((metrics.tasks_limit, metrics.limits.memory_limit), (Some(50), 64 * mib));

    let raised =
        Resources { memory_limit: 256 * mib, memory_swap_limit: 512 * mib, cpu_quota: 200_000, ..first.clone() };
    scratch.0.apply(&limits(&raised)).expect("raise");
    expect(&raised);

    let lowered = Resources { memory_limit: 32 * mib, memory_swap_limit: 48 * mib, cpu_period: 10_000, ..raised };
    scratch.0.apply(&limits(&lowered)).expect("lower");
    expect(&lowered);

    let lifted = Resources { memory_limit: -1, memory_swap_limit: -1, cpu_quota: -1, ..lowered };
    scratch.0.apply(&limits(&lifted)).expect("lift");
    expect(&lifted);
}

#[test]
fn what_kubelet_always_sends_is_taken() {
    let hugepages =
        ["64KB", "2MB", "1GB"].map(|size| crate::types::HugepageLimit { page_size: size.to_owned(), limit: 0 });
    let resources = Resources {
        cpu_shares: 2,
        cpu_period: 100_000,
        hugepage_limits: hugepages.to_vec(),
        unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
        ..Resources::default()
    };
    drop(Scratch::new(&limits(&resources)));
}

#[test]
fn a_refused_limit_leaves_no_cgroup_behind() {
    let path = Scratch::path();
    let resources = Resources { cpuset_cpus: "60000".into(), ..Resources::default() };
    let error = hierarchy().create(&path, &limits(&resources)).expect_err("no host has that many CPUs");
    assert!(matches!(error, Error::Write { .. }), "{error}");
    let scratch = Scratch(hierarchy().open(&path));
    assert!(scratch.0.directories().iter().all(|directory| !directory.exists()));
}

#[test]
fn all_processes_are_killed_even_frozen_ones() {
    for frozen in [false, true] {
        let scratch = Scratch::new(&Limits::default());
        let mut shell = scratch.run("sleep 1000 & sleep 1000 & wait");
        assert!(scratch.wait_for(3).contains(&i32::try_from(shell.0.id()).expect("pid")));
        if frozen {
            scratch.0.freeze().expect("freeze");
        }
        scratch.0.kill().expect("kill");
        assert!(is_killed(shell.status()));
        scratch.wait_for(0);
        scratch.0.remove().expect("remove");
    }
}

#[test]
fn frozen_processes_stand_still_until_thawed() {
    let scratch = Scratch::new(&Limits::default());
    let _shell = scratch.run("while :; do :; done");
    let used = || scratch.0.stats().expect("stats").cpu.expect("cpu").usage_ns;
    scratch.0.freeze().expect("freeze");
    // A stopped task's last slice is accounted for when its CPU is next looked at.
    std::thread::sleep(Duration::from_millis(50));
    let frozen = used();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(used(), frozen, "it went on");
    scratch.0.thaw().expect("thaw");
    let deadline = Instant::now() + Duration::from_secs(20);
    while used() == frozen {
        assert!(Instant::now() < deadline, "it did not go on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_branch_is_killed_without_the_rest() {
    let scratch = Scratch::new(&Limits::default());
    let _main = scratch.run("exec sleep 1000");
    let branch = scratch.0.branch("exec-1").expect("branch");
    let mut exec = scratch.run("exec sleep 1000");
    let pids = scratch.wait_for(2);
    let directory = scratch.0.tracking().join("exec-1");
    let exec_pid = i32::try_from(exec.0.id()).expect("pid");
    file::write(&directory.join("cgroup.procs"), &exec_pid.to_string()).expect("move");
    assert_eq!(branch.processes().expect("branch's"), [exec_pid]);
    assert_eq!(scratch.0.processes().expect("all").len(), pids.len(), "a branch's processes belong to the whole");
    branch.kill().expect("kill");
    assert!(is_killed(exec.status()));
    branch.remove().expect("remove");
    scratch.wait_for(1);
    assert!(scratch.0.branch("../x").is_err());
}

#[test]
fn memory_kills_are_counted() {
    let resources = Resources { memory_limit: 8 << 20, memory_swap_limit: 8 << 20, ..Resources::default() };
    let scratch = Scratch::new(&limits(&resources));
    assert_eq!(scratch.0.oom_kills().expect("oom kills"), 0);
    let mut hungry = scratch.run("exec tail /dev/zero");
    assert!(is_killed(hungry.status()));
    assert!(scratch.0.oom_kills().expect("oom kills") >= 1);
}

#[test]
fn use_is_measured() {
    let scratch = Scratch::new(&Limits::default());
    let before = scratch.0.stats().expect("stats");
    assert_eq!(before.cpu.expect("cpu").usage_ns, 0);
    let mut shell = scratch.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000");
    let deadline = Instant::now() + Duration::from_secs(20);
    while scratch.0.stats().expect("stats").cpu.expect("cpu").usage_ns == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stats = scratch.0.stats().expect("stats");
    assert!(stats.cpu.expect("cpu").usage_ns > 0);
    let memory = stats.memory.expect("memory");
    assert!(memory.usage > 0 && memory.working_set <= memory.usage, "{memory:?}");
    assert_eq!(scratch.0.tasks().expect("tasks"), Some(1));
    scratch.0.kill().expect("kill");
    shell.status();
}

#[test]
fn a_lower_memory_limit_than_what_is_used_is_refused() {
    let resources = Resources { memory_limit: 256 << 20, ..Resources::default() };
    let scratch = Scratch::new(&limits(&resources));
    // `dd` fills a buffer of 32 MiB and then waits for somebody to read it.
    let mut shell = scratch.run("dd if=/dev/zero bs=32M | sleep 1000");
    let deadline = Instant::now() + Duration::from_secs(60);
    while scratch.0.stats().expect("stats").memory.expect("memory").rss < 32 << 20 {
        assert!(Instant::now() < deadline, "the buffer was not filled");
        std::thread::sleep(Duration::from_millis(10));
    }
    let lower = limits(&Resources { memory_limit: 8 << 20, ..Resources::default() });
    let error = scratch.0.apply(&lower).expect_err("less than is used");
    assert_eq!(crate::error::Classify::kind(&error), crate::error::Kind::FailedPrecondition, "{error}");
    assert_eq!(scratch.0.effective().expect("effective").memory_limit, 256 << 20);
    assert!(shell.0.try_wait().expect("wait").is_none(), "it was killed for it");
}

#[test]
fn devices_outside_the_rules_are_closed() {
    let rules = Some(DeviceRule::defaults());
    let restricted = Scratch::new(&Limits::plan(&Resources::default(), rules, hierarchy().version()).expect("limits"));
    let script = ": > /dev/null || exit 1; head -c 1 /dev/urandom > /dev/null || exit 2; \
                  (: < /dev/kmsg) 2> /dev/null && exit 3; exit 0";
    assert_eq!(restricted.run(script).status().code(), Some(0));
    let open = Scratch::new(&Limits::default());
    assert_eq!(open.run(": < /dev/kmsg && exit 0").status().code(), Some(0));
}

#[test]
fn a_thread_walks_in_by_itself() {
    let scratch = Scratch::new(&Limits::default());
    let entrance = scratch.0.entrance().expect("entrance");
    assert_eq!(
        entrance.directory().is_some(),
        hierarchy().version() == Version::V2 || scratch.0.tracking().join("cgroup.kill").exists()
    );
    // On v1 the file that is written moves one thread, so one of this process can try it; on v2 there is nothing to
    // write after `clone3`.
    let lines = std::thread::spawn(move || {
        entrance.join(true).expect("join");
        std::fs::read_to_string("/proc/thread-self/cgroup").expect("own cgroups")
    })
    .join()
    .expect("thread");
    let inside = lines.lines().filter(|line| line.ends_with("/pod/container")).count();
    match &*hierarchy().0 {
        Layout::V1(layout) => assert_eq!(inside, layout.hierarchies.len(), "{lines}"),
        Layout::V2(_) => assert_eq!(inside, 0, "{lines}"),
    }
}

#[test]
#[ignore = "needs systemd as init"]
fn systemd_makes_keeps_and_ends_a_scope() {
    let mut random = [0; 32];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).expect("random bytes");
    let id = crate::types::Id::from_bytes(random);
    let pod = Driver::Systemd.pod("", "/berth-test", &id).expect("path");
    let path = Driver::Systemd.container(&pod, &id);
    let asked = Resources { memory_limit: 64 << 20, cpu_shares: 512, cpu_quota: 50_000, ..Resources::default() };
    let rules = Some(DeviceRule::defaults());
    let first = Limits::plan(&asked, rules, hierarchy().version()).expect("limits").with_pids(100).expect("pids");

    let created = hierarchy().create(&path, &first).expect("create");
    let scratch = Scratch(hierarchy().open(&path));
    let expect = |asked: &Resources| {
        let read = scratch.0.effective().expect("effective");
        assert_eq!((read.memory_limit, read.cpu_quota), (asked.memory_limit, asked.cpu_quota));
        // Weights are coarser than shares.
        assert!(read.cpu_shares.abs_diff(asked.cpu_shares) <= 10, "{} shares", read.cpu_shares);
    };
    expect(&asked);
    scratch.wait_for(1);
    let mut child = scratch.run("exec sleep 1000");
    scratch.wait_for(2);
    drop(created);
    assert_eq!(scratch.wait_for(1), [i32::try_from(child.0.id()).expect("pid")], "the placeholder is gone");

    let raised = Resources { memory_limit: 128 << 20, cpu_quota: 70_000, ..asked };
    scratch.0.apply(&limits(&raised)).expect("raise");
    // As package managers do: systemd then writes all limits that it knows.
    assert!(Command::new("systemctl").arg("daemon-reload").status().expect("systemctl").success());
    expect(&raised);

    scratch.0.kill().expect("kill");
    assert!(is_killed(child.status()));
    scratch.0.remove().expect("remove");
    assert!(scratch.0.directories().iter().all(|directory| !directory.exists()));
    scratch.0.remove().expect("remove what is gone");
}

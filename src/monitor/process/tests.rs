//! A monitor of a pod that has no namespaces of its own, run in the test's thread, and a daemon that misbehaves.

use std::collections::BTreeMap;

use super::*;
use crate::{
    monitor::wire::{Hello, Kind, Request, Versions},
    runtime::plan::PodPlan,
    types::Id,
};

struct Bench {
    monitor: Monitor,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let plan = PodPlan {
            id: Id::from_bytes([1; 32]),
            dir: dir.path().to_owned(),
            hostname: "node".to_owned(),
            net: false,
            ipc: false,
            uts: false,
            shared_pid: false,
            user: None,
            sysctls: BTreeMap::new(),
            cgroup: None,
        };
        let instruments = birth::Instruments::make().expect("instruments");
        let monitor = birth::build(&plan, Hierarchy::detect().expect("cgroups"), instruments).expect("monitor");
        Self { monitor, dir }
    }

    fn connect(&mut self) -> OwnedFd {
        let daemon = socket::connect(self.dir.path()).expect("connect");
        self.run();
        daemon
    }

    /// Handles events until there are none.
    fn run(&mut self) {
        loop {
            let soon = Instant::now() + Duration::from_millis(10);
            let events = self.monitor.poller.wait(Some(soon)).expect("wait");
            if events.is_empty() {
                return;
            }
            for (token, flags) in events {
                self.monitor.handle(token, flags);
            }
        }
    }

    fn ask(&mut self, daemon: &OwnedFd, sequence: u32, request: &impl serde::Serialize) -> Result<Reply, Failure> {
        Frame::new(Kind::Request, sequence, request, vec![]).expect("frame").send(daemon).expect("send");
        self.run();
        let frame = Frame::receive(daemon).expect("receive").expect("an answer");
        assert_eq!((frame.kind, frame.sequence), (Kind::Reply, sequence));
        frame.message().expect("an answer")
    }
}

#[test]
fn peers_of_other_versions_are_understood_as_far_as_possible() {
    let mut bench = Bench::new();
    let daemon = bench.connect();
    let newest = Versions::spoken().newest();
    for (theirs, agreed) in [(newest, newest), (newest + 7, newest), (0, 1)] {
        let reply = bench.ask(&daemon, 5, &Request::Hello { protocol: theirs }).expect("hello");
        assert!(matches!(reply, Reply::Hello(Hello { protocol, .. }) if protocol == agreed));
    }
    let unknown = serde_json::json!({"Teleport": {"to": "mars"}});
    assert!(matches!(bench.ask(&daemon, 6, &unknown), Err(Failure::Unsupported)));
    let newer = serde_json::json!({"Forget": {"container": Id::from_bytes([9; 32]), "gently": true}});
    assert!(matches!(bench.ask(&daemon, 7, &newer), Ok(Reply::Done)));
}

#[test]
fn nonsense_costs_a_daemon_its_connection_and_nobody_else() {
    let mut bench = Bench::new();
    let (good, bad) = (bench.connect(), bench.connect());
    rustix::net::send(&bad, b"what?", rustix::net::SendFlags::empty()).expect("send");
    bench.run();
    assert!(Frame::receive(&bad).expect("closed").is_none());
    bench.ask(&good, 1, &Request::Hello { protocol: Versions::spoken().newest() }).expect("hello");
}

#[test]
fn notices_wait_for_a_slow_daemon_and_not_for_a_dead_one() {
    let mut bench = Bench::new();
    let (slow, never) = (bench.connect(), bench.connect());
    bench.ask(&slow, 1, &Request::Hello { protocol: Versions::spoken().newest() }).expect("hello");
    let notice = Notice::InitExited { status: ExitStatus::ended(0, false, Timestamp(1)) };
    let mut sent = 0;
    while bench.monitor.connections.len() == 2 {
        bench.monitor.notify(&notice);
        sent += 1;
        assert!(sent < 10_000, "there is no bound");
    }
    let mut received = 0;
    while let Ok(Some(frame)) = Frame::receive(&slow) {
        assert_eq!(frame.kind, Kind::Event);
        received += 1;
    }
    assert!(received > 0 && received < sent, "what the socket held is still there");
    let error = Frame::receive(&never).expect_err("not greeted, not told");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    // Queued notices go out as the daemon reads.
    let patient = bench.connect();
    bench.ask(&patient, 1, &Request::Hello { protocol: Versions::spoken().newest() }).expect("hello");
    for _ in 0..received + 100 {
        bench.monitor.notify(&notice);
    }
    let mut got = 0;
    while got < received + 100 {
        match Frame::receive(&patient) {
            Ok(frame) => got += u32::from(frame.is_some()),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                bench.run();
            }
        }
    }
}

#[test]
fn requests_about_what_is_not_there_are_refused() {
    let mut bench = Bench::new();
    let daemon = bench.connect();
    let id = || Id::from_bytes([3; 32]);
    let kill_exec = bench.ask(&daemon, 1, &Request::KillExec { exec: id() });
    assert!(matches!(kill_exec, Err(Failure::NoExec)));
    let kill = bench.ask(&daemon, 2, &Request::Kill { container: id(), signal: crate::types::Signal::KILL });
    assert!(matches!(kill, Err(Failure::NoContainer)));
    let resize = bench.ask(&daemon, 3, &Request::Resize { target: id(), columns: 1, rows: 1 });
    assert!(matches!(resize, Err(Failure::NoExec)));
    let pod = serde_json::json!({"Pod": {"plan": null}});
    assert!(matches!(bench.ask(&daemon, 4, &pod), Err(Failure::Unsupported)));
}

#[test]
fn a_shutdown_takes_the_socket_away_and_answers() {
    let mut bench = Bench::new();
    let daemon = bench.connect();
    Frame::new(Kind::Request, 8, &Request::Shutdown, vec![]).expect("frame").send(&daemon).expect("send");
    bench.run();
    assert!(bench.monitor.shutdown_done());
    let frame = Frame::receive(&daemon).expect("receive").expect("an answer");
    assert!(matches!(frame.message::<Result<Reply, Failure>>(), Ok(Ok(Reply::Done))));
    assert!(socket::connect(bench.dir.path()).is_err());
}

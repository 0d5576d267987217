//! Streams without a container: the test holds the child's ends of the pipes.

use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
};

use super::*;

const NO_STREAMS: Streams = Streams { stdin: false, stdout: false, stderr: false };
const OUTPUTS: Streams = Streams { stdin: false, stdout: true, stderr: true };

struct Bench {
    dir: tempfile::TempDir,
    poller: Poller,
    stdio: Stdio,
    buffer: Vec<u8>,
    /// The child's ends.
    stdin: Option<File>,
    stdout: Option<File>,
    stderr: Option<File>,
}

impl Bench {
    fn new(stdin: bool, stdin_once: bool) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        let io = ContainerIo { log: Some(dir.path().join("log")), stdin, stdin_once };
        let (ends, child) = Ends::open(&io, false).expect("open");
        let launch::Stdio::Pipes { stdin, stdout, stderr } = child else { panic!("no terminal was asked for") };
        let mut poller = Poller::new().expect("epoll");
        let stdio = Stdio::new(ends, None, &mut poller).expect("watch");
        let file = |end: OwnedFd| Some(File::from(end));
        Self {
            dir,
            poller,
            stdio,
            buffer: vec![0; 32 * 1024],
            stdin: file(stdin),
            stdout: file(stdout),
            stderr: file(stderr),
        }
    }

    fn say(&mut self, text: impl AsRef<[u8]>) {
        self.stdout.as_mut().expect("stdout").write_all(text.as_ref()).expect("say");
    }

    fn attach(&mut self, streams: Streams) -> (Streams, Vec<File>) {
        let (granted, ends) = self.stdio.attach(streams, &mut self.poller).expect("attach");
        (granted, ends.into_iter().map(File::from).collect())
    }

    /// Handles events until there are none.
    fn run(&mut self) {
        loop {
            let events = self.poller.wait(Some(Instant::now() + Duration::from_millis(20))).expect("wait");
            if events.is_empty() {
                return;
            }
            for (token, flags) in events {
                self.stdio.handle(token, flags, &mut self.buffer).expect("handle");
            }
        }
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The log's lines without their times.
    fn log(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.log_path()).expect("log");
        log.lines().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect()
    }
}

/// All that can be read without waiting; whether it is the end.
fn read_now(file: &mut File) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match file.read_to_end(&mut bytes) {
        Ok(_) => (bytes, true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => (bytes, false),
        Err(error) => panic!("read: {error}"),
    }
}

#[test]
fn output_goes_to_the_log_and_to_every_client() {
    let mut bench = Bench::new(false, false);
    let (_, mut first) = bench.attach(OUTPUTS);
    let (_, mut second) = bench.attach(Streams { stdout: true, ..NO_STREAMS });
    bench.say("one\ntwo");
    bench.stderr.as_mut().expect("stderr").write_all(b"bad\n").expect("say");
    bench.run();
    assert_eq!(read_now(&mut first[0]), (b"one\ntwo".to_vec(), false));
    assert_eq!(read_now(&mut first[1]), (b"bad\n".to_vec(), false));
    assert_eq!(read_now(&mut second[0]), (b"one\ntwo".to_vec(), false));
    (bench.stdout, bench.stderr) = (None, None);
    bench.run();
    assert!(bench.stdio.is_drained() && bench.stdio.deadline().is_none());
    assert_eq!(read_now(&mut first[0]), (vec![], true), "the end of an output is the end of its pipe");
    let mut log = bench.log();
    log.sort();
    assert_eq!(log, ["stderr F bad", "stdout F one", "stdout P two"]);
}

#[test]
fn a_client_that_goes_away_is_not_missed() {
    let mut bench = Bench::new(true, false);
    let (_, gone) = bench.attach(Streams { stdin: true, ..OUTPUTS });
    let (_, mut stays) = bench.attach(OUTPUTS);
    drop(gone);
    bench.say("one\n");
    bench.run();
    assert_eq!(bench.stdio.clients.len(), 1);
    assert_eq!(read_now(&mut stays[0]).0, b"one\n");
    assert_eq!(bench.log(), ["stdout F one"]);
    assert!(bench.stdio.input.as_ref().is_some_and(Input::is_open), "stdin stays open for the next one");
}

#[test]
fn a_slow_client_holds_the_output_up_for_a_while_and_no_longer() {
    let mut bench = Bench::new(false, false);
    let (_, mut slow) = bench.attach(OUTPUTS);
    let line = format!("{}\n", "x".repeat(1023));
    rustix::io::ioctl_fionbio(bench.stdout.as_ref().expect("stdout"), true).expect("nonblocking");
    let mut said = 0;
    loop {
        bench.run();
        match bench.stdout.as_mut().expect("stdout").write(line.as_bytes()) {
            Ok(1024) => said += 1,
            Ok(_) => panic!("a torn line"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                break;
            }
        }
    }
    assert!(said < 300, "the container was held up only after {said} KiB");
    let logged = bench.log().len();
    assert!(logged < said, "what is in the container's pipe has not been read");
    let deadline = bench.stdio.deadline().expect("a deadline");
    bench.stdio.tick(deadline - Duration::from_secs(1), &mut bench.buffer).expect("tick");
    bench.run();
    assert_eq!(bench.log().len(), logged, "not yet");
    let (read, ended) = read_now(&mut slow[0]);
    assert!(!ended && read.len() % 1024 != 1, "the client catches up a bit");
    bench.run();
    assert!(bench.log().len() > logged, "and the output goes on");
    while bench.stdout.as_mut().expect("stdout").write(line.as_bytes()).is_ok() {
        said += 1;
        bench.run();
    }
    let deadline = bench.stdio.deadline().expect("a deadline");
    bench.stdio.tick(deadline, &mut bench.buffer).expect("tick");
    bench.run();
    assert_eq!(bench.log().len(), said, "the output goes on without the client");
    // Processes that other tests are just starting have copies of the pipe until they execute.
    let closed = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        read_now(&mut slow[0]).1
    });
    assert!(closed, "which finds its pipe closed");
    assert!(bench.stdio.deadline().is_none());
}

#[test]
fn stdin_once_ends_with_its_first_client() {
    let mut bench = Bench::new(true, true);
    let (granted, mut ends) = bench.attach(Streams { stdin: true, ..OUTPUTS });
    assert!(granted.stdin);
    let mut typed = ends.remove(0);
    typed.write_all(b"echo hi\n").expect("type");
    bench.run();
    drop(typed);
    bench.run();
    let mut text = String::new();
    bench.stdin.as_mut().expect("stdin").read_to_string(&mut text).expect("read to the end");
    assert_eq!(text, "echo hi\n");
    let (granted, ends) = bench.attach(Streams { stdin: true, ..OUTPUTS });
    assert_eq!((granted, ends.len()), (OUTPUTS, 2), "no stdin any more");
}

#[test]
fn input_waits_for_the_container() {
    let mut bench = Bench::new(true, true);
    let (_, mut ends) = bench.attach(Streams { stdin: true, ..NO_STREAMS });
    let mut typed = ends.remove(0);
    let text: Vec<u8> = (0..200_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let (mut sent, mut received) = (0, Vec::new());
    rustix::io::ioctl_fionbio(bench.stdin.as_ref().expect("stdin"), true).expect("nonblocking");
    while received.len() < text.len() {
        if sent < text.len() {
            match typed.write(&text[sent..]) {
                Ok(count) => sent += count,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        bench.run();
        received.extend(read_now(bench.stdin.as_mut().expect("stdin")).0);
    }
    assert!(received == text, "the input arrived changed");
}

#[test]
fn a_container_that_closes_its_stdin_closes_its_clients() {
    let mut bench = Bench::new(true, false);
    let (_, mut ends) = bench.attach(Streams { stdin: true, ..NO_STREAMS });
    let mut typed = ends.remove(0);
    bench.stdin = None;
    typed.write_all(b"anybody?").expect("nobody knows yet");
    bench.run();
    assert_eq!(typed.write_all(b"hello?").expect_err("closed").kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_pipe_that_outlives_the_main_process_is_drained_for_a_short_time() {
    let mut bench = Bench::new(true, false);
    bench.say("last words");
    bench.stderr = None;
    bench.stdio.main_ended(&mut bench.buffer).expect("end");
    bench.run();
    assert!(!bench.stdio.is_drained(), "somebody still holds stdout");
    bench.say(", really");
    let deadline = bench.stdio.deadline().expect("a deadline");
    bench.stdio.tick(deadline, &mut bench.buffer).expect("tick");
    assert!(bench.stdio.is_drained() && bench.stdio.deadline().is_none());
    assert_eq!(bench.log(), ["stdout P last words, really"]);
}

#[test]
fn without_stdin_there_is_nothing_to_read() {
    let mut bench = Bench::new(false, false);
    let mut text = String::new();
    bench.stdin.as_mut().expect("stdin").read_to_string(&mut text).expect("read");
    assert_eq!(text, "");
    assert_eq!(bench.attach(Streams { stdin: true, ..NO_STREAMS }).0, NO_STREAMS);
}

/// Puts a file system of so many pages on `dir`, for the calling thread only.
fn mount_small_disk(dir: &std::path::Path, size: &str) {
    use nix::{
        mount::{MsFlags, mount},
        sched::{CloneFlags, unshare},
    };
    unshare(CloneFlags::CLONE_NEWNS).expect("own mounts");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).expect("private");
    mount(Some("disk"), dir, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str())).expect("tmpfs");
}

#[test]
fn a_full_disk_holds_the_output_up_and_loses_nothing() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let disk = tempfile::tempdir().expect("dir");
    mount_small_disk(disk.path(), "64k");
    let log = disk.path().join("log");
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, [0; 32 * 1024]).expect("ballast");
    let mut bench = Bench::new(false, false);
    bench.stdio.log = Some(Log::open(&log).expect("log"));
    let (_, mut attached) = bench.attach(OUTPUTS);
    rustix::io::ioctl_fionbio(bench.stdout.as_ref().expect("stdout"), true).expect("nonblocking");
    let mut said = String::new();
    for number in 0.. {
        let line = format!("{number} {}\n", "x".repeat(100));
        if bench.stdout.as_mut().expect("stdout").write(line.as_bytes()).is_err() {
            break;
        }
        said.push_str(&line);
        assert!(number < 10_000, "the container is never held up");
        if number % 100 == 0 {
            bench.run();
            read_now(&mut attached[0]);
        }
    }
    assert!(bench.stdio.log.as_ref().is_some_and(Log::is_blocked));
    (bench.stdout, bench.stderr) = (None, None);
    bench.stdio.main_ended(&mut bench.buffer).expect("end");
    bench.run();
    assert!(!bench.stdio.is_drained());
    let retry = bench.stdio.deadline().expect("a deadline");
    bench.stdio.tick(retry, &mut bench.buffer).expect("tick");
    assert!(!bench.stdio.is_drained(), "still full");
    let kept: usize = bench.stdio.outputs.iter().map(|output| output.held.len()).sum();
    assert!(kept <= bench.buffer.len(), "{kept} bytes are kept in memory");
    mount_bigger(disk.path());
    while let Some(deadline) = bench.stdio.deadline() {
        bench.stdio.tick(deadline, &mut bench.buffer).expect("tick");
        bench.run();
        read_now(&mut attached[0]);
    }
    assert!(bench.stdio.is_drained());
    let expected: Vec<String> = said.lines().map(|line| format!("stdout F {line}")).collect();
    let written = std::fs::read_to_string(&log).expect("log");
    let lines: Vec<&str> = written.lines().map(|line| line.split_once(' ').expect("a time").1).collect();
    assert!(lines == expected, "{} of {} lines", lines.len(), expected.len());
    nix::mount::umount(disk.path()).expect("nobody has the log open any more");
}

fn mount_bigger(disk: &std::path::Path) {
    use nix::mount::{MsFlags, mount};
    mount(None::<&str>, disk, None::<&str>, MsFlags::MS_REMOUNT, Some("size=8m")).expect("remount");
}

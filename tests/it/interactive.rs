//! Sessions of people with containers: input, terminals, and what is shown of the very beginning.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Command, Output, Stdio},
};

use nix::pty::{Winsize, openpty};

use crate::support::{BUSYBOX, Daemon, container, in_network, pod};

/// Runs the client with this input.
async fn with_input(daemon: &Daemon, arguments: &[&str], input: Vec<u8>) -> Output {
    let mut command = daemon.cli(arguments);
    let run = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run berth");
        let mut stdin = child.stdin.take().expect("its input");
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("wait for berth");
        // A command that reads nothing closes the pipe early.
        let _ = writer.join().expect("the writer");
        output
    };
    tokio::task::spawn_blocking(run).await.expect("the thread")
}

/// Runs the client on a terminal of 33 rows and 111 columns and types; returns what it showed and its exit code.
async fn on_terminal(mut command: Command, typed: &'static str) -> (String, i32) {
    let run = move || {
        let size = Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        let terminal = openpty(&size, None).expect("open a terminal");
        let end = |end: &OwnedFd| Stdio::from(end.try_clone().expect("copy a terminal's end"));
        let slave = &terminal.slave;
        let mut child = command.stdin(end(slave)).stdout(end(slave)).stderr(end(slave)).spawn().expect("run berth");
        // Only the client holds the terminal from now on: its end ends our reading.
        drop((command, terminal.slave));
        let mut master = File::from(terminal.master);
        let mut shown = Vec::new();
        let mut chunk = [0; 4096];
        let mut typed = Some(typed);
        while let Ok(length @ 1..) = master.read(&mut chunk) {
            shown.extend_from_slice(&chunk[..length]);
            // The prompt; some shells ask the terminal where its cursor is after that.
            if shown.windows(2).any(|text| text == b"# ")
                && let Some(typed) = typed.take()
            {
                master.write_all(typed.as_bytes()).expect("type");
            }
        }
        let code = child.wait().expect("wait for berth").code().expect("an exit code");
        (String::from_utf8_lossy(&shown).into_owned(), code)
    };
    tokio::task::spawn_blocking(run).await.expect("the thread")
}

async fn running(daemon: &Daemon) -> String {
    let config = pod(daemon, "p");
    let pod = daemon.run_pod(&config).await;
    daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await
}

#[tokio::test]
async fn an_exec_gets_input_and_shows_output_of_any_size() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let id = running(&daemon).await;
    // More than all buffers on the way hold: each direction must go on while the other one waits.
    let input: Vec<u8> = (0..8u32 << 20).map(|number| (number % 251) as u8).collect();
    let output = with_input(&daemon, &["exec", "-i", &id, "cat"], input.clone()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == input, "{} bytes came back", output.stdout.len());

    let script = "echo out; echo err >&2; cat; exit 9";
    let output = with_input(&daemon, &["exec", &id, "sh", "-c", script], b"not passed on".to_vec()).await;
    assert_eq!(output.status.code(), Some(9));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));

    let output = with_input(&daemon, &["exec", "-i", &id, "/no/such/program"], Vec::new()).await;
    assert_eq!(output.status.code(), Some(127), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_run_with_input_misses_nothing_of_the_beginning() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    for _ in 0..10 {
        let run = ["run", "--rm", "-i", BUSYBOX, "sh", "-c", "echo first; cat; exit 5"];
        let output = with_input(&daemon, &run, b"second\n".to_vec()).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((String::from_utf8_lossy(&output.stdout), stderr), ("first\nsecond\n".into(), "".into()));
        assert_eq!(output.status.code(), Some(5));
    }
    let output = with_input(&daemon, &["run", "--rm", "-i", BUSYBOX, "/no/such/program"], Vec::new()).await;
    assert_eq!(output.status.code(), Some(127));
    let pods = with_input(&daemon, &["pod", "ls", "--json"], Vec::new()).await;
    assert_eq!(pods.stdout.trim_ascii(), b"[]", "a pod is left");
}

#[tokio::test]
async fn a_shell_on_a_terminal_has_its_size_and_its_code() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let shell = "stty size; tty; exit 3\n";
    let (shown, code) = on_terminal(daemon.cli(&["run", "--rm", "-it", BUSYBOX, "sh"]), shell).await;
    assert!(shown.contains("33 111\r\n") && shown.contains("/dev/pts/0"), "{shown}");
    assert_eq!(code, 3, "{shown}");

    let id = running(&daemon).await;
    let (shown, code) = on_terminal(daemon.cli(&["exec", "-it", &id, "sh"]), shell).await;
    assert!(shown.contains("33 111\r\n") && shown.contains("/dev/pts/0"), "{shown}");
    assert_eq!(code, 3, "{shown}");
}

#[tokio::test]
async fn attaching_joins_what_runs_already() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let script = "read word; echo got $word; exit 4";
    let run = ["run", "-d", "-i", "--name", "listener", BUSYBOX, "sh", "-c", script];
    let output = with_input(&daemon, &run, Vec::new()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = with_input(&daemon, &["attach", "-i", "listener"], b"it\n".to_vec()).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b"got it\n"[..]), "{stderr}");
    let output = with_input(&daemon, &["attach", "listener"], Vec::new()).await;
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("exited"));
}

#[tokio::test]
async fn a_forwarded_port_carries_both_directions_and_their_ends() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let id = daemon.run_pod(&config).await;
    // A server in the pod's network: what it answers depends on the end of what it was told.
    let server = in_network(&daemon.path(&format!("run/pods/{id}/ns/net")), || {
        std::net::TcpListener::bind("127.0.0.1:7000").expect("listen")
    });
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = server.accept().expect("a connection");
        let mut told = String::new();
        connection.read_to_string(&mut told).expect("read to the end");
        connection.write_all(format!("you said {told}").as_bytes()).expect("answer");
    });
    let mut command = daemon.cli(&["port-forward", &id, ":7000"]);
    let mut client = command.stdout(Stdio::piped()).spawn().expect("run berth");
    let talk = move || {
        let mut line = String::new();
        let mut output = std::io::BufReader::new(client.stdout.take().expect("its output"));
        std::io::BufRead::read_line(&mut output, &mut line).expect("where it listens");
        let address = line.split(" -> ").next().expect("an address");
        let mut connection = std::net::TcpStream::connect(address).expect("connect");
        connection.write_all(b"hello").expect("say something");
        connection.shutdown(std::net::Shutdown::Write).expect("say no more");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("read to the end");
        client.kill().expect("end it");
        client.wait().expect("wait for it");
        answer
    };
    let answer = tokio::task::spawn_blocking(talk).await.expect("the thread");
    assert_eq!(answer, "you said hello");
    serving.join().expect("the server");
}

#[tokio::test]
async fn limits_are_changed_and_events_are_told() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let mut watch = daemon.cli(&["events"]).stdout(Stdio::piped()).spawn().expect("run berth");
    let id = running(&daemon).await;
    let output = with_input(&daemon, &["update", "--memory", "64m", &id], Vec::new()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let resources = daemon.status(&id).await.resources.expect("resources").linux.expect("of Linux");
    assert_eq!(resources.memory_limit_in_bytes, 64 << 20);

    daemon.stop(&id, 0).await;
    let mut told = std::io::BufReader::new(watch.stdout.take().expect("its output"));
    let line = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        while !line.contains("stopped container") {
            line.clear();
            assert!(std::io::BufRead::read_line(&mut told, &mut line).expect("a line") > 0, "events ended");
        }
        line
    });
    let line = tokio::time::timeout(crate::support::patience(10), line).await.expect("in time").expect("the thread");
    assert!(line.trim_end().ends_with(&format!("stopped container {id} c")), "{line}");
    watch.kill().expect("end it");
    watch.wait().expect("wait for it");
}

//! Log files in the CRI's format.

use std::{fs, path::Path};

use berth::wire::ReopenContainerLogRequest;

use crate::support::{Daemon, eventually, pod, refusal, shell};

/// Runs a script to its end and returns its log, line by line: stream, tag, text.
async fn lines(daemon: &Daemon, script: &str) -> Vec<(String, String, String)> {
    daemon.import_busybox().await;
    let config = pod(daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &shell("c", script), &config).await;
    let status = daemon.wait_for_end(&id).await;
    let log = fs::read_to_string(&status.log_path).expect("the log");
    log.lines().map(fields).collect()
}

fn fields(line: &str) -> (String, String, String) {
    let mut fields = line.splitn(4, ' ');
    let time = fields.next().expect("a time");
    assert!(time.len() >= 30 && time.contains('T') && (time.ends_with('Z') || time.contains('+')), "{line}");
    let mut next = || fields.next().unwrap_or_default().to_owned();
    (next(), next(), next())
}

fn line(stream: &str, tag: &str, text: &str) -> (String, String, String) {
    (stream.to_owned(), tag.to_owned(), text.to_owned())
}

#[tokio::test]
async fn lines_carry_time_stream_and_tag() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let got = lines(&daemon, "echo hello World; sleep 0.1; echo  two  blanks >&2; sleep 0.1; echo; printf end").await;
    let wanted = [
        line("stdout", "F", "hello World"),
        line("stderr", "F", "two blanks"),
        line("stdout", "F", ""),
        line("stdout", "P", "end"),
    ];
    assert_eq!(got, wanted);
}

#[tokio::test]
async fn long_lines_are_split_at_16_kib() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let got =
        lines(&daemon, "head -c 40000 /dev/zero | tr '\\0' x; echo; head -c 16384 /dev/zero | tr '\\0' y; echo").await;
    let mut xs = String::new();
    let mut tags = Vec::new();
    for (_, tag, text) in &got {
        assert!(text.len() <= 16384, "a piece of {} bytes", text.len());
        if text.starts_with('x') || (tag == "F" && text.is_empty() && !xs.is_empty() && xs.len() < 40_000) {
            xs.push_str(text);
        }
        tags.push(tag.as_str());
    }
    assert_eq!(xs.len(), 40_000);
    assert_eq!(tags.last(), Some(&"F"));
    let ys: usize = got.iter().filter(|(_, _, text)| text.starts_with('y')).map(|(_, _, text)| text.len()).sum();
    assert_eq!(ys, 16_384);
}

#[tokio::test]
async fn nothing_of_a_fast_writer_is_lost() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let got = lines(&daemon, "seq 1 50000").await;
    assert_eq!(got.len(), 50_000);
    assert!(got.iter().zip(1..).all(|((_, _, text), number)| *text == number.to_string()));
}

#[tokio::test]
async fn a_rotated_log_goes_on_in_a_new_file() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let script = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.02; done";
    let id = daemon.run(&pod, &shell("c", script), &config).await;
    let log = daemon.status(&id).await.log_path;
    let old = format!("{log}.1");
    eventually("there are lines", async || fs::metadata(&log).is_ok_and(|file| file.len() > 0)).await;
    fs::rename(&log, &old).expect("rename");
    let request = ReopenContainerLogRequest { container_id: id.clone() };
    daemon.runtime().reopen_container_log(request.clone()).await.expect("reopen");
    assert!(Path::new(&log).exists(), "the new file is not there");
    let len = fs::metadata(&old).expect("the old file").len();
    eventually("there are lines", async || fs::metadata(&log).is_ok_and(|file| file.len() > 0)).await;
    assert_eq!(fs::metadata(&old).expect("the old file").len(), len, "the old file still grows");
    daemon.stop(&id, 0).await;

    let numbers = [&old, &log].map(|path| fs::read_to_string(path).expect("a log"));
    let numbers = numbers.iter().flat_map(|text| text.lines()).map(|line| fields(line).2);
    assert!(numbers.zip(0..).all(|(text, number): (String, i32)| text == number.to_string()), "lines are lost");

    fs::remove_file(&log).expect("remove");
    refusal(daemon.runtime().reopen_container_log(request).await);
    assert!(!Path::new(&log).exists(), "an ended container's log was made anew");
}

#[tokio::test]
async fn logs_are_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt as _;
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &shell("c", "echo secret"), &config).await;
    let status = daemon.wait_for_end(&id).await;
    let mode = fs::metadata(&status.log_path).expect("the log").permissions().mode();
    assert_eq!(mode & 0o007, 0, "mode {mode:o}");
}

#[tokio::test]
async fn a_container_without_a_log_path_runs() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let mut silent = shell("c", "seq 1 100000; exit 4");
    silent.log_path = String::new();
    let id = daemon.run(&pod, &silent, &config).await;
    let status = daemon.wait_for_end(&id).await;
    assert_eq!((status.exit_code, status.log_path.as_str()), (4, ""));
}

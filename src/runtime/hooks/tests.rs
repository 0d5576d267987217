use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use super::{Hook, Hooks, Phase};
use crate::types::Id;

fn shell(script: &str) -> Hook {
    Hook {
        phase: Phase::Poststop,
        path: "/bin/sh".into(),
        args: ["name", "-c", script].map(str::to_owned).into(),
        env: vec!["PATH=/usr/bin:/bin".to_owned(), "A=b=c".to_owned()],
        timeout: None,
    }
}

fn hooks(directory: &Path, list: &[Hook]) -> Hooks {
    let annotations = BTreeMap::from([("key".to_owned(), "value".repeat(40_000))]);
    let hooks = Hooks::new(&Id::from_bytes([1; 32]), directory, &annotations, list).expect("some");
    fs::create_dir_all(&hooks.bundle).expect("a bundle");
    hooks
}

#[test]
fn a_hook_gets_its_state_its_arguments_and_only_its_environment() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = "cat > state; env > env; pwd > cwd; echo $0 > name; ls /proc/self/fd | wc -l > open";
    let hooks = hooks(directory.path(), &[shell(script)]);
    hooks.run(Phase::Poststart, None).expect("there is none");
    assert!(!hooks.bundle.join("state").exists());
    hooks.run(Phase::Poststop, Some(7)).expect("runs");
    let read = |name: &str| fs::read_to_string(hooks.bundle.join(name)).expect("written");
    let state: serde_json::Value = serde_json::from_str(&read("state")).expect("JSON");
    assert_eq!((&state["status"], &state["pid"]), (&"stopped".into(), &7.into()));
    assert_eq!(state["annotations"]["key"].as_str().map(str::len), Some(200_000), "more than a pipe takes");
    assert!(read("env").contains("A=b=c\n") && !read("env").contains("CARGO"), "{}", read("env"));
    assert_eq!(read("name"), "name\n");
    assert_eq!(Path::new(read("cwd").trim()), hooks.bundle);
}

#[test]
fn a_failure_is_told_with_the_hooks_own_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |hook: Hook| {
        let failure = hooks(directory.path(), &[hook]).run(Phase::Poststop, None).expect_err("fails");
        failure.to_string()
    };
    let told = run(shell("echo it is broken >&2; head -c 300000 /dev/zero >&2; exit 3"));
    assert!(told.starts_with("hook poststop /bin/sh: it ended with code 3: it is broken"), "{told}");
    assert!(told.len() < 5000);
    assert!(run(shell("kill -9 $$")).contains("killed by signal 9"));
    assert!(run(Hook { path: "/no/such/hook".into(), ..shell("") }).contains("/no/such/hook: No such file"));
    let slow = Hook { timeout: Some(1), ..shell("sleep 1000") };
    assert_eq!(slow.limit(), Duration::from_secs(1));
    assert!(run(slow).contains("did not end within 1 s"));
}

#[test]
fn what_a_hook_leaves_running_is_killed_and_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let hooks = hooks(directory.path(), &[shell("sleep 1000 & echo $! > left")]);
    hooks.run(Phase::Poststop, None).expect("it has ended");
    let left = fs::read_to_string(hooks.bundle.join("left")).expect("written");
    let stat = Path::new("/proc").join(left.trim()).join("stat");
    // Killed, but whoever inherits it may not have reaped it yet.
    let is_over = || fs::read_to_string(&stat).map_or(true, |stat| !stat.contains("(sleep)") || stat.contains(") Z "));
    for _ in 0..3000 {
        if is_over() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it still runs");
}

#[test]
fn all_of_a_phase_are_run_where_failures_do_not_matter() {
    let directory = tempfile::tempdir().expect("a directory");
    let hooks = hooks(directory.path(), &[shell("exit 1"), shell("echo > second"), shell("exit 2")]);
    assert_eq!(hooks.run_all(Phase::Poststop, None).len(), 2);
    assert!(hooks.bundle.join("second").exists());
}

//! Attach over SPDY.

use berth::wire::ContainerState;

use crate::support::{Daemon, Remote, log_text, pod, shell};

#[tokio::test]
async fn a_client_that_vanishes_leaves_the_container_to_the_next_one() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    let script = "while read word; do echo got $word; echo and $word >&2; done; exit 4";
    let mut listener = shell("listener", script);
    listener.stdin = true;
    let id = daemon.run(&pod, &listener, &config).await;
    for word in ["one", "two"] {
        let mut attached = Remote::attach(&daemon, &id, &["stdin", "stdout", "stderr"]).await;
        attached.send("stdin", format!("{word}\n").as_bytes()).await;
        attached.hear("stdout", &format!("got {word}\n")).await;
        attached.hear("stderr", &format!("and {word}\n")).await;
        assert_eq!(attached.text("stdout"), format!("got {word}\n"), "only what came while it was attached");
        // Without `stdin_once`, neither the end of one client's input nor that of the client is the container's.
        attached.end("stdin").await;
        drop(attached);
    }
    let mut watching = Remote::attach(&daemon, &id, &["stdout"]).await;
    let mut typing = Remote::attach(&daemon, &id, &["stdin", "stdout"]).await;
    typing.send("stdin", b"three\n").await;
    typing.hear("stdout", "got three\n").await;
    watching.hear("stdout", "got three\n").await;
    assert_eq!(daemon.status(&id).await.state(), ContainerState::ContainerRunning);
    daemon.stop(&id, 0).await;
    // How the container ended is told by its status, not here.
    assert_eq!((watching.exit_code().await, typing.exit_code().await), (0, 0));
}

#[tokio::test]
async fn stdin_once_ends_with_the_input_of_its_first_client() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    let config = pod(&daemon, "p");
    let pod = daemon.run_pod(&config).await;
    for vanishes in [false, true] {
        let mut once = shell(&format!("once-{vanishes}"), "cat; echo over; exit 6");
        (once.stdin, once.stdin_once) = (true, true);
        let id = daemon.run(&pod, &once, &config).await;
        let mut attached = Remote::attach(&daemon, &id, &["stdin", "stdout", "stderr"]).await;
        attached.send("stdin", b"word\n").await;
        attached.hear("stdout", "word\n").await;
        if vanishes {
            drop(attached);
        } else {
            attached.end("stdin").await;
            attached.finish().await;
            assert_eq!(attached.text("stdout"), "word\nover\n");
        }
        let status = daemon.wait_for_end(&id).await;
        assert_eq!((status.exit_code, log_text(&status).as_str()), (6, "word\nover\n"));
    }
}

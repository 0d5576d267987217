//! After many pods everything is as it was before the first.

use std::fs;

use crate::support::{Daemon, container, eventually, pod};

#[tokio::test]
async fn many_pods_leave_nothing() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    one_pod(&daemon, 0).await;
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("the daemon's descriptors").count();
    let threads = || fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("the daemon's threads").count();
    eventually("the first pod is gone", async || is_quiet(&daemon)).await;
    let processes = daemon.leftovers().processes.len();
    let before = descriptors();

    for round in 0..4 {
        let pods = (0..8).map(|number| one_pod(&daemon, 1 + round * 8 + number));
        futures_util::future::join_all(pods).await;
    }
    eventually("all links, mounts and cgroups are gone", async || is_quiet(&daemon)).await;
    eventually("monitors are gone", async || daemon.leftovers().processes.len() <= processes).await;
    // Eight requests at once may have grown a pool of connections or threads, 33 pods more than that.
    eventually("descriptors are closed", async || descriptors() <= before + 8).await;
    assert!(threads() < 40, "{} threads", threads());
}

/// Nothing but the daemon's own processes and the link that holds its gateway addresses.
fn is_quiet(daemon: &Daemon) -> bool {
    let left = daemon.leftovers();
    let places = left.mounts.is_empty() && left.files.is_empty() && left.cgroups.is_empty();
    places && left.rules.is_empty() && left.links.iter().all(|link| link == "berth0")
}

async fn one_pod(daemon: &Daemon, number: usize) {
    let config = pod(daemon, &format!("p{number}"));
    let pod = daemon.run_pod(&config).await;
    let id = daemon.run(&pod, &container("c", &["sleep", "1000"]), &config).await;
    daemon.exec(&id, &["true"]).await;
    daemon.stop(&id, 0).await;
    daemon.remove_pod(&pod).await;
}

#[tokio::test]
async fn pods_that_fail_half_way_leave_nothing() {
    requires!(Root);
    let daemon = Daemon::start().await;
    daemon.import_busybox().await;
    for number in 0..5 {
        let mut config = pod(&daemon, &format!("p{number}"));
        // Well-formed, but the kernel will not have it.
        config.linux.get_or_insert_default().sysctls.insert("net.ipv4.no_such_parameter".into(), "1".into());
        let request = berth::wire::RunPodSandboxRequest { config: Some(config), ..Default::default() };
        let (_, message) = crate::support::refusal(daemon.runtime().run_pod_sandbox(request).await);
        assert!(message.contains("no_such_parameter"), "{message}");
    }
    let request = berth::wire::ListPodSandboxRequest::default();
    let pods = daemon.runtime().list_pod_sandbox(request).await.expect("list").into_inner().items;
    for pod in pods {
        daemon.remove_pod(&pod.id).await;
    }
    eventually("nothing is left", async || is_quiet(&daemon)).await;
}

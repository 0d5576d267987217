//! Pods, execs, lists, and how they grow with the number of pods.

use std::time::{Duration, Instant};

use berth::wire::{
    ContainerStatusRequest, ExecSyncRequest, ListContainerStatsRequest, ListContainersRequest, ListPodSandboxRequest,
    PodSandboxStatusRequest, StopContainerRequest,
};
use futures_util::future::join_all;

use crate::{
    memory,
    node::{Node, Pod},
    report::{Column, Report},
};

/// Clients that make pods at the same time.
const CLIENTS: usize = 8;
/// How often short calls are repeated.
const CALLS: usize = 200;

/// Measures everything about pods; leaves none.
pub(crate) async fn measure(node: &Node, rounds: usize, processes: &[String], standing: usize, results: &mut Column) {
    // The first pod pays for what is made once.
    node.remove(&node.run("warm-up").await).await;
    serial(node, rounds, results).await;
    let before = memory::pss(processes);
    let pods = at_once(node, standing, results).await;
    results.add_size("memory per pod, PSS", memory::pss(processes).saturating_sub(before) / standing as u64);
    lists(node, results).await;
    exec(node, &pods[0], results).await;
    join_all(pods.iter().map(|pod| node.remove(pod))).await;
}

/// Measures beside ever more pods, one column for each of their numbers; leaves none.
pub(crate) async fn growth(node: &Node, rounds: usize, processes: &[String], numbers: &[usize], report: &mut Report) {
    node.remove(&node.run("warm-up").await).await;
    let mut standing = Vec::new();
    for &number in numbers {
        let results = report.column(&format!("{number} pods"));
        for next in standing.len()..number {
            standing.push(node.run(&format!("standing-{next}")).await);
        }
        results.add_size("memory, PSS", memory::pss(processes));
        serial(node, rounds, results).await;
        lists(node, results).await;
        statuses(node, &standing[0], results).await;
        exec(node, &standing[0], results).await;
    }
    for pod in &standing {
        node.remove(pod).await;
    }
}

/// One pod after the other: the time until its container runs, and the time to take it away when that has stopped.
async fn serial(node: &Node, rounds: usize, results: &mut Column) {
    let (mut ready, mut steps, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let started = Instant::now();
        let pod = node.run(&format!("serial-{round}")).await;
        ready.push(started.elapsed());
        steps.push(pod.steps);
        let request = StopContainerRequest { container_id: pod.container.clone(), timeout: 0 };
        node.runtime().stop_container(request).await.expect("stop");
        let started = Instant::now();
        node.remove(&pod).await;
        gone.push(started.elapsed());
    }
    results.add_times("pod ready (run, create, start)", ready);
    for (number, step) in ["RunPodSandbox", "CreateContainer", "StartContainer"].into_iter().enumerate() {
        results.add_times(step, steps.iter().map(|steps| steps[number]).collect());
    }
    results.add_times("pod gone (stop, remove)", gone);
}

/// Several clients make pods, which are left standing.
async fn at_once(node: &Node, count: usize, results: &mut Column) -> Vec<Pod> {
    let started = Instant::now();
    let clients = (0..CLIENTS).map(|client| {
        let node = node.clone();
        tokio::spawn(async move {
            let mut pods = Vec::new();
            for number in (client..count).step_by(CLIENTS) {
                pods.push(node.run(&format!("standing-{number}")).await);
            }
            pods
        })
    });
    let pods: Vec<Pod> = join_all(clients).await.into_iter().flat_map(|pods| pods.expect("a client")).collect();
    results.add_rate(&format!("pods by {CLIENTS} clients"), count, started.elapsed());
    pods
}

async fn lists(node: &Node, results: &mut Column) {
    let mut runtime = node.runtime();
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let started = Instant::now();
        runtime.list_pod_sandbox(ListPodSandboxRequest::default()).await.expect("list pods");
        times.push(started.elapsed());
    }
    results.add_times("ListPodSandbox", std::mem::take(&mut times));
    for _ in 0..CALLS {
        let started = Instant::now();
        runtime.list_containers(ListContainersRequest::default()).await.expect("list containers");
        times.push(started.elapsed());
    }
    results.add_times("ListContainers", std::mem::take(&mut times));
    for _ in 0..CALLS / 10 {
        // Engines that answer from a cache are given the time to let it grow old.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let started = Instant::now();
        runtime.list_container_stats(ListContainerStatsRequest::default()).await.expect("list stats");
        times.push(started.elapsed());
    }
    results.add_times("ListContainerStats", times);
}

async fn statuses(node: &Node, pod: &Pod, results: &mut Column) {
    let mut runtime = node.runtime();
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let request = PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), ..Default::default() };
        let started = Instant::now();
        runtime.pod_sandbox_status(request).await.expect("a pod's status");
        times.push(started.elapsed());
    }
    results.add_times("PodSandboxStatus", std::mem::take(&mut times));
    for _ in 0..CALLS {
        let request = ContainerStatusRequest { container_id: pod.container.clone(), ..Default::default() };
        let started = Instant::now();
        runtime.container_status(request).await.expect("a container's status");
        times.push(started.elapsed());
    }
    results.add_times("ContainerStatus", times);
}

async fn exec(node: &Node, pod: &Pod, results: &mut Column) {
    let mut times = Vec::new();
    for _ in 0..CALLS / 2 {
        let request =
            ExecSyncRequest { container_id: pod.container.clone(), cmd: vec!["/bin/true".to_owned()], timeout: 10 };
        let started = Instant::now();
        node.runtime().exec_sync(request).await.expect("exec");
        times.push(started.elapsed());
    }
    results.add_times("ExecSync of true", times);
}

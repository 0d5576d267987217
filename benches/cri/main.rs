//! Measures a CRI engine over its socket, and another one beside it: pods, execs, lists, memory, pulls.
//!
//! Run by `hack/bench`, which starts the engine. It reports, it never judges: no time here makes anything fail.

#[path = "../../tests/it/support/archive.rs"]
#[expect(dead_code, reason = "tests need more of it")]
mod archive;
mod budget;
mod floor;
mod memory;
mod node;
mod pods;
mod pulls;
#[path = "../../tests/it/support/registry.rs"]
mod registry;
mod report;

use std::{path::PathBuf, time::Duration};

use archive::{Archive, Compression, Layer};
use clap::Parser;

use crate::{node::Node, report::Report};

/// Measures a CRI engine.
#[derive(Debug, Parser)]
struct Arguments {
    /// The engine's socket
    #[arg(long)]
    socket: PathBuf,
    /// Beginnings of the names of the engine's processes, for its memory
    #[arg(long, value_delimiter = ',', default_value = "berth")]
    processes: Vec<String>,
    /// Socket of another engine to measure in the same run
    #[arg(long)]
    against: Option<PathBuf>,
    /// Beginnings of the names of the other engine's processes
    #[arg(long, value_delimiter = ',', default_value = "containerd,pause")]
    against_processes: Vec<String>,
    /// How many pods are made one after the other
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// How many pods stand while memory and lists are measured
    #[arg(long, default_value_t = 100)]
    pods: usize,
    /// Measures the engine alone, beside each of these numbers of pods, and nothing else
    #[arg(long, value_delimiter = ',', conflicts_with = "against")]
    growth: Vec<usize>,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments = Arguments::parse();
    let registry = registry::Registry::start().await;
    let busybox = registry.push(&Archive::busybox(), "busybox", "latest").await;
    let report = match arguments.growth.is_empty() {
        true => compared(arguments, &registry, &busybox).await,
        false => grown(arguments, &busybox).await,
    };
    std::fs::remove_dir_all(node::log_root()).expect("remove the logs");
    report.print();
}

async fn grown(arguments: Arguments, busybox: &str) -> Report {
    let mut report = Report::default();
    let node = Node::connect(&arguments.socket, busybox).await;
    node.pull(busybox).await;
    pods::growth(&node, arguments.rounds, &arguments.processes, &arguments.growth, &mut report).await;
    node.remove_image(busybox).await;
    report
}

async fn compared(arguments: Arguments, registry: &registry::Registry, busybox: &str) -> Report {
    let mut columns = vec![(arguments.socket, arguments.processes)];
    columns.extend(arguments.against.map(|socket| (socket, arguments.against_processes)));
    let images = pulls::push_all(registry).await;
    let mut report = Report::default();
    for (socket, processes) in columns {
        let node = Node::connect(&socket, busybox).await;
        let results = report.column(&node.name().await);
        results.add_size("engine idle, PSS", memory::pss(&processes));
        let daemon = memory::Process::behind(&socket);
        results.add_size("daemon idle, PSS", daemon.pss().unwrap_or_default());
        node.pull(busybox).await;
        pods::measure(&node, arguments.rounds, &processes, arguments.pods, results).await;
        pulls::measure(&node, &daemon, &images, results).await;
        node.remove_image(busybox).await;
    }
    report.set_kernel(floor::measure(arguments.rounds));
    report
}

/// Waits until something is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..500 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("in vain: {what}");
}

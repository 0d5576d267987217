//! A client of port-forward over SPDY.

use std::net::TcpListener;

use super::{Daemon, Spdy, in_network};

pub(crate) const PROTOCOL: &str = "portforward.k8s.io";

/// The two streams of a forwarded connection.
#[derive(Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) error: u32,
    pub(crate) data: u32,
}

/// Opens a pair in the order of kubectl, which says at once that it will send nothing about errors.
pub(crate) async fn open_pair(spdy: &mut Spdy, port: u16, id: &str) -> Pair {
    let port = port.to_string();
    let headers = |kind: &'static str| [("streamtype", kind), ("port", port.as_str()), ("requestid", id)];
    let error = spdy.sink.open(&headers("error")).await;
    spdy.sink.end(error).await;
    Pair { error, data: spdy.sink.open(&headers("data")).await }
}

/// Listens in a network of a pod, or in the test's own.
pub(crate) fn listen(daemon: &Daemon, pod: Option<&str>, address: &str) -> TcpListener {
    let bind = || TcpListener::bind(address).expect("listen");
    match pod {
        Some(pod) => in_network(&daemon.path(&format!("run/pods/{pod}/ns/net")), bind),
        None => bind(),
    }
}

/// Says something and its end over a pair, and hears the answer and the ends of both streams.
pub(crate) async fn talk(spdy: &mut Spdy, pair: Pair, told: &str) -> String {
    spdy.sink.data(pair.data, told.as_bytes()).await;
    spdy.sink.end(pair.data).await;
    spdy.hear("both ends", |heard| [pair.data, pair.error].iter().all(|stream| heard.ended.contains(stream))).await;
    assert_eq!(spdy.heard.text(pair.error), "");
    spdy.heard.text(pair.data)
}

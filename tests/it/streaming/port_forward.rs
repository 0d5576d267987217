//! Port-forward over SPDY, bare and inside a WebSocket.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread::JoinHandle,
};

use berth::wire::NamespaceMode;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::descriptors;
use crate::support::{
    Daemon, Spdy, eventually,
    forward::{PROTOCOL, Pair, listen, open_pair, talk},
    forward_url, pod, web_socket,
};

/// Answers one connection once its client has ended its side.
fn answer(listener: TcpListener, greeting: &'static str) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut told = String::new();
        connection.read_to_string(&mut told).expect("read to the end");
        write!(connection, "{greeting} {told}").expect("answer");
    })
}

#[tokio::test]
async fn pairs_of_streams_carry_connections_side_by_side() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, _) = daemon.run_sleeper().await;
    let before = descriptors(&daemon);
    let servers = [
        answer(listen(&daemon, Some(&pod), "127.0.0.1:7000"), "four:"),
        answer(listen(&daemon, Some(&pod), "[::1]:7001"), "six:"),
    ];
    let (mut spdy, granted) = Spdy::connect(&forward_url(&daemon, &pod).await, &[PROTOCOL]).await;
    assert_eq!(granted, PROTOCOL);
    let nobody = open_pair(&mut spdy, 7999, "0").await;
    let four = open_pair(&mut spdy, 7000, "1").await;
    let six = open_pair(&mut spdy, 7001, "2").await;
    // Both are open at once, and the one that came last is served first.
    assert_eq!(talk(&mut spdy, six, "a word").await, "six: a word");
    assert_eq!(talk(&mut spdy, four, "another").await, "four: another");
    spdy.hear("the refusal", |heard| heard.reset.is_superset(&[nobody.data, nobody.error].into())).await;
    let refusal = spdy.heard.text(nobody.error);
    assert!(refusal.contains("7999") && refusal.to_lowercase().contains("refused"), "{refusal}");
    for server in servers {
        server.join().expect("the server");
    }
    drop(spdy);
    eventually("descriptors are as before", async || descriptors(&daemon) <= before).await;
}

#[tokio::test]
async fn clients_without_request_ids_are_understood() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, _) = daemon.run_sleeper().await;
    let server = answer(listen(&daemon, Some(&pod), "127.0.0.1:7000"), "old:");
    let (mut spdy, _) = Spdy::connect(&forward_url(&daemon, &pod).await, &[PROTOCOL]).await;
    // A data stream that no stream of errors precedes belongs to nothing.
    spdy.sink.open(&[("streamtype", "data"), ("port", "7000")]).await;
    let error = spdy.sink.open(&[("streamtype", "error"), ("port", "7000")]).await;
    let data = spdy.sink.open(&[("streamtype", "data"), ("port", "7000")]).await;
    assert_eq!(talk(&mut spdy, Pair { error, data }, "client").await, "old: client");
    server.join().expect("the server");
}

#[tokio::test]
async fn a_stream_that_the_client_gives_up_ends_its_connection() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, _) = daemon.run_sleeper().await;
    let listener = listen(&daemon, Some(&pod), "127.0.0.1:7000");
    let before = descriptors(&daemon);
    // Sends for as long as it can, whatever it is told.
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        while connection.write_all(&[0; 4096]).is_ok() {}
    });
    let (mut spdy, _) = Spdy::connect(&forward_url(&daemon, &pod).await, &[PROTOCOL]).await;
    let pair = open_pair(&mut spdy, 7000, "0").await;
    spdy.hear("something", |heard| !heard.text(pair.data).is_empty()).await;
    // kubectl does both when its own client has gone, and then waits for the stream of errors to end.
    spdy.sink.end(pair.data).await;
    spdy.sink.reset(pair.data).await;
    spdy.hear("the end of the errors", |heard| heard.ended.contains(&pair.error)).await;
    assert_eq!(spdy.heard.text(pair.error), "");
    server.join().expect("the server");
    drop(spdy);
    eventually("descriptors are as before", async || descriptors(&daemon) <= before).await;
}

#[tokio::test]
async fn a_pod_in_the_hosts_network_is_reached_there() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let mut config = pod(&daemon, "p");
    let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
    context.namespace_options.get_or_insert_default().network = NamespaceMode::Node.into();
    let pod = daemon.run_pod(&config).await;
    let server = answer(listen(&daemon, None, "127.0.0.1:7000"), "host:");
    let (mut spdy, _) = Spdy::connect(&forward_url(&daemon, &pod).await, &[PROTOCOL]).await;
    let pair = open_pair(&mut spdy, 7000, "0").await;
    assert_eq!(talk(&mut spdy, pair, "a word").await, "host: a word");
    server.join().expect("the server");
}

#[tokio::test]
async fn the_same_is_spoken_inside_a_websocket() {
    requires!(Root);
    let daemon = Daemon::start().await;
    let (pod, _) = daemon.run_sleeper().await;
    let server = answer(listen(&daemon, Some(&pod), "127.0.0.1:7000"), "tunnel:");
    let socket = web_socket::connect(&forward_url(&daemon, &pod).await, "SPDY/3.1+portforward.k8s.io").await;
    let (near, far) = tokio::io::duplex(64 << 10);
    let (mut sink, mut source) = socket.split();
    let (mut from_client, mut to_client) = tokio::io::split(far);
    // A message need not hold a whole frame, and may hold several.
    let outward = tokio::spawn(async move {
        let mut piece = [0; 7];
        while let Ok(length @ 1..) = from_client.read(&mut piece).await {
            sink.send(Message::Binary(piece[..length].to_vec().into())).await.expect("send");
        }
        sink.close().await.expect("say goodbye");
    });
    let inward = tokio::spawn(async move {
        // The client may be gone before the server's last words come.
        while let Some(Ok(Message::Binary(data))) = source.next().await
            && to_client.write_all(&data).await.is_ok()
        {}
    });
    let mut spdy = Spdy::over(near);
    let nobody = open_pair(&mut spdy, 7999, "0").await;
    let pair = open_pair(&mut spdy, 7000, "1").await;
    assert_eq!(talk(&mut spdy, pair, "a word").await, "tunnel: a word");
    spdy.hear("the refusal", |heard| heard.reset.contains(&nobody.data)).await;
    drop(spdy);
    outward.await.expect("the way to the server");
    inward.await.expect("the way back");
    server.join().expect("the server");
}

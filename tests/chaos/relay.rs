//! Somebody between a client and a server who does not always do what they are there for.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

/// What a [`Relay`] does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Carries bytes both ways.
    Sound,
    /// Keeps them.
    Silent,
    /// Ends each connection after the first piece of an answer.
    Curt,
    /// Answers every request itself, with an error of HTTP.
    Broken,
}

/// Listens at one address of this thread's loopback for a server at another one.
pub(crate) struct Relay {
    mood: watch::Sender<Mood>,
    server: JoinHandle<()>,
}

impl Relay {
    /// Starts it.
    pub(crate) async fn start(address: &str, server: &'static str) -> Self {
        let listener = TcpListener::bind(address).await.expect("listen");
        let (mood, told) = watch::channel(Mood::Sound);
        let server = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                tokio::spawn(relay(client, server, told.clone()));
            }
        });
        Self { mood, server }
    }

    /// Does so from now on, with connections that are open, too.
    pub(crate) fn be(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn relay(client: TcpStream, server: &str, mut mood: watch::Receiver<Mood>) {
    if *mood.borrow_and_update() == Mood::Broken {
        return refuse(client).await;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = carry(from_client, to_server, mood.clone()) => {}
        () = answer(from_server, to_client, mood.clone()) => {}
        _ = mood.wait_for(|mood| *mood == Mood::Broken) => {}
    }
}

/// Carries requests; never ends before the answers do.
async fn carry(from: OwnedReadHalf, to: OwnedWriteHalf, mood: watch::Receiver<Mood>) {
    pump(from, to, mood, |_| false).await;
    std::future::pending().await
}

async fn answer(from: OwnedReadHalf, to: OwnedWriteHalf, mood: watch::Receiver<Mood>) {
    pump(from, to, mood, |mood| mood == Mood::Curt).await;
}

/// Carries bytes one way, to their end or that of their receiver, or until it is enough after a piece.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mood: watch::Receiver<Mood>,
    is_enough: impl Fn(Mood) -> bool,
) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let Ok(now) = mood.wait_for(|mood| *mood != Mood::Silent).await.map(|mood| *mood) else { return };
        if to.write_all(&piece[..length]).await.is_err() || is_enough(now) {
            return;
        }
    }
}

/// Hears a request's head and refuses it.
async fn refuse(mut client: TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // The client may have gone.
    let _ = client.write_all(answer.as_bytes()).await;
}

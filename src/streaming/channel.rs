//! Streams of a connection, the same for both wire protocols.

use bytes::Bytes;
use tokio::sync::mpsc;

/// How many packets a queue holds before its sender waits.
pub(super) const QUEUE: usize = 16;

/// What the server sends on one stream.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) stream: u32,
    pub(super) kind: PacketKind,
}

#[derive(Debug)]
pub(super) enum PacketKind {
    /// Bytes.
    Data(Bytes),
    /// Nothing more will come on this stream.
    End,
    /// The stream failed.
    Reset,
}

/// What a client sends on one stream: `None` once it has ended it or is gone.
pub(super) type Inbound = mpsc::Receiver<Bytes>;

/// The way to a client on one stream.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    pub(super) stream: u32,
    pub(super) packets: mpsc::Sender<Packet>,
}

/// The client is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Outbound {
    /// Sends bytes; waits while the connection is behind.
    pub(super) async fn send(&self, data: Bytes) -> Result<(), Gone> {
        self.packet(PacketKind::Data(data)).await
    }

    /// Ends the stream.
    pub(super) async fn end(&self) -> Result<(), Gone> {
        self.packet(PacketKind::End).await
    }

    /// Says that the stream failed.
    pub(super) async fn reset(&self) -> Result<(), Gone> {
        self.packet(PacketKind::Reset).await
    }

    async fn packet(&self, kind: PacketKind) -> Result<(), Gone> {
        self.packets.send(Packet { stream: self.stream, kind }).await.map_err(|_| Gone)
    }
}

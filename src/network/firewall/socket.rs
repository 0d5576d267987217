//! Requests to netfilter.
//!
//! The kernel does what it is asked while it is being sent, so the answers are there as soon as sending returns; the
//! socket never has to be waited for.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily, nftables::NfTablesMessage,
    none::ControlMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
use nix::sys::socket::{setsockopt, sockopt::SndBufForce};

use super::nft::Change;

/// The subsystem that a batch is for, in its frame's header.
const NFNL_SUBSYS_NFTABLES: u16 = 10;

/// A transaction is one message; the socket's buffer for sending must hold it, with what the kernel adds.
const LARGEST_TRANSACTION: usize = 64 << 20;

/// A socket to netfilter.
pub(super) struct NetfilterSocket {
    socket: Socket,
    sequence: u32,
}

impl std::fmt::Debug for NetfilterSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetfilterSocket").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl NetfilterSocket {
    /// Connects to the packet filter of the calling thread's namespace.
    ///
    /// # Errors
    /// When the kernel has none.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Makes all changes or none.
    ///
    /// # Errors
    /// Why the first change that the kernel refuses is refused.
    pub(super) fn transact(&mut self, changes: &[Change]) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, batch(ControlMessage::BatchBegin), 0);
        for (at, (message, flags)) in changes.iter().enumerate() {
            // Errors come in any case; one acknowledgement at the end says that there were none.
            let acknowledge = if at + 1 == changes.len() { NLM_F_ACK } else { 0 };
            let message =
                NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), message.clone());
            self.append(&mut bytes, message, flags | acknowledge);
        }
        self.append(&mut bytes, batch(ControlMessage::BatchEnd), 0);
        self.send(&bytes)?;
        self.receive(|_| {})
    }

    /// Asks one question and leaves the answer aside.
    ///
    /// # Errors
    /// What the kernel says; `NotFound` when there is no such thing.
    pub(super) fn request(&mut self, message: NfTablesMessage) -> io::Result<()> {
        self.ask(NetfilterProtoFamily::Inet, message.into(), NLM_F_ACK, |_| {})
    }

    /// Asks for all things of a kind and gives each to `each`.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn dump(
        &mut self,
        family: NetfilterProtoFamily,
        message: NetfilterMessageInner,
        each: impl FnMut(NetfilterMessage),
    ) -> io::Result<()> {
        self.ask(family, message, NLM_F_DUMP, each)
    }

    /// Sends one request and reads its answers.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn ask(
        &mut self,
        family: NetfilterProtoFamily,
        message: NetfilterMessageInner,
        flags: u16,
        each: impl FnMut(NetfilterMessage),
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message), flags);
        self.send(&bytes)?;
        self.receive(each)
    }

    fn append(&mut self, bytes: &mut Vec<u8>, message: NetfilterMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let start = bytes.len();
        bytes.resize(start + message.buffer_len(), 0);
        message.serialize(&mut bytes[start..]);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let kernel = SocketAddr::new(0, 0);
        match self.socket.send_to(bytes, &kernel, 0) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) && bytes.len() < LARGEST_TRANSACTION => {
                setsockopt(&self.socket, SndBufForce, &(bytes.len() * 2))?;
                self.socket.send_to(bytes, &kernel, 0).map(|_| ())
            }
            sent => sent.map(|_| ()),
        }
    }

    /// Reads until the end of the answers to the last request. Errors do not end them: each refused change of a
    /// transaction has its own.
    fn receive(&self, mut each: impl FnMut(NetfilterMessage)) -> io::Result<()> {
        let mut refused = None;
        let mut ended = false;
        loop {
            let datagram = match self.socket.recv_from_full() {
                Ok((datagram, _)) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            for message in split(&datagram) {
                match message?.payload {
                    NetlinkPayload::InnerMessage(message) => each(message),
                    NetlinkPayload::Done(_) => ended = true,
                    NetlinkPayload::Error(error) if error.code.is_none() => ended = true,
                    NetlinkPayload::Error(error) => refused = refused.or(Some(error.to_io())),
                    _ => {}
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None if ended => Ok(()),
            None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "netfilter gave no answer")),
        }
    }
}

fn batch(message: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES), message)
}

/// The messages of a datagram.
fn split(datagram: &[u8]) -> impl Iterator<Item = io::Result<NetlinkMessage<NetfilterMessage>>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let message = NetlinkMessage::<NetfilterMessage>::deserialize(rest).map_err(io::Error::other);
        let length = message.as_ref().map_or(rest.len(), |message| message.header.length as usize);
        rest = &rest[length.next_multiple_of(4).min(rest.len())..];
        Some(message)
    })
}

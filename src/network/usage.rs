//! What has passed through the links of a namespace.

use std::{io, path::Path};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{Error, InterfaceUsage, netns::Netns};

/// The counters of every link of the namespace pinned at `path` but loopback.
///
/// # Errors
/// When the namespace cannot be entered or the kernel cannot be asked.
pub(super) fn read(path: &Path) -> Result<Vec<InterfaceUsage>, Error> {
    Netns::open(path)?.run(|| {
        let links = dump_links()?;
        Ok(links.iter().filter(|link| !link.header.flags.contains(LinkFlags::Loopback)).map(usage).collect())
    })
}

/// All links of the calling thread's namespace. A blocking socket does here: the answer is there when the request has
/// been sent.
fn dump_links() -> io::Result<Vec<LinkMessage>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(LinkMessage::default()));
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;

    let mut links = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(io::Error::other)?;
            let length = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[length..];
            match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.push(link),
                NetlinkPayload::Done(_) => return Ok(links),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

fn usage(link: &LinkMessage) -> InterfaceUsage {
    let mut usage = InterfaceUsage::default();
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => usage.name.clone_from(name),
            LinkAttribute::Stats64(stats) => {
                usage.rx_bytes = stats.rx_bytes;
                usage.rx_packets = stats.rx_packets;
                usage.rx_errors = stats.rx_errors;
                usage.rx_dropped = stats.rx_dropped;
                usage.tx_bytes = stats.tx_bytes;
                usage.tx_packets = stats.tx_packets;
                usage.tx_errors = stats.tx_errors;
                usage.tx_dropped = stats.tx_dropped;
            }
            _ => {}
        }
    }
    usage
}

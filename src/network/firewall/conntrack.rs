//! Flows that connection tracking remembers.

use std::{io, net::IpAddr};

use netlink_packet_core::{DefaultNla, Emitable as _, NLA_F_NESTED, NLM_F_ACK};
use netlink_packet_netfilter::{
    NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, ConntrackMessageType, IPTuple, ProtoTuple, Protocol as Transport, Tuple,
    },
};

use super::socket::NetfilterSocket;
use crate::{
    network::{family::Family, port::HostPort},
    types::Protocol,
};

// From `linux/netfilter/nfnetlink_conntrack.h`. Kernels before 5.8 do not know the filter and send all flows.
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// That only the protocol's number of the tuple counts.
const BY_PROTOCOL_NUMBER: u32 = 1 << 3;

/// Makes the kernel forget the UDP flows that came to any of `ports`.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) fn forget(socket: &mut NetfilterSocket, ports: &[HostPort]) -> io::Result<()> {
    for (family, number) in [(Family::V4, NetfilterProtoFamily::IPv4), (Family::V6, NetfilterProtoFamily::IPv6)] {
        let is_udp = |port: &&HostPort| port.protocol == Protocol::Udp && Family::of(port.target.ip()) == family;
        let udp: Vec<_> = ports.iter().filter(is_udp).collect();
        if udp.is_empty() {
            continue;
        }
        let mut flows = Vec::new();
        socket.dump(number, udp_flows(), |message| {
            flows.extend(original(message).filter(|tuples| came_to(&udp, tuples)));
        })?;
        for tuples in flows {
            let delete = ConntrackMessage::Delete(vec![ConntrackAttribute::CtaTupleOrig(tuples)]);
            match socket.ask(number, delete.into(), NLM_F_ACK, |_| {}) {
                // It ended by itself meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => result?,
            }
        }
    }
    Ok(())
}

/// Asks for all flows of UDP. The attributes are put together here, because a nested one that the crate does not know
/// would lose the flag that says so.
fn udp_flows() -> NetfilterMessageInner {
    let protocol = DefaultNla::new(CTA_PROTO_NUM, vec![Protocol::Udp.number()]);
    let tuple = nest(CTA_TUPLE_ORIG, nest(CTA_TUPLE_PROTO, protocol));
    let filter = nest(CTA_FILTER, DefaultNla::new(CTA_FILTER_ORIG_FLAGS, BY_PROTOCOL_NUMBER.to_ne_bytes().to_vec()));
    ConntrackMessage::Other { message_type: ConntrackMessageType::Get.into(), attributes: vec![tuple, filter] }.into()
}

fn nest(kind: u16, inner: DefaultNla) -> DefaultNla {
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

/// The addresses and ports of a flow's first packet.
fn original(message: NetfilterMessage) -> impl Iterator<Item = Vec<Tuple>> {
    let attributes = match message.inner {
        NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) => attributes,
        _ => Vec::new(),
    };
    attributes.into_iter().filter_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuples) => Some(tuples),
        _ => None,
    })
}

/// Whether a flow of UDP came to one of `ports`.
fn came_to(ports: &[&HostPort], flow: &[Tuple]) -> bool {
    let (mut is_udp, mut number, mut address) = (false, None, None);
    for tuple in flow {
        match tuple {
            Tuple::Ip(parts) => address = parts.iter().find_map(destination).or(address),
            Tuple::Proto(parts) => {
                is_udp |= parts.contains(&ProtoTuple::Protocol(Transport::Udp));
                number = parts.iter().find_map(destination_port).or(number);
            }
            _ => {}
        }
    }
    let is_meant = |port: &&HostPort| number == Some(port.port) && (port.address.is_none() || port.address == address);
    is_udp && ports.iter().any(is_meant)
}

fn destination(part: &IPTuple) -> Option<IpAddr> {
    match part {
        IPTuple::DestinationAddress(ip) => Some(*ip),
        _ => None,
    }
}

fn destination_port(part: &ProtoTuple) -> Option<u16> {
    match part {
        ProtoTuple::DestinationPort(number) => Some(*number),
        _ => None,
    }
}

//! The pair of links between a pod and the host.

use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_route::link::{InfoData, InfoVeth};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::{Error, Link, failed};
use crate::network::plan::{End, LinkPlan};

/// Makes a pair, its second end directly in the pod's namespace: one request, nothing to be moved. Both are down: an end
/// cannot be up before it has a peer.
///
/// `group` marks the host's end as ours; `bridge` is what it becomes a port of.
///
/// # Errors
/// When a link of either name exists, the bridge is full or the kernel has no veth.
pub(in crate::network) async fn create(
    handle: &Handle,
    plan: &LinkPlan,
    netns: BorrowedFd<'_>,
    mtu: u32,
    group: u32,
    bridge: Option<&Link>,
) -> Result<(), Error> {
    let peer = end(LinkUnspec::new_with_name(&plan.pod.name), &plan.pod, mtu).setns_by_fd(netns.as_raw_fd());
    let mut message = end(LinkVeth::new(&plan.host.name, &plan.pod.name), &plan.host, mtu)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
        .link_group(group);
    if let Some(bridge) = bridge {
        message = message.controller(bridge.index);
    }
    handle.link().add(message.build()).execute().await.map_err(|error| refused(&plan.host.name, bridge, error))
}

fn end<T>(builder: LinkMessageBuilder<T>, end: &End, mtu: u32) -> LinkMessageBuilder<T> {
    let builder = builder.mtu(mtu);
    match end.mac {
        Some(mac) => builder.address(mac.0.to_vec()),
        None => builder,
    }
}

fn refused(name: &str, bridge: Option<&Link>, error: rtnetlink::Error) -> Error {
    let error = failed(&format!("create link {name}"), error);
    let Error::Link { operation, source } = error else { return error };
    match (source.raw_os_error(), bridge) {
        // What the kernel says when a bridge has no port number left.
        (Some(libc::EXFULL), Some(bridge)) => Error::BridgeFull(bridge.name.clone()),
        (Some(libc::EOPNOTSUPP), _) => Error::Lacks { what: "the kernel module veth", source },
        _ => Error::Link { operation, source },
    }
}

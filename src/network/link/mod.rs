//! Links, addresses, routes and neighbours, through rtnetlink.
//!
//! The kernel runs each request while it is being sent; requests that do not need each other's result are sent together
//! and waited for together.

pub(super) mod bridge;
pub(super) mod veth;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::{StreamExt, TryStreamExt, future};
use ipnet::IpNet;
use netlink_packet_route::{
    AddressFamily,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags},
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    route::{RouteAttribute, RouteMessage, RouteScope, RouteType},
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::{
    Error,
    family::Family,
    host,
    plan::{End, Neighbour, Route},
};

/// A link as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Kernel's number.
    pub(super) index: u32,
    /// Name.
    pub(super) name: String,
    /// Group, by which we know our own.
    pub(super) group: u32,
    /// Whether it is an end of a veth pair.
    pub(super) is_veth: bool,
    /// Maximum transmission unit in bytes.
    pub(super) mtu: u32,
}

impl Link {
    fn read(message: &LinkMessage) -> Self {
        let mut link = Self { index: message.header.index, name: String::new(), group: 0, is_veth: false, mtu: 0 };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Group(group) => link.group = *group,
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::LinkInfo(infos) => {
                    link.is_veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                _ => {}
            }
        }
        link
    }
}

/// The link of that name, if there is one.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) async fn by_name(handle: &Handle, name: &str) -> Result<Option<Link>, Error> {
    found(handle.link().get().match_name(name.to_owned()).execute(), || format!("look up link {name}")).await
}

/// The link of that number, if there is one.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) async fn by_index(handle: &Handle, index: u32) -> Result<Option<Link>, Error> {
    found(handle.link().get().match_index(index).execute(), || format!("look up link {index}")).await
}

async fn found(
    answer: impl futures_util::Stream<Item = Result<LinkMessage, rtnetlink::Error>>,
    operation: impl FnOnce() -> String,
) -> Result<Option<Link>, Error> {
    match Box::pin(answer).next().await {
        None => Ok(None),
        Some(Ok(message)) => Ok(Some(Link::read(&message))),
        Some(Err(error)) => match to_io(error) {
            source if source.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            source => Err(Error::Link { operation: operation(), source }),
        },
    }
}

/// All links of the namespace.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) async fn all(handle: &Handle) -> Result<Vec<Link>, Error> {
    let messages: Vec<LinkMessage> =
        handle.link().get().execute().try_collect().await.map_err(|error| failed("list links", error))?;
    Ok(messages.iter().map(Link::read).collect())
}

/// Sets a link up.
///
/// # Errors
/// When the kernel refuses.
pub(super) async fn set_up(handle: &Handle, index: u32) -> Result<(), Error> {
    let message = LinkUnspec::new_with_index(index).up().build();
    handle.link().change(message).execute().await.map_err(|error| failed(&format!("set link {index} up"), error))
}

/// Sets one end of a link up and gives it its addresses, routes and neighbours.
///
/// All is sent at once. The kernel works in the order of sending, and the link must be up before there can be routes
/// over it.
///
/// # Errors
/// The first that the kernel refuses.
pub(super) async fn configure(handle: &Handle, index: u32, end: &End) -> Result<(), Error> {
    let up = set_up(handle, index);
    let addresses = end.addresses.iter().map(|address| add_address(handle, index, *address));
    let routes = end.routes.iter().map(|route| add_route(handle, index, route));
    let neighbours = end.neighbours.iter().map(|neighbour| add_neighbour(handle, index, neighbour));
    let (up, addresses, routes, neighbours) =
        future::join4(up, future::join_all(addresses), future::join_all(routes), future::join_all(neighbours)).await;
    [up].into_iter().chain(addresses).chain(routes).chain(neighbours).collect()
}

/// Adds an address; one that is there already is left as it is. IPv6 addresses are used at once: nobody else can have
/// one of ours, so looking for duplicates would only cost a second.
///
/// # Errors
/// When the kernel refuses.
pub(super) async fn add_address(handle: &Handle, index: u32, address: IpNet) -> Result<(), Error> {
    let mut request = handle.address().add(index, address.addr(), address.prefix_len());
    if address.addr().is_ipv6() {
        let message = request.message_mut();
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    let added = request.replace().execute().await;
    added.map_err(|error| failed(&format!("add address {address}"), error))
}

async fn add_route(handle: &Handle, index: u32, route: &Route) -> Result<(), Error> {
    let message = route_message(index, route);
    let added = handle.route().add(message).replace().execute().await;
    added.map_err(|error| failed(&format!("add route {}", route.destination), error))
}

fn route_message(index: u32, route: &Route) -> RouteMessage {
    let scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
    match route.destination {
        IpNet::V4(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination.addr(), destination.prefix_len())
                .output_interface(index)
                .scope(scope);
            if let Some(IpAddr::V4(gateway)) = route.gateway {
                // The gateway is in no subnet of the pod's: it is known to be on the link.
                builder = builder.gateway(gateway).onlink();
            }
            if let Some(IpAddr::V4(source)) = route.source {
                builder = builder.pref_source(source);
            }
            builder.build()
        }
        IpNet::V6(destination) => {
            let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination.addr(), destination.prefix_len())
                .output_interface(index)
                .scope(scope);
            if let Some(IpAddr::V6(gateway)) = route.gateway {
                builder = builder.gateway(gateway).onlink();
            }
            if let Some(IpAddr::V6(source)) = route.source {
                builder = builder.pref_source(source);
            }
            builder.build()
        }
    }
}

async fn add_neighbour(handle: &Handle, index: u32, neighbour: &Neighbour) -> Result<(), Error> {
    let request = handle.neighbours().add(index, neighbour.ip).link_layer_address(&neighbour.mac.0);
    let added = request.replace().execute().await;
    added.map_err(|error| failed(&format!("add neighbour {}", neighbour.ip), error))
}

/// Lets packets of the host's loopback addresses go over a link, and answers to them come in by it.
///
/// IPv6 knows no parameter for that, but takes `::1` for local on the link that it is local on: that needs one more route
/// in the table of local addresses. Packets that a pod sends to `::1` the kernel drops long before they are routed.
///
/// # Errors
/// When the kernel refuses.
pub(super) async fn route_loopback_over(handle: &Handle, link: &Link, families: &[Family]) -> Result<(), Error> {
    for family in families {
        match family {
            Family::V4 => host::route_loopback_v4_over(&link.name)?,
            Family::V6 => {
                let message = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(Ipv6Addr::LOCALHOST, 128)
                    .output_interface(link.index)
                    .kind(RouteType::Local)
                    .table_id(libc::RT_TABLE_LOCAL.into())
                    // Behind the one over loopback, and not that of another link.
                    .priority(LOOPBACK_PRIORITY + link.index)
                    .build();
                let added = handle.route().add(message).replace().execute().await;
                added.map_err(|error| failed(&format!("let ::1 be local on {}", link.name), error))?;
            }
        }
    }
    Ok(())
}

/// The kernel's own routes of local addresses have 0; the highest is tried last.
const LOOPBACK_PRIORITY: u32 = 4096;

/// The maximum transmission unit of the link that the default route goes over, if there is a default route.
///
/// # Errors
/// When the kernel cannot be asked.
pub(super) async fn default_route_mtu(handle: &Handle) -> Result<Option<u32>, Error> {
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut filter = RouteMessage::default();
        filter.header.address_family = family;
        let routes: Vec<RouteMessage> =
            handle.route().get(filter).execute().try_collect().await.map_err(|error| failed("list routes", error))?;
        let default = routes.iter().filter(|route| route.header.destination_prefix_length == 0);
        let index = default.flat_map(|route| &route.attributes).find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        if let Some(index) = index {
            // Every namespace has an unreachable IPv6 default route over loopback.
            if let Some(link) = by_index(handle, index).await?.filter(|link| link.name != "lo") {
                return Ok(Some(link.mtu));
            }
        }
    }
    Ok(None)
}

pub(super) fn failed(operation: &str, error: rtnetlink::Error) -> Error {
    let source = to_io(error);
    match source.raw_os_error() {
        Some(libc::EPERM) => Error::Lacks { what: "the capability NET_ADMIN in the host's network namespace", source },
        _ => Error::Link { operation: operation.to_owned(), source },
    }
}

fn to_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

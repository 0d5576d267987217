//! The link that holds the gateway addresses: a bridge, with the pods as its ports or with none.

use netlink_packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkUnspec};

use super::{Error, Link, by_name, failed};
use crate::network::host;

/// Finds the bridge of that name or makes it, and sets it up.
///
/// `group` marks it as the link that pods are reached over; 0 when it has no ports.
///
/// # Errors
/// When the kernel has no bridges or refuses.
pub(in crate::network) async fn ensure(handle: &Handle, name: &str, mtu: u32, group: u32) -> Result<Link, Error> {
    if by_name(handle, name).await?.is_none() {
        create(handle, LinkBridge::new(name).mtu(mtu).down().build()).await?;
    }
    let link = by_name(handle, name).await?.ok_or_else(|| Error::Link {
        operation: format!("find bridge {name}"),
        source: std::io::Error::from_raw_os_error(libc::ENODEV),
    })?;
    host::trust_addresses_of(name)?;
    let message = LinkUnspec::new_with_index(link.index).up().link_group(group).build();
    let changed = handle.link().change(message).execute().await;
    changed.map_err(|error| failed(&format!("set bridge {name} up"), error))?;
    Ok(link)
}

async fn create(handle: &Handle, message: LinkMessage) -> Result<(), Error> {
    let created = handle.link().add(message).execute().await;
    created.map_err(|error| match failed("create bridge", error) {
        Error::Link { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Error::Lacks { what: "the kernel module bridge", source }
        }
        other => other,
    })
}

/// Lets a port send back what came in by it: a pod reaches its own host port that way.
///
/// # Errors
/// When the kernel refuses.
pub(in crate::network) async fn set_hairpin(handle: &Handle, port: u32) -> Result<(), Error> {
    let message = LinkBridgePort::new(port).hairpin(true).build();
    let changed = handle.link().set_port(message).execute().await;
    changed.map_err(|error| failed(&format!("set hairpin mode of bridge port {port}"), error))
}

/// Deletes the bridge of that name, if it is there.
///
/// # Errors
/// When the kernel refuses.
pub(in crate::network) async fn remove(handle: &Handle, name: &str) -> Result<(), Error> {
    let Some(link) = by_name(handle, name).await? else { return Ok(()) };
    let deleted = handle.link().del(link.index).execute().await;
    deleted.map_err(|error| failed(&format!("delete bridge {name}"), error))
}

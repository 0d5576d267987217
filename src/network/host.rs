//! What the host needs before it can forward for pods.

use std::{fs, io, path::PathBuf};

use super::Error;

/// Lets the host forward packets. To be called by a thread of the host's namespace.
///
/// # Errors
/// When a kernel parameter cannot be written.
pub(super) fn enable_forwarding(ipv6: bool) -> Result<(), Error> {
    set("ipv4/ip_forward", "1")?;
    if ipv6 && get("ipv6/conf/all/forwarding")?.trim() == "0" {
        keep_router_advertisements()?;
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

/// A host that forwards ignores router advertisements unless told otherwise (`accept_ra` 2), and would lose the
/// addresses and the default route that it got by them.
fn keep_router_advertisements() -> Result<(), Error> {
    let path = parameter("ipv6/conf");
    let links = fs::read_dir(&path).map_err(|source| Error::File { operation: "read", path, source })?;
    for link in links.flatten() {
        let Ok(name) = link.file_name().into_string() else { continue };
        let accept_ra = format!("ipv6/conf/{name}/accept_ra");
        if name != "all" && get(&accept_ra).is_ok_and(|value| value.trim() == "1") {
            // A link may vanish meanwhile, and then it needs none.
            let _ = set(&accept_ra, "2");
        }
    }
    Ok(())
}

/// Lets packets of the host's IPv4 loopback addresses go over a link, and answers come in by it.
///
/// # Errors
/// When the kernel parameter cannot be written.
pub(super) fn route_loopback_v4_over(link: &str) -> Result<(), Error> {
    set(&format!("ipv4/conf/{link}/route_localnet"), "1")
}

/// Has the kernel trust in a link's own IPv6 addresses at once. While it looks for duplicates, which takes a second or
/// two, a router cannot ask for the neighbours of what it forwards.
///
/// # Errors
/// When the kernel parameter is there but cannot be written.
pub(super) fn trust_addresses_of(link: &str) -> Result<(), Error> {
    let name = format!("ipv6/conf/{link}/accept_dad");
    if parameter(&name).exists() { set(&name, "0") } else { Ok(()) }
}

fn get(name: &str) -> Result<String, Error> {
    let path = parameter(name);
    fs::read_to_string(&path).map_err(|source| Error::File { operation: "read", path, source })
}

fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = parameter(name);
    match fs::write(&path, value) {
        Ok(()) => Ok(()),
        // In a container /proc/sys is read-only; what is set already need not be.
        Err(source) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => match get(name)?.trim() == value {
            true => Ok(()),
            false => Err(Error::File { operation: "write", path, source }),
        },
        Err(source) if source.raw_os_error() == Some(libc::EPERM) => {
            Err(Error::Lacks { what: "the capability NET_ADMIN in the host's network namespace", source })
        }
        Err(source) => Err(Error::File { operation: "write", path, source }),
    }
}

fn parameter(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(name)
}

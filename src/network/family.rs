//! The two internet protocols.

use std::net::IpAddr;

/// Version of the internet protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub(super) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub(super) const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

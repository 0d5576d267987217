//! Connections into pods, for port-forwarding.

use std::{net::SocketAddr, path::Path};

use tokio::net::{TcpSocket, TcpStream};

use super::{Error, Network, netns::Netns};

impl Network {
    /// Connects to a TCP port on the loopback addresses of a network namespace, IPv4 before IPv6; `None` is the host's
    /// own namespace.
    ///
    /// # Errors
    /// When the namespace cannot be entered or nothing answers on either address.
    pub async fn dial(netns: Option<&Path>, port: u16) -> Result<TcpStream, Error> {
        match connect(netns, SocketAddr::from(([127, 0, 0, 1], port))).await {
            Ok(connection) => Ok(connection),
            // The first address's error is the one that says what people know the port by.
            Err(error) => connect(netns, SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port))).await.map_err(|_| error),
        }
    }
}

async fn connect(netns: Option<&Path>, address: SocketAddr) -> Result<TcpStream, Error> {
    let make = || if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let failed = |source| Error::Link { operation: format!("connect to {address} in the pod"), source };
    // A socket belongs to the namespace that it was made in, whoever connects it.
    let socket = match netns {
        Some(path) => Netns::open(path)?.run(make)?,
        None => make().map_err(failed)?,
    };
    socket.connect(address).await.map_err(failed)
}

//! `berth port-forward`

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Session, complain,
    connection::Engine,
    error::{Answer as _, Error},
    lookup,
    remote::{CLOSE, connect},
};
use crate::wire::PortForwardRequest;

/// Channels of one forwarded connection.
const DATA: u8 = 0;
const FAILURE: u8 = 1;
/// Bytes that are sent at once.
const CHUNK: usize = 32 << 10;
/// Each channel begins with the number of its port.
const PORT_LENGTH: usize = 2;

/// Let connections to ports of this host lead into a pod, until it is interrupted.
#[derive(Debug, Args)]
pub(super) struct PortForward {
    /// Local address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// The pod
    pod: String,
    /// Ports: PORT, LOCAL_PORT:PORT, or :PORT for any local port
    #[arg(required = true, value_name = "PORTS", value_parser = parse_ports)]
    ports: Vec<Ports>,
}

/// A port of this host and the pod's that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ports {
    /// 0 for any.
    local: u16,
    remote: u16,
}

impl PortForward {
    pub(super) async fn perform(self, session: &mut Session) -> Result<ExitCode, Error> {
        let pod = lookup::pod(&mut session.engine, &self.pod).await?.id;
        let mut listening = JoinSet::new();
        for ports in self.ports {
            let address = SocketAddr::new(self.address, ports.local);
            let failed = |source| Error::Listen { address, source };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            super::print_line(&format!("{address} -> {}", ports.remote))?;
            listening.spawn(serve(listener, session.engine.clone(), pod.clone(), ports.remote));
        }
        listening.join_all().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads `PORT`, `LOCAL:REMOTE` or `:REMOTE`.
fn parse_ports(text: &str) -> Result<Ports, String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("{text:?} is no port"));
    let (local, remote) = match text.split_once(':') {
        Some(("", remote)) => (0, number(remote)?),
        Some((local, remote)) => (number(local)?, number(remote)?),
        None => (number(text)?, number(text)?),
    };
    if remote == 0 { Err("the pod's port must not be 0".to_owned()) } else { Ok(Ports { local, remote }) }
}

/// Forwards each connection by a session of its own; one that fails is told of and does not end the others.
async fn serve(listener: TcpListener, engine: Engine, pod: String, port: u16) {
    while let Ok((connection, _)) = listener.accept().await {
        let (engine, pod) = (engine.clone(), pod.clone());
        tokio::spawn(async move {
            if let Err(error) = forward(connection, engine, pod, port).await {
                let _ = complain(&error);
            }
        });
    }
}

async fn forward(connection: TcpStream, mut engine: Engine, pod: String, port: u16) -> Result<(), Error> {
    let operation = format!("forward port {port} of pod {pod}");
    let request = PortForwardRequest { pod_sandbox_id: pod, port: vec![port.into()] };
    let answer = engine.runtime.port_forward(request).await.during(operation)?;
    let (mut to_pod, mut from_pod) = connect(&answer.url).await?.split();
    let (mut source, mut sink) = connection.into_split();
    let inward = async {
        let mut message = vec![DATA; CHUNK + 1];
        loop {
            let length = source.read(&mut message[1..]).await.unwrap_or(0);
            let sent = match length {
                0 => to_pod.send(Message::Binary(vec![CLOSE, DATA].into())).await,
                _ => to_pod.send(Message::Binary(message[..=length].to_vec().into())).await,
            };
            if length == 0 || sent.is_err() {
                // The other direction goes on until the pod has said all, or sees what broke.
                return std::future::pending::<()>().await;
            }
        }
    };
    let outward = async {
        let mut begun = [false; 2];
        let mut failure = Vec::new();
        while let Some(message) = from_pod.next().await {
            let Message::Binary(bytes) = message.map_err(Error::stream)? else { continue };
            let Some((&channel @ (DATA | FAILURE), mut bytes)) = bytes.split_first() else { continue };
            if !std::mem::replace(&mut begun[usize::from(channel)], true) {
                bytes = bytes.get(PORT_LENGTH..).unwrap_or_default();
            }
            if channel == FAILURE {
                failure.extend_from_slice(bytes);
            } else if sink.write_all(bytes).await.is_err() {
                // Whoever connected has gone.
                return Ok(());
            }
        }
        match failure.is_empty() {
            true => Ok(()),
            false => Err(Error::Remote { sentence: String::from_utf8_lossy(&failure).into_owned() }),
        }
    };
    tokio::select! {
        ended = outward => ended,
        () = inward => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_pairs_or_single() {
        assert_eq!(parse_ports("8080:80"), Ok(Ports { local: 8080, remote: 80 }));
        assert_eq!(parse_ports("80"), Ok(Ports { local: 80, remote: 80 }));
        assert_eq!(parse_ports(":80"), Ok(Ports { local: 0, remote: 80 }));
        for bad in ["", ":", "80:", "x", "80:0", "70000", "1:2:3"] {
            assert!(parse_ports(bad).is_err(), "{bad:?}");
        }
    }
}

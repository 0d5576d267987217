//! The connection to an engine.

use std::{io, path::PathBuf, str::FromStr};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::error::Error;
use crate::{
    berth_wire::engine_client::EngineClient,
    wire::{image_service_client::ImageServiceClient, runtime_service_client::RuntimeServiceClient},
};

/// Where an engine listens when nobody says otherwise.
pub(super) const DEFAULT_HOST: &str = "unix:///run/berth/berth.sock";

/// The largest answer taken, bytes: both streams of an exec are 16 MiB at most, and lists can be long.
const LARGEST_ANSWER: usize = 64 << 20;

/// The address of an engine: a unix socket.
#[derive(Debug, Clone)]
pub(super) struct Host(PathBuf);

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if path.starts_with('/') {
            Ok(Self(path.into()))
        } else {
            Err("must be a unix socket, like unix:///run/berth/berth.sock".to_owned())
        }
    }
}

/// Clients of the three services behind one connection.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    /// Pods and containers.
    pub(super) runtime: RuntimeServiceClient<Channel>,
    /// Images.
    pub(super) image: ImageServiceClient<Channel>,
    /// What the CRI has no word for.
    pub(super) own: EngineClient<Channel>,
}

impl Engine {
    /// Connects, and thereby finds out whether anybody is there.
    pub(super) async fn connect(host: &Host) -> Result<Self, Error> {
        let socket = &host.0;
        let stream =
            UnixStream::connect(socket).await.map_err(|source| Error::Connect { socket: socket.clone(), source })?;
        // A verb lives as long as its one connection: there is nothing to reconnect to after a failure.
        let mut stream = Some(TokioIo::new(stream));
        let connector = tower::service_fn(move |_| {
            std::future::ready(stream.take().ok_or_else(|| io::Error::other("the connection was lost")))
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|source| Error::Handshake { socket: socket.clone(), source })?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            image: ImageServiceClient::new(channel.clone()).max_decoding_message_size(LARGEST_ANSWER),
            own: EngineClient::new(channel),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_unix_sockets_by_absolute_path() {
        assert_eq!("unix:///run/x.sock".parse::<Host>().expect("url").0, PathBuf::from("/run/x.sock"));
        assert_eq!("/run/x.sock".parse::<Host>().expect("path").0, PathBuf::from("/run/x.sock"));
        for bad in ["", "unix://", "tcp://127.0.0.1:1", "run/x.sock"] {
            assert!(bad.parse::<Host>().is_err(), "{bad:?} was taken for a host");
        }
    }
}

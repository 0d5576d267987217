//! The services, one method an RPC: convert, call the engine, convert.

mod batch;
mod events;
mod image;
mod import;
mod own;
mod runtime;
mod transfer;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::SetOnce;
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::Routes};
use tracing::Span;

use super::convert::{self, Invalid};
use crate::{
    berth_wire::engine_server::EngineServer,
    engine::Engine,
    runtime::cgroup,
    streaming::{self, Ticket},
    wire::{self, image_service_server::ImageServiceServer, runtime_service_server::RuntimeServiceServer},
};

/// The largest request taken, as large as the largest answer that kubelet takes.
const MAX_REQUEST: usize = 16 << 20;

/// What the door tells of the node, beside what the engine knows.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Runtime handlers that pods may name, beside the default `""`.
    pub handlers: Vec<String>,
    /// Who makes cgroups.
    pub cgroup_driver: cgroup::Driver,
    /// The daemon's settings as JSON, for a verbose Status.
    pub settings: serde_json::Value,
}

/// What is behind the door.
#[derive(Debug)]
struct Inside {
    engine: Arc<Engine>,
    streams: Arc<streaming::Server>,
}

/// The services' common part. It can serve before there is an engine: every RPC is `Unavailable` until then, but for
/// those that kubelet connects with.
#[derive(Debug, Clone)]
pub struct Door {
    config: Arc<Config>,
    inside: Arc<SetOnce<Inside>>,
    /// Ends the streams that have no end of their own.
    closing: CancellationToken,
}

impl Door {
    /// A door behind which there is no engine yet.
    pub fn new(config: Config) -> Self {
        Self { config: Arc::new(config), inside: Arc::default(), closing: CancellationToken::new() }
    }

    /// Lets requests through to an engine that has recovered, and to the server of its streams. Only the first call
    /// counts.
    pub fn open(&self, engine: Arc<Engine>, streams: Arc<streaming::Server>) {
        let _ = self.inside.set(Inside { engine, streams });
    }

    /// Ends event streams, so that connections can be drained.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// The services.
    pub fn routes(&self) -> Routes {
        let runtime = RuntimeServiceServer::new(self.clone());
        let image = ImageServiceServer::new(self.clone());
        let engine = EngineServer::new(self.clone());
        Routes::new(runtime.max_decoding_message_size(MAX_REQUEST).max_encoding_message_size(usize::MAX))
            .add_service(image.max_decoding_message_size(MAX_REQUEST).max_encoding_message_size(usize::MAX))
            .add_service(engine.max_decoding_message_size(MAX_REQUEST))
    }

    fn inside(&self) -> Result<&Inside, Status> {
        self.inside.get().ok_or_else(recovering)
    }

    fn engine(&self) -> Result<&Arc<Engine>, Status> {
        self.inside().map(|inside| &inside.engine)
    }

    /// The engine, as soon as there is one. kubelet calls Version and ImageFsInfo once each when it starts, and ends
    /// when either fails; both may start at the same time.
    async fn awaited_engine(&self) -> Result<&Arc<Engine>, Status> {
        tokio::select! {
            inside = self.inside.wait() => Ok(&inside.engine),
            () = self.closing.cancelled() => Err(recovering()),
        }
    }

    /// The URL under which the caller finds a session.
    fn url(&self, ticket: Ticket) -> Result<String, Status> {
        Ok(self.inside()?.streams.url(ticket)?)
    }
}

fn recovering() -> Status {
    Status::unavailable("the engine is still recovering its state")
}

/// The id of the pod that an RPC is about, also noted in the log's span.
fn pod_id(id: String) -> Result<String, Invalid> {
    let id = convert::id("pod_sandbox_id", id)?;
    Span::current().record("pod", &id);
    Ok(id)
}

/// The id of the container that an RPC is about, also noted in the log's span.
fn container_id(id: String) -> Result<String, Invalid> {
    let id = convert::id("container_id", id)?;
    Span::current().record("container", &id);
    Ok(id)
}

/// The name of the image that an RPC is about, also noted in the log's span.
fn image_name(image: Option<wire::ImageSpec>) -> Result<String, Invalid> {
    let name = convert::image::name_from_wire(image)?;
    Span::current().record("image", &name);
    Ok(name)
}

/// What a verbose answer adds: one entry, `info`, as crictl expects it.
fn verbose(wanted: bool, details: impl FnOnce() -> Option<serde_json::Value>) -> BTreeMap<String, String> {
    let details = if wanted { details() } else { None };
    details.map(|details| ("info".to_owned(), details.to_string())).into_iter().collect()
}

#[cfg(test)]
mod tests;

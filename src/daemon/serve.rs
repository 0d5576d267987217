//! The gRPC server: the doors, health and reflection on one socket.

use std::{io, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server as reflection;

use super::{Error, listen::Listener};
use crate::{
    berth_wire,
    cri::{Door, Metrics, Observe},
    wire,
};

/// Bytes of one request that may be under way unread; an image import should not wait for each 64 KiB.
const STREAM_WINDOW: u32 = 1 << 20;
/// The same for all requests of a connection.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Requests of one connection at once. kubelet has one connection, and a StopContainer may take as long as its grace.
const REQUESTS_AT_ONCE: u32 = 10_000;
/// Services whose health is told, beside the server as a whole.
const SERVICES: [&str; 4] = ["", "runtime.v1.RuntimeService", "runtime.v1.ImageService", "berth.v1.Engine"];

/// How long answers may take to reach their callers, after the last was given.
const LAST_WORDS: Duration = Duration::from_millis(300);

/// A server at work.
#[derive(Debug)]
pub(super) struct Server {
    /// One token for each request that is not answered yet.
    requests: TaskTracker,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    stop: CancellationToken,
    health: HealthReporter,
}

/// How a server came to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// All requests were answered.
    Drained,
    /// Some were cut off.
    Cut,
}

impl Server {
    /// Begins to serve. Health says "not serving" until [`Self::ready`].
    pub(super) async fn start(listener: Listener, door: &Door, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let stop = CancellationToken::new();
        let (health, health_service) = tonic_health::server::health_reporter();
        let requests = TaskTracker::new();
        let router = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(REQUESTS_AT_ONCE)
            .layer(Observe::new(metrics, requests.clone()))
            .add_routes(door.routes())
            .add_service(health_service)
            .add_service(descriptors().build_v1().map_err(Error::Reflection)?)
            // Of old clients, such as grpcurl up to 1.8.
            .add_service(descriptors().build_v1alpha().map_err(Error::Reflection)?);
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(router.serve_with_incoming_shutdown(listener.connections(), stopped));
        let server = Self { requests, task, stop, health };
        server.tell_health(ServingStatus::NotServing).await;
        Ok(server)
    }

    /// Lets health say "serving".
    pub(super) async fn ready(&self) {
        self.tell_health(ServingStatus::Serving).await;
    }

    /// Waits for an end that nobody asked for.
    pub(super) async fn ended(&mut self) -> Result<(), Error> {
        match (&mut self.task).await {
            Ok(ended) => ended.map_err(Error::Serve),
            Err(error) => Err(Error::Process("serve", io::Error::other(error))),
        }
    }

    /// Accepts nobody any more, lets requests under way be answered within `grace` and cuts off the others. A caller
    /// that has its answers but does not hang up is not waited for.
    pub(super) async fn stop(self, grace: Duration) -> Stop {
        self.tell_health(ServingStatus::NotServing).await;
        self.stop.cancel();
        self.requests.close();
        let answered = async {
            self.requests.wait().await;
            // The end of the task says that all callers have hung up.
            let _ = timeout(LAST_WORDS, self.task).await;
        };
        match timeout(grace, answered).await {
            Ok(()) => Stop::Drained,
            Err(_) => Stop::Cut,
        }
    }

    async fn tell_health(&self, status: ServingStatus) {
        for service in SERVICES {
            self.health.set_service_status(service, status).await;
        }
    }
}

/// What reflection tells of: all that is served.
fn descriptors() -> reflection::Builder<'static> {
    reflection::Builder::configure()
        .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(berth_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

#[cfg(test)]
mod tests;

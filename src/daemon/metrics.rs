//! The metrics endpoint: Prometheus' text over HTTP.

use std::{
    convert::Infallible,
    fmt,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _, text::encode},
    metrics::{MetricType, gauge::ConstGauge, info::Info},
    registry::Registry,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::Error;
use crate::{
    cri,
    engine::{ContainerFilter, ContainerState, Engine, PodFilter, PodState},
};

/// The media type of what [`encode`] writes.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// How long nobody is accepted after that failed, so that open files can be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served.
type Instruments = Arc<RwLock<Registry>>;

/// The endpoint, served until it is dropped.
#[derive(Debug)]
pub(super) struct Endpoint {
    instruments: Instruments,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Also serves what the engine and its image store tell.
    pub(super) fn tell_of(&self, engine: &Arc<Engine>) {
        let mut registry = self.instruments.write().unwrap_or_else(PoisonError::into_inner);
        engine.images().metrics().register(registry.sub_registry_with_prefix("image"));
        registry.register_collector(Box::new(Objects(Arc::clone(engine))));
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts what there is at the moment when it is asked for.
#[derive(Debug)]
struct Objects(Arc<Engine>);

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let engine = &self.0;
        let pods = engine.pods(&PodFilter::default());
        let pods = [("ready", PodState::Ready), ("notready", PodState::NotReady)]
            .map(|(name, state)| (name, pods.iter().filter(|pod| pod.state == state).count()));
        by_state(&mut encoder, "pods", "Pods", &pods)?;
        let containers = engine.containers(&ContainerFilter::default());
        let containers = [
            ("created", ContainerState::Created),
            ("running", ContainerState::Running),
            ("exited", ContainerState::Exited),
        ]
        .map(|(name, state)| (name, containers.iter().filter(|container| container.state == state).count()));
        by_state(&mut encoder, "containers", "Containers", &containers)?;
        let images = gauge(engine.images().list().len());
        images.encode(encoder.encode_descriptor("images", "Images", None, MetricType::Gauge)?)
    }
}

fn by_state(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    counts: &[(&str, usize)],
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    counts.iter().try_for_each(|(state, count)| gauge(*count).encode(family.encode_family(&[("state", *state)])?))
}

fn gauge(count: usize) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Serves the instruments of the CRI's door on `address`; nothing without one.
pub(super) async fn serve(address: Option<SocketAddr>, cri: &cri::Metrics) -> Result<Option<Endpoint>, Error> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|source| Error::MetricsAddress { address, source })?;
    let instruments = Arc::new(RwLock::new(registry(cri)));
    let task = tokio::spawn(listen(listener, Arc::clone(&instruments)));
    Ok(Some(Endpoint { instruments, task }))
}

async fn listen(listener: TcpListener, instruments: Instruments) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(&instruments)))),
            Err(error) => {
                tracing::warn!(%error, "a reader of metrics could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, instruments: Instruments) {
    let service = service_fn(|request| {
        let answer = answer(&request, &instruments.read().unwrap_or_else(PoisonError::into_inner));
        async { Ok::<_, Infallible>(answer) }
    });
    let mut http = http1::Builder::new();
    // With a timer, hyper gives up on clients that do not finish their request.
    http.timer(TokioTimer::new());
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a reader of metrics went away");
    }
}

fn registry(cri: &cri::Metrics) -> Registry {
    let mut registry = Registry::with_prefix("berth");
    registry.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    cri.register(registry.sub_registry_with_prefix("cri"));
    registry
}

fn answer<B>(request: &Request<B>, registry: &Registry) -> Response<String> {
    let mut response = Response::new(String::new());
    if request.uri().path() != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if encode(response.body_mut(), registry).is_err() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    } else {
        response.headers_mut().insert(header::CONTENT_TYPE, CONTENT_TYPE);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn instruments_are_shown_by_name() {
        assert!(serve(None, &cri::Metrics::default()).await.expect("nothing to do").is_none());
        let registry = registry(&cri::Metrics::default());
        let ask = |path: &str| answer(&Request::builder().uri(path).body(()).expect("a request"), &registry);
        let text = ask("/metrics").into_body();
        assert!(text.contains("berth_build_info{version="), "{text}");
        assert!(text.contains("berth_cri_requests_in_flight 0"), "{text}");
        assert_eq!(ask("/other").status(), StatusCode::NOT_FOUND);
    }
}

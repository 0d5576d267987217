//! The metrics endpoint: Prometheus' text over HTTP.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::Error;
use crate::cri;

/// The media type of what [`encode`] writes.
const CONTENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// How long nobody is accepted after that failed, so that open files can be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The endpoint, served until it is dropped.
#[derive(Debug)]
pub(super) struct Endpoint(JoinHandle<()>);

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves the instruments of the rooms on `address`; nothing without one.
pub(super) async fn serve(address: Option<SocketAddr>, cri: &cri::Metrics) -> Result<Option<Endpoint>, Error> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|source| Error::MetricsAddress { address, source })?;
    Ok(Some(Endpoint(tokio::spawn(listen(listener, Arc::new(registry(cri)))))))
}

async fn listen(listener: TcpListener, registry: Arc<Registry>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(&registry)))),
            Err(error) => {
                tracing::warn!(%error, "a reader of metrics could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: TcpStream, registry: Arc<Registry>) {
    let service = service_fn(|request| {
        let answer = answer(&request, &registry);
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

//! What every RPC gets, whatever it does: the caller's deadline, a span, one line in the log, a place in the metrics.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response};
use tokio::time::timeout_at;
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, field::Empty};

use super::metrics::Metrics;

/// RPCs that change something and are worth a line each at `info`; the rest are asked for many times a minute.
const CHANGES: &[&str] = &[
    "RunPodSandbox",
    "StopPodSandbox",
    "RemovePodSandbox",
    "CreateContainer",
    "StartContainer",
    "StopContainer",
    "RemoveContainer",
    "UpdateContainerResources",
    "CheckpointContainer",
    "PullImage",
    "RemoveImage",
    "ImportImage",
];

/// Longer names of RPCs are none of ours.
const LONGEST_NAME: usize = 64;

/// Puts [`Observed`] around a service.
#[derive(Debug, Clone)]
pub struct Observe {
    metrics: Arc<Metrics>,
    unanswered: TaskTracker,
}

impl Observe {
    /// Counts into `metrics`, and keeps a token of `unanswered` for each RPC that has no answer yet.
    pub fn new(metrics: Arc<Metrics>, unanswered: TaskTracker) -> Self {
        Self { metrics, unanswered }
    }
}

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, observe: self.clone() }
    }
}

/// A service whose RPCs are logged and counted.
#[derive(Debug, Clone)]
pub struct Observed<S> {
    inner: S,
    observe: Observe,
}

impl<S, B, R> Service<Request<B>> for Observed<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = Call::begin(request.uri().path(), &self.observe);
        // The RPC itself fills in what it is about.
        let span = tracing::info_span!("rpc", name = call.rpc, pod = Empty, container = Empty, image = Empty);
        let deadline = timeout_of(request.headers()).map(|timeout| Instant::now() + timeout);
        let answer = self.inner.call(request);
        let observed = async move {
            let answer = by(deadline, answer).await;
            if let Ok(response) = &answer {
                // A failure is in the headers already; a success is told in the trailers.
                call.end(Status::from_header_map(response.headers()));
            }
            answer
        };
        Box::pin(observed.instrument(span))
    }
}

/// Waits for an answer until the caller's deadline. The server would see to it too, but answers `Cancelled`, which
/// kubelet takes for a failure of its own.
async fn by<R: Default, E>(
    deadline: Option<Instant>,
    answer: impl Future<Output = Result<Response<R>, E>>,
) -> Result<Response<R>, E> {
    let Some(deadline) = deadline else { return answer.await };
    match timeout_at(deadline.into(), answer).await {
        Ok(answer) => answer,
        Err(_) => Ok(Status::deadline_exceeded("the deadline that the caller set has passed").into_http()),
    }
}

/// The time that the caller gives, as gRPC's HTTP/2 protocol writes it: up to eight digits and a unit.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok().filter(|_| number.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// An RPC that has begun. When it is dropped before its end, the client has gone away.
struct Call {
    rpc: String,
    began: Instant,
    metrics: Arc<Metrics>,
    ended: bool,
    _unanswered: TaskTrackerToken,
}

impl Call {
    fn begin(path: &str, observe: &Observe) -> Self {
        let name = path.rsplit('/').next().filter(|name| name.len() <= LONGEST_NAME);
        observe.metrics.in_flight.inc();
        Self {
            rpc: name.unwrap_or("unknown").to_owned(),
            began: Instant::now(),
            metrics: Arc::clone(&observe.metrics),
            ended: false,
            _unanswered: observe.unanswered.token(),
        }
    }

    fn end(mut self, failure: Option<Status>) {
        let failure = failure.filter(|status| status.code() != Code::Ok);
        self.log(failure.as_ref());
        self.count(failure.map_or(Code::Ok, |status| status.code()));
    }

    fn log(&self, failure: Option<&Status>) {
        let milliseconds = self.began.elapsed().as_millis();
        match failure {
            Some(status) if is_our_fault(status.code()) => {
                tracing::error!(code = ?status.code(), milliseconds, "failed: {}", status.message());
            }
            Some(status) => tracing::info!(code = ?status.code(), milliseconds, "refused: {}", status.message()),
            None if CHANGES.contains(&self.rpc.as_str()) => tracing::info!(milliseconds, "done"),
            None => tracing::debug!(milliseconds, "done"),
        }
    }

    fn count(&mut self, code: Code) {
        self.ended = true;
        self.metrics.in_flight.dec();
        self.metrics.observe(&self.rpc, code, self.began.elapsed());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            tracing::info!(rpc = self.rpc, milliseconds = self.began.elapsed().as_millis(), "the client went away");
            self.count(Code::Cancelled);
        }
    }
}

/// Whether somebody should look at the engine or the host, rather than at the request. `Unknown` is not among them: it
/// is what kubelet wants for failures that it knows by their text.
fn is_our_fault(code: Code) -> bool {
    matches!(code, Code::Internal | Code::DataLoss | Code::ResourceExhausted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one request through the layer to a service that answers with `status`, or never.
    async fn counted(path: &str, status: Option<Status>) -> String {
        let metrics = Arc::new(Metrics::default());
        let inner = tower::service_fn(move |_: Request<()>| {
            let status = status.clone();
            async move {
                match status {
                    Some(status) => Ok::<_, std::convert::Infallible>(status.into_http::<tonic::body::Body>()),
                    None => std::future::pending().await,
                }
            }
        });
        let mut service = Observe::new(Arc::clone(&metrics), TaskTracker::new()).layer(inner);
        let request = Request::builder().uri(path).body(()).expect("a request");
        let _ = tokio::time::timeout(Duration::from_millis(20), service.call(request)).await;
        let mut registry = prometheus_client::registry::Registry::default();
        metrics.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        text
    }

    #[test]
    fn the_callers_time_is_read() {
        let timeout = |text: &'static str| {
            timeout_of(&HeaderMap::from_iter([(
                "grpc-timeout".parse().expect("a name"),
                text.parse().expect("a value"),
            )]))
        };
        assert_eq!(timeout_of(&HeaderMap::new()), None);
        for (text, duration) in [
            ("2S", Duration::from_secs(2)),
            ("4M", Duration::from_secs(240)),
            ("1H", Duration::from_secs(3600)),
            ("999m", Duration::from_millis(999)),
            ("1u", Duration::from_micros(1)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(timeout(text), Some(duration), "{text}");
        }
        for text in ["", "S", "2", "2s", "-1S", "123456789S", "2 S"] {
            assert_eq!(timeout(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_comes_too_late_is_not_waited_for() {
        let deadline = Some(Instant::now() + Duration::from_millis(5));
        let late = by::<(), ()>(deadline, std::future::pending()).await.expect("an answer");
        let status = Status::from_header_map(late.headers()).expect("a status");
        assert_eq!(status.code(), Code::DeadlineExceeded);
        let early = by::<u8, ()>(deadline, std::future::ready(Ok(Response::new(7)))).await.expect("an answer");
        assert_eq!(early.into_body(), 7);
    }

    #[tokio::test]
    async fn rpcs_are_counted_by_name_and_code_also_when_the_client_leaves() {
        let text = counted("/runtime.v1.RuntimeService/Version", Some(Status::ok(""))).await;
        assert!(text.contains(r#"requests_total{rpc="Version",code="Ok"} 1"#), "{text}");
        assert!(text.contains(r#"request_duration_seconds_count{rpc="Version"} 1"#), "{text}");
        let text = counted("/runtime.v1.RuntimeService/StopContainer", Some(Status::not_found("x"))).await;
        assert!(text.contains(r#"requests_total{rpc="StopContainer",code="NotFound"} 1"#), "{text}");
        let text = counted("/runtime.v1.ImageService/PullImage", None).await;
        assert!(text.contains(r#"requests_total{rpc="PullImage",code="Cancelled"} 1"#), "{text}");
        assert!(text.contains("requests_in_flight 0"), "{text}");
    }
}

//! The outermost layer of every server: request id, span, metrics and one log line per call.

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use super::propagation;
use crate::limits::rpc_service;
use crate::server::{Call, REQUEST_ID};

/// Gives every call its [`Call`] (request id accepted or made, and echoed), a span that continues the caller's trace,
/// and metrics: requests by service, method and code; latency; calls in flight.
#[derive(Debug, Clone)]
pub struct RpcLayer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Names that may become metric attributes; whatever else clients ask for is `other`.
    services: HashSet<String>,
    requests: Counter<u64>,
    duration: Histogram<f64>,
    in_flight: UpDownCounter<i64>,
}

impl RpcLayer {
    /// `services`: the names served here. Instruments are made now: telemetry must be initialised before.
    #[must_use]
    pub fn new(services: impl IntoIterator<Item = String>) -> Self {
        let meter = opentelemetry::global::meter("svc-kit");
        let bounds = vec![
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        ];
        Self {
            shared: Arc::new(Shared {
                services: services.into_iter().collect(),
                requests: meter
                    .u64_counter("rpc.server.requests")
                    .with_description("Calls answered, by service, method and status code")
                    .build(),
                duration: meter
                    .f64_histogram("rpc.server.duration")
                    .with_unit("s")
                    .with_description("Time from a call's first byte to its last")
                    .with_boundaries(bounds)
                    .build(),
                in_flight: meter
                    .i64_up_down_counter("rpc.server.active_requests")
                    .with_description("Calls that are open")
                    .build(),
            }),
        }
    }
}

impl<S> Layer<S> for RpcLayer {
    type Service = Rpc<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Rpc {
            inner,
            shared: Arc::clone(&self.shared),
        }
    }
}

/// The service of [`RpcLayer`].
#[derive(Debug, Clone)]
pub struct Rpc<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Rpc<S> {
    fn handle(
        &self,
        mut inner: S,
        mut request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<S>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let call = Call::from_headers(request.headers());
        let request_id = HeaderValue::from_str(call.request_id()).ok();
        if let Some(id) = &request_id {
            request.headers_mut().insert(REQUEST_ID, id.clone());
        }
        request.extensions_mut().insert(call.clone());
        let (service, method) = split(request.uri().path());
        let span = server_span(service, method, call.request_id());
        propagation::set_parent(&span, request.headers());
        let tracker = Tracker::start(&self.shared, service, method, span.clone());
        let work = call
            .clone()
            .scope(async move { inner.call(request).await })
            .instrument(span);
        async move {
            let mut tracker = tracker;
            let mut response = work.await?;
            if let Some(id) = request_id {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            if let Some(code) = code_of(response.headers()) {
                tracker.finish(code);
            }
            Ok(response.map(|inner| {
                if inner.is_end_stream() {
                    inner
                } else {
                    Body::new(TrackedBody { inner, call, tracker })
                }
            }))
        }
    }
}

rpc_service!(Rpc);

fn split(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or(("", ""))
}

fn server_span(service: &str, method: &str, request_id: &str) -> Span {
    tracing::info_span!(
        "rpc",
        otel.name = format!("{service}/{method}"),
        otel.kind = "server",
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
        request_id,
    )
}

/// The status in a response's headers or trailers.
fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|value| Code::from_bytes(value.as_bytes()))
}

/// Records a call when it is over, however it ends.
struct Tracker {
    shared: Arc<Shared>,
    service: String,
    method: String,
    span: Span,
    started: Instant,
    over: bool,
}

impl Tracker {
    fn start(shared: &Arc<Shared>, service: &str, method: &str, span: Span) -> Self {
        let service = if shared.services.contains(service) {
            service
        } else {
            "other"
        };
        shared
            .in_flight
            .add(1, &[KeyValue::new("rpc.service", service.to_owned())]);
        Self {
            shared: Arc::clone(shared),
            service: service.to_owned(),
            method: method.to_owned(),
            span,
            started: Instant::now(),
            over: false,
        }
    }

    fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f64();
        self.span.record("rpc.grpc.status_code", i32::from(code));
        let ours = matches!(code, Code::Internal | Code::Unknown | Code::DataLoss);
        if ours {
            self.span.record("otel.status_code", "ERROR");
        }
        // A method nobody serves is the client's invention: it must not become a time series.
        let known = self.service != "other" && code != Code::Unimplemented;
        let method = if known {
            std::mem::take(&mut self.method)
        } else {
            "other".to_owned()
        };
        let service = KeyValue::new("rpc.service", std::mem::take(&mut self.service));
        self.shared.in_flight.add(-1, std::slice::from_ref(&service));
        let attributes = [
            service,
            KeyValue::new("rpc.method", method),
            KeyValue::new("rpc.grpc.status_code", i64::from(i32::from(code))),
        ];
        self.shared.requests.add(1, &attributes);
        self.shared.duration.record(seconds, &attributes);
        let _entered = self.span.enter();
        if ours {
            tracing::warn!(code = ?code, seconds, "call failed");
        } else {
            tracing::debug!(code = ?code, seconds, "call");
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        // Nobody read the answer to its end: the client has gone.
        self.finish(Code::Cancelled);
    }
}

/// A response body that runs within its call and its span, and tells the tracker how it ended.
struct TrackedBody {
    inner: Body,
    call: Call,
    tracker: Tracker,
}

impl http_body::Body for TrackedBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let Self { inner, call, tracker } = self.get_mut();
        let polled = {
            let _entered = tracker.span.enter();
            call.scope_sync(|| Pin::new(inner).poll_frame(cx))
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    tracker.finish(code_of(trailers).unwrap_or(Code::Unknown));
                }
            }
            Poll::Ready(Some(Err(status))) => tracker.finish(status.code()),
            Poll::Ready(None) => tracker.finish(Code::Unknown),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

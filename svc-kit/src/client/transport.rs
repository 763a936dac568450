//! What generated clients are built on here.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status, TimeoutExpired};
use tower::Service;
use tower::util::BoxCloneSyncService;
use tracing::Instrument;

use super::balance::Balance;
use super::channel;
use crate::BoxError;
use crate::config::{ConfigError, EndpointConfig};
use crate::limits::{RpcService, format_timeout, parse_timeout, trailers};
use crate::server::{Call, REQUEST_ID};
use crate::status::{self, reason};
use crate::telemetry;

/// What a client is told to wait when a backend cannot be reached.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Carries the calls of generated clients to a service, wherever it runs.
///
/// On the way out each call gets the trace context, the request id and what is left of the deadline of the call being
/// served; on the way back, a broken connection becomes UNAVAILABLE with `ErrorInfo` and `RetryInfo`, also in the
/// middle of a stream.
#[derive(Clone)]
pub struct Transport {
    inner: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>,
    /// Who is there, where there are several.
    presence: Option<Arc<dyn Presence>>,
}

/// What is known of replicas without asking them.
pub(super) trait Presence: Send + Sync {
    /// Whether a call with this affinity key, or one without, finds somebody.
    fn finds(&self, affinity: Option<&str>) -> bool;
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

impl Transport {
    /// To another process. See [`channel`].
    ///
    /// # Errors
    /// When the URL or a certificate cannot be used.
    pub fn remote(config: &EndpointConfig) -> Result<Self, ConfigError> {
        Ok(Self::from(channel(config)?))
    }

    /// To several processes that serve the same: each call goes to one of them, by least pending calls of two drawn at
    /// random; streams count until they end. A replica that cannot be connected to is left out until it can; with none
    /// left, calls are UNAVAILABLE with `RetryInfo`. Calls with the header [`AFFINITY_KEY`](super::AFFINITY_KEY) always
    /// go to the same replica, and wait for it while it is away.
    ///
    /// # Errors
    /// When there is no replica, or a URL or a certificate cannot be used.
    pub fn replicas(configs: &[EndpointConfig]) -> Result<Self, ConfigError> {
        match configs {
            [] => Err(ConfigError::Invalid("a replica set needs an endpoint".to_owned())),
            [only] => Self::remote(only),
            several => {
                let balance = Balance::connect(several)?;
                let presence = Some(balance.presence());
                Ok(Self {
                    presence,
                    ..Self::new(balance)
                })
            }
        }
    }

    /// Whether a call with this [`AFFINITY_KEY`](super::AFFINITY_KEY) (`None`: one without) would find a replica, as far as is
    /// known without asking: one is away from a connection that failed to the next that does not. `None`: it is one process, or
    /// nothing is known.
    #[must_use]
    pub fn reaches(&self, affinity: Option<&str>) -> Option<bool> {
        Some(self.presence.as_ref()?.finds(affinity))
    }

    /// To a service in this process (see [`crate::server::App::into_local`]).
    #[must_use]
    pub fn local(service: RpcService) -> Self {
        Self::new(tower::ServiceExt::map_err(service, |never: Infallible| -> BoxError {
            match never {}
        }))
    }

    /// Over any service that carries gRPC requests, e.g. one that spreads them over several backends.
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
    {
        Self {
            inner: BoxCloneSyncService::new(tower::ServiceExt::map_err(service, Into::into)),
            presence: None,
        }
    }
}

impl From<tonic::transport::Channel> for Transport {
    fn from(channel: tonic::transport::Channel) -> Self {
        Self::new(channel)
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx).map_err(|error| to_status(&*error))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let span = telemetry::client_span(request.uri().path(), request.headers());
        propagate(request.headers_mut(), &span);
        let answer = self.inner.call(request);
        async move {
            match answer.await {
                Ok(response) => Ok(response.map(|inner| {
                    if inner.is_end_stream() {
                        inner
                    } else {
                        Body::new(StatusBody { inner, over: false })
                    }
                })),
                Err(error) => Err(to_status(&*error)),
            }
        }
        .instrument(span)
        .boxed()
    }
}

/// Adds what the next process should know of the call being served.
fn propagate(headers: &mut HeaderMap, span: &tracing::Span) {
    let call = Call::current();
    telemetry::inject(headers, span, call.as_ref());
    let Some(call) = call else { return };
    if !headers.contains_key(REQUEST_ID)
        && let Ok(value) = HeaderValue::from_str(call.request_id())
    {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(deadline) = call.deadline() {
        let left = deadline.saturating_duration_since(Instant::now());
        let own = headers
            .get("grpc-timeout")
            .and_then(|value| parse_timeout(value.to_str().ok()?));
        if own.is_none_or(|own| own > left)
            && let Ok(value) = HeaderValue::from_str(&format_timeout(left))
        {
            headers.insert("grpc-timeout", value);
        }
    }
}

/// What went wrong on the way, as a status a client can act on.
fn to_status(error: &(dyn std::error::Error + 'static)) -> Status {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<TimeoutExpired>() {
            return status::deadline_exceeded("the caller's deadline has passed");
        }
        if let Some(status) = error.downcast_ref::<Status>() {
            // Broken connections arrive as statuses without details; what has details was made on purpose.
            if !status.details().is_empty() || !matches!(status.code(), Code::Unknown | Code::Unavailable) {
                return status.clone();
            }
        }
        cause = error.source();
    }
    tracing::debug!(error = super::chain(error), "a backend is unreachable");
    status::unavailable(
        reason::BACKEND_UNAVAILABLE,
        "the service behind this one cannot be reached",
        RETRY_AFTER,
    )
}

/// A response body whose transport errors arrive as trailers.
struct StatusBody {
    inner: Body,
    over: bool,
}

impl http_body::Body for StatusBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => {
                self.over = true;
                Poll::Ready(Some(Ok(trailers(&to_status(&error)))))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

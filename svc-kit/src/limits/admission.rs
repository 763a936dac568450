//! How many calls are worked on, wait and are open; the rest is turned away at once.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{refuse, rpc_service};
use crate::config::ServerConfig;
use crate::shutdown::Token;
use crate::status::{self, reason};

/// What a client that was turned away is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Admits calls within the server's bounds: so many at work, so many waiting, so many open. A call is at work until
/// its response begins, and open until its response has ended. What is too much gets UNAVAILABLE with `RetryInfo`;
/// so does everything once the server drains.
#[derive(Debug, Clone)]
pub struct AdmissionLayer {
    bounds: Bounds,
}

#[derive(Debug, Clone)]
struct Bounds {
    slots: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    open: Arc<Semaphore>,
    draining: Token,
}

impl AdmissionLayer {
    /// The bounds of this configuration, and the token that closes the door.
    #[must_use]
    pub fn new(config: &ServerConfig, draining: Token) -> Self {
        let semaphore = |permits: usize| Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self {
            bounds: Bounds {
                slots: semaphore(config.concurrency_limit),
                queue: semaphore(config.queue_limit),
                open: semaphore(config.open_calls_limit),
                draining,
            },
        }
    }
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Admission {
            inner,
            bounds: self.bounds.clone(),
        }
    }
}

/// The service of [`AdmissionLayer`].
#[derive(Debug, Clone)]
pub struct Admission<S> {
    inner: S,
    bounds: Bounds,
}

impl<S> Admission<S> {
    fn handle(
        &self,
        mut inner: S,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<S>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let bounds = self.bounds.clone();
        async move {
            let (slot, open) = match bounds.admit().await {
                Ok(admitted) => admitted,
                Err(status) => return Ok(refuse(status)),
            };
            let response = inner.call(request).await?;
            drop(slot);
            Ok(response.map(|inner| Body::new(OpenBody { inner, _open: open })))
        }
    }
}

rpc_service!(Admission);

impl Bounds {
    async fn admit(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), Status> {
        if self.draining.is_triggered() {
            return Err(status::unavailable(
                reason::DRAINING,
                "the server is shutting down",
                RETRY_AFTER,
            ));
        }
        let open = Arc::clone(&self.open)
            .try_acquire_owned()
            .map_err(|_| overloaded("too many calls are open"))?;
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok((slot, open));
        }
        let _waiting = self.queue.try_acquire().map_err(|_| overloaded("the queue is full"))?;
        let slot = Arc::clone(&self.slots)
            .acquire_owned()
            .await
            .map_err(|_| overloaded("no slot"))?;
        Ok((slot, open))
    }
}

fn overloaded(message: &str) -> Status {
    status::unavailable(reason::OVERLOADED, message, RETRY_AFTER)
}

/// A response body that counts as an open call until it is dropped.
struct OpenBody {
    inner: Body,
    _open: OwnedSemaphorePermit,
}

impl http_body::Body for OpenBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

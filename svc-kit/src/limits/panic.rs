//! A panic ends one call, not the process, and tells the client nothing but an id.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{refuse, rpc_service, trailers};
use crate::server::Call;
use crate::status;

/// Turns panics, of the handler and of the stream it returned, into INTERNAL with `RequestInfo`.
#[derive(Debug, Clone, Default)]
pub struct CatchPanicLayer;

impl<S> Layer<S> for CatchPanicLayer {
    type Service = CatchPanic<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanic { inner }
    }
}

/// The service of [`CatchPanicLayer`].
#[derive(Debug, Clone)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S> CatchPanic<S> {
    #[expect(clippy::unused_self, reason = "the signature rpc_service! calls")]
    fn handle(
        &self,
        mut inner: S,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<S>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let request_id: Arc<str> = request
            .extensions()
            .get::<Call>()
            .map_or_else(|| Arc::from(""), |call| Arc::from(call.request_id()));
        async move {
            // The service and the request are gone after a panic: nobody sees their broken state.
            let answer = AssertUnwindSafe(async move { inner.call(request).await })
                .catch_unwind()
                .await;
            Ok(match answer {
                Ok(response) => response?.map(|inner| {
                    if inner.is_end_stream() {
                        inner
                    } else {
                        Body::new(CatchPanicBody {
                            inner,
                            request_id,
                            over: false,
                        })
                    }
                }),
                Err(_) => refuse(internal(&request_id)),
            })
        }
    }
}

rpc_service!(CatchPanic);

/// The panic hook has logged what happened where; this line ties it to the call.
fn internal(request_id: &str) -> Status {
    tracing::error!(request_id, "the call's handler panicked");
    status::internal(request_id)
}

struct CatchPanicBody {
    inner: Body,
    request_id: Arc<str>,
    over: bool,
}

impl http_body::Body for CatchPanicBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let inner = &mut self.inner;
        // After a panic the body is replaced below: nobody sees its broken state.
        if let Ok(polled) = catch_unwind(AssertUnwindSafe(|| Pin::new(inner).poll_frame(cx))) {
            return polled;
        }
        self.over = true;
        self.inner = Body::empty();
        Poll::Ready(Some(Ok(trailers(&internal(&self.request_id)))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

//! What bounds a call: its time, its neighbours, its computing, and what a panic in it may break.
//!
//! All but [`CpuSlots`] are tower layers over `Request<Body> → Response<Body>` that never fail: what goes wrong becomes a gRPC status.

mod admission;
mod cpu;
mod deadline;
mod panic;

pub use self::admission::{Admission, AdmissionLayer};
pub use self::cpu::CpuSlots;
pub use self::deadline::{DeadlineLayer, format_timeout, parse_timeout};
pub use self::panic::CatchPanicLayer;

use std::convert::Infallible;

use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

/// A gRPC service with its types erased: it answers every request, with an error status if need be.
pub type RpcService = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// The status as a response without messages.
pub(crate) fn refuse(status: Status) -> Response<Body> {
    status.into_http()
}

/// The status as the trailers that end a response.
pub(crate) fn trailers<D>(status: &Status) -> Frame<D> {
    let mut map = HeaderMap::new();
    if status.add_header(&mut map).is_err() {
        // Text that no header can carry: the code alone must do.
        map.clear();
        map.insert("grpc-status", http::HeaderValue::from(i32::from(status.code())));
    }
    Frame::trailers(map)
}

/// Implements `tower::Service` for a wrapper with a field `inner` by an async function over the ready inner service.
macro_rules! rpc_service {
    ($name:ident) => {
        impl<S> tower::Service<http::Request<tonic::body::Body>> for $name<S>
        where
            S: tower::Service<
                    http::Request<tonic::body::Body>,
                    Response = http::Response<tonic::body::Body>,
                    Error = std::convert::Infallible,
                > + Clone
                + Send
                + 'static,
            S::Future: Send,
        {
            type Response = http::Response<tonic::body::Body>;
            type Error = std::convert::Infallible;
            type Future = futures::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

            fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
                self.inner.poll_ready(cx)
            }

            fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
                // The clone takes over the readiness that poll_ready has established.
                let fresh = self.inner.clone();
                let ready = std::mem::replace(&mut self.inner, fresh);
                Box::pin(self.handle(ready, request))
            }
        }
    };
}
pub(crate) use rpc_service;

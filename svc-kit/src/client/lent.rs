//! A request body that can be had back while nobody has begun to read it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

/// Keeps the body of a request while a connection is tried: a replica that cannot be reached has not read it.
#[derive(Debug)]
pub(super) struct Lender {
    slot: Arc<Mutex<Option<Body>>>,
}

impl Lender {
    pub(super) fn new(body: Body) -> Self {
        Self {
            slot: Arc::new(Mutex::new(Some(body))),
        }
    }

    /// A body that takes the real one when it is first read.
    pub(super) fn lend(&self) -> Body {
        let (size_hint, empty) = {
            let slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            let body = slot.as_ref();
            (
                body.map_or_else(SizeHint::default, Body::size_hint),
                body.is_none_or(Body::is_end_stream),
            )
        };
        Body::new(Lent {
            slot: Arc::clone(&self.slot),
            taken: None,
            size_hint,
            empty,
        })
    }

    /// Whether nobody has read the body, so that it can be lent again.
    pub(super) fn is_untouched(&self) -> bool {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// What [`Lender::lend`] gives.
struct Lent {
    slot: Arc<Mutex<Option<Body>>>,
    taken: Option<Body>,
    /// Until it is taken.
    size_hint: SizeHint,
    empty: bool,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.taken.is_none() {
            this.taken = this.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        match &mut this.taken {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken.as_ref().map_or(self.empty, Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.taken.as_ref().map_or(self.size_hint, Body::size_hint)
    }
}

//! The call being served: what the client layer passes on to the next process.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

use crate::limits::parse_timeout;

/// The header that carries the request id.
pub const REQUEST_ID: &str = "x-request-id";

/// The longest request id accepted from a client; longer ones are replaced.
const MAX_REQUEST_ID_BYTES: usize = 128;

tokio::task_local! {
    static CURRENT: Call;
}

/// What is known about the call being served: in the request's extensions, and in the task that serves it.
///
/// A handler that spawns work and calls other services from there wraps it in [`Call::scope`].
#[derive(Debug, Clone)]
pub struct Call {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    request_id: String,
    deadline: Option<Instant>,
    traceparent: Option<HeaderValue>,
    tracestate: Option<HeaderValue>,
}

impl Call {
    /// Reads the headers of an incoming request; without a usable request id, makes one.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let request_id = headers
            .get(REQUEST_ID)
            .and_then(|value| value.to_str().ok())
            .filter(|id| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()))
            .map_or_else(new_request_id, str::to_owned);
        let timeout = headers
            .get("grpc-timeout")
            .and_then(|value| parse_timeout(value.to_str().ok()?));
        Self {
            inner: Arc::new(Inner {
                request_id,
                deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
                traceparent: headers.get("traceparent").cloned(),
                tracestate: headers.get("tracestate").cloned(),
            }),
        }
    }

    /// The call this task serves, if it serves one.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs work as part of this call.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// Runs a function as part of this call.
    pub(crate) fn scope_sync<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// The id that finds this call in everybody's logs; printable ASCII.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.inner.request_id
    }

    /// When the caller stops waiting, if it said so.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// The caller's W3C trace headers, as they came.
    pub(crate) fn trace_headers(&self) -> (Option<&HeaderValue>, Option<&HeaderValue>) {
        (self.inner.traceparent.as_ref(), self.inner.tracestate.as_ref())
    }
}

/// An id no other call has: random per process, counted within.
fn new_request_id() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static COUNT: AtomicU64 = AtomicU64::new(1);
    format!("{:016x}-{:x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &'static str, value: &str) -> Call {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("header"));
        Call::from_headers(&headers)
    }

    #[test]
    fn a_usable_request_id_is_kept_and_any_other_replaced() {
        assert_eq!(call(REQUEST_ID, "abc-123").request_id(), "abc-123");
        for bad in ["", "two words", &"x".repeat(129)] {
            let id = call(REQUEST_ID, bad).request_id().to_owned();
            assert!(id != bad && !id.is_empty(), "{bad:?} became {id:?}");
        }
        assert_ne!(call("a", "b").request_id(), call("a", "b").request_id());
    }

    #[tokio::test]
    async fn a_task_knows_the_call_it_serves() {
        assert!(Call::current().is_none());
        let seen = call(REQUEST_ID, "abc").scope(async { Call::current() }).await;
        assert_eq!(seen.expect("inside").request_id(), "abc");
    }

    #[tokio::test]
    async fn absurd_timeouts_do_not_overflow() {
        assert!(call("grpc-timeout", "1S").deadline().is_some());
        assert!(call("grpc-timeout", "soon").deadline().is_none());
        let _ = call("grpc-timeout", "99999999H").deadline();
    }
}

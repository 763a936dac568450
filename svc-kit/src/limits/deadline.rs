//! The time a call may take: the caller's `grpc-timeout`, and the server's own limit on the wait for an answer.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{refuse, rpc_service, trailers};
use crate::server::Call;
use crate::status;

/// Ends calls that take too long with `DEADLINE_EXCEEDED`.
///
/// The caller's deadline bounds the whole call, its streams included. The server's limit bounds the time until the
/// response begins: a stream somebody watches may last.
#[derive(Debug, Clone)]
pub struct DeadlineLayer {
    request_timeout: Option<Duration>,
}

impl DeadlineLayer {
    /// `request_timeout`: the server's own limit, if any.
    #[must_use]
    pub fn new(request_timeout: Option<Duration>) -> Self {
        Self { request_timeout }
    }
}

impl<S> Layer<S> for DeadlineLayer {
    type Service = Deadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline {
            inner,
            request_timeout: self.request_timeout,
        }
    }
}

/// The service of [`DeadlineLayer`].
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
    request_timeout: Option<Duration>,
}

impl<S> Deadline<S> {
    fn handle(
        &self,
        mut inner: S,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + use<S>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    {
        let callers = request.extensions().get::<Call>().and_then(Call::deadline);
        let servers = self.request_timeout.and_then(|limit| Instant::now().checked_add(limit));
        async move {
            let answer = inner.call(request);
            let response = match callers.into_iter().chain(servers).min() {
                None => answer.await?,
                Some(first) => match tokio::time::timeout_at(first, answer).await {
                    Ok(response) => response?,
                    Err(_) if callers == Some(first) => {
                        return Ok(refuse(status::deadline_exceeded("the caller's deadline has passed")));
                    }
                    Err(_) => {
                        return Ok(refuse(status::deadline_exceeded(
                            "no answer within the server's request_timeout",
                        )));
                    }
                },
            };
            Ok(match callers {
                Some(deadline) if !response.body().is_end_stream() => response.map(|inner| {
                    Body::new(DeadlineBody {
                        inner,
                        sleep: Box::pin(tokio::time::sleep_until(deadline)),
                        over: false,
                    })
                }),
                _ => response,
            })
        }
    }
}

rpc_service!(Deadline);

/// A response body that ends with `DEADLINE_EXCEEDED` when the time is over.
struct DeadlineBody {
    inner: Body,
    sleep: Pin<Box<Sleep>>,
    over: bool,
}

impl http_body::Body for DeadlineBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let ready @ Poll::Ready(_) = Pin::new(&mut self.inner).poll_frame(cx) {
            return ready;
        }
        match self.sleep.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.over = true;
                self.inner = Body::empty();
                Poll::Ready(Some(Ok(trailers(&status::deadline_exceeded(
                    "the caller's deadline has passed",
                )))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Reads a `grpc-timeout` header: up to 8 digits and a unit (H, M, S, m, u, n). Anything else is no timeout.
#[must_use]
pub fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
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

/// Writes a `grpc-timeout` header in the finest unit that 8 digits can hold.
#[must_use]
pub fn format_timeout(duration: Duration) -> String {
    const MAX: u128 = 99_999_999;
    let (micros, millis, seconds) = (
        duration.as_micros(),
        duration.as_millis(),
        u128::from(duration.as_secs()),
    );
    if micros <= MAX {
        format!("{micros}u")
    } else if millis <= MAX {
        format!("{millis}m")
    } else {
        format!("{}S", seconds.min(MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timeouts_as_the_protocol_writes_them() {
        assert_eq!(parse_timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_timeout("2H"), Some(Duration::from_hours(2)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_hours(99_999_999)));
        for bad in ["", "S", "5", "-5S", "5x", "123456789S", "5 S", "٣S", "5é"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_no_longer(micros in 1_u64..10_000_000_000_000) {
            let duration = Duration::from_micros(micros);
            let read = parse_timeout(&format_timeout(duration)).expect("own format");
            prop_assert!(read <= duration);
            prop_assert!(duration.as_secs_f64() - read.as_secs_f64() <= 1e-3 * duration.as_secs_f64() + 1e-6);
        }

        #[test]
        fn no_header_panics(text in "\\PC{0,12}") {
            let _ = parse_timeout(&text);
        }
    }
}

//! Errors a client can act on: `google.rpc` details on every status.
//!
//! Every status carries `ErrorInfo { reason, domain, metadata }` and at most one further detail that fits its code.
//! Reasons are the caller's (names of a proto enum's values); the few in [`reason`] are of this crate's own making.
//! Details travel in HTTP/2 trailers, which peers bound (8 KiB with the C core): what is too much is cut, and said so.

use std::collections::HashMap;
use std::fmt::Display;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
pub use tonic_types::{FieldViolation, PreconditionViolation, QuotaViolation};

/// The `ErrorInfo.domain` of every status.
pub const DOMAIN: &str = "finepick.dev";

/// Violations listed in one status; further ones are counted, not listed.
pub const MAX_VIOLATIONS: usize = 20;

/// Bytes of one description, field path or metadata value; the rest is cut.
pub const MAX_TEXT_BYTES: usize = 256;

/// Bytes of a status message; the rest is cut.
pub const MAX_MESSAGE_BYTES: usize = 512;

/// Bytes of the listed violations together. With the message and the rest of the details a status stays below
/// 8 KiB on the wire, base64 included.
const MAX_VIOLATION_BYTES: usize = 3 * 1024;

/// Metadata entries in one status.
const MAX_METADATA: usize = 8;

/// Reasons of errors that arise in the plumbing, before or after any service is asked.
pub mod reason {
    /// UNAVAILABLE: all slots are taken and the queue is full.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// UNAVAILABLE: the server is shutting down.
    pub const DRAINING: &str = "DRAINING";
    /// UNAVAILABLE: the process behind this one cannot be reached.
    pub const BACKEND_UNAVAILABLE: &str = "BACKEND_UNAVAILABLE";
    /// `DEADLINE_EXCEEDED`: the caller's deadline or the server's `request_timeout` has passed.
    pub const DEADLINE_EXCEEDED: &str = "DEADLINE_EXCEEDED";
    /// UNIMPLEMENTED: no such service is served here.
    pub const UNKNOWN_SERVICE: &str = "UNKNOWN_SERVICE";
    /// INTERNAL: a bug; the request id finds it in the logs.
    pub const INTERNAL: &str = "INTERNAL";
}

/// The resource an error is about: `google.rpc.ResourceInfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Its type, e.g. `finepick.dev/Selection`.
    pub resource_type: String,
    /// Its name, as the client wrote it.
    pub resource_name: String,
    /// What is wrong with it, one sentence.
    pub description: String,
}

/// A status in the making. The functions of this module cover the usual cases; this adds metadata to them.
#[derive(Debug, Clone)]
#[must_use]
pub struct Failure {
    code: Code,
    message: String,
    reason: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
}

impl Failure {
    /// A failure with a code, a reason (`UPPER_SNAKE_CASE`) and a message for humans.
    pub fn new(code: Code, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            reason: reason.to_owned(),
            metadata: HashMap::new(),
            details: ErrorDetails::new(),
        }
    }

    /// Adds an entry to `ErrorInfo.metadata`; beyond the bound (8 entries) nothing is added.
    pub fn metadata(mut self, key: &str, value: impl Display) -> Self {
        if self.metadata.len() < MAX_METADATA {
            self.metadata
                .insert(cut(key, MAX_TEXT_BYTES), cut(&value.to_string(), MAX_TEXT_BYTES));
        }
        self
    }

    /// Adds `RetryInfo`: the client may try again after this time.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self
    }

    /// Adds `BadRequest` with these violations.
    pub fn fields(mut self, violations: Vec<FieldViolation>) -> Self {
        let (kept, omitted) = bound(violations, |violation| {
            violation.field = cut(&violation.field, MAX_TEXT_BYTES);
            violation.description = cut(&violation.description, MAX_TEXT_BYTES);
            violation.field.len() + violation.description.len()
        });
        self.details.set_bad_request(kept);
        self.omitted(omitted)
    }

    /// Adds `PreconditionFailure` with these violations.
    pub fn preconditions(mut self, violations: Vec<PreconditionViolation>) -> Self {
        let (kept, omitted) = bound(violations, |violation| {
            violation.r#type = cut(&violation.r#type, MAX_TEXT_BYTES);
            violation.subject = cut(&violation.subject, MAX_TEXT_BYTES);
            violation.description = cut(&violation.description, MAX_TEXT_BYTES);
            violation.r#type.len() + violation.subject.len() + violation.description.len()
        });
        self.details.set_precondition_failure(kept);
        self.omitted(omitted)
    }

    /// Adds `QuotaFailure` with these violations.
    pub fn quotas(mut self, violations: Vec<QuotaViolation>) -> Self {
        let (kept, omitted) = bound(violations, |violation| {
            violation.subject = cut(&violation.subject, MAX_TEXT_BYTES);
            violation.description = cut(&violation.description, MAX_TEXT_BYTES);
            violation.subject.len() + violation.description.len()
        });
        self.details.set_quota_failure(kept);
        self.omitted(omitted)
    }

    /// Adds `ResourceInfo`.
    pub fn resource(mut self, resource: &ResourceInfo) -> Self {
        self.details.set_resource_info(
            cut(&resource.resource_type, MAX_TEXT_BYTES),
            cut(&resource.resource_name, MAX_TEXT_BYTES),
            "",
            cut(&resource.description, MAX_TEXT_BYTES),
        );
        self
    }

    /// Adds `RequestInfo`: the id that finds this call in the logs.
    pub fn request_id(mut self, request_id: &str) -> Self {
        self.details.set_request_info(cut(request_id, MAX_TEXT_BYTES), "");
        self
    }

    /// The finished status.
    #[must_use]
    pub fn into_status(mut self) -> Status {
        self.details
            .set_error_info(cut(&self.reason, MAX_TEXT_BYTES), DOMAIN, self.metadata);
        Status::with_error_details(self.code, cut(&self.message, MAX_MESSAGE_BYTES), self.details)
    }

    fn omitted(mut self, count: usize) -> Self {
        if count > 0 {
            self.message = format!(
                "{} (and {count} more violations)",
                cut(&self.message, MAX_MESSAGE_BYTES / 2)
            );
            self = self.metadata("violations_omitted", count);
        }
        self
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        failure.into_status()
    }
}

/// `INVALID_ARGUMENT` with `BadRequest`: each violation names the field's path and what is wrong with it. The message
/// repeats the first violation, for clients that print messages only.
#[must_use]
pub fn invalid_argument(reason: &str, violations: Vec<FieldViolation>) -> Status {
    let message = violations.first().map_or_else(
        || "invalid argument".to_owned(),
        |first| {
            format!(
                "{}: {}",
                cut(&first.field, MAX_TEXT_BYTES / 2),
                cut(&first.description, MAX_TEXT_BYTES)
            )
        },
    );
    Failure::new(Code::InvalidArgument, reason, message)
        .fields(violations)
        .into_status()
}

/// `NOT_FOUND` with `ResourceInfo`.
#[must_use]
pub fn not_found(reason: &str, resource: &ResourceInfo) -> Status {
    about(Code::NotFound, reason, resource)
}

/// `ALREADY_EXISTS` with `ResourceInfo`: the id is taken by something else.
#[must_use]
pub fn already_exists(reason: &str, resource: &ResourceInfo) -> Status {
    about(Code::AlreadyExists, reason, resource)
}

/// `FAILED_PRECONDITION` with `PreconditionFailure`: a wrong state or a missing capability.
#[must_use]
pub fn failed_precondition(reason: &str, violations: Vec<PreconditionViolation>) -> Status {
    let message = violations.first().map_or_else(
        || "failed precondition".to_owned(),
        |first| cut(&first.description, MAX_TEXT_BYTES),
    );
    Failure::new(Code::FailedPrecondition, reason, message)
        .preconditions(violations)
        .into_status()
}

/// ABORTED: a stale attempt, a lost lease. The client starts over; repeating the call does not help.
#[must_use]
pub fn aborted(reason: &str, message: impl Into<String>) -> Status {
    Failure::new(Code::Aborted, reason, message).into_status()
}

/// UNAVAILABLE with `RetryInfo`: the only code a client retries by itself.
#[must_use]
pub fn unavailable(reason: &str, message: impl Into<String>, retry_after: Duration) -> Status {
    Failure::new(Code::Unavailable, reason, message)
        .retry_after(retry_after)
        .into_status()
}

/// `RESOURCE_EXHAUSTED` with `QuotaFailure`: a quota, or a budget too small to begin with.
#[must_use]
pub fn resource_exhausted(reason: &str, violations: Vec<QuotaViolation>) -> Status {
    let message = violations.first().map_or_else(
        || "resource exhausted".to_owned(),
        |first| cut(&first.description, MAX_TEXT_BYTES),
    );
    Failure::new(Code::ResourceExhausted, reason, message)
        .quotas(violations)
        .into_status()
}

/// UNIMPLEMENTED: this server does not serve that.
#[must_use]
pub fn unimplemented(reason: &str, message: impl Into<String>) -> Status {
    Failure::new(Code::Unimplemented, reason, message).into_status()
}

/// `DEADLINE_EXCEEDED`: the time for the call is over.
#[must_use]
pub fn deadline_exceeded(message: impl Into<String>) -> Status {
    Failure::new(Code::DeadlineExceeded, reason::DEADLINE_EXCEEDED, message).into_status()
}

/// INTERNAL with `RequestInfo`: a bug. The client gets an id to report, never internal text.
#[must_use]
pub fn internal(request_id: &str) -> Status {
    Failure::new(
        Code::Internal,
        reason::INTERNAL,
        "internal error; please report the request id",
    )
    .request_id(request_id)
    .into_status()
}

/// [`internal`] for the call being served: logs the error with its text, answers with the call's id alone.
#[must_use]
pub fn bug(error: &dyn Display) -> Status {
    let request_id = crate::server::Call::current().map_or_else(String::new, |call| call.request_id().to_owned());
    tracing::error!(request_id, %error, "internal error");
    internal(&request_id)
}

fn about(code: Code, reason: &str, resource: &ResourceInfo) -> Status {
    let message = format!(
        "{}: {}",
        cut(&resource.resource_name, MAX_TEXT_BYTES / 2),
        resource.description
    );
    Failure::new(code, reason, message).resource(resource).into_status()
}

/// Keeps as many violations as the bounds allow; `shorten` cuts one and tells its size.
fn bound<V>(violations: Vec<V>, shorten: impl Fn(&mut V) -> usize) -> (Vec<V>, usize) {
    let total = violations.len();
    let mut kept = Vec::with_capacity(total.min(MAX_VIOLATIONS));
    let mut bytes = 0;
    for mut violation in violations.into_iter().take(MAX_VIOLATIONS) {
        bytes += shorten(&mut violation);
        if bytes > MAX_VIOLATION_BYTES {
            break;
        }
        kept.push(violation);
    }
    let omitted = total - kept.len();
    (kept, omitted)
}

/// The text, or its beginning and an ellipsis, at most `max_bytes` long.
fn cut(text: &str, max_bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    if text.len() <= max_bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(max_bytes.saturating_sub(ELLIPSIS.len()));
    let mut kept = text.get(..end).unwrap_or_default().to_owned();
    kept.push_str(ELLIPSIS);
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_status_names_reason_and_domain() {
        let resource = ResourceInfo {
            resource_type: "t".into(),
            resource_name: "n".into(),
            description: "is gone".into(),
        };
        let all = [
            (
                invalid_argument("A", vec![FieldViolation::new("a.b", "bad")]),
                Code::InvalidArgument,
                "A",
            ),
            (not_found("B", &resource), Code::NotFound, "B"),
            (already_exists("C", &resource), Code::AlreadyExists, "C"),
            (
                failed_precondition("D", vec![PreconditionViolation::new("t", "s", "d")]),
                Code::FailedPrecondition,
                "D",
            ),
            (aborted("E", "m"), Code::Aborted, "E"),
            (unavailable("F", "m", Duration::from_secs(2)), Code::Unavailable, "F"),
            (
                resource_exhausted("G", vec![QuotaViolation::new("s", "d")]),
                Code::ResourceExhausted,
                "G",
            ),
            (unimplemented("H", "m"), Code::Unimplemented, "H"),
            (
                deadline_exceeded("m"),
                Code::DeadlineExceeded,
                reason::DEADLINE_EXCEEDED,
            ),
            (internal("id-1"), Code::Internal, reason::INTERNAL),
        ];
        for (status, code, reason) in all {
            let details = status.get_error_details();
            let info = details.error_info().expect("ErrorInfo");
            assert_eq!(
                (status.code(), info.reason.as_str(), info.domain.as_str()),
                (code, reason, DOMAIN)
            );
        }
    }

    #[test]
    fn details_fit_their_code() {
        let status = unavailable("F", "m", Duration::from_millis(1500));
        let retry = status.get_error_details().retry_info().expect("RetryInfo").retry_delay;
        assert_eq!(retry, Some(Duration::from_millis(1500)));

        let status = internal("id-7");
        assert_eq!(
            status
                .get_error_details()
                .request_info()
                .expect("RequestInfo")
                .request_id,
            "id-7"
        );

        let status = invalid_argument("A", vec![FieldViolation::new("curve.points[3]", "must be positive")]);
        assert_eq!(status.message(), "curve.points[3]: must be positive");
    }

    #[test]
    fn too_many_violations_are_counted() {
        let many = (0..57).map(|i| FieldViolation::new(format!("f[{i}]"), "bad")).collect();
        let status = invalid_argument("A", many);
        let details = status.get_error_details();
        assert_eq!(
            details.bad_request().expect("BadRequest").field_violations.len(),
            MAX_VIOLATIONS
        );
        assert_eq!(
            details.error_info().expect("ErrorInfo").metadata["violations_omitted"],
            "37"
        );
        assert!(
            status.message().ends_with("(and 37 more violations)"),
            "{}",
            status.message()
        );
    }

    proptest! {
        /// Whatever a client sends and we quote back, the trailers stay below the C core's 8 KiB.
        #[test]
        fn any_status_fits_into_trailers(field in "\\PC{0,400}", description in "\\PC{0,400}", count in 0_usize..60) {
            let violations = (0..count).map(|_| FieldViolation::new(&field, &description)).collect();
            let mut headers = http::HeaderMap::new();
            invalid_argument("SOME_REASON", violations).add_header(&mut headers).expect("valid header");
            let bytes: usize = headers.iter().map(|(k, v)| k.as_str().len() + v.len() + 32).sum();
            prop_assert!(bytes < 8 * 1024, "{bytes} bytes");
        }

        #[test]
        fn cut_keeps_to_its_bound(text in "\\PC{0,300}", max in 3_usize..300) {
            let short = cut(&text, max);
            prop_assert!(short.len() <= max);
            prop_assert!(short == text || short.ends_with('…'));
        }
    }
}

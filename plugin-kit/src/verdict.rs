//! What a case comes to: passed, failed with the clause it broke, or skipped with a reason.

use std::fmt::{Debug, Write as _};
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A clause of the contract that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Number of the clause in `docs/plugin-contract.md`, e.g. `C-3.2`.
    pub clause: &'static str,
    /// What the clause asks for.
    pub expected: String,
    /// What the trainer did.
    pub got: String,
}

/// Why a case ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A clause does not hold.
    Failed(Failure),
    /// Nothing can be said, for this reason.
    Skipped(String),
}

/// What the steps of a case return.
pub(crate) type Verdict<T = ()> = Result<T, Stop>;

/// Fails a case.
pub(crate) fn fail<T>(clause: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Verdict<T> {
    Err(Stop::Failed(Failure {
        clause,
        expected: expected.into(),
        got: got.into(),
    }))
}

/// Skips a case.
pub(crate) fn skip<T>(reason: impl Into<String>) -> Verdict<T> {
    Err(Stop::Skipped(reason.into()))
}

/// Fails the case unless the condition holds; `got` is what came, for the message.
pub(crate) fn ensure(clause: &'static str, holds: bool, expected: impl Into<String>, got: impl Debug) -> Verdict {
    if holds {
        return Ok(());
    }
    fail(clause, expected, short(&format!("{got:?}")))
}

/// Fails the case unless both are equal. Of long values the message shows where they differ.
pub(crate) fn equal<T: PartialEq + Debug>(clause: &'static str, what: &str, expected: &T, got: &T) -> Verdict {
    if expected == got {
        return Ok(());
    }
    let (expected, got) = (format!("{expected:?}"), format!("{got:?}"));
    let same = common(&expected, &got);
    fail(
        clause,
        format!("{what}: {}", around(&expected, same)),
        around(&got, same),
    )
}

/// Fails the case unless both texts are equal; as [`equal`].
pub(crate) fn same(clause: &'static str, what: &str, expected: &str, got: &str) -> Verdict {
    if expected == got {
        return Ok(());
    }
    let same = common(expected, got);
    fail(clause, format!("{what}: {}", around(expected, same)), around(got, same))
}

/// Characters that both texts begin with.
fn common(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
}

/// The text, or, if it is long, what is around the character of this number.
fn around(text: &str, place: usize) -> String {
    const SHORT: usize = 240;
    const BEFORE: usize = 80;
    let skipped = place.saturating_sub(BEFORE);
    if text.chars().count() <= SHORT || skipped == 0 {
        return cut(text, SHORT);
    }
    let rest: String = text.chars().skip(skipped).collect();
    format!("…{}", cut(&rest, SHORT))
}

/// The answer of a call that must succeed.
pub(crate) fn succeed<T>(clause: &'static str, call: &str, answer: Result<T, Status>) -> Verdict<T> {
    answer.or_else(|status| fail(clause, format!("{call} is OK"), describe(&status)))
}

/// The detail that a refusal must carry beside `ErrorInfo`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Detail<'a> {
    /// `BadRequest` with a violation at this path, or below it.
    Field(&'a str),
    /// `PreconditionFailure` with this subject, or one below it.
    Subject(&'a str),
    /// `ResourceInfo` with this name.
    Resource(&'a str),
    /// `RetryInfo` with a delay above 0.
    Retry,
}

/// The refusal that a call must meet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refusal<'a> {
    pub(crate) code: Code,
    pub(crate) reason: &'a str,
    pub(crate) detail: Detail<'a>,
}

impl<'a> Refusal<'a> {
    /// `INVALID_ARGUMENT` at this path.
    pub(crate) fn field(path: &'a str) -> Self {
        Self {
            code: Code::InvalidArgument,
            reason: "INVALID_FIELD",
            detail: Detail::Field(path),
        }
    }

    /// `FAILED_PRECONDITION`: `subject` needs a capability that is not claimed.
    pub(crate) fn capability(subject: &'a str) -> Self {
        Self {
            code: Code::FailedPrecondition,
            reason: "CAPABILITY_MISSING",
            detail: Detail::Subject(subject),
        }
    }

    /// `FAILED_PRECONDITION`: the run's state does not allow it.
    pub(crate) fn state(id: &'a str) -> Self {
        Self {
            code: Code::FailedPrecondition,
            reason: "WRONG_STATE",
            detail: Detail::Subject(id),
        }
    }

    /// `NOT_FOUND`.
    pub(crate) fn not_found(id: &'a str) -> Self {
        Self {
            code: Code::NotFound,
            reason: "TRAINING_RUN_NOT_FOUND",
            detail: Detail::Resource(id),
        }
    }

    /// `ALREADY_EXISTS`.
    pub(crate) fn exists(id: &'a str) -> Self {
        Self {
            code: Code::AlreadyExists,
            reason: "TRAINING_RUN_EXISTS",
            detail: Detail::Resource(id),
        }
    }

    /// UNAVAILABLE: the queue is full.
    pub(crate) fn queue_full() -> Self {
        Self {
            code: Code::Unavailable,
            reason: "QUEUE_FULL",
            detail: Detail::Retry,
        }
    }

    fn expected(&self) -> String {
        let detail = match self.detail {
            Detail::Field(path) => format!("BadRequest at {path}"),
            Detail::Subject(subject) => format!("PreconditionFailure on {subject}"),
            Detail::Resource(name) => format!("ResourceInfo of {}", short(name)),
            Detail::Retry => "RetryInfo above 0".to_owned(),
        };
        format!("{:?}, {}, {detail}", self.code, self.reason)
    }

    /// Fails the case unless the call was refused in this way.
    pub(crate) fn check<T: Debug>(&self, clause: &'static str, call: &str, answer: Result<T, Status>) -> Verdict {
        let expected = || format!("{call}: {}", self.expected());
        let status = match answer {
            Ok(answer) => return fail(clause, expected(), format!("OK, {}", short(&format!("{answer:?}")))),
            Err(status) => status,
        };
        if status.code() != self.code {
            return fail(clause, expected(), describe(&status));
        }
        well_formed(call, &status)?;
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.as_str());
        if reason != Some(self.reason) {
            return fail(clause, expected(), describe(&status));
        }
        let below = |found: &str, path: &str| {
            found
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        let holds = match self.detail {
            Detail::Field(path) => details
                .bad_request()
                .is_some_and(|bad| bad.field_violations.iter().any(|one| below(&one.field, path))),
            Detail::Subject(subject) => details
                .precondition_failure()
                .is_some_and(|failure| failure.violations.iter().any(|one| below(&one.subject, subject))),
            Detail::Resource(name) => details.resource_info().is_some_and(|info| info.resource_name == name),
            Detail::Retry => details
                .retry_info()
                .and_then(|info| info.retry_delay)
                .is_some_and(|delay| delay > Duration::ZERO),
        };
        if holds {
            return Ok(());
        }
        fail("C-13.2", expected(), describe(&status))
    }
}

/// Texts that betray the inside of a trainer.
const INTERNALS: [&str; 7] = [
    "Traceback (",
    "panicked at",
    ".rs:",
    ".py\", line",
    "/home/",
    "/site-packages/",
    "stack backtrace",
];

/// Largest status that passes through everybody's trailers, in bytes.
const MAX_STATUS_BYTES: usize = 8 << 10;

/// Fails the case unless the error has what every error of a trainer must have.
pub(crate) fn well_formed(call: &str, status: &Status) -> Verdict {
    let details = status.get_error_details();
    let domain = details.error_info().map(|info| info.domain.as_str());
    if domain != Some(finepick_proto::ERROR_DOMAIN) {
        return fail(
            "C-13.1",
            format!("{call}: ErrorInfo of the domain {:?}", finepick_proto::ERROR_DOMAIN),
            describe(status),
        );
    }
    let reason = details.error_info().map(|info| format!("ERROR_REASON_{}", info.reason));
    if reason.is_none_or(|name| finepick_proto::types::v1::ErrorReason::from_str_name(&name).is_none()) {
        return fail(
            "C-13.1",
            format!("{call}: a reason of finepick.types.v1.ErrorReason"),
            describe(status),
        );
    }
    let kinds = status.get_error_details_vec().len();
    if kinds > 2 {
        return fail(
            "C-13.2",
            format!("{call}: ErrorInfo and one more detail"),
            format!("{kinds} details: {}", describe(status)),
        );
    }
    // Details are base64 on the wire.
    let bytes = status.message().len() + status.details().len().div_ceil(3) * 4;
    if bytes > MAX_STATUS_BYTES {
        return fail(
            "C-13.3",
            format!("{call}: a status below {MAX_STATUS_BYTES} bytes"),
            format!("{bytes} bytes"),
        );
    }
    match INTERNALS.iter().find(|text| status.message().contains(**text)) {
        None => Ok(()),
        Some(text) => fail(
            "C-13.4",
            format!("{call}: a message without internals"),
            format!("{text:?} in {}", short(status.message())),
        ),
    }
}

/// A status in one line: code, message, reason, details.
pub(crate) fn describe(status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = format!("{:?} {}", status.code(), short(&format!("{:?}", status.message())));
    match details.error_info() {
        Some(info) => {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {} of {:?}", info.reason, info.domain);
        }
        None => text.push_str(", no ErrorInfo"),
    }
    if let Some(bad) = details.bad_request() {
        let paths: Vec<_> = bad.field_violations.iter().map(|one| one.field.as_str()).collect();
        let _ = write!(text, ", BadRequest at {}", short(&paths.join(", ")));
    }
    if let Some(failure) = details.precondition_failure() {
        let subjects: Vec<_> = failure.violations.iter().map(|one| one.subject.as_str()).collect();
        let _ = write!(text, ", PreconditionFailure on {}", short(&subjects.join(", ")));
    }
    if let Some(info) = details.resource_info() {
        let _ = write!(text, ", ResourceInfo of {}", short(&info.resource_name));
    }
    if let Some(info) = details.retry_info() {
        let _ = write!(text, ", RetryInfo {:?}", info.retry_delay.unwrap_or_default());
    }
    text
}

/// The text, or its beginning if it is long.
pub(crate) fn short(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    cut(text, MAX_CHARS)
}

fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_values_the_difference_is_shown() {
        let (one, other) = (format!("{}x{}", "a".repeat(500), "b".repeat(500)), "a".repeat(900));
        let Err(Stop::Failed(failure)) = same("C-1.1", "text", &one, &other) else {
            panic!("they differ");
        };
        assert!(
            failure.expected.starts_with("text: …aaa") && failure.expected.contains("axb"),
            "{failure:?}"
        );
        assert!(failure.got.starts_with("…aaa"), "{failure:?}");
        assert!(failure.expected.chars().count() < 300, "{failure:?}");
    }

    #[test]
    fn short_values_are_shown_whole() {
        let Err(Stop::Failed(failure)) = equal("C-1.1", "number", &1, &2) else {
            panic!("they differ");
        };
        assert_eq!((failure.expected.as_str(), failure.got.as_str()), ("number: 1", "2"));
    }

    #[test]
    fn a_refusal_is_wanted_to_the_letter() {
        let refused = Refusal::field("spec.data_sizes[1]");
        let status = |field: &str| {
            svc_kit::status::invalid_argument(
                "INVALID_FIELD",
                vec![svc_kit::status::FieldViolation::new(field, "is wrong")],
            )
        };
        assert_eq!(
            refused.check::<()>("C-3.9", "Create", Err(status("spec.data_sizes[1]"))),
            Ok(())
        );
        assert_eq!(
            refused.check::<()>("C-3.9", "Create", Err(status("spec.data_sizes[1].x"))),
            Ok(())
        );
        for wrong in ["spec.data_sizes", "spec.data_sizes[10]", "data_sizes[1]", ""] {
            assert!(
                refused.check::<()>("C-3.9", "Create", Err(status(wrong))).is_err(),
                "{wrong}"
            );
        }
        assert!(refused.check("C-3.9", "Create", Ok(())).is_err());
        assert!(
            refused
                .check::<()>("C-3.9", "Create", Err(Status::invalid_argument("bare")))
                .is_err()
        );
    }
}

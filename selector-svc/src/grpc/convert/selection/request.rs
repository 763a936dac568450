//! What the calls ask for, but for the spec. All wrong fields of a request are named at once.

use std::time::Duration;

use finepick_proto::selector::v1 as wire;
use tonic::Status;

use super::spec::checked;
use super::{budget, millis};
use crate::constraint::Constraints;
use crate::desk::work::{Finding, Told, WorkWish};
use crate::desk::{CreateWish, Filter, token};
use crate::grpc::convert::Violations;
use crate::grpc::convert::policy::selection_policy;
use crate::grpc::convert::request::{constraints, observation};
use crate::plan;
use crate::selection::{BudgetSpec, SelectionSpec};
use crate::simulate::SelectionPolicy;
use crate::store::ListKey;

/// Longest id of a selection, bytes.
const MAX_ID: usize = 96;
/// Longest id of a request, bytes.
const MAX_REQUEST_ID: usize = 128;
/// Longest name of a worker, bytes.
const MAX_WORKER: usize = 256;
/// Longest reason or failure, bytes.
const MAX_TEXT: usize = 1_024;
/// Entries of a page at most, and where nothing is asked for.
const PAGE_SIZES: (i32, u32) = (1_000, 50);
/// Labels of a filter.
const MAX_LABELS: usize = 64;
/// Longest digest, bytes.
const MAX_DIGEST: usize = 256;

fn check_id(path: &str, id: &str, violations: &mut Violations) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if id.is_empty() || id.len() > MAX_ID {
        violations.push(path, format!("must be 1 to {MAX_ID} bytes long"));
    } else if id.starts_with('.') {
        violations.push(path, "must not begin with '.'");
    } else if !id.bytes().all(plain) {
        violations.push(path, "must consist of letters, digits, '-', '_' and '.'");
    }
}

/// An id that a selection may have.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn selection_id(id: String) -> Result<String, Status> {
    let mut violations = Violations::default();
    check_id("selection_id", &id, &mut violations);
    violations.settle(Some(id))
}

/// A selection to be created.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn create_request(message: wire::CreateSelectionRequest) -> Result<CreateWish, Status> {
    let mut violations = Violations::default();
    if !message.selection_id.is_empty() {
        check_id("selection_id", &message.selection_id, &mut violations);
    }
    if message.request_id.len() > MAX_REQUEST_ID {
        violations.push("request_id", format!("at most {MAX_REQUEST_ID} bytes"));
    }
    let spec = checked("spec", message.spec, plan::check, &mut violations);
    let wish = spec.map(|spec| CreateWish {
        id: message.selection_id,
        request_id: message.request_id,
        spec,
        validate_only: message.validate_only,
    });
    violations.settle(wish)
}

/// The spec to estimate.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn estimate_request(message: wire::EstimateSelectionRequest) -> Result<SelectionSpec, Status> {
    let mut violations = Violations::default();
    let spec = checked("spec", message.spec, plan::check, &mut violations);
    violations.settle(spec)
}

/// A budget on its own.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn budget(message: wire::AmendBudgetRequest) -> Result<(String, BudgetSpec), Status> {
    let mut violations = Violations::default();
    check_id("selection_id", &message.selection_id, &mut violations);
    let budget = budget::budget("budget", message.budget, &mut violations);
    violations.settle(budget.map(|budget| (message.selection_id, budget)))
}

/// What else might have been asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIf {
    /// The selection.
    pub id: String,
    /// Absent: its own; so for the others.
    pub budget: Option<BudgetSpec>,
    /// How.
    pub policy: Option<SelectionPolicy>,
    /// Who may be chosen.
    pub constraints: Option<Constraints>,
}

/// What-if.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn clone_request(message: wire::CloneSelectionRequest) -> Result<WhatIf, Status> {
    let mut violations = Violations::default();
    check_id("selection_id", &message.selection_id, &mut violations);
    let given = message.budget;
    let found = WhatIf {
        budget: given.and_then(|given| budget::budget("budget", Some(given), &mut violations)),
        policy: message
            .policy
            .map(|policy| selection_policy("policy", Some(policy), &mut violations)),
        constraints: message
            .constraints
            .map(|found| constraints("constraints", Some(found), &mut violations)),
        id: message.selection_id,
    };
    violations.settle(Some(found))
}

/// A token of another list.
#[must_use]
pub fn foreign_token() -> Status {
    let mut violations = Violations::default();
    violations.push("page_token", "is no token of this list");
    violations
        .settle::<()>(None)
        .err()
        .unwrap_or_else(|| Status::internal(""))
}

/// A page's size and token.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn page(size: i32, token: &str) -> Result<(u32, Option<ListKey>), Status> {
    let mut violations = Violations::default();
    let page = read_page(size, token, &mut violations);
    violations.settle(page)
}

fn read_page(size: i32, text: &str, violations: &mut Violations) -> Option<(u32, Option<ListKey>)> {
    let (most, usual) = PAGE_SIZES;
    let size = match u32::try_from(size).ok().filter(|_| size <= most) {
        Some(0) => Some(usual),
        Some(size) => Some(size),
        None => {
            violations.push("page_size", format!("must be 0 to {most}, is {size}"));
            None
        }
    };
    let before = if text.is_empty() { None } else { token::read(text) };
    if !text.is_empty() && before.is_none() {
        violations.push("page_token", "is no token of this service");
    }
    Some((size?, before))
}

/// Which selections to list.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn list_request(message: &wire::ListSelectionsRequest) -> Result<Filter, Status> {
    let mut violations = Violations::default();
    let page = read_page(message.page_size, &message.page_token, &mut violations);
    let mut phases = Vec::new();
    for (index, value) in message.states.iter().enumerate() {
        let known = wire::SelectionState::try_from(*value).ok();
        match known.filter(|state| *state != wire::SelectionState::Unspecified) {
            // As lists are filtered by: the name without its prefix.
            Some(state) => phases.push(
                state
                    .as_str_name()
                    .trim_start_matches("SELECTION_STATE_")
                    .to_ascii_lowercase(),
            ),
            None => violations.push(
                format!("states[{index}]"),
                format!("{value} is no state of a selection"),
            ),
        }
    }
    phases.sort();
    phases.dedup();
    if message.labels.len() > MAX_LABELS {
        violations.push("labels", format!("at most {MAX_LABELS} labels"));
    }
    let labels = message.labels.clone().into_iter().collect();
    violations.settle(page.map(|(limit, before)| Filter {
        limit,
        before,
        phases,
        labels,
    }))
}

/// A watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchWish {
    /// The selection.
    pub id: String,
    /// Number of the last event that arrived.
    pub after: u64,
    /// Time between two messages at most.
    pub heartbeat: Duration,
}

/// What to watch.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn watch_request(message: wire::WatchSelectionRequest) -> Result<WatchWish, Status> {
    let mut violations = Violations::default();
    check_id("selection_id", &message.selection_id, &mut violations);
    let after = u64::try_from(message.after_sequence);
    if after.is_err() {
        let description = format!("must not be negative, is {}", message.after_sequence);
        violations.push("after_sequence", description);
    }
    let heartbeat = match message.heartbeat_interval {
        None => Some(10_000),
        Some(interval) => millis(interval).filter(|found| (100..=60_000).contains(found)),
    };
    if heartbeat.is_none() {
        violations.push("heartbeat_interval", "must be 0.1 s to 1 minute");
    }
    let heartbeat = heartbeat.and_then(|millis| u64::try_from(millis).ok());
    let found = after.ok().zip(heartbeat).map(|(after, heartbeat)| WatchWish {
        id: message.selection_id,
        after,
        heartbeat: Duration::from_millis(heartbeat),
    });
    violations.settle(found)
}

/// Who asks for work.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn work_request(message: wire::RequestWorkRequest) -> Result<(String, WorkWish), Status> {
    const DAY_MILLIS: i64 = 24 * 3_600 * 1_000;
    let mut violations = Violations::default();
    check_id("selection_id", &message.selection_id, &mut violations);
    let name = &message.worker;
    if name.is_empty() || name.len() > MAX_WORKER {
        violations.push("worker", format!("must be 1 to {MAX_WORKER} bytes long"));
    } else if name.chars().any(char::is_control) {
        violations.push("worker", "must not hold control characters");
    }
    let most = match message.max_items {
        0 => 1,
        items => {
            if !(0..=100).contains(&items) {
                violations.push("max_items", format!("must be 0 to 100, is {items}"));
            }
            usize::try_from(items).unwrap_or(0)
        }
    };
    let lease_millis = match message.lease_duration {
        None => Some(3_600_000),
        Some(lease) => millis(lease).filter(|found| (1_000..=30 * DAY_MILLIS).contains(found)),
    };
    if lease_millis.is_none() {
        violations.push("lease_duration", "must be 1 s to 30 days");
    }
    let wish = lease_millis.map(|lease_millis| WorkWish {
        worker: message.worker,
        most,
        lease_millis,
    });
    violations.settle(wish.map(|wish| (message.selection_id, wish)))
}

/// What a worker tells.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn observation_request(message: wire::ReportObservationRequest) -> Result<(String, Told), Status> {
    use wire::report_observation_request::Result as Wire;
    let mut violations = Violations::default();
    check_id("selection_id", &message.selection_id, &mut violations);
    if message.trial_id.is_empty() {
        violations.push("trial_id", "is required");
    }
    let attempt = u32::try_from(message.attempt).ok().filter(|attempt| *attempt > 0);
    if attempt.is_none() {
        violations.push("attempt", format!("must be above 0, is {}", message.attempt));
    }
    let device_seconds = message.device_seconds;
    if device_seconds.is_some_and(|seconds| !(seconds.is_finite() && seconds >= 0.0)) {
        violations.push("device_seconds", "must be finite and not negative");
    }
    let finding = match message.result {
        None => {
            violations.push("result", "observation or failure is required");
            None
        }
        Some(Wire::Failure(text)) => {
            if text.is_empty() || text.len() > MAX_TEXT {
                violations.push("failure", format!("must be 1 to {MAX_TEXT} bytes long"));
            }
            Some(Finding::Failed(text))
        }
        Some(Wire::Observation(point)) => {
            let path = |field: &str| format!("observation.{field}");
            observation(path, &point, &mut violations).map(Finding::Observed)
        }
    };
    let told = attempt.zip(finding).map(|(attempt, finding)| Told {
        trial: message.trial_id,
        attempt,
        finding,
        device_seconds,
    });
    violations.settle(told.map(|told| (message.selection_id, told)))
}

/// A certificate and the digest to compare with.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn verify_request(message: wire::VerifyCertificateRequest) -> Result<(String, String), Status> {
    let mut violations = Violations::default();
    if message.json.len() > crate::certificate::MAX_BYTES {
        let most = crate::certificate::MAX_BYTES;
        violations.push("json", format!("at most {most} bytes"));
    }
    if message.digest.len() > MAX_DIGEST {
        violations.push("digest", format!("at most {MAX_DIGEST} bytes"));
    }
    violations.settle(Some((message.json, message.digest)))
}

/// Why a caller ends a selection.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn cancel_request(message: wire::CancelSelectionRequest) -> Result<(String, String), Status> {
    let mut violations = Violations::default();
    check_id("selection_id", &message.selection_id, &mut violations);
    if message.reason.len() > MAX_TEXT {
        violations.push("reason", format!("at most {MAX_TEXT} bytes"));
    }
    violations.settle(Some((message.selection_id, message.reason)))
}

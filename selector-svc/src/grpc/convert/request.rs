//! Requests → domain.

use std::collections::{BTreeMap, HashMap};

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1::{self as types, ErrorReason};
use svc_kit::status::{self, FieldViolation};
use tonic::Status;

use super::Violations;
use super::policy::{ranking_policy, selection_policy};
use crate::constraint::{Constraints, MemoryLimit, TuningMethod};
use crate::curve::{DataSize, LearningCurve, Loss, MAX_OBSERVATIONS, Observation};
use crate::error::InvalidParameter;
use crate::ranking::{DEFAULT_LEVEL, RankRequest};
use crate::simulate::{Budget, SimulateRequest};
use crate::table::{Attributes, Candidate, CandidateTable, MAX_NAME_BYTES};

/// Attributes of one candidate.
const MAX_ATTRIBUTES: usize = 64;
/// Families or attributes in one constraint.
const MAX_RULES: usize = 1_000;

/// A question for [`crate::ranking::rank`].
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn rank_request(
    message: wire::RankCandidatesRequest,
    max_candidates: usize,
) -> Result<(CandidateTable, RankRequest), Status> {
    let mut violations = Violations::default();
    let table = table(message.candidates, max_candidates, &mut violations)?;
    let full = positive_size("data_size_full", message.data_size_full, &mut violations);
    let budget = positive_size("data_size_budget", message.data_size_budget, &mut violations);
    if let (Some(budget), Some(full)) = (budget, full)
        && budget > full
    {
        let description = format!("must be at most data_size_full ({full}), is {budget}");
        violations.push("data_size_budget", description);
    }
    let policy = ranking_policy("policy", message.policy, &mut violations);
    let limit = RankRequest::max_forecast_sizes(&policy);
    if message.forecast_data_sizes.len() > limit {
        violations.push("forecast_data_sizes", format!("at most {limit} sizes with this policy"));
    }
    let sizes = message.forecast_data_sizes.into_iter().take(limit).enumerate();
    let forecast_data_sizes: Vec<DataSize> = sizes
        .filter_map(|(i, size)| positive_size(&format!("forecast_data_sizes[{i}]"), size, &mut violations))
        .collect();
    let constraints = constraints("constraints", message.constraints, &mut violations);
    let level = level("interval_level", message.interval_level, &mut violations);
    let request = budget.zip(full).map(|(budget, full)| RankRequest {
        budget,
        full,
        policy,
        constraints,
        level,
        seed: message.seed.unwrap_or(0),
        forecast_data_sizes,
    });
    violations.settle(table.zip(request))
}

/// A question for [`crate::simulate::simulate`].
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn simulate_request(
    message: wire::SimulateSelectionRequest,
    max_candidates: usize,
) -> Result<(CandidateTable, SimulateRequest), Status> {
    let mut violations = Violations::default();
    let table = table(message.candidates, max_candidates, &mut violations)?;
    let full = positive_size("data_size_full", message.data_size_full, &mut violations);
    let budget = budget(message.budget, &mut violations);
    let policy = selection_policy("policy", message.policy, &mut violations);
    let constraints = constraints("constraints", message.constraints, &mut violations);
    let level = level("interval_level", message.interval_level, &mut violations);
    let seed = message.seed.unwrap_or(0);
    let request = full.zip(budget).map(|(full, budget)| SimulateRequest {
        full,
        budget,
        policy,
        constraints,
        level,
        seed,
    });
    violations.settle(table.zip(request))
}

fn budget(message: Option<wire::simulate_selection_request::Budget>, violations: &mut Violations) -> Option<Budget> {
    use wire::simulate_selection_request::Budget as Wire;
    match message {
        None => {
            violations.push("budget", "budget_examples or relative_budget is required");
            None
        }
        Some(Wire::BudgetExamples(examples)) => match u64::try_from(examples) {
            Ok(examples) if examples > 0 => Some(Budget::Examples(examples)),
            _ => {
                violations.push("budget_examples", format!("must be above 0, is {examples}"));
                None
            }
        },
        Some(Wire::RelativeBudget(message)) => {
            let (ratio, fraction) = (message.budget_ratio, message.fraction.unwrap_or(1.0));
            let checked = InvalidParameter::unless_within("budget_ratio", ratio, 1e-12, 1.0);
            violations.parameter("relative_budget", checked);
            let checked = InvalidParameter::unless_within("fraction", fraction, 1e-12, 1000.0);
            violations.parameter("relative_budget", checked);
            Some(Budget::RelativeToAts { ratio, fraction })
        }
    }
}

pub(super) fn level(path: &str, message: Option<f64>, violations: &mut Violations) -> f64 {
    let level = message.unwrap_or(DEFAULT_LEVEL);
    if let Err(error) = InvalidParameter::unless_within("interval_level", level, 0.01, 0.999) {
        violations.push(path, error.description);
    }
    level
}

fn any_size(path: impl FnOnce() -> String, examples: i64, violations: &mut Violations) -> Option<DataSize> {
    let Ok(size) = u64::try_from(examples) else {
        violations.push(path(), format!("must not be negative, is {examples}"));
        return None;
    };
    violations.take(path, DataSize::new(size))
}

pub(super) fn positive_size(path: &str, examples: i64, violations: &mut Violations) -> Option<DataSize> {
    let size = any_size(|| path.to_owned(), examples, violations)?;
    if size.is_zero() {
        violations.push(path, "must be above 0");
        return None;
    }
    Some(size)
}

/// The candidates; `None` when something was remembered.
fn table(
    messages: Vec<wire::CandidateCurve>,
    max_candidates: usize,
    violations: &mut Violations,
) -> Result<Option<CandidateTable>, Status> {
    if messages.len() > max_candidates {
        let description = format!("at most {max_candidates} candidates, there are {}", messages.len());
        let violation = FieldViolation::new("candidates", description);
        return Err(status::invalid_argument(
            ErrorReason::LimitExceeded.as_reason(),
            vec![violation],
        ));
    }
    if messages.is_empty() {
        violations.push("candidates", "at least one candidate is needed");
        return Ok(None);
    }
    let total = messages.len();
    let mut first_with: HashMap<String, usize> = HashMap::with_capacity(total);
    let mut candidates = Vec::with_capacity(total);
    for (i, message) in messages.into_iter().enumerate() {
        let name = message
            .candidate
            .as_ref()
            .map_or("", |candidate| candidate.candidate_id.as_str());
        if !name.is_empty() {
            if let Some(first) = first_with.get(name) {
                let description = format!("{name:?} is the name of candidates[{first}] already");
                violations.push(format!("candidates[{i}].candidate.candidate_id"), description);
                continue;
            }
            first_with.insert(name.to_owned(), i);
        }
        candidates.extend(candidate(i, message, violations));
    }
    if candidates.len() < total {
        return Ok(None);
    }
    Ok(violations.take(|| "candidates".to_owned(), CandidateTable::new(candidates)))
}

fn candidate(i: usize, message: wire::CandidateCurve, violations: &mut Violations) -> Option<Candidate> {
    let curve = curve(i, message.observations, violations);
    let Some(identity) = message.candidate else {
        violations.push(format!("candidates[{i}].candidate"), "is required");
        return None;
    };
    let path = format!("candidates[{i}].candidate");
    let attributes = attributes(
        &path,
        identity.family,
        identity.parameters,
        identity.attributes,
        violations,
    );
    let path = || format!("candidates[{i}].candidate.candidate_id");
    violations.take(path, Candidate::new(identity.candidate_id, attributes?, curve?))
}

pub(super) fn attributes(
    path: &str,
    family: String,
    parameters: Option<i64>,
    other: HashMap<String, String>,
    violations: &mut Violations,
) -> Option<Attributes> {
    let path = |field: &str| format!("{path}.{field}");
    let before = violations.found.len();
    if family.len() > MAX_NAME_BYTES {
        violations.push(path("family"), format!("at most {MAX_NAME_BYTES} bytes"));
    }
    let parameters = parameters.and_then(|count| {
        let valid = u64::try_from(count).ok().filter(|count| *count > 0);
        if valid.is_none() {
            violations.push(path("parameters"), format!("must be above 0, is {count}"));
        }
        valid
    });
    if other.len() > MAX_ATTRIBUTES {
        violations.push(path("attributes"), format!("at most {MAX_ATTRIBUTES} attributes"));
    }
    if other
        .iter()
        .any(|(key, value)| key.len().max(value.len()) > MAX_NAME_BYTES)
    {
        violations.push(
            path("attributes"),
            format!("keys and values have at most {MAX_NAME_BYTES} bytes"),
        );
    }
    let family = Some(family).filter(|name| !name.is_empty());
    (violations.found.len() == before).then(|| Attributes::new(family, parameters, other.into_iter().collect()))
}

fn curve(i: usize, messages: Vec<types::Observation>, violations: &mut Violations) -> Option<LearningCurve> {
    if messages.len() > MAX_OBSERVATIONS {
        let description = format!("at most {MAX_OBSERVATIONS} observations, there are {}", messages.len());
        violations.push(format!("candidates[{i}].observations"), description);
        return None;
    }
    let total = messages.len();
    let mut points: Vec<Observation> = Vec::with_capacity(total);
    let mut previous = None;
    for (j, message) in messages.into_iter().enumerate() {
        let path = |field: &str| format!("candidates[{i}].observations[{j}].{field}");
        if let Some(before) = previous
            && message.data_size <= before
        {
            let description = format!(
                "sizes must ascend without repetition, {} follows {before}",
                message.data_size
            );
            violations.push(path("data_size"), description);
        }
        previous = Some(message.data_size);
        points.extend(observation(path, &message, violations));
    }
    if points.len() < total {
        return None;
    }
    // What can still be wrong, a repeated size, was remembered above.
    LearningCurve::new(points).ok()
}

pub(super) fn observation(
    path: impl Fn(&str) -> String,
    message: &types::Observation,
    violations: &mut Violations,
) -> Option<Observation> {
    let size = any_size(|| path("data_size"), message.data_size, violations);
    let loss = violations.take(|| path("test_loss"), Loss::new(message.test_loss));
    let mut point = Some(Observation::new(size?, loss?));
    if let Some(error) = message.standard_error {
        point = violations.take(|| path("standard_error"), point?.with_standard_error(error));
    }
    if let Some(weight) = message.weight {
        point = violations.take(|| path("weight"), point?.with_weight(weight));
    }
    point
}

pub(super) fn constraints(path: &str, message: Option<wire::Constraints>, violations: &mut Violations) -> Constraints {
    let Some(message) = message else {
        return Constraints::default();
    };
    let families = message.include_families.len() + message.exclude_families.len();
    if families.max(message.attributes.len()) > MAX_RULES {
        violations.push(path, format!("at most {MAX_RULES} families and {MAX_RULES} attributes"));
    }
    let mut parameters = |field: &str, value: Option<i64>| {
        let count = value?;
        let valid = u64::try_from(count).ok().filter(|count| *count > 0);
        if valid.is_none() {
            violations.push(format!("{path}.{field}"), format!("must be above 0, is {count}"));
        }
        valid
    };
    let constraints = Constraints {
        min_parameters: parameters("min_parameters", message.min_parameters),
        max_parameters: parameters("max_parameters", message.max_parameters),
        include_families: message.include_families,
        exclude_families: message.exclude_families,
        memory_limit: message.memory_limit.map(|limit| memory_limit(path, &limit, violations)),
        attributes: message.attributes.into_iter().collect::<BTreeMap<_, _>>(),
    };
    violations.parameter(path, constraints.validate());
    constraints
}

fn memory_limit(path: &str, message: &wire::MemoryLimit, violations: &mut Violations) -> MemoryLimit {
    let method = match wire::TuningMethod::try_from(message.method) {
        Ok(wire::TuningMethod::Unspecified | wire::TuningMethod::Full) => TuningMethod::Full,
        Ok(wire::TuningMethod::Lora) => TuningMethod::Lora,
        Ok(wire::TuningMethod::Prompt) => TuningMethod::Prompt,
        Err(_) => {
            violations.push(
                format!("{path}.memory_limit.method"),
                format!("{} is no known value", message.method),
            );
            TuningMethod::Full
        }
    };
    // 0 and below are refused by the constraint itself.
    let bytes = u64::try_from(message.bytes).unwrap_or(0);
    MemoryLimit {
        bytes,
        method,
        bytes_per_parameter: message.bytes_per_parameter,
    }
}

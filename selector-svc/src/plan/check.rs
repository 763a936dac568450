//! All that is wrong with a spec, at once.

use std::collections::HashSet;

use trainer_kit::spec::{Reference, Spec, check_spec};

use crate::curve::DataSize;
use crate::error::InvalidParameter;
use crate::selection::spec::{MAX_CONTENDERS, MAX_METHODS};
use crate::selection::{BudgetSpec, SelectionSpec, WorkMode};
use crate::simulate::SelectionPolicy;
use crate::table::{Attributes, Candidate, MAX_NAME_BYTES};
use crate::win_share::MAX_TOTAL_DRAWS;

const MAX_METHOD_ID: usize = 64;
const MAX_PARALLELISM: u32 = 1_024;
const MAX_ATTEMPTS: u32 = 16;
const MAX_TEXT: usize = 256;
const MAX_LABELS: usize = 64;
const MAX_URI: usize = 2_048;

/// Path of the field below the spec, and what is wrong with it.
type Violations = Vec<(String, String)>;

/// All that is wrong with a spec: path of the field below the spec, and what is wrong with it. Empty: it is well.
#[must_use]
pub fn check(spec: &SelectionSpec) -> Vec<(String, String)> {
    let mut found = Violations::new();
    candidates(spec, &mut found);
    methods(spec, &mut found);
    let driven = spec.work_mode == WorkMode::Driven;
    match &spec.data {
        Some(data) => reference("data", data, &mut found),
        None if driven => push(&mut found, "data", "is required"),
        None => {}
    }
    if let Some(held_out) = &spec.held_out {
        reference("held_out", held_out, &mut found);
    }
    sizes(spec, &mut found);
    let budget = check_budget(&spec.budget).into_iter();
    found.extend(budget.map(|(field, what)| (field.to_owned(), what)));
    policy(spec, &mut found);
    if let Err(InvalidParameter { field, description }) = spec.constraints.validate() {
        found.push((format!("constraints.{field}"), description));
    }
    running(spec, &mut found);
    labels(spec, &mut found);
    found
}

fn push(found: &mut Violations, field: &str, what: impl Into<String>) {
    found.push((field.to_owned(), what.into()));
}

fn reference(path: &str, reference: &Reference, found: &mut Violations) {
    if reference.uri.is_empty() || reference.uri.len() > MAX_URI {
        found.push((format!("{path}.uri"), format!("must be 1 to {MAX_URI} bytes long")));
    }
}

fn candidates(spec: &SelectionSpec, found: &mut Violations) {
    let contenders = spec.contenders();
    if spec.candidates.is_empty() || spec.candidates.len() > MAX_CONTENDERS {
        let what = format!("must be 1 to {MAX_CONTENDERS}, are {}", spec.candidates.len());
        push(found, "candidates", what);
    } else if contenders > MAX_CONTENDERS {
        let what = format!("times methods must be at most {MAX_CONTENDERS} contenders, are {contenders}");
        push(found, "candidates", what);
    }
    let mut names = HashSet::new();
    let longest_method = spec.methods.iter().map(|method| method.id.len() + 1).max().unwrap_or(0);
    for (index, candidate) in spec.candidates.iter().enumerate() {
        let field = format!("candidates[{index}].candidate.candidate_id");
        let checked = Candidate::new(
            candidate.id.clone(),
            Attributes::default(),
            crate::curve::LearningCurve::default(),
        );
        if let Err(error) = checked {
            found.push((field, error.to_string()));
        } else if !names.insert(candidate.id.as_str()) {
            found.push((field, format!("{:?} occurs twice", candidate.id)));
        } else if spec.methods.len() > 1 && candidate.id.len() + longest_method > MAX_NAME_BYTES {
            let what = format!("is too long: with +method it must be at most {MAX_NAME_BYTES} bytes");
            found.push((field, what));
        }
        let path = format!("candidates[{index}].model");
        match &candidate.model {
            Some(model) => reference(&path, model, found),
            None if spec.work_mode == WorkMode::Driven => found.push((path, "is required".to_owned())),
            None => {}
        }
    }
}

fn methods(spec: &SelectionSpec, found: &mut Violations) {
    if spec.methods.is_empty() || spec.methods.len() > MAX_METHODS {
        let what = format!("must be 1 to {MAX_METHODS}, are {}", spec.methods.len());
        push(found, "methods", what);
    }
    let mut ids = HashSet::new();
    for (index, method) in spec.methods.iter().enumerate() {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let path = format!("methods[{index}]");
        if method.id.is_empty() || method.id.len() > MAX_METHOD_ID || !method.id.bytes().all(plain) {
            let what = format!("must be 1 to {MAX_METHOD_ID} bytes of letters, digits, '-', '_', '.'");
            found.push((format!("{path}.method_id"), what));
        } else if !ids.insert(method.id.as_str()) {
            found.push((format!("{path}.method_id"), format!("{:?} occurs twice", method.id)));
        }
        // The contract's own ranges, as a trainer checks them.
        let run = Spec {
            candidate_id: "c".to_owned(),
            model: known(),
            data: known(),
            held_out: None,
            data_sizes: vec![1],
            method: method.method.clone(),
            hyperparameters: method.hyperparameters.clone(),
            seed: 0,
            subset_seed: 0,
            retention_sets: Vec::new(),
            device: String::new(),
            max_duration: None,
            labels: std::collections::BTreeMap::new(),
            initial_adapter: None,
        };
        for violation in check_spec(&run) {
            let field = violation.field.trim_start_matches("spec.").replace("method", "tuning");
            found.push((format!("{path}.{field}"), violation.description));
        }
    }
}

fn known() -> Reference {
    Reference {
        uri: "known".to_owned(),
        digest: String::new(),
    }
}

fn sizes(spec: &SelectionSpec, found: &mut Violations) {
    let full = spec.data_size_full;
    if full.is_some_and(DataSize::is_zero) {
        push(found, "data_size_full", "must be above 0");
    }
    if full.is_none() && spec.work_mode == WorkMode::AskTell {
        push(
            found,
            "data_size_full",
            "is required with external work: no trainer tells it",
        );
    }
    if let Some(least) = spec.data_size_min {
        if least.is_zero() {
            push(found, "data_size_min", "must be above 0");
        } else if let Some(full) = full.filter(|full| least > *full) {
            push(
                found,
                "data_size_min",
                format!("must be at most data_size_full ({full}), is {least}"),
            );
        }
    }
}

/// All that is wrong with a budget: field below the spec, and what is wrong with it.
pub(super) fn check_budget(budget: &BudgetSpec) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut within = |field: &'static str, value: Option<f64>, high: f64| {
        let checked = value.map(|value| InvalidParameter::unless_within(field, value, f64::MIN_POSITIVE, high));
        if let Some(Err(InvalidParameter { description, .. })) = checked {
            found.push((field, description));
        }
    };
    within(
        "budget.relative.budget_ratio",
        budget.relative.map(|(ratio, _)| ratio),
        1.0,
    );
    within(
        "budget.relative.fraction",
        budget.relative.map(|(_, fraction)| fraction),
        1_000.0,
    );
    within("budget.exhaustive_fraction", budget.exhaustive_fraction, 1.0);
    within("budget.example_parameters", budget.example_parameters, f64::MAX);
    within("budget.device_seconds", budget.device_seconds, f64::MAX);
    if budget.examples == Some(0) {
        found.push(("budget.examples", "must be above 0".to_owned()));
    }
    if let Some((nanos, currency)) = &budget.money {
        if *nanos <= 0 {
            found.push(("budget.money", "must be above 0".to_owned()));
        }
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let what = format!("must be an ISO 4217 code, is {currency:?}");
            found.push(("budget.money.currency_code", what));
        }
    }
    if budget.wall_millis.is_some_and(|wall| wall <= 0) {
        found.push(("budget.wall_time", "must be above 0".to_owned()));
    }
    if budget.examples.is_none() && budget.relative.is_none() && budget.exhaustive_fraction.is_none() {
        let what = "needs at least one of examples, relative, exhaustive_fraction: policies plan by it";
        found.push(("budget", what.to_owned()));
    }
    found
}

fn policy(spec: &SelectionSpec, found: &mut Violations) {
    let name = spec.policy.name();
    if let Err(InvalidParameter { field, description }) = spec.policy.validate() {
        found.push((format!("policy.{name}.{field}"), description));
    }
    let draws = u64::from(spec.policy.draws()).saturating_mul(spec.contenders() as u64);
    if draws > MAX_TOTAL_DRAWS {
        push(
            found,
            "policy",
            format!("draws times contenders must be at most {MAX_TOTAL_DRAWS}"),
        );
    }
    if let SelectionPolicy::Ats(_, Some(size)) = &spec.policy {
        if size.is_zero() {
            push(found, "policy.ats.data_size_budget", "must be above 0");
        } else if let Some(full) = spec.data_size_full.filter(|full| size > full) {
            let what = format!("must be at most data_size_full ({full}), is {size}");
            push(found, "policy.ats.data_size_budget", what);
        }
    }
}

fn running(spec: &SelectionSpec, found: &mut Violations) {
    if let Some(parallelism) = spec.parallelism
        && !(1..=MAX_PARALLELISM).contains(&parallelism)
    {
        push(
            found,
            "parallelism",
            format!("must be within 1..={MAX_PARALLELISM}, is {parallelism}"),
        );
    }
    if !(1..=MAX_ATTEMPTS).contains(&spec.max_attempts) {
        let what = format!("must be within 1..={MAX_ATTEMPTS}, is {}", spec.max_attempts);
        push(found, "max_attempts", what);
    }
    let level = InvalidParameter::unless_within("interval_level", spec.interval_level, 0.01, 0.999);
    if let Err(InvalidParameter { field, description }) = level {
        push(found, field, description);
    }
    if spec.max_run_millis.is_some_and(|millis| millis <= 0) {
        push(found, "max_run_duration", "must be above 0");
    }
    let mut names = HashSet::new();
    for (index, name) in spec.trainers.iter().enumerate() {
        if name.is_empty() || !names.insert(name) {
            found.push((
                format!("trainers[{index}]"),
                "must be a name that occurs once".to_owned(),
            ));
        }
    }
    if spec.device.len() > MAX_TEXT {
        push(found, "device", format!("must be at most {MAX_TEXT} bytes long"));
    }
}

fn labels(spec: &SelectionSpec, found: &mut Violations) {
    if spec.labels.len() > MAX_LABELS {
        push(
            found,
            "labels",
            format!("must be at most {MAX_LABELS}, are {}", spec.labels.len()),
        );
    }
    let long = |(key, value): &(&String, &String)| key.len() > MAX_TEXT || value.len() > MAX_TEXT;
    for (key, _) in spec.labels.iter().filter(long) {
        let shown: String = key.chars().take(32).collect();
        found.push((
            format!("labels[{shown:?}]"),
            format!("key and value must be at most {MAX_TEXT} bytes long"),
        ));
    }
    if spec.display_name.len() > MAX_TEXT {
        push(found, "display_name", format!("must be at most {MAX_TEXT} bytes long"));
    }
}

//! The question: wire → domain. Ranges are the domain's matter ([`crate::plan::check`]); here is what only the wire can get wrong.

use finepick_proto::selector::v1 as wire;
use trainer_kit::grpc::from_wire;
use trainer_kit::spec::{Hyperparameters, Method};

use super::budget::budget;
use super::millis;
use crate::grpc::convert::policy::selection_policy;
use crate::grpc::convert::request::{attributes, constraints, level, positive_size};
use crate::grpc::convert::{Violations, count};
use crate::selection::spec::{MAX_CONTENDERS, MAX_METHODS};
use crate::selection::{CandidateSpec, MethodSpec, SelectionSpec, WorkMode};
use crate::table::Attributes;

/// Attempts at one run where nothing is asked for.
const DEFAULT_ATTEMPTS: i32 = 3;

/// The spec; `None` when it is absent or holds too much to be looked at. What is wrong is remembered with its path below `path`.
pub(in crate::grpc::convert) fn read(
    path: &str,
    message: Option<wire::SelectionSpec>,
    violations: &mut Violations,
) -> Option<SelectionSpec> {
    let Some(message) = message else {
        violations.push(path, "is required");
        return None;
    };
    let at = |field: &str| format!("{path}.{field}");
    if message.candidates.len() > MAX_CONTENDERS {
        let description = format!("at most {MAX_CONTENDERS}, there are {}", message.candidates.len());
        violations.push(at("candidates"), description);
        return None;
    }
    if message.methods.len() > MAX_METHODS {
        let description = format!("at most {MAX_METHODS}, there are {}", message.methods.len());
        violations.push(at("methods"), description);
        return None;
    }
    let size = |field: &str, value: Option<i64>, violations: &mut Violations| {
        value.and_then(|value| positive_size(&at(field), value, violations))
    };
    let max_run_millis = message.max_run_duration.and_then(|limit| {
        let found = millis(limit).filter(|millis| *millis > 0);
        if found.is_none() {
            violations.push(at("max_run_duration"), "must be longer than 0 s");
        }
        found
    });
    let candidates = message.candidates.into_iter().enumerate();
    let candidates = candidates.map(|(i, found)| candidate(&format!("{path}.candidates[{i}]"), found, violations));
    let candidates = candidates.collect();
    Some(SelectionSpec {
        candidates,
        methods: methods(path, message.methods, violations),
        data: message.data.map(|data| from_wire::reference(Some(data))),
        held_out: message.held_out.map(|data| from_wire::reference(Some(data))),
        data_size_full: size("data_size_full", message.data_size_full, violations),
        data_size_min: size("data_size_min", message.data_size_min, violations),
        budget: budget(&at("budget"), message.budget, violations).unwrap_or_default(),
        policy: selection_policy(&at("policy"), message.policy, violations),
        constraints: constraints(&at("constraints"), message.constraints, violations),
        trainers: message.trainers,
        parallelism: message
            .parallelism
            .map(|found| whole(&at("parallelism"), found, violations)),
        max_attempts: whole(
            &at("max_attempts"),
            message.max_attempts.unwrap_or(DEFAULT_ATTEMPTS),
            violations,
        ),
        seed: message.seed,
        subset_seed: message.subset_seed,
        interval_level: level(&at("interval_level"), message.interval_level, violations),
        work_mode: work_mode(&at("work_mode"), message.work_mode, violations),
        reuse: reuse(&at("reuse"), message.reuse, violations),
        warm_start: warm_start(&at("warm_start"), message.warm_start, violations),
        max_run_millis,
        device: message.device,
        labels: message.labels.into_iter().collect(),
        display_name: message.display_name,
    })
}

/// The spec, read and in order by the domain's rules. All that is wrong is remembered.
pub(super) fn checked(
    path: &str,
    message: Option<wire::SelectionSpec>,
    check: impl FnOnce(&SelectionSpec) -> Vec<(String, String)>,
    violations: &mut Violations,
) -> Option<SelectionSpec> {
    let spec = read(path, message, violations)?;
    let known: Vec<String> = violations.found.iter().map(|found| found.field.clone()).collect();
    // What the wire got wrong was replaced by a stand-in: the domain's remarks on the same field, or within it, would be about that.
    let told = |field: &str| {
        let inside = |outer: &String| {
            field
                .strip_prefix(outer.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        known.iter().any(inside)
    };
    for (field, description) in check(&spec) {
        let field = format!("{path}.{field}");
        if !told(&field) {
            violations.push(field, description);
        }
    }
    Some(spec)
}

fn whole(path: &str, value: i32, violations: &mut Violations) -> u32 {
    u32::try_from(count(path, value, violations)).unwrap_or(u32::MAX)
}

fn candidate(path: &str, message: wire::SelectionCandidate, violations: &mut Violations) -> CandidateSpec {
    let model = message.model.map(|model| from_wire::reference(Some(model)));
    let Some(identity) = message.candidate else {
        violations.push(format!("{path}.candidate"), "is required");
        return CandidateSpec {
            id: String::new(),
            attributes: Attributes::default(),
            model,
        };
    };
    let inner = format!("{path}.candidate");
    let attributes = attributes(
        &inner,
        identity.family,
        identity.parameters,
        identity.attributes,
        violations,
    );
    CandidateSpec {
        id: identity.candidate_id,
        attributes: attributes.unwrap_or_default(),
        model,
    }
}

/// All weights with the trainer's defaults, where nothing is asked for.
fn methods(path: &str, messages: Vec<wire::SelectionMethod>, violations: &mut Violations) -> Vec<MethodSpec> {
    if messages.is_empty() {
        return vec![MethodSpec {
            id: Method::Full.kind().name().to_owned(),
            method: Method::Full,
            hyperparameters: Hyperparameters::default(),
        }];
    }
    let methods = messages.into_iter().enumerate();
    methods
        .map(|(i, message)| method(&format!("{path}.methods[{i}]"), message, violations))
        .collect()
}

fn method(path: &str, message: wire::SelectionMethod, violations: &mut Violations) -> MethodSpec {
    let method = if let Some(kind) = message.tuning.and_then(|tuning| tuning.kind) {
        from_wire::method(kind)
    } else {
        violations.push(format!("{path}.tuning"), "is required");
        Method::Full
    };
    let mut wrong = Vec::new();
    let chosen = message.hyperparameters.map(|chosen| {
        let path = format!("{path}.hyperparameters");
        from_wire::hyperparameters(&path, chosen, &mut wrong)
    });
    for violation in wrong {
        violations.push(violation.field, violation.description);
    }
    let id = if message.method_id.is_empty() {
        method.kind().name().to_owned()
    } else {
        message.method_id
    };
    MethodSpec {
        id,
        method,
        hyperparameters: chosen.unwrap_or_default(),
    }
}

fn unknown(path: &str, value: i32, violations: &mut Violations) {
    violations.push(path, format!("{value} is no known value"));
}

fn work_mode(path: &str, value: i32, violations: &mut Violations) -> WorkMode {
    match wire::WorkMode::try_from(value) {
        Ok(wire::WorkMode::Unspecified | wire::WorkMode::Driven) => WorkMode::Driven,
        Ok(wire::WorkMode::AskTell) => WorkMode::AskTell,
        Err(_) => {
            unknown(path, value, violations);
            WorkMode::Driven
        }
    }
}

fn reuse(path: &str, value: i32, violations: &mut Violations) -> bool {
    match wire::ReusePolicy::try_from(value) {
        Ok(wire::ReusePolicy::Unspecified | wire::ReusePolicy::SameDigests) => true,
        Ok(wire::ReusePolicy::Never) => false,
        Err(_) => {
            unknown(path, value, violations);
            false
        }
    }
}

fn warm_start(path: &str, value: i32, violations: &mut Violations) -> bool {
    match wire::WarmStart::try_from(value) {
        Ok(wire::WarmStart::Unspecified | wire::WarmStart::Off) => false,
        Ok(wire::WarmStart::EarlierSelections) => true,
        Err(_) => {
            unknown(path, value, violations);
            false
        }
    }
}

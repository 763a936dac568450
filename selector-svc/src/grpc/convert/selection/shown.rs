//! The question: domain → wire, with defaults filled in.

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1 as types;
use trainer_kit::grpc::to_wire;

use super::{budget, duration, policy};
use crate::constraint::{Constraints, MemoryLimit, TuningMethod};
use crate::grpc::convert::wire as examples;
use crate::selection::{CandidateSpec, MethodSpec, SelectionSpec, WorkMode};

/// The spec as callers see it.
#[must_use]
pub fn spec(spec: &SelectionSpec) -> wire::SelectionSpec {
    let whole = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
    let work_mode = match spec.work_mode {
        WorkMode::Driven => wire::WorkMode::Driven,
        WorkMode::AskTell => wire::WorkMode::AskTell,
    };
    let reuse = if spec.reuse {
        wire::ReusePolicy::SameDigests
    } else {
        wire::ReusePolicy::Never
    };
    let warm_start = if spec.warm_start {
        wire::WarmStart::EarlierSelections
    } else {
        wire::WarmStart::Off
    };
    wire::SelectionSpec {
        candidates: spec.candidates.iter().map(candidate).collect(),
        methods: spec.methods.iter().map(method).collect(),
        data: spec.data.clone().map(to_wire::reference),
        held_out: spec.held_out.clone().map(to_wire::reference),
        data_size_full: spec.data_size_full.map(|size| examples(size.examples())),
        data_size_min: spec.data_size_min.map(|size| examples(size.examples())),
        budget: Some(budget::shown(&spec.budget)),
        policy: Some(policy::selection_policy(&spec.policy)),
        constraints: (spec.constraints != Constraints::default()).then(|| constraints(&spec.constraints)),
        trainers: spec.trainers.clone(),
        parallelism: spec.parallelism.map(whole),
        max_attempts: Some(whole(spec.max_attempts)),
        seed: spec.seed,
        subset_seed: spec.subset_seed,
        interval_level: Some(spec.interval_level),
        work_mode: work_mode.into(),
        reuse: reuse.into(),
        warm_start: warm_start.into(),
        max_run_duration: spec.max_run_millis.map(duration),
        device: spec.device.clone(),
        labels: spec.labels.clone().into_iter().collect(),
        display_name: spec.display_name.clone(),
    }
}

/// A candidate.
#[must_use]
pub fn candidate(candidate: &CandidateSpec) -> wire::SelectionCandidate {
    let attributes = &candidate.attributes;
    wire::SelectionCandidate {
        candidate: Some(types::Candidate {
            candidate_id: candidate.id.clone(),
            family: attributes.family().unwrap_or_default().to_owned(),
            parameters: attributes.parameters().map(examples),
            attributes: attributes.other().clone().into_iter().collect(),
        }),
        model: candidate.model.clone().map(to_wire::reference),
    }
}

/// A method.
#[must_use]
pub fn method(method: &MethodSpec) -> wire::SelectionMethod {
    wire::SelectionMethod {
        method_id: method.id.clone(),
        tuning: Some(to_wire::method(method.method.clone())),
        hyperparameters: Some(to_wire::hyperparameters(method.hyperparameters.clone())),
    }
}

fn constraints(constraints: &Constraints) -> wire::Constraints {
    wire::Constraints {
        include_families: constraints.include_families.clone(),
        exclude_families: constraints.exclude_families.clone(),
        min_parameters: constraints.min_parameters.map(examples),
        max_parameters: constraints.max_parameters.map(examples),
        memory_limit: constraints.memory_limit.as_ref().map(memory_limit),
        attributes: constraints.attributes.clone().into_iter().collect(),
    }
}

fn memory_limit(limit: &MemoryLimit) -> wire::MemoryLimit {
    let method = match limit.method {
        TuningMethod::Full => wire::TuningMethod::Full,
        TuningMethod::Lora => wire::TuningMethod::Lora,
        TuningMethod::Prompt => wire::TuningMethod::Prompt,
    };
    wire::MemoryLimit {
        bytes: examples(limit.bytes),
        method: method.into(),
        bytes_per_parameter: limit.bytes_per_parameter,
    }
}

//! Selections for tests: curves by a formula, played to their end without trainers.

use std::collections::BTreeMap;

use trainer_kit::spec::{Hyperparameters, Method, Reference};

use crate::constraint::Constraints;
use crate::curve::{DataSize, Loss, Observation};
use crate::plan;
use crate::selection::{
    BudgetSpec, CandidateSpec, ContenderFacts, CostModel, Limits, MethodSpec, Phase, Prepared, Round, SelectionSpec,
    Spending, State, TrainerFacts, Trial, TrialStatus, Wait, WorkMode,
};
use crate::simulate::SelectionPolicy;
use crate::table::Attributes;
use crate::what_if::{Measured, WhatIfError, replay};

/// Full size of the fixtures' data.
pub(crate) const FULL: u64 = 12_800;

pub(crate) fn size(examples: u64) -> DataSize {
    DataSize::new(examples).unwrap()
}

pub(crate) fn observation(examples: u64, nats: f64) -> Observation {
    Observation::new(size(examples), Loss::new(nats).unwrap())
}

fn reference(uri: &str) -> Reference {
    Reference {
        uri: uri.to_owned(),
        digest: String::new(),
    }
}

pub(crate) fn spec(candidates: usize, methods: &[&str], policy: SelectionPolicy, examples: u64) -> SelectionSpec {
    let candidate = |index: usize| {
        let id = format!("model-{index}");
        let family = Some(format!("family-{}", index % 2));
        CandidateSpec {
            model: Some(reference(&format!("file:///models/{id}"))),
            attributes: Attributes::new(family, Some(1_000 * (index as u64 + 1)), BTreeMap::new()),
            id,
        }
    };
    let method = |id: &&str| MethodSpec {
        id: (*id).to_owned(),
        method: Method::Full,
        hyperparameters: Hyperparameters::default(),
    };
    SelectionSpec {
        candidates: (0..candidates).map(candidate).collect(),
        methods: methods.iter().map(method).collect(),
        data: Some(reference("file:///data.jsonl")),
        held_out: None,
        data_size_full: Some(size(FULL)),
        data_size_min: Some(size(100)),
        budget: BudgetSpec {
            examples: Some(examples),
            ..BudgetSpec::default()
        },
        policy,
        constraints: Constraints::default(),
        trainers: Vec::new(),
        parallelism: None,
        max_attempts: 3,
        seed: 7,
        subset_seed: 8,
        interval_level: 0.9,
        work_mode: WorkMode::Driven,
        reuse: true,
        warm_start: false,
        max_run_millis: None,
        device: String::new(),
        labels: BTreeMap::new(),
        display_name: String::new(),
    }
}

fn prepared(spec: &SelectionSpec) -> Prepared {
    let cost = CostModel {
        fixed_seconds: 2.0,
        seconds_per_example: 0.01,
        ..CostModel::default()
    };
    let facts = |contender: usize| ContenderFacts {
        exclusion: None,
        parameters: spec
            .contender(contender)
            .and_then(|(candidate, _)| candidate.attributes.parameters()),
        model_digest: format!("sha256:{contender:02x}"),
        costs: BTreeMap::from([("local".to_owned(), cost)]),
    };
    let contenders = spec.contenders();
    let limits = Limits {
        examples: spec.budget.examples,
        ..Limits::default()
    };
    let plan_examples = spec.budget.examples.unwrap_or(0);
    let exhaustive = cost.of(size(FULL), None);
    Prepared {
        data_size_full: size(FULL),
        data_sizes: (0..8).map(|rung| size(100 << rung)).collect(),
        data_digest: "sha256:da7a".to_owned(),
        contenders: (0..contenders).map(facts).collect(),
        trainers: vec![TrainerFacts {
            name: "local".to_owned(),
            implementation: "dev.finepick.sim 0.1.0".to_owned(),
            slots: 2,
            nested_subsets: false,
            deterministic: true,
        }],
        limits,
        plan_examples,
        planned: Spending {
            examples: plan_examples,
            device_seconds: 0.01 * plan_examples as f64,
            ..Spending::ZERO
        },
        exhaustive: Spending {
            examples: exhaustive.examples * contenders as u64,
            device_seconds: exhaustive.device_seconds * contenders as f64,
            ..Spending::ZERO
        },
        wall_seconds: Some(100.0),
        expected_relative_regret: None,
        history: Vec::new(),
        warnings: Vec::new(),
    }
}

/// A selection whose trainers have told, and that has no rounds yet.
pub(crate) fn ready(spec: SelectionSpec) -> State {
    let prepared = prepared(&spec);
    let mut state = State {
        limits: prepared.limits.clone(),
        prepared: Some(prepared),
        spec,
        nonce: "n".to_owned(),
        phase: Phase::Running,
        paused: false,
        wait: Wait::default(),
        rounds: Vec::new(),
        trials: Vec::new(),
        withdrawn: Vec::new(),
        amendments: Vec::new(),
        spent: Spending::ZERO,
        wasted: Spending::ZERO,
        reserved: Spending::ZERO,
        saved: Spending::ZERO,
        created: 1_000,
        updated: 1_000,
        ended: None,
        sequence: 2,
    };
    if let (Ok((limits, plan_examples)), Some(prepared)) =
        (plan::amend(&state, &state.spec.budget), &mut state.prepared)
    {
        prepared.limits = limits.clone();
        prepared.plan_examples = plan_examples;
        state.limits = limits;
    }
    state
}

/// Straight curves with a little waviness: contender 2 is the best at the full size, 0 the best at the smallest.
pub(crate) fn nats(contender: usize, examples: u64) -> f64 {
    let (c, x) = (contender as f64, (examples.max(50) as f64 / 100.0).log2());
    let steepness = 0.05 + 0.02 * (3.0 - (c - 2.0).abs()).max(0.0);
    let wave = 0.002 * (3.0 * x + 5.0 * c).sin();
    (1.2 + 0.02 * c - steepness * x + wave).exp()
}

/// What the formula says, at the expected price.
pub(crate) fn measure(state: &State, contender: usize, at: DataSize) -> Option<Measured> {
    Some(Measured {
        observation: Observation::new(at, Loss::new(nats(contender, at.examples())).ok()?),
        trainer: "local".to_owned(),
        spent: state.price(contender, at),
    })
}

/// A selection that has ended.
pub(crate) fn played(spec: SelectionSpec) -> Result<State, WhatIfError> {
    Ok(replay(ready(spec), measure, |_| None)?.0)
}

/// Gives the state a round with these losses: (contender, examples, nats).
pub(crate) fn observe(state: &mut State, losses: &[(usize, u64, f64)]) {
    let round = state.rounds.len();
    let first = state.trials.len();
    for (contender, examples, nats) in losses {
        state.trials.push(Trial {
            contender: *contender,
            data_size: size(*examples),
            round,
            status: TrialStatus::Observed(observation(*examples, *nats)),
            attempts: Vec::new(),
            reused_from: None,
        });
    }
    state.rounds.push(Round {
        trials: (first..state.trials.len()).collect(),
        ..Round::default()
    });
}

//! Plans of small selections.

use super::*;
use crate::constraint::{Constraints, MemoryLimit, TuningMethod};
use crate::policy::ExclusionReason;
use crate::selection::{CandidateSpec, MethodSpec, WorkMode};
use crate::simulate::SelectionPolicy;
use crate::table::Attributes;
use trainer_kit::spec::{Hyperparameters, Method, MethodKind, Reference};

fn size(examples: u64) -> DataSize {
    DataSize::new(examples).unwrap()
}

fn reference(digest: &str) -> Reference {
    Reference {
        uri: "file:///x".to_owned(),
        digest: digest.to_owned(),
    }
}

/// Four candidates, full tuning, geometric.
fn spec(examples: u64) -> SelectionSpec {
    let candidate = |name: &str| CandidateSpec {
        id: name.to_owned(),
        attributes: Attributes::default(),
        model: Some(reference("")),
    };
    SelectionSpec {
        candidates: ["a", "b", "c", "d"].map(candidate).to_vec(),
        methods: vec![MethodSpec {
            id: "full".to_owned(),
            method: Method::Full,
            hyperparameters: Hyperparameters::default(),
        }],
        data: Some(reference("")),
        held_out: None,
        data_size_full: None,
        data_size_min: Some(size(100)),
        budget: BudgetSpec {
            examples: Some(examples),
            ..BudgetSpec::default()
        },
        policy: SelectionPolicy::from_name("geometric").unwrap(),
        constraints: Constraints::default(),
        trainers: Vec::new(),
        parallelism: None,
        max_attempts: 3,
        seed: 0,
        subset_seed: 0,
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

fn trainer() -> TrainerDescription {
    TrainerDescription {
        implementation: "t 1".to_owned(),
        slots: 2,
        methods: vec![MethodKind::Full],
        nested_subsets: false,
        deterministic: true,
        estimates: true,
        data_size_max: None,
        price: Some(("EUR".to_owned(), 1_000_000, 0)),
        memory_bytes: Some(1 << 30),
    }
}

/// One trainer; 10 s and .01 s an example for everybody, 2 GiB for `d`.
fn told() -> Told {
    let estimate = |contender: usize, examples: u64| RunEstimate {
        memory_bytes: Some(if contender == 3 { 2 << 30 } else { 1 << 29 }),
        device_seconds: Some(10.0 + examples as f64 / 100.0),
        model_digest: format!("m{contender}"),
        data_digest: "data".to_owned(),
        parameters: Some(1_000 * (contender as u64 + 1)),
        data_examples: Some(12_800),
        ..RunEstimate::default()
    };
    let answers = |contender| {
        let at = |examples| (size(examples), Ok(estimate(contender, examples)));
        ((contender, "t".to_owned()), vec![at(100), at(12_800)])
    };
    Told {
        trainers: vec![("t".to_owned(), trainer())],
        estimates: (0..4).map(answers).collect(),
        forecasts: Vec::new(),
    }
}

#[test]
fn a_plan_says_who_where_and_for_how_much() {
    let plan = prepare(&spec(40_000), &told()).unwrap();
    assert_eq!(plan.data_size_full, size(12_800));
    assert_eq!(plan.data_sizes.first(), Some(&size(100)));
    assert_eq!(plan.pool(), [0, 1, 2]);
    let out = plan.contenders[3].exclusion.as_ref().unwrap();
    assert_eq!(out.reason, ExclusionReason::Memory);
    assert_eq!(
        out.detail,
        "t estimates 2.00 GiB of device memory, its largest device has 1.00 GiB"
    );
    let cost = plan.contenders[0].costs["t"];
    assert!((cost.fixed_seconds - 10.0).abs() < 1e-9 && (cost.seconds_per_example - 0.01).abs() < 1e-12);
    assert_eq!((plan.plan_examples, plan.limits.currency.as_str()), (40_000, "EUR"));
    assert!(plan.planned.examples <= 40_000 && plan.planned.money_nanos > 0);
    assert_eq!(plan.exhaustive.examples, 3 * 12_800);
    let wall = plan.wall_seconds.unwrap();
    assert!(
        wall >= plan.planned.device_seconds / 2.0 - 1e-9 && wall <= plan.planned.device_seconds,
        "{wall}"
    );
    assert_eq!(plan.data_digest, "data");
}

#[test]
fn the_smallest_limit_binds_and_every_unit_is_kept() {
    let mut wanted = spec(1_000_000);
    wanted.budget.relative = Some((0.5, 1.0));
    wanted.budget.exhaustive_fraction = Some(0.9);
    let plan = prepare(&wanted, &told()).unwrap();
    // 3 · (6400 + 3200 + … + 100) = 38,100 and .9 · 3 · 12,800 = 34,560.
    assert_eq!(plan.limits.examples, Some(34_560));
    let free = plan.planned;
    wanted.budget.device_seconds = Some(free.device_seconds / 2.0);
    let plan = prepare(&wanted, &told()).unwrap();
    assert!(plan.plan_examples < 34_560 && plan.planned.device_seconds <= free.device_seconds / 2.0);
    wanted.budget.money = Some((free.money_nanos / 3, "EUR".to_owned()));
    wanted.budget.example_parameters = Some(free.example_parameters / 4.0);
    let plan = prepare(&wanted, &told()).unwrap();
    assert_eq!(plan.limits.allow(plan.planned), Ok(()));
}

#[test]
fn too_small_a_budget_says_what_is_needed() {
    let (failure, detail) = prepare(&spec(500), &told()).unwrap_err();
    assert_eq!(failure, Failure::BudgetTooSmall);
    assert_eq!(
        detail,
        "the smallest plan of geometric for 3 contenders needs 900 examples, the budget pays 500 examples"
    );
    let mut wanted = spec(40_000);
    wanted.budget.device_seconds = Some(30.0);
    let (failure, detail) = prepare(&wanted, &told()).unwrap_err();
    assert_eq!(failure, Failure::BudgetTooSmall);
    assert!(
        detail.contains("device time, the budget pays 30 s of device time"),
        "{detail}"
    );
}

#[test]
fn exclusions_have_their_reasons() {
    let reason = |spec: &SelectionSpec, told: &Told| {
        let (failure, detail) = prepare(spec, told).unwrap_err();
        assert_eq!(failure, Failure::NoEligibleCandidate);
        detail
    };
    let mut lora = spec(40_000);
    lora.methods[0].method = Method::Lora {
        rank: 8,
        alpha: None,
        dropout: None,
        target_modules: Vec::new(),
    };
    assert!(reason(&lora, &told()).contains("t does not tune by lora"));
    let mut dollars = spec(40_000);
    dollars.budget.money = Some((1, "USD".to_owned()));
    assert!(reason(&dollars, &told()).contains("no prices in USD"));
    let mut small = told();
    small.trainers[0].1.data_size_max = Some(1_000);
    assert!(reason(&spec(40_000), &small).contains("at most 1000 examples"));
    let mut silent = told();
    silent.estimates.clear();
    let mut timed = spec(40_000);
    timed.data_size_full = Some(size(12_800));
    timed.budget.device_seconds = Some(1e6);
    assert!(reason(&timed, &silent).contains("does not estimate device time"));
    timed.budget.device_seconds = None;
    timed.budget.example_parameters = Some(1e12);
    assert!(reason(&timed, &silent).contains("number of parameters is unknown"));
    timed.budget.example_parameters = None;
    timed.constraints.memory_limit = Some(MemoryLimit {
        bytes: 1,
        method: TuningMethod::Full,
        bytes_per_parameter: None,
    });
    assert!(reason(&timed, &silent).contains("memory cannot be estimated"));
    assert!(
        reason(
            &spec(40_000),
            &Told {
                trainers: Vec::new(),
                ..told()
            }
        )
        .contains("no trainer may be used")
    );
    let (failure, _) = prepare(&spec(40_000), &silent).unwrap_err();
    assert_eq!(failure, Failure::FullSizeUnknown);
}

#[test]
fn a_warm_start_takes_the_newest_losses_of_two_models_at_least() {
    let mut wanted = spec(40_000);
    wanted.warm_start = true;
    let mut told = told();
    let keys = digests(&wanted, &told).model_keys;
    let known = |contender: usize, data: &str, loss: f64| KnownForecast {
        data_digest: data.to_owned(),
        model_key: keys[contender].clone().unwrap(),
        loss,
        selection: "s".to_owned(),
    };
    told.forecasts = vec![
        known(0, "other", 2.0),
        known(1, "other", 3.0),
        known(0, "other", 9.0),
        known(0, "lonely", 1.0),
        known(0, "data", 1.0),
        known(1, "data", 1.0),
    ];
    let history = prepare(&wanted, &told).unwrap().history;
    let losses = vec![
        ("a".to_owned(), Loss::new(2.0).unwrap()),
        ("b".to_owned(), Loss::new(3.0).unwrap()),
    ];
    let other = NamedHistory {
        data_set: "other".to_owned(),
        losses,
    };
    assert_eq!(history, [other]);
    wanted.held_out = Some(reference(""));
    assert_eq!(digests(&wanted, &told).data, "");
    wanted.held_out = Some(reference("h"));
    assert_eq!(digests(&wanted, &told).data, "data+h");
}

#[test]
fn estimates_are_asked_at_the_smallest_and_the_full_size() {
    assert_eq!(probe_sizes(&spec(1), None), [size(1)]);
    assert_eq!(probe_sizes(&spec(1), Some(12_800)), [size(100), size(12_800)]);
    assert_eq!(probe_sizes(&spec(1), Some(150)), [size(150)]);
}

#[test]
fn violations_are_found_at_once() {
    assert_eq!(check(&spec(1)), []);
    let mut wrong = spec(0);
    wrong.candidates[1].id = "a".to_owned();
    wrong.candidates[2].model = None;
    wrong.methods[0].id = "no spaces".to_owned();
    wrong.methods[0].hyperparameters.epochs = Some(0);
    wrong.data = None;
    wrong.data_size_min = Some(DataSize::ZERO);
    wrong.max_attempts = 0;
    wrong.parallelism = Some(0);
    wrong.interval_level = 2.0;
    let fields: Vec<String> = check(&wrong).into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        [
            "candidates[1].candidate.candidate_id",
            "candidates[2].model",
            "methods[0].method_id",
            "methods[0].hyperparameters.epochs",
            "data",
            "data_size_min",
            "budget.examples",
            "parallelism",
            "max_attempts",
            "interval_level"
        ]
    );
}

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::capability::Capabilities;
use crate::overrides::Permissions;
use crate::settings::Device;
use crate::spec::{Hyperparameters, Method, Reference, RetentionSet};

fn settings() -> Settings {
    Settings {
        devices: vec![Device {
            name: "sim:0".to_owned(),
            description: String::new(),
            memory_bytes: 80 << 30,
            slots: 1,
        }],
        queue_limit: 1,
        start_delay: Duration::ZERO,
        capabilities: Capabilities {
            methods: vec![MethodKind::Full],
            model_formats: Vec::new(),
            uri_schemes: Vec::new(),
            precisions: Vec::new(),
            pause: true,
            checkpoint_resume: false,
            nested_subsets: true,
            deterministic_seeds: true,
            estimate: true,
            retention_sets: true,
            heartbeat_interval: Duration::from_secs(1),
            prices: None,
            data_size_max: None,
        },
        laws: Vec::new(),
        noise: 0.01,
        flops: 4e13,
        prepare: Duration::from_secs(5),
        progress_interval: Duration::from_secs(10),
        watchdog: None,
        retained_events: 8,
        retained_runs: 8,
        permissions: Permissions::default(),
        fault: None,
        fault_probability: 0.0,
        fault_at: 0.5,
    }
}

fn spec(data_sizes: Vec<i64>, hyperparameters: Hyperparameters) -> Spec {
    let reference = |uri: &str| Reference {
        uri: uri.to_owned(),
        digest: String::new(),
    };
    Spec {
        candidate_id: "c".to_owned(),
        model: reference("sim://x-100m"),
        data: reference("sim://data"),
        held_out: None,
        data_sizes,
        method: Method::Full,
        hyperparameters,
        seed: 1,
        subset_seed: 2,
        retention_sets: vec![RetentionSet {
            name: "wiki".to_owned(),
            data: reference("sim://wiki"),
        }],
        device: String::new(),
        max_duration: None,
        labels: BTreeMap::new(),
        initial_adapter: None,
    }
}

fn plan(data_sizes: Vec<i64>, hyperparameters: Hyperparameters) -> Plan {
    Plan::new(
        "id",
        &spec(data_sizes, hyperparameters),
        &Overrides::default(),
        &settings(),
    )
}

#[test]
fn time_and_memory_follow_the_stated_formulas() {
    let plan = plan(vec![800], Hyperparameters::default());
    // 6 · 10^8 weights · 512 tokens / 4·10^13 s an example; three evaluations of 512 examples at a third of that.
    let pass = 1e8 * 512.0 / 4e13;
    let expected = 800.0 * 6.0 * pass + 3.0 * 512.0 * 2.0 * pass;
    assert!(
        (plan.total / expected - 1.0).abs() < 1e-12,
        "{} is not {expected}",
        plan.total
    );
    assert_eq!(plan.steps, 100);
    // 16 bytes a weight, and 48 · 8 · 512 · 10^4 bytes of activations.
    assert_eq!(plan.memory_bytes, 1_600_000_000 + 1_966_080_000);
    assert!((plan.tokens_per_second * 6.0 * pass - 512.0).abs() < 1e-9);
}

#[test]
fn sizes_are_reached_in_turn_and_steps_are_shared_among_them() {
    let steps = Hyperparameters {
        steps: Some(1_000),
        ..Hyperparameters::default()
    };
    let plan = plan(vec![0, 250, 1_000], steps);
    let work: Vec<Work> = plan.stages.iter().map(|stage| stage.work).collect();
    let train = |to_size, to_step| Work::Train { to_size, to_step };
    let retention = |after| Work::Retention { set: 0, after };
    let expected = [
        retention(false),
        Work::HeldOut(0),
        train(250, 250),
        Work::HeldOut(250),
        train(1_000, 1_000),
        Work::HeldOut(1_000),
        retention(true),
    ];
    assert_eq!(work, expected);
}

#[test]
fn a_fault_at_a_step_comes_when_the_step_is_done() {
    let overrides = Overrides {
        fault: Some(Fault::Hang),
        fault_point: Some(FaultPoint::Step(50)),
        ..Overrides::default()
    };
    let spec = spec(vec![800], Hyperparameters::default());
    let plan = Plan::new("id", &spec, &overrides, &settings());
    let (at, fault) = plan.fault.unwrap();
    assert_eq!(fault, Fault::Hang);
    assert_eq!(Plan::position(&plan.stages[1], at), (50, 400));
}

proptest! {
    #[test]
    fn stages_have_no_gaps_and_nothing_overflows(
        sizes in prop::collection::btree_set(0_i64..=i64::MAX, 1..6),
        epochs in prop::option::of(1_i32..=10_000),
        batch in 1_i32..=1 << 20,
        length in 1_i32..=1 << 20,
        share in 0.0_f64..=1.0,
    ) {
        let chosen = Hyperparameters {
            epochs,
            batch_size: Some(batch),
            sequence_length: Some(length),
            ..Hyperparameters::default()
        };
        let plan = plan(sizes.into_iter().collect(), chosen);
        let (mut end, mut step, mut size) = (0.0, 0, 0);
        for stage in &plan.stages {
            prop_assert_eq!((stage.start, stage.from_step, stage.from_size), (end, step, size));
            prop_assert!(stage.end >= stage.start && stage.end.is_finite());
            end = stage.end;
            let (now, examples) = Plan::position(stage, stage.start + share * (stage.end - stage.start));
            prop_assert!(now >= step && examples >= size, "{now} {step} {examples} {size}");
            if let Work::Train { to_size, to_step } = stage.work {
                prop_assert!(now <= to_step && examples <= to_size);
                (step, size) = (to_step, to_size);
            }
        }
        prop_assert_eq!((end, step), (plan.total, plan.steps));
        prop_assert!(plan.memory_bytes > 0);
    }
}

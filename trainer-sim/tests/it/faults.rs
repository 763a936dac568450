//! What goes wrong on demand.

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::TrainingFailure as F;
use finepick_proto::trainer::v1::TrainingRunState as S;
use finepick_proto::trainer::v1::training_event::Kind;
use svc_kit::config::HumanDuration;
use trainer_sim::SimulationConfig;
use trainer_sim::overrides::Fault;

use crate::support::{World, fields, labelled, spec};

#[tokio::test]
async fn every_fault_ends_as_the_contract_says() {
    for (name, fault) in Fault::NAMED {
        if fault.ends_process() {
            continue;
        }
        let mut world = World::plain();
        world.create("r", labelled(&[("sim.fault", name)])).await.unwrap();
        world.advance(100_000);
        let run = world.get("r").await.unwrap();
        let (state, failure) = match fault {
            Fault::Preempted => (S::Preempted, F::Unspecified),
            Fault::Lost => (S::Lost, F::Unspecified),
            Fault::Hang | Fault::Freeze => (S::Failed, F::Stalled),
            Fault::EvaluationMissing => (S::Failed, F::EvaluationMissing),
            Fault::Fail(trainer_sim::state::Failure::Internal) => (S::Failed, F::Internal),
            _ => (
                S::Failed,
                F::from_str_name(&format!("TRAINING_FAILURE_{}", name.to_uppercase())).unwrap(),
            ),
        };
        assert_eq!((run.state(), run.failure()), (state, failure), "{name}");
        assert!(run.evaluations.len() < 3 && run.end_time.is_some(), "{name}");
        let info = world
            .trainer
            .with(|simulation| (simulation.active(), simulation.queued()));
        assert_eq!(info, (0, 0), "{name} keeps its slot");
    }
}

#[tokio::test]
async fn a_fault_comes_at_its_step() {
    let mut world = World::plain();
    world
        .create("r", labelled(&[("sim.fault", "fail"), ("sim.fault_step", "40")]))
        .await
        .unwrap();
    world.advance(100_000);
    let run = world.get("r").await.unwrap();
    assert_eq!((run.state(), run.evaluations.len()), (S::Failed, 2));
    assert_eq!(run.checkpoints.last().unwrap().step, 13);
}

#[tokio::test]
async fn a_run_that_hangs_goes_on_when_it_was_paused_and_resumed() {
    let mut world = World::new(&SimulationConfig {
        watchdog: HumanDuration::from_secs(0),
        ..SimulationConfig::default()
    });
    world.create("r", labelled(&[("sim.fault", "hang")])).await.unwrap();
    world.advance(1_000_000);
    assert_eq!(world.get("r").await.unwrap().state(), S::Running);
    world.pause("r").await.unwrap();
    world.resume("r").await.unwrap();
    world.advance(3_600);
    assert_eq!(world.get("r").await.unwrap().state(), S::Succeeded);
}

#[tokio::test]
async fn max_duration_counts_running_time_only() {
    let mut world = World::plain();
    let mut limited = labelled(&[("sim.seconds_per_example", "1")]);
    limited.max_duration = Some(prost_types::Duration { seconds: 500, nanos: 0 });
    world.create("r", limited).await.unwrap();
    world.advance(400);
    world.pause("r").await.unwrap();
    world.advance(10_000);
    world.resume("r").await.unwrap();
    world.advance(90);
    assert_eq!(world.get("r").await.unwrap().state(), S::Running);
    world.advance(60);
    let run = world.get("r").await.unwrap();
    assert_eq!((run.state(), run.failure()), (S::Failed, F::DeadlineExceeded));
}

#[tokio::test]
async fn faults_befall_runs_by_chance_and_the_same_ones_each_time() {
    let config = SimulationConfig {
        fault: "lost".to_owned(),
        fault_probability: 0.5,
        queue_limit: 1_000,
        ..SimulationConfig::default()
    };
    let mut lost = Vec::new();
    for _ in 0..2 {
        let mut world = World::new(&config);
        for index in 0..40 {
            world.create(&format!("r{index}"), spec()).await.unwrap();
        }
        world.advance(1_000_000);
        let mut these = Vec::new();
        for index in 0..40 {
            let run = world.get(&format!("r{index}")).await.unwrap();
            assert!(matches!(run.state(), S::Lost | S::Succeeded));
            these.push(run.state() == S::Lost);
        }
        lost.push(these);
    }
    assert_eq!(lost[0], lost[1]);
    let count = lost[0].iter().filter(|lost| **lost).count();
    assert!((8..=32).contains(&count), "{count} of 40");
}

#[tokio::test]
async fn crashes_and_lies_must_be_allowed() {
    let mut world = World::plain();
    for (key, value) in [
        ("sim.fault", "crash"),
        ("sim.fault", "exit"),
        ("sim.lie", "nan_loss"),
        ("sim.fualt", "hang"),
    ] {
        let status = world.create("r", labelled(&[(key, value)])).await.unwrap_err();
        assert_eq!(fields(&status), [format!("spec.labels[{key:?}]")]);
    }
}

#[tokio::test]
async fn retention_sets_are_evaluated_before_and_after() {
    let mut world = World::plain();
    let mut asked = spec();
    asked.retention_sets = ["wiki", "code"]
        .map(|name| wire::RetentionSet {
            name: name.to_owned(),
            data: crate::support::reference(&format!("sim://{name}")),
        })
        .to_vec();
    world.create("r", asked).await.unwrap();
    world.advance(100_000);
    let run = world.get("r").await.unwrap();
    let of = |kind: wire::EvaluationKind| -> Vec<(&str, i64)> {
        let all = run.evaluations.iter().filter(|e| e.kind() == kind);
        all.map(|e| (e.retention_set.as_str(), e.data_size)).collect()
    };
    assert_eq!(of(wire::EvaluationKind::RetentionBefore), [("wiki", 0), ("code", 0)]);
    assert_eq!(
        of(wire::EvaluationKind::RetentionAfter),
        [("wiki", 1_000), ("code", 1_000)]
    );
    assert_eq!(of(wire::EvaluationKind::HeldOut), [("", 0), ("", 100), ("", 1_000)]);
}

#[tokio::test]
async fn costs_never_fall_and_are_final() {
    let mut world = World::plain();
    world
        .create("r", labelled(&[("sim.seconds_per_example", "0.5")]))
        .await
        .unwrap();
    for _ in 0..10 {
        world.advance(20);
        world.pause("r").await.unwrap();
        world.resume("r").await.unwrap();
    }
    world.advance(100_000);
    let events = world.events("r", 0).await;
    let costs: Vec<wire::RunCost> = events
        .into_iter()
        .filter_map(|event| match event.kind? {
            Kind::Cost(cost) => Some(cost),
            _ => None,
        })
        .collect();
    let amount = |cost: &wire::RunCost| cost.money.as_ref().map(|money| (money.units, money.nanos));
    assert!(costs.len() > 5);
    for pair in costs.windows(2) {
        assert!(pair[0].device_seconds < pair[1].device_seconds && amount(&pair[0]) <= amount(&pair[1]));
    }
    assert_eq!(world.get("r").await.unwrap().cost.as_ref(), costs.last());
}

//! The same spec and seed give the same run; what must not matter does not.

use finepick_proto::trainer::v1 as wire;
use trainer_sim::SimulationConfig;

use crate::support::{World, labelled, method, spec};

async fn losses(spec: wire::TrainingRunSpec, config: &SimulationConfig) -> Vec<(i64, u64)> {
    let mut world = World::new(config);
    world.create("r", spec).await.unwrap();
    world.advance(1_000_000);
    let run = world.get("r").await.unwrap();
    run.evaluations
        .iter()
        .map(|e| (e.data_size, e.loss.to_bits()))
        .collect()
}

#[tokio::test]
async fn losses_depend_on_spec_and_seed_alone() {
    let config = SimulationConfig::default();
    let reference = losses(spec(), &config).await;
    assert_eq!(losses(spec(), &config).await, reference);
    let mut other = spec();
    other.candidate_id = "another name".to_owned();
    other.labels.insert("team".to_owned(), "x".to_owned());
    assert_eq!(losses(other, &config).await, reference);
    // One size alone is measured as among others.
    let mut single = spec();
    single.data_sizes = vec![100];
    assert_eq!(losses(single, &config).await, reference[1..2]);
    let mut seeded = spec();
    seeded.seed = 8;
    let seeded = losses(seeded, &config).await;
    assert_eq!(seeded[0], reference[0], "nothing is random before tuning");
    assert!(seeded[1] != reference[1] && seeded[2] != reference[2]);
    let mut prompt = spec();
    prompt.method = method(wire::tuning_method::Kind::Prompt(wire::PromptTuning {
        length: 8,
        initial_text: String::new(),
    }));
    assert_eq!(
        losses(prompt, &config).await[0],
        reference[0],
        "zero-shot knows no method"
    );
}

#[tokio::test]
async fn laws_are_declared_by_configuration_and_label() {
    let exact = |laws: &str| SimulationConfig {
        noise: 0.0,
        laws: laws.to_owned(),
        ..SimulationConfig::default()
    };
    let near = |found: Vec<(i64, u64)>, expected: [f64; 3]| {
        for ((size, bits), expected) in found.into_iter().zip(expected) {
            let loss = f64::from_bits(bits);
            assert!((loss - expected).abs() < 1e-12, "{size}: {loss} is not {expected}");
        }
    };
    // L(D) = 12 / (4 + D^0.5) + 2 at 0, 100, 1,000.
    let expected = [5.0, 12.0 / 14.0 + 2.0, 12.0 / (4.0 + 1_000_f64.sqrt()) + 2.0];
    near(losses(spec(), &exact("sim://tiny-20m=12,4,0.5,2")).await, expected);
    near(
        losses(spec(), &exact("sim://tiny-20m=1,1,1,1; sim://tiny-20m|full=12,4,0.5,2")).await,
        expected,
    );
    near(
        losses(labelled(&[("sim.law", "12,4,0.5,2")]), &exact("")).await,
        expected,
    );
}

#[tokio::test]
async fn events_do_not_depend_on_how_often_somebody_looks() {
    let mut histories = Vec::new();
    for steps in [1_u64, 10, 600] {
        let mut world = World::plain();
        for id in ["a", "b", "c", "d", "e", "f"] {
            world.create(id, spec()).await.unwrap();
        }
        for _ in 0..steps {
            world.advance(6_000 / steps);
        }
        let mut history = Vec::new();
        for id in ["a", "e", "f"] {
            history.push(world.events(id, 0).await);
        }
        histories.push(history);
    }
    assert!(histories[0][0].len() > 8);
    assert_eq!(histories[0], histories[1]);
    assert_eq!(histories[0], histories[2]);
}

#[tokio::test]
async fn losses_are_the_same_in_every_version() {
    let found = losses(spec(), &SimulationConfig::default()).await;
    let found: Vec<(i64, f64)> = found
        .into_iter()
        .map(|(size, bits)| (size, f64::from_bits(bits)))
        .collect();
    for ((size, loss), expected) in found.iter().zip([
        3.002_816_174_162_207_5,
        2.731_749_625_252_726_7,
        2.629_516_213_954_876_7,
    ]) {
        assert!(
            (loss - expected).abs() < 1e-12,
            "{size}: {loss} is not {expected}; all: {found:?}"
        );
    }
}

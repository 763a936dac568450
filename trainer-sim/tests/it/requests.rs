//! Every field wrong in every way: a typed error that names it, never a panic; and what is right at its limits is taken.

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::tuning_method::Kind;
use proptest::prelude::*;
use tonic::Code;
use tonic_types::StatusExt;
use trainer_sim::SimulationConfig;

use crate::support::{World, create_request, fields, method, reason, reference, spec};

fn tuned(change: impl FnOnce(&mut wire::Hyperparameters)) -> wire::TrainingRunSpec {
    let mut chosen = wire::Hyperparameters::default();
    change(&mut chosen);
    wire::TrainingRunSpec {
        hyperparameters: Some(chosen),
        ..spec()
    }
}

fn with(change: impl FnOnce(&mut wire::TrainingRunSpec)) -> wire::TrainingRunSpec {
    let mut spec = spec();
    change(&mut spec);
    spec
}

fn lora(rank: i32, alpha: Option<f64>, dropout: Option<f64>) -> Option<wire::TuningMethod> {
    method(Kind::Lora(wire::LoraTuning {
        rank,
        alpha,
        dropout,
        target_modules: vec![],
    }))
}

fn prompt(length: i32) -> Option<wire::TuningMethod> {
    method(Kind::Prompt(wire::PromptTuning {
        length,
        initial_text: String::new(),
    }))
}

fn set(name: &str, uri: &str) -> wire::RetentionSet {
    wire::RetentionSet {
        name: name.to_owned(),
        data: reference(uri),
    }
}

fn no_data() -> wire::RetentionSet {
    wire::RetentionSet {
        name: "a".to_owned(),
        data: None,
    }
}

fn limit(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

/// A wrong spec, and the one field at fault.
type Wrong = (wire::TrainingRunSpec, &'static str);

fn wrong_specs() -> Vec<Wrong> {
    [
        wrong_references(),
        wrong_methods(),
        wrong_hyperparameters(),
        wrong_rest(),
    ]
    .concat()
}

fn wrong_references() -> Vec<Wrong> {
    let long = "x".repeat(257);
    vec![
        (with(|s| s.candidate_id.clear()), "spec.candidate_id"),
        (with(|s| s.candidate_id.clone_from(&long)), "spec.candidate_id"),
        (with(|s| s.model = None), "spec.model"),
        (with(|s| s.model = reference("")), "spec.model.uri"),
        (with(|s| s.model = reference(&"x".repeat(2_049))), "spec.model.uri"),
        (with(|s| s.data = None), "spec.data"),
        (with(|s| s.data = reference("")), "spec.data.uri"),
        (with(|s| s.held_out = reference("")), "spec.held_out.uri"),
        (with(|s| s.data_sizes.clear()), "spec.data_sizes"),
        (with(|s| s.data_sizes = (0..65).collect()), "spec.data_sizes"),
        (with(|s| s.data_sizes = vec![-1]), "spec.data_sizes[0]"),
        (with(|s| s.data_sizes = vec![1, 1]), "spec.data_sizes[1]"),
        (with(|s| s.data_sizes = vec![1, 3, 2]), "spec.data_sizes[2]"),
        (with(|s| s.data_sizes = vec![i64::MIN]), "spec.data_sizes[0]"),
    ]
}

fn wrong_methods() -> Vec<Wrong> {
    vec![
        (with(|s| s.method = None), "spec.method"),
        (with(|s| s.method = Some(wire::TuningMethod::default())), "spec.method"),
        (with(|s| s.method = lora(0, None, None)), "spec.method.lora.rank"),
        (with(|s| s.method = lora(4_097, None, None)), "spec.method.lora.rank"),
        (with(|s| s.method = lora(1, Some(0.0), None)), "spec.method.lora.alpha"),
        (
            with(|s| s.method = lora(1, Some(f64::INFINITY), None)),
            "spec.method.lora.alpha",
        ),
        (
            with(|s| s.method = lora(1, None, Some(1.0))),
            "spec.method.lora.dropout",
        ),
        (
            with(|s| s.method = lora(1, None, Some(f64::NAN))),
            "spec.method.lora.dropout",
        ),
        (with(|s| s.method = prompt(0)), "spec.method.prompt.length"),
        (with(|s| s.method = prompt(i32::MAX)), "spec.method.prompt.length"),
    ]
}

fn wrong_hyperparameters() -> Vec<Wrong> {
    vec![
        (tuned(|h| h.epochs = Some(0)), "spec.hyperparameters.epochs"),
        (tuned(|h| h.epochs = Some(10_001)), "spec.hyperparameters.epochs"),
        (tuned(|h| h.steps = Some(-1)), "spec.hyperparameters.steps"),
        (
            tuned(|h| (h.epochs, h.steps) = (Some(1), Some(1))),
            "spec.hyperparameters.steps",
        ),
        (tuned(|h| h.batch_size = Some(0)), "spec.hyperparameters.batch_size"),
        (
            tuned(|h| h.batch_size = Some(1_048_577)),
            "spec.hyperparameters.batch_size",
        ),
        (
            tuned(|h| h.sequence_length = Some(0)),
            "spec.hyperparameters.sequence_length",
        ),
        (
            tuned(|h| h.learning_rate = Some(0.0)),
            "spec.hyperparameters.learning_rate",
        ),
        (
            tuned(|h| h.learning_rate = Some(f64::NAN)),
            "spec.hyperparameters.learning_rate",
        ),
        (
            tuned(|h| h.warmup_ratio = Some(1.1)),
            "spec.hyperparameters.warmup_ratio",
        ),
        (
            tuned(|h| h.weight_decay = Some(-0.1)),
            "spec.hyperparameters.weight_decay",
        ),
        (tuned(|h| h.clip_norm = Some(0.0)), "spec.hyperparameters.clip_norm"),
    ]
}

fn wrong_rest() -> Vec<Wrong> {
    let long = "x".repeat(257);
    vec![
        (
            with(|s| s.retention_sets = vec![set("", "x")]),
            "spec.retention_sets[0].name",
        ),
        (
            with(|s| s.retention_sets = vec![set("a", "x"), set("a", "y")]),
            "spec.retention_sets[1].name",
        ),
        (
            with(|s| s.retention_sets = vec![set("a", "")]),
            "spec.retention_sets[0].data.uri",
        ),
        (
            with(|s| s.retention_sets = vec![no_data()]),
            "spec.retention_sets[0].data",
        ),
        (
            with(|s| s.retention_sets = (0..17).map(|i| set(&i.to_string(), "x")).collect()),
            "spec.retention_sets",
        ),
        (with(|s| s.device.clone_from(&long)), "spec.device"),
        (with(|s| s.max_duration = limit(0, 0)), "spec.max_duration"),
        (with(|s| s.max_duration = limit(-1, 0)), "spec.max_duration"),
        (with(|s| s.max_duration = limit(1, -1)), "spec.max_duration"),
        (with(|s| s.max_duration = limit(1, 1_000_000_000)), "spec.max_duration"),
        (with(|s| s.max_duration = limit(i64::MAX, 0)), "spec.max_duration"),
        (
            with(|s| s.labels = (0..65).map(|i| (i.to_string(), String::new())).collect()),
            "spec.labels",
        ),
        (
            with(|s| drop(s.labels.insert(long.clone(), String::new()))),
            "spec.labels",
        ),
        (
            with(|s| drop(s.labels.insert("k".into(), long.clone()))),
            "spec.labels[\"k\"]",
        ),
    ]
}

#[tokio::test]
async fn every_wrong_field_is_named_and_nothing_is_created() {
    let mut world = World::plain();
    for (spec, field) in wrong_specs() {
        let status = world.create("r", spec.clone()).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "INVALID_FIELD"),
            "{field}"
        );
        assert_eq!(fields(&status), [field]);
        let request = wire::EstimateTrainingRunRequest { spec: Some(spec) };
        let status = world.client.estimate_training_run(request).await.unwrap_err();
        assert_eq!(fields(&status), [field]);
    }
    let mut request = create_request(".", spec());
    request.request_id = "x".repeat(129);
    let status = world.client.create_training_run(request).await.unwrap_err();
    assert_eq!(fields(&status), ["request_id", "training_run_id"]);
    let status = world
        .client
        .create_training_run(wire::CreateTrainingRunRequest::default())
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["spec", "training_run_id"]);
    assert!(world.trainer.with(|simulation| simulation.is_empty()));
}

#[tokio::test]
async fn a_spec_at_all_limits_is_accepted_and_comes_back_as_it_was() {
    let config = SimulationConfig {
        data_size_max: 0,
        ..SimulationConfig::default()
    };
    let mut world = World::new(&config);
    let wide = |bytes: usize| "é".repeat(bytes / 2);
    let spec = wire::TrainingRunSpec {
        candidate_id: wide(256),
        model: reference(&wide(2_048)),
        data: reference(&wide(2_048)),
        held_out: reference(&wide(2_048)),
        data_sizes: (0..63).chain([i64::MAX]).collect(),
        method: method(Kind::Lora(wire::LoraTuning {
            rank: 4_096,
            alpha: Some(f64::MAX),
            dropout: Some(0.999),
            target_modules: vec!["q".to_owned(); 64],
        })),
        hyperparameters: Some(wire::Hyperparameters {
            epochs: Some(10_000),
            steps: None,
            batch_size: Some(1 << 20),
            sequence_length: Some(1 << 20),
            learning_rate: Some(f64::MIN_POSITIVE),
            warmup_ratio: Some(1.0),
            weight_decay: Some(f64::MAX),
            clip_norm: Some(f64::MIN_POSITIVE),
            precision: "fp32".to_owned(),
            gradient_accumulation: Some(1 << 16),
            schedule: "cosine".to_owned(),
            patience: Some(10_000),
            order: wire::ExampleOrder::AsIs.into(),
        }),
        seed: u64::MAX,
        subset_seed: u64::MAX,
        retention_sets: (0..16)
            .map(|i| set(&format!("{i:02}{}", wide(254)), &wide(2_048)))
            .collect(),
        device: "sim:1".to_owned(),
        max_duration: limit(315_576_000_000, 0),
        labels: (0..64).map(|i| (format!("{i:02}{}", wide(254)), wide(256))).collect(),
        initial_adapter: reference(&wide(2_048)),
    };
    let run = world.create(&"r".repeat(128), spec.clone()).await.unwrap();
    assert_eq!(run.spec, Some(spec.clone()));
    let request = wire::EstimateTrainingRunRequest { spec: Some(spec) };
    let estimate = world.client.estimate_training_run(request).await.unwrap().into_inner();
    assert!(estimate.device_seconds_upper.unwrap().is_finite());
    world.advance(10_000_000_000);
    world.get(&"r".repeat(128)).await.unwrap();
}

#[tokio::test]
async fn statuses_stay_small_however_much_is_wrong() {
    let mut world = World::plain();
    let wrong = with(|s| {
        s.method = method(Kind::Lora(wire::LoraTuning {
            target_modules: vec![String::new(); 10_000],
            ..wire::LoraTuning::default()
        }));
    });
    let status = world.create(&"/".repeat(100_000), wrong).await.unwrap_err();
    assert!(status.details().len() < 6_000, "{} bytes", status.details().len());
    let status = world.get(&"/".repeat(1_000_000)).await.unwrap_err();
    assert!(status.details().len() < 1_000);
    let status = world
        .create("big", with(|s| s.candidate_id = "x".repeat(3 << 20)))
        .await
        .unwrap_err();
    assert!(
        matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted),
        "{status:?}"
    );
    world.create("r", spec()).await.unwrap();
}

fn numbers() -> BoxedStrategy<f64> {
    prop_oneof![
        any::<f64>(),
        0.0..1.5_f64,
        Just(0.0),
        Just(-0.0),
        Just(1.0),
        Just(f64::NAN)
    ]
    .boxed()
}

fn whole() -> BoxedStrategy<i32> {
    prop_oneof![any::<i32>(), -1..5_i32].boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![
        ".{0,8}",
        "[a-z.]{1,6}",
        Just("x".repeat(300)),
        Just("sim.fault".to_owned())
    ]
    .boxed()
}

fn any_reference() -> BoxedStrategy<Option<wire::Reference>> {
    prop::option::weighted(
        0.9,
        (text(), text()).prop_map(|(uri, digest)| wire::Reference { uri, digest }),
    )
    .boxed()
}

fn any_method() -> BoxedStrategy<Option<wire::TuningMethod>> {
    let lora = (
        whole(),
        prop::option::of(numbers()),
        prop::option::of(numbers()),
        prop::collection::vec(text(), 0..3),
    );
    let lora = lora.prop_map(|(rank, alpha, dropout, target_modules)| wire::LoraTuning {
        rank,
        alpha,
        dropout,
        target_modules,
    });
    let prompt = (whole(), text()).prop_map(|(length, initial_text)| wire::PromptTuning { length, initial_text });
    let kind = prop_oneof![
        Just(Kind::Full(wire::FullTuning {})),
        lora.prop_map(Kind::Lora),
        prompt.prop_map(Kind::Prompt)
    ];
    let kind = prop::option::weighted(0.9, kind);
    prop::option::weighted(0.9, kind.prop_map(|kind| wire::TuningMethod { kind })).boxed()
}

fn any_hyperparameters() -> BoxedStrategy<Option<wire::Hyperparameters>> {
    let counts = prop::array::uniform6(prop::option::of(whole()));
    let reals = prop::array::uniform4(prop::option::of(numbers()));
    let schedule = prop_oneof![Just(String::new()), Just("linear".to_owned()), text()];
    let order = prop_oneof![4 => 0..3_i32, 1 => any::<i32>()];
    prop::option::of((counts, reals, text(), schedule, order).prop_map(
        |(counts, reals, precision, schedule, order)| wire::Hyperparameters {
            epochs: counts[0],
            steps: counts[1],
            batch_size: counts[2],
            sequence_length: counts[3],
            learning_rate: reals[0],
            warmup_ratio: reals[1],
            weight_decay: reals[2],
            clip_norm: reals[3],
            precision,
            gradient_accumulation: counts[4],
            schedule,
            patience: counts[5],
            order,
        },
    ))
    .boxed()
}

prop_compose! {
    fn any_composed_spec()(
        texts in (text(), text()),
        references in (any_reference(), any_reference(), any_reference(), any_reference()),
        data_sizes in prop::collection::vec(prop_oneof![any::<i64>(), -1_i64..50], 0..5),
        method in any_method(),
        hyperparameters in any_hyperparameters(),
        seeds in any::<(u64, u64)>(),
        sets in prop::collection::vec((text(), any_reference()), 0..3),
        max_duration in prop::option::of(any::<(i64, i32)>()),
        labels in prop::collection::hash_map(text(), text(), 0..3),
    ) -> wire::TrainingRunSpec {
        wire::TrainingRunSpec {
            candidate_id: texts.0,
            model: references.0,
            data: references.1,
            held_out: references.2,
            data_sizes,
            method,
            hyperparameters,
            seed: seeds.0,
            subset_seed: seeds.1,
            retention_sets: sets.into_iter().map(|(name, data)| wire::RetentionSet { name, data }).collect(),
            device: texts.1,
            max_duration: max_duration.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
            labels,
            initial_adapter: references.3,
        }
    }
}

fn any_spec() -> BoxedStrategy<wire::TrainingRunSpec> {
    any_composed_spec().boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_request_gets_a_run_or_a_typed_error(spec in prop::option::weighted(0.95, any_spec()), id in text(), cursor: i64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Boxed: unoptimised futures of generated clients are large, and so are the macro's own frames.
        runtime.block_on(Box::pin(async {
            let mut world = World::plain();
            let request = wire::CreateTrainingRunRequest {
                training_run_id: id.clone(),
                spec,
                request_id: id.clone(),
            };
            match world.client.create_training_run(request).await {
                Ok(_) => world.advance(1_000_000),
                Err(status) => {
                    let allowed = matches!(
                        (status.code(), reason(&status).as_str()),
                        (Code::InvalidArgument, "INVALID_FIELD") | (Code::FailedPrecondition, "CAPABILITY_MISSING")
                    );
                    prop_assert!(allowed, "{status:?}");
                    let named = status.get_details_bad_request().map(|bad| bad.field_violations.len());
                    let missed = status.get_details_precondition_failure().map(|failed| failed.violations.len());
                    prop_assert!(named.or(missed).is_some_and(|count| count > 0));
                }
            }
            if let Err(status) = world.watch(&id, cursor).await {
                prop_assert!(matches!(status.code(), Code::InvalidArgument | Code::NotFound), "{status:?}");
                reason(&status);
            }
            Ok(())
        }))?;
    }
}

//! The adapter against a simulated trainer in this process: every way in which a run can end, and a trainer that lies.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selector_svc::curve::DataSize;
use selector_svc::ports::{RunEnd, RunProgress, Trainer, TrainerFault};
use selector_svc::selection::Outcome;
use selector_svc::trainers::RemoteTrainer;
use svc_kit::client::Transport;
use svc_kit::config::ServerConfig;
use svc_kit::server::Context;
use svc_kit::shutdown::Token;
use trainer_client::{Limits, TrainerClient, WatchLimits};
use trainer_kit::spec::{Hyperparameters, Method, MethodKind, Reference, Spec};
use trainer_sim::SimulationConfig;

fn transport(config: &SimulationConfig) -> Transport {
    let server = ServerConfig::on_port(0);
    let context = Context::new(&server, Token::new());
    let app = trainer_sim::grpc::app(config, &context);
    Transport::local(app.into_local(&server, &context).expect("it starts"))
}

fn trainer(config: &SimulationConfig) -> RemoteTrainer {
    let limits = Limits {
        watch: WatchLimits {
            patience: Duration::from_secs(2),
            ..WatchLimits::default()
        },
        ..Limits::default()
    };
    RemoteTrainer::new("sim", TrainerClient::new(transport(config)).with_limits(limits), 2)
}

fn fast() -> SimulationConfig {
    SimulationConfig {
        speed: 1e5,
        allow_lies: true,
        currency: "EUR".to_owned(),
        price_per_device_second: 0.001,
        price_per_run: 0.05,
        ..SimulationConfig::default()
    }
}

fn spec(labels: &[(&str, &str)]) -> Spec {
    let reference = |uri: &str| Reference {
        uri: uri.to_owned(),
        digest: String::new(),
    };
    Spec {
        candidate_id: "model".to_owned(),
        model: reference("models/a"),
        data: reference("data.jsonl"),
        held_out: None,
        data_sizes: vec![256],
        method: Method::Full,
        hyperparameters: Hyperparameters::default(),
        seed: 1,
        subset_seed: 2,
        retention_sets: Vec::new(),
        device: String::new(),
        max_duration: None,
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        initial_adapter: None,
    }
}

async fn run(trainer: &RemoteTrainer, id: &str, spec: Spec) -> Result<RunEnd, TrainerFault> {
    trainer.run(id, spec, Box::new(|_| {})).await
}

#[tokio::test]
async fn it_says_who_it_is_and_what_a_run_would_take() {
    let trainer = trainer(&fast());
    let told = trainer.describe().await.expect("it is there");
    assert!(told.implementation.contains(' '), "{}", told.implementation);
    assert!(told.methods.contains(&MethodKind::Full) && told.deterministic && told.estimates);
    assert_eq!(told.price, Some(("EUR".to_owned(), 1_000_000, 50_000_000)));
    let config = fast();
    assert_eq!(
        told.slots,
        2 * config.devices * config.slots_per_device,
        "of all replicas"
    );
    let estimate = trainer.estimate(spec(&[])).await.expect("it answers");
    assert_eq!(estimate.infeasible, None);
    assert!(estimate.device_seconds.is_some_and(|seconds| seconds > 0.0));
}

#[tokio::test]
async fn a_run_ends_with_its_loss_and_is_found_again() {
    let trainer = trainer(&fast());
    let seen = Arc::new(Mutex::new(Vec::<RunProgress>::new()));
    let sink = Arc::clone(&seen);
    let progress = Box::new(move |progress| sink.lock().unwrap().push(progress));
    let end = trainer.run("r1", spec(&[]), progress).await.expect("it ends");
    let Outcome::Observed { observation, .. } = &end.outcome else {
        panic!("{end:?}");
    };
    assert_eq!(observation.data_size().examples(), 256);
    assert!(end.device_seconds.is_some_and(|seconds| seconds > 0.0));
    assert!(end.money_nanos.is_some_and(|money| money > 50_000_000));
    assert!(!seen.lock().unwrap().is_empty());
    assert_eq!(run(&trainer, "r1", spec(&[])).await.expect("the same"), end);
    let other = run(&trainer, "r1", spec(&[("a", "b")]))
        .await
        .expect_err("another spec");
    assert!(matches!(other, TrainerFault::Refused { .. }), "{other:?}");
}

#[tokio::test]
async fn ends_are_told_apart() {
    let trainer = trainer(&fast());
    let failed = |name: &str| Outcome::Failed {
        failure: name.to_owned(),
    };
    for (fault, outcome, again) in [
        ("fail", failed("INTERNAL"), true),
        ("disk_full", failed("DISK_FULL"), true),
        ("stalled", failed("STALLED"), true),
        ("evaluation_missing", failed("EVALUATION_MISSING"), true),
        ("out_of_memory", failed("OUT_OF_MEMORY"), false),
        ("model_unreadable", failed("MODEL_UNREADABLE"), false),
        ("data_unreadable", failed("DATA_UNREADABLE"), false),
        ("too_few_examples", failed("TOO_FEW_EXAMPLES"), false),
        ("loss_not_finite", failed("LOSS_NOT_FINITE"), false),
        ("preempted", Outcome::Preempted, true),
        ("lost", Outcome::Lost, true),
    ] {
        let end = run(&trainer, &format!("run-{fault}"), spec(&[("sim.fault", fault)])).await;
        let end = end.expect("it ends");
        assert_eq!(
            (&end.outcome, end.may_be_retried),
            (&outcome, again),
            "{fault}: {end:?}"
        );
    }
}

#[tokio::test]
async fn lies_are_refused_and_bad_manners_are_borne() {
    let trainer = trainer(&fast());
    for (lie, word) in [
        ("nan_loss", "loss is NaN"),
        ("negative_loss", "loss is -"),
        ("wrong_size", "no held-out loss for 256 examples"),
        ("missing_evaluation", "no held-out loss for 256 examples"),
        ("negative_cost", "device-seconds"),
    ] {
        let end = run(&trainer, &format!("run-{lie}"), spec(&[("sim.lie", lie)]))
            .await
            .expect("it ends");
        assert_eq!(end.outcome, Outcome::Refused, "{lie}");
        assert!(end.detail.contains(word), "{lie}: {}", end.detail);
    }
    for manners in [
        "duplicate_sequence",
        "watch_ends_early",
        "watch_never_ends",
        "cursor_ignored",
        "cursor_skips_one",
        "illegal_transition",
    ] {
        let end = run(&trainer, &format!("run-{manners}"), spec(&[("sim.lie", manners)])).await;
        let end = end.expect("it ends");
        assert!(matches!(end.outcome, Outcome::Observed { .. }), "{manners}: {end:?}");
    }
    let broken = run(&trainer, "run-broken", spec(&[("sim.stream_break", "1")])).await;
    assert!(matches!(broken.expect("it ends").outcome, Outcome::Observed { .. }));
}

#[tokio::test]
async fn several_sizes_are_as_many_losses_or_a_lie() {
    let trainer = trainer(&fast());
    assert!(trainer.describe().await.expect("it is there").nested_subsets);
    let of = |data_sizes: &[i64], labels: &[(&str, &str)]| Spec {
        data_sizes: data_sizes.to_vec(),
        ..spec(labels)
    };
    let end = run(&trainer, "several", of(&[64, 128, 256], &[]))
        .await
        .expect("it ends");
    assert_eq!(end.others.len(), 2);
    for examples in [64, 128, 256] {
        let alone = run(&trainer, &format!("alone-{examples}"), of(&[examples], &[]))
            .await
            .expect("it ends");
        let size = DataSize::new(u64::try_from(examples).unwrap()).unwrap();
        assert!(alone.others.is_empty() && alone.at(size).is_some());
        assert_eq!(end.at(size), alone.at(size), "{examples}");
    }
    assert_eq!(end.at(DataSize::new(100).unwrap()), None);
    // What was measured before the end stays.
    let late = [("sim.fault", "fail"), ("sim.fault_at", "0.9")];
    let broken = run(&trainer, "broken", of(&[64, 128, 256], &late))
        .await
        .expect("it ends");
    assert!(matches!(broken.outcome, Outcome::Failed { .. }), "{broken:?}");
    assert_eq!(broken.others, end.others);
    let lies = of(&[0, 64, 256], &[("sim.lie", "missing_evaluation")]);
    let end = run(&trainer, "some-only", lies).await.expect("it ends");
    assert_eq!((&end.outcome, end.others.as_slice()), (&Outcome::Refused, &[][..]));
    assert!(
        end.detail
            .contains("no held-out loss for 64 examples; it has losses for [0]"),
        "{}",
        end.detail
    );
    let one_at_a_time = trainer.with_nested_runs(false);
    assert!(!one_at_a_time.describe().await.expect("it is there").nested_subsets);
}

#[tokio::test]
async fn floods_are_thinned_out() {
    let config = SimulationConfig { speed: 1e4, ..fast() };
    let trainer = trainer(&config);
    let count = Arc::new(Mutex::new(0_u32));
    let sink = Arc::clone(&count);
    let labels = [("sim.seconds_per_example", "100")];
    let started = tokio::time::Instant::now();
    let progress = Box::new(move |_| *sink.lock().unwrap() += 1);
    trainer.run("flood", spec(&labels), progress).await.expect("it ends");
    let most = 3 + started.elapsed().as_millis() / 200;
    let told = *count.lock().unwrap();
    assert!(
        u128::from(told) <= most + 2,
        "{told} times within {:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn what_is_cancelled_ends_and_what_is_unknown_counts_as_ended() {
    let config = SimulationConfig { speed: 1.0, ..fast() };
    let trainer = Arc::new(trainer(&config));
    trainer.cancel("nobody").await.expect("it counts as ended");
    let (follower, labels) = (Arc::clone(&trainer), [("sim.seconds_per_example", "100")]);
    let following = tokio::spawn(async move { run(&follower, "long", spec(&labels)).await });
    while following.is_finished() || trainer.describe().await.is_err() {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    trainer.cancel("long").await.expect("it is asked");
    let end = following.await.expect("no panic").expect("it ends");
    assert_eq!(end.outcome, Outcome::Cancelled);
    assert!(end.share_done.is_some_and(|share| share < 1.0), "{end:?}");
}

#[tokio::test]
async fn who_is_not_there_or_speaks_another_contract_is_told_apart() {
    let nobody = Transport::remote(&svc_kit::config::EndpointConfig::to("http://127.0.0.1:9")).expect("a URL");
    let limits = Limits {
        describe: Duration::from_millis(300),
        create: Duration::from_millis(300),
        ..Limits::default()
    };
    let away = RemoteTrainer::new("away", TrainerClient::new(nobody).with_limits(limits), 1);
    let fault = away.describe().await.expect_err("nobody is there");
    assert!(
        matches!(&fault, TrainerFault::Unavailable { trainer, .. } if trainer == "away"),
        "{fault:?}"
    );
    let fault = run(&away, "r", spec(&[])).await.expect_err("nobody is there");
    assert!(matches!(fault, TrainerFault::Unavailable { .. }), "{fault:?}");
    let stranger = trainer(&SimulationConfig {
        lie: "no_identity".to_owned(),
        ..fast()
    });
    let fault = stranger.describe().await.expect_err("no version in common");
    assert!(
        matches!(&fault, TrainerFault::Refused { reason, .. } if reason == "CONTRACT_VERSION"),
        "{fault:?}"
    );
    let starting = trainer(&SimulationConfig {
        start_delay: svc_kit::config::HumanDuration::from_secs(60),
        ..fast()
    });
    let fault = starting.describe().await.expect_err("not yet");
    assert!(
        matches!(&fault, TrainerFault::Unavailable { detail, .. } if detail.contains("STARTING")),
        "{fault:?}"
    );
}

//! Every call, as a caller sees it.

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::TrainingRunState as S;
use svc_kit::config::HumanDuration;
use tonic::Code;
use tonic_types::StatusExt;
use trainer_sim::SimulationConfig;

use crate::support::{World, create_request, fields, labelled, reason, spec, states, subjects};

#[tokio::test]
async fn a_run_goes_its_way_and_get_is_the_sum_of_its_events() {
    let mut world = World::plain();
    let created = world.create("run-1", spec()).await.unwrap();
    assert_eq!((created.state(), created.last_sequence), (S::Queued, 1));
    assert_eq!(
        (created.wait_reason(), created.queue_position),
        (wire::WaitReason::NoFreeSlot, Some(0))
    );
    assert_eq!(created.instance_id, world.trainer.instance_id());
    let filled = created.spec.unwrap().hyperparameters.unwrap();
    assert_eq!(
        (filled.epochs, filled.batch_size, filled.precision.as_str()),
        (Some(1), Some(8), "bf16")
    );
    assert_eq!(world.get("run-1").await.unwrap().state(), S::Preparing);
    world.advance(5);
    assert_eq!(world.get("run-1").await.unwrap().state(), S::Running);
    world.advance(3_600);
    let run = world.get("run-1").await.unwrap();
    assert_eq!(run.state(), S::Succeeded);
    let [created, started, ended] = [run.create_time, run.start_time, run.end_time].map(|time| time.unwrap().seconds);
    assert!(created < started && started < ended);
    assert!(!run.artifact_uri.is_empty() && run.model_digest.starts_with("sim:") && run.queue_position.is_none());
    let sizes: Vec<i64> = run.evaluations.iter().map(|e| e.data_size).collect();
    assert_eq!(sizes, [0, 100, 1_000]);
    assert!(run.evaluations.windows(2).all(|pair| pair[1].loss < pair[0].loss));

    let events = world.events("run-1", 0).await;
    assert_eq!(states(&events), [S::Queued, S::Preparing, S::Running, S::Succeeded]);
    let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=run.last_sequence).collect::<Vec<_>>());
    let mut sum = (Vec::new(), None, Vec::new());
    for event in events {
        match event.kind.unwrap() {
            wire::training_event::Kind::Evaluation(found) => sum.0.push(found),
            wire::training_event::Kind::Cost(found) => sum.1 = Some(found),
            wire::training_event::Kind::Checkpoint(found) => sum.2.push(found),
            _ => {}
        }
    }
    assert_eq!(sum, (run.evaluations, run.cost, run.checkpoints));
}

#[tokio::test]
async fn creating_is_idempotent_by_the_spec_as_sent() {
    let mut world = World::plain();
    let first = world.create("a", spec()).await.unwrap();
    world.advance(3_600);
    let again = world.create("a", spec()).await.unwrap();
    assert_eq!((again.state(), &again.create_time), (S::Succeeded, &first.create_time));
    // The filled-in spec is another one: it was not sent.
    let status = world.create("a", again.spec.clone().unwrap()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "TRAINING_RUN_EXISTS")
    );
    assert_eq!(status.get_details_resource_info().unwrap().resource_name, "a");
    world.delete("a").await.unwrap();
    assert_eq!(world.create("a", again.spec.unwrap()).await.unwrap().last_sequence, 1);
}

#[tokio::test]
async fn unknown_and_malformed_ids_are_told_apart_everywhere() {
    let mut world = World::plain();
    for (id, code, expected) in [
        ("nobody", Code::NotFound, "TRAINING_RUN_NOT_FOUND"),
        (".x", Code::InvalidArgument, "INVALID_FIELD"),
        ("a\u{202e}b", Code::InvalidArgument, "INVALID_FIELD"),
    ] {
        let errors = [
            world.get(id).await.unwrap_err(),
            world.cancel(id).await.unwrap_err(),
            world.pause(id).await.unwrap_err(),
            world.resume(id).await.unwrap_err(),
            world.delete(id).await.unwrap_err(),
            world.watch(id, 0).await.unwrap_err(),
        ];
        for status in errors {
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (code, expected),
                "{id}: {status:?}"
            );
            if code == Code::NotFound {
                assert_eq!(status.get_details_resource_info().unwrap().resource_name, id);
            } else {
                assert_eq!(fields(&status), ["training_run_id"]);
            }
        }
    }
}

#[tokio::test]
async fn cancel_works_in_every_state_and_changes_nothing_twice() {
    let mut world = World::new(&SimulationConfig {
        devices: 1,
        slots_per_device: 1,
        ..SimulationConfig::default()
    });
    for (id, seconds, before) in [("preparing", 0, S::Preparing), ("running", 6, S::Running)] {
        world.create(id, spec()).await.unwrap();
        world.create("waiting", spec()).await.unwrap();
        world.advance(seconds);
        assert_eq!(world.get(id).await.unwrap().state(), before);
        let waiting = world.cancel("waiting").await.unwrap();
        assert_eq!(
            (waiting.state(), waiting.cost.unwrap().device_seconds),
            (S::Cancelled, 0.0)
        );
        world.delete("waiting").await.unwrap();
        let ended = world.cancel(id).await.unwrap();
        assert_eq!(ended.state(), S::Cancelled);
        world.advance(60);
        assert_eq!(world.cancel(id).await.unwrap(), ended);
        assert_eq!(world.get(id).await.unwrap(), ended);
    }
    world.create("paused", spec()).await.unwrap();
    world.pause("paused").await.unwrap();
    assert_eq!(world.cancel("paused").await.unwrap().state(), S::Cancelled);
}

#[tokio::test]
async fn a_paused_run_holds_no_slot_and_reports_what_an_unpaused_one_does() {
    let mut world = World::new(&SimulationConfig {
        devices: 1,
        slots_per_device: 1,
        ..SimulationConfig::default()
    });
    world
        .create("a", labelled(&[("sim.seconds_per_example", "1")]))
        .await
        .unwrap();
    world
        .create("b", labelled(&[("sim.seconds_per_example", "1")]))
        .await
        .unwrap();
    world.advance(400);
    let paused = world.pause("a").await.unwrap();
    assert_eq!(
        (paused.state(), paused.wait_reason()),
        (S::Paused, wire::WaitReason::Paused)
    );
    assert_eq!(world.pause("a").await.unwrap(), paused);
    let before = paused.cost.unwrap().device_seconds;
    world.advance(10_000);
    assert_eq!(world.get("b").await.unwrap().state(), S::Succeeded);
    let resumed = world.resume("a").await.unwrap();
    assert_eq!(resumed.state(), S::Queued);
    world.advance(10_000);
    let (a, b) = (world.get("a").await.unwrap(), world.get("b").await.unwrap());
    assert_eq!((a.state(), &a.evaluations), (S::Succeeded, &b.evaluations));
    let (a_cost, b_cost) = (a.cost.unwrap().device_seconds, b.cost.unwrap().device_seconds);
    assert!(
        before > 300.0 && a_cost > b_cost && a_cost < b_cost + 6.0,
        "{before} {a_cost} {b_cost}"
    );
    for status in [
        world.pause("a").await.unwrap_err(),
        world.resume("a").await.unwrap_err(),
    ] {
        assert_eq!(
            (reason(&status).as_str(), subjects(&status)),
            ("WRONG_STATE", vec!["a".to_owned()])
        );
    }
}

#[tokio::test]
async fn the_queue_has_an_end_and_a_repeated_create_passes_it() {
    let mut world = World::new(&SimulationConfig {
        devices: 1,
        slots_per_device: 2,
        queue_limit: 3,
        ..SimulationConfig::default()
    });
    for index in 0..5 {
        world.create(&format!("r{index}"), spec()).await.unwrap();
    }
    let status = world.create("r5", spec()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "QUEUE_FULL")
    );
    assert!(
        status
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .unwrap()
            .as_millis()
            > 0
    );
    assert_eq!(world.create("r0", spec()).await.unwrap().state(), S::Preparing);
    assert_eq!(world.get("r4").await.unwrap().queue_position, Some(2));
    let info = world
        .client
        .get_trainer_info(wire::GetTrainerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((info.active_runs, info.queued_runs, info.queue_limit), (2, 3, 3));
    world.cancel("r2").await.unwrap();
    world.create("r5", spec()).await.unwrap();
    assert_eq!(world.get("r5").await.unwrap().queue_position, Some(2));
}

#[tokio::test]
async fn a_trainer_that_starts_refuses_runs_and_says_why() {
    let mut world = World::new(&SimulationConfig {
        speed: 1.0,
        start_delay: HumanDuration::from_secs(30),
        ..SimulationConfig::default()
    });
    let info = world
        .client
        .get_trainer_info(wire::GetTrainerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((info.ready, info.ready_reason.as_str()), (false, "STARTING"));
    let status = world.create("a", spec()).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "TRAINER_NOT_READY")
    );
    assert!(status.get_details_retry_info().is_some());
    world.advance(30);
    world.create("a", spec()).await.unwrap();
    world.trainer.set_unready(Some("MAINTENANCE"));
    assert_eq!(
        reason(&world.create("b", spec()).await.unwrap_err()),
        "TRAINER_NOT_READY"
    );
    world.create("a", spec()).await.unwrap();
}

#[tokio::test]
async fn what_is_not_claimed_is_refused_with_the_field_that_needs_it() {
    let config = SimulationConfig {
        methods: vec!["lora".to_owned()],
        nested_subsets: false,
        retention_sets: false,
        pause: false,
        estimate: false,
        data_size_max: 500,
        ..SimulationConfig::default()
    };
    let mut world = World::new(&config);
    let mut wrong = spec();
    wrong.device = "cuda:9".to_owned();
    wrong.model.as_mut().unwrap().uri = "ftp://x".to_owned();
    wrong.hyperparameters = Some(wire::Hyperparameters {
        precision: "int1".to_owned(),
        ..wire::Hyperparameters::default()
    });
    wrong.retention_sets = vec![wire::RetentionSet {
        name: "r".to_owned(),
        data: crate::support::reference("x"),
    }];
    let status = world.create("a", wrong).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "CAPABILITY_MISSING")
    );
    let expected = [
        "spec.method",
        "spec.data_sizes",
        "spec.data_sizes[2]",
        "spec.retention_sets",
        "spec.hyperparameters.precision",
        "spec.device",
        "spec.model.uri",
    ];
    assert_eq!(subjects(&status), expected);
    for status in [
        world.pause("x").await.unwrap_err(),
        world.resume("x").await.unwrap_err(),
    ] {
        assert_eq!(
            (reason(&status).as_str(), subjects(&status)),
            ("CAPABILITY_MISSING", vec!["pause".to_owned()])
        );
    }
    let request = wire::EstimateTrainingRunRequest { spec: Some(spec()) };
    let status = world.client.estimate_training_run(request).await.unwrap_err();
    assert_eq!(subjects(&status), ["estimate"]);
}

#[tokio::test]
async fn estimates_hold_and_say_what_cannot_be_done() {
    let mut world = World::plain();
    let request = wire::EstimateTrainingRunRequest { spec: Some(spec()) };
    let estimate = world.client.estimate_training_run(request).await.unwrap().into_inner();
    assert!(estimate.feasible && estimate.memory_bytes.unwrap() > 0);
    world.create("a", spec()).await.unwrap();
    world.advance(3_600);
    let cost = world.get("a").await.unwrap().cost.unwrap();
    let range = estimate.device_seconds_lower.unwrap()..=estimate.device_seconds_upper.unwrap();
    assert!(
        range.contains(&cost.device_seconds),
        "{} not in {range:?}",
        cost.device_seconds
    );
    assert_eq!(estimate.money, cost.money);
    let mut large = spec();
    large.model.as_mut().unwrap().uri = "sim://huge-70b".to_owned();
    let request = wire::EstimateTrainingRunRequest {
        spec: Some(large.clone()),
    };
    let estimate = world.client.estimate_training_run(request).await.unwrap().into_inner();
    assert_eq!(
        (estimate.feasible, estimate.infeasible_reason.as_str()),
        (false, "OUT_OF_MEMORY")
    );
    world.create("large", large).await.unwrap();
    world.advance(10);
    assert_eq!(
        world.get("large").await.unwrap().failure(),
        wire::TrainingFailure::OutOfMemory
    );
}

#[tokio::test]
async fn lists_are_newest_first_and_every_run_comes_once() {
    let mut world = World::new(&SimulationConfig {
        queue_limit: 1_000,
        ..SimulationConfig::default()
    });
    for index in 0..60 {
        world.create(&format!("r{index}"), spec()).await.unwrap();
    }
    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = wire::ListTrainingRunsRequest {
            page_size: 7,
            page_token: token,
            states: vec![],
        };
        let page = world.client.list_training_runs(request).await.unwrap().into_inner();
        found.extend(page.runs.into_iter().map(|run| run.training_run_id));
        // What is created meanwhile is newer than the pages to come.
        world.create(&format!("late{pages}"), spec()).await.unwrap();
        (token, pages) = (page.next_page_token, pages + 1);
        if token.is_empty() || pages > 20 {
            break;
        }
    }
    assert_eq!(
        found,
        (0..60).rev().map(|index| format!("r{index}")).collect::<Vec<_>>()
    );
    let request = |page_size, page_token: &str, states: Vec<i32>| wire::ListTrainingRunsRequest {
        page_size,
        page_token: page_token.to_owned(),
        states,
    };
    let preparing = request(0, "", vec![S::Preparing.into()]);
    let page = world.client.list_training_runs(preparing).await.unwrap().into_inner();
    assert_eq!((page.runs.len(), page.next_page_token.as_str()), (4, ""));
    for (wrong, field) in [
        (request(-1, "", vec![]), "page_size"),
        (request(1_001, "", vec![]), "page_size"),
        (request(1, "00000000000000010000000000000001", vec![]), "page_token"),
        (request(1, "ä", vec![]), "page_token"),
        (request(1, "", vec![2, 0]), "states[1]"),
        (request(1, "", vec![99]), "states[0]"),
    ] {
        assert_eq!(
            fields(&world.client.list_training_runs(wrong).await.unwrap_err()),
            [field]
        );
    }
}

#[tokio::test]
async fn a_page_ends_before_its_message_grows_too_large() {
    let mut world = World::plain();
    let mut heavy = spec();
    heavy.method = crate::support::method(wire::tuning_method::Kind::Prompt(wire::PromptTuning {
        length: 8,
        initial_text: "x".repeat(900_000),
    }));
    for index in 0..6 {
        world.create(&format!("r{index}"), heavy.clone()).await.unwrap();
    }
    let page = wire::ListTrainingRunsRequest::default();
    let page = world.client.list_training_runs(page).await.unwrap().into_inner();
    assert!((1..=4).contains(&page.runs.len()) && !page.next_page_token.is_empty());
}

#[tokio::test]
async fn live_runs_are_not_deleted_and_old_ones_are_forgotten_beyond_the_limit() {
    let mut world = World::new(&SimulationConfig {
        retained_runs: 2,
        ..SimulationConfig::default()
    });
    world.create("a", spec()).await.unwrap();
    let status = world.delete("a").await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "WRONG_STATE")
    );
    for id in ["a", "b", "c"] {
        world.create(id, spec()).await.unwrap();
        world.cancel(id).await.unwrap();
    }
    assert_eq!(world.get("a").await.unwrap_err().code(), Code::NotFound);
    world.get("b").await.unwrap();
}

#[tokio::test]
async fn of_racing_creates_one_creates_and_all_return_it() {
    let world = World::plain();
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut client = world.client.clone();
        racing.spawn(async move { client.create_training_run(create_request("one", spec())).await });
    }
    for answer in racing.join_all().await {
        assert_eq!(answer.unwrap().into_inner().run.unwrap().training_run_id, "one");
    }
    assert_eq!(world.trainer.with(|simulation| simulation.len()), 1);
}

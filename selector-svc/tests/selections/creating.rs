//! Creation: once, however often it is asked for.

use finepick_proto::selector::v1 as wire;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{World, ask_tell, create, created, ended_one, fields, fraction, get, spec, told};

#[tokio::test]
async fn the_same_again_is_the_same_selection() {
    let mut world = World::slow().await;
    let client = &mut world.client;
    let first = created(client, "one", spec()).await;
    let again = created(client, "one", spec()).await;
    assert_eq!(first.create_time, again.create_time);

    // The same, written otherwise: a default that is spelt out.
    let mut spelt_out = spec();
    spelt_out.max_attempts = Some(3);
    spelt_out.interval_level = Some(0.9);
    assert_eq!(created(client, "one", spelt_out).await.create_time, first.create_time);

    let mut other = spec();
    other.seed = 8;
    let status = client.create_selection(create("one", other.clone())).await.unwrap_err();
    assert_eq!(told(&status), (Code::AlreadyExists, "SELECTION_EXISTS".to_owned()));
    assert_eq!(status.get_details_resource_info().unwrap().resource_name, "one");

    // Without an id, the request's id tells retries apart.
    let retry = |request_id: &str| wire::CreateSelectionRequest {
        request_id: request_id.to_owned(),
        ..create("", other.clone())
    };
    let mut ids = Vec::new();
    for request_id in ["a", "a", "b"] {
        let answer = client.create_selection(retry(request_id)).await.unwrap().into_inner();
        ids.push(answer.selection.unwrap().selection_id);
    }
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    world.stop().await;
}

#[tokio::test]
async fn many_at_once_are_one() {
    let world = World::slow().await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let mut client = world.client.clone();
            tokio::spawn(async move { created(&mut client, "one", spec()).await.create_time })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.push(task.await.unwrap().unwrap());
    }
    times.dedup();
    assert_eq!(times.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn what_is_only_asked_about_is_not_stored() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let only = wire::CreateSelectionRequest {
        validate_only: true,
        ..create("one", spec())
    };
    let shown = client
        .create_selection(only)
        .await
        .unwrap()
        .into_inner()
        .selection
        .unwrap();
    assert_eq!(shown.state(), wire::SelectionState::Preparing);
    assert!(shown.budget.unwrap().examples > 0);
    let estimate = client
        .estimate_selection(wire::EstimateSelectionRequest { spec: Some(spec()) })
        .await
        .unwrap()
        .into_inner()
        .estimate
        .unwrap();
    assert_eq!(estimate.data_sizes, [64, 128, 256, 512, 1_024, 2_048, 4_096]);
    let (planned, budget) = (estimate.planned.unwrap(), estimate.budget.unwrap());
    assert!(planned.examples > 0 && planned.examples <= budget.examples);
    assert!(planned.device_seconds.unwrap() > 0.0);
    assert_eq!(estimate.exhaustive.unwrap().examples, 4 * 4_096);
    let status = get(client, "one").await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let all = client
        .list_selections(wire::ListSelectionsRequest::default())
        .await
        .unwrap();
    assert_eq!(all.into_inner().selections, []);
    world.stop().await;
}

#[tokio::test]
async fn a_budget_that_pays_for_nothing_says_what_is_needed() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let poor = wire::SelectionSpec {
        budget: Some(wire::SelectionBudget {
            examples: Some(70),
            ..wire::SelectionBudget::default()
        }),
        ..spec()
    };
    let estimate = wire::EstimateSelectionRequest {
        spec: Some(poor.clone()),
    };
    let status = client.estimate_selection(estimate).await.unwrap_err();
    assert_eq!(told(&status), (Code::ResourceExhausted, "BUDGET_TOO_SMALL".to_owned()));
    let quota = status.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "spec.budget");

    // Without trainers it is known at once.
    let external = wire::SelectionSpec {
        work_mode: wire::WorkMode::AskTell.into(),
        ..poor.clone()
    };
    let status = client.create_selection(create("external", external)).await.unwrap_err();
    assert_eq!(told(&status), (Code::ResourceExhausted, "BUDGET_TOO_SMALL".to_owned()));

    world.stop().await;
}

#[tokio::test]
async fn trainers_must_be_known() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let named = |name: &str| wire::SelectionSpec {
        trainers: vec![name.to_owned()],
        ..spec()
    };
    let status = client
        .create_selection(create("one", named("nobody")))
        .await
        .unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "UNKNOWN_TRAINER".to_owned()));
    let failed = status.get_details_precondition_failure().unwrap();
    assert_eq!(failed.violations[0].subject, "nobody");
    assert!(
        failed.violations[0].description.contains("sim"),
        "it names those that there are"
    );
    created(client, "one", named("sim")).await;
    ended_one(client, "one").await;
    world.stop().await;
}

#[tokio::test]
async fn wrong_fields_are_named_by_their_paths_all_at_once() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let mut wrong = spec();
    wrong.candidates[1].candidate = None;
    wrong.candidates[2].model = None;
    wrong.methods = vec![wire::SelectionMethod::default()];
    wrong.data_size_min = Some(-1);
    wrong.budget = Some(wire::SelectionBudget {
        examples: Some(0),
        ..wire::SelectionBudget::default()
    });
    wrong.policy = Some(wire::SelectionPolicy {
        kind: Some(wire::selection_policy::Kind::Geometric(wire::GeometricPolicy {
            keep_divisor: Some(0.0),
            ..wire::GeometricPolicy::default()
        })),
    });
    wrong.interval_level = Some(2.0);
    wrong.work_mode = 99;
    let request = wire::CreateSelectionRequest {
        request_id: "x".repeat(200),
        ..create(".hidden", wrong)
    };
    let status = client.create_selection(request).await.unwrap_err();
    assert_eq!(told(&status), (Code::InvalidArgument, "INVALID_FIELD".to_owned()));
    let mut found = fields(&status);
    found.sort();
    for path in [
        "selection_id",
        "request_id",
        "spec.candidates[1].candidate",
        "spec.candidates[2].model",
        "spec.methods[0].tuning",
        "spec.data_size_min",
        "spec.budget.examples",
        "spec.policy.geometric.keep_divisor",
        "spec.interval_level",
        "spec.work_mode",
    ] {
        assert!(found.iter().any(|field| field == path), "{path} is not in {found:?}");
    }
    let mut once = found.clone();
    once.dedup();
    assert_eq!(once, found, "each path is named once");

    let status = client
        .create_selection(wire::CreateSelectionRequest::default())
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["spec"]);
    let none = wire::SelectionSpec {
        budget: None,
        candidates: Vec::new(),
        ..spec()
    };
    let status = client.create_selection(create("none", none)).await.unwrap_err();
    assert_eq!(fields(&status), ["spec.budget", "spec.candidates"]);
    let sizeless = wire::SelectionSpec {
        data_size_full: None,
        budget: fraction(0.5),
        ..ask_tell()
    };
    let status = client.create_selection(create("sizeless", sizeless)).await.unwrap_err();
    assert_eq!(fields(&status), ["spec.data_size_full"]);
    world.stop().await;
}

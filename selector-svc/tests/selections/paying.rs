//! Budgets that do not pay: refused before anything is stored, and kept to the last second.

use std::sync::Arc;

use finepick_proto::selector::v1 as wire;
use selector_svc::config::SelectorConfig;
use svc_kit::config::HumanDuration;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{World, config, create, created, ended_one, get, memory, selector_with, spec, told, trainer};

fn examples(examples: i64) -> wire::SelectionSpec {
    wire::SelectionSpec {
        budget: Some(wire::SelectionBudget {
            examples: Some(examples),
            ..wire::SelectionBudget::default()
        }),
        ..spec()
    }
}

#[tokio::test]
async fn a_budget_below_the_smallest_plan_is_refused_and_nothing_is_stored() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let request = wire::CreateSelectionRequest {
        request_id: "again".to_owned(),
        ..create("poor", examples(70))
    };
    let refused = client.create_selection(request.clone()).await.unwrap_err();
    assert_eq!(told(&refused), (Code::ResourceExhausted, "BUDGET_TOO_SMALL".to_owned()));
    let quota = refused.get_details_quota_failure().unwrap();
    assert_eq!(quota.violations[0].subject, "spec.budget");
    assert!(quota.violations[0].description.contains("needs"), "{quota:?}");
    // As a request says that only asks.
    let only_asked = wire::CreateSelectionRequest {
        validate_only: true,
        ..request.clone()
    };
    let status = client.create_selection(only_asked).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (refused.code(), refused.message()));

    assert_eq!(get(client, "poor").await.unwrap_err().code(), Code::NotFound);
    let all = client.list_selections(wire::ListSelectionsRequest::default()).await;
    assert_eq!(all.unwrap().into_inner().selections, []);

    // The id and the request's id are free: with a larger budget it is created, and is the same one from then on.
    let enough = wire::CreateSelectionRequest {
        spec: Some(spec()),
        ..request
    };
    for _ in 0..2 {
        let answer = client.create_selection(enough.clone()).await.unwrap().into_inner();
        assert_eq!(answer.selection.unwrap().selection_id, "poor");
    }
    let status = client.create_selection(create("poor", examples(70))).await.unwrap_err();
    assert_eq!(told(&status), (Code::AlreadyExists, "SELECTION_EXISTS".to_owned()));
    assert_eq!(ended_one(client, "poor").await.state(), wire::SelectionState::Succeeded);
    world.stop().await;
}

#[tokio::test]
async fn one_that_is_there_is_answered_without_asking_anybody() {
    // Stored by a selector that does not ask, and whose answer is that of its driver.
    let (served, store) = (trainer(200_000.0).await, memory());
    let silent = SelectorConfig {
        create_wait: HumanDuration::from_secs(0),
        ..config()
    };
    let first = selector_with(&silent, Arc::clone(&store) as _, Some(&served.url)).await;
    let client = &mut first.client();
    created(client, "poor", examples(70)).await;
    let found = ended_one(client, "poor").await;
    assert_eq!(found.state(), wire::SelectionState::Failed);
    assert_eq!(found.failure(), wire::SelectionFailure::BudgetTooSmall);
    assert!(!found.detail.is_empty());
    first.stop().await;

    let second = selector_with(&config(), store as _, Some(&served.url)).await;
    let client = &mut second.client();
    assert_eq!(
        created(client, "poor", examples(70)).await.create_time,
        found.create_time
    );
    let other = client
        .create_selection(create("other", examples(70)))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::ResourceExhausted);
    second.stop().await;
    served.stop().await;
}

#[tokio::test]
async fn where_the_trainers_do_not_answer_it_is_created_and_waits() {
    // One that refuses connections, and one that takes them and is silent.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    for url in ["http://127.0.0.1:1", silent_url.as_str()] {
        let impatient = SelectorConfig {
            create_wait: HumanDuration::from_millis(300),
            ..config()
        };
        let served = selector_with(&impatient, memory(), Some(url)).await;
        let client = &mut served.client();
        let found = created(client, "poor", examples(70)).await;
        assert_eq!(found.state(), wire::SelectionState::Preparing);
        served.stop().await;
    }
}

#[tokio::test]
async fn a_limit_in_device_time_holds_with_a_trainer_that_ends_runs() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let estimate = wire::EstimateSelectionRequest { spec: Some(spec()) };
    let estimate = client.estimate_selection(estimate).await.unwrap().into_inner().estimate;
    let planned = estimate.unwrap().planned.unwrap().device_seconds.unwrap();
    for share in [1.0, 0.5] {
        let limit = planned * share;
        let asked = wire::SelectionSpec {
            budget: Some(wire::SelectionBudget {
                device_seconds: Some(limit),
                ..spec().budget.unwrap()
            }),
            ..spec()
        };
        let id = format!("share-{share}");
        created(client, &id, asked).await;
        let found = ended_one(client, &id).await;
        assert!(found.choice.is_some(), "{found:?}");
        let spent = found.spent.unwrap().device_seconds.unwrap();
        assert!(spent > 0.0 && spent <= limit, "{spent} of {limit}");
    }
    world.stop().await;
}

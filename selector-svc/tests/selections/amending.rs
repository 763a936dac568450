//! Budgets that are amended on the way, in every unit, to more and to less than what is spent.

use std::sync::Arc;
use std::time::Duration;

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1 as types;
use selector_svc::store::Store;
use tonic::{Code, Status};

use crate::support::{
    Client, PATIENCE, Served, World, ask_tell, created, ended_one, fields, memory, selector, spec, told, until,
};

/// Reports before the budget is amended.
const REPORTS: usize = 5;

async fn amend(client: &mut Client, budget: wire::SelectionBudget) -> Result<wire::Selection, Status> {
    let request = wire::AmendBudgetRequest {
        selection_id: "one".to_owned(),
        budget: Some(budget),
    };
    let answer = client.amend_budget(request).await?.into_inner();
    Ok(answer.selection.unwrap())
}

/// A loss that `steep` has the best curve of.
fn loss(item: &wire::WorkItem) -> f64 {
    let name = item.candidate.clone().unwrap().candidate.unwrap().candidate_id;
    let slope = match name.as_str() {
        "steep" => 0.20,
        "middling" => 0.14,
        "flat" => 0.08,
        _ => 0.03,
    };
    9.0 * (item.data_size.max(1) as f64).powf(-slope)
}

/// Does one item after the other, each for 2.5 device-seconds; `false`: there is none, the selection has ended.
async fn work_once(client: &mut Client) -> bool {
    let request = wire::RequestWorkRequest {
        selection_id: "one".to_owned(),
        worker: "bench".to_owned(),
        max_items: 1,
        lease_duration: None,
    };
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = client.request_work(request.clone()).await.unwrap().into_inner();
            let goes_on = matches!(
                answer.state(),
                wire::SelectionState::Preparing | wire::SelectionState::Running
            );
            if !answer.items.is_empty() || !goes_on {
                return answer.items.into_iter().next();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let Some(item) = found.await.expect("work, or the end") else {
        return false;
    };
    let observation = types::Observation {
        data_size: item.data_size,
        test_loss: loss(&item),
        ..types::Observation::default()
    };
    let report = wire::ReportObservationRequest {
        selection_id: "one".to_owned(),
        trial_id: item.trial_id,
        attempt: item.attempt,
        device_seconds: Some(2.5),
        result: Some(wire::report_observation_request::Result::Observation(observation)),
    };
    // At a deadline the work is taken back.
    match client.report_observation(report).await {
        Ok(_) => {}
        Err(status) => assert_eq!(told(&status), (Code::Aborted, "STALE_ATTEMPT".to_owned())),
    }
    true
}

/// Works, amends after some reports, works on to the end. What was spent when it was amended, and the end.
async fn worked(budget: wire::SelectionBudget) -> (wire::Spending, wire::Selection, Served) {
    let store: Arc<dyn Store> = memory();
    let selector = selector(store, None).await;
    let client = &mut selector.client();
    created(client, "one", ask_tell()).await;
    for _ in 0..REPORTS {
        assert!(work_once(client).await);
    }
    let amended = amend(client, budget).await.unwrap();
    while work_once(client).await {}
    let found = ended_one(client, "one").await;
    (amended.spent.unwrap(), found, selector)
}

/// The certificate of the selection holds.
async fn certified(client: &mut Client) {
    let request = wire::GetCertificateRequest {
        selection_id: "one".to_owned(),
        ..wire::GetCertificateRequest::default()
    };
    let found = client.get_certificate(request).await.unwrap().into_inner();
    let question = wire::VerifyCertificateRequest {
        json: found.json,
        digest: found.digest,
    };
    let verified = client.verify_certificate(question).await.unwrap().into_inner();
    assert_eq!((verified.valid, verified.differences), (true, Vec::new()));
}

fn examples(count: i64) -> wire::SelectionBudget {
    wire::SelectionBudget {
        examples: Some(count),
        ..wire::SelectionBudget::default()
    }
}

/// Half of everything, and this.
fn half(more: wire::SelectionBudget) -> wire::SelectionBudget {
    wire::SelectionBudget {
        exhaustive_fraction: Some(0.5),
        ..more
    }
}

fn device_seconds(seconds: f64) -> wire::SelectionBudget {
    half(wire::SelectionBudget {
        device_seconds: Some(seconds),
        ..wire::SelectionBudget::default()
    })
}

fn example_parameters(amount: f64) -> wire::SelectionBudget {
    half(wire::SelectionBudget {
        example_parameters: Some(amount),
        ..wire::SelectionBudget::default()
    })
}

fn wall(seconds: i64, nanos: i32) -> wire::SelectionBudget {
    half(wire::SelectionBudget {
        wall_time: Some(prost_types::Duration { seconds, nanos }),
        ..wire::SelectionBudget::default()
    })
}

#[tokio::test]
async fn less_than_what_is_spent_ends_it_with_what_is_known() {
    for budget in [examples(1), example_parameters(1.0), device_seconds(1.0)] {
        let (then, found, selector) = worked(budget.clone()).await;
        assert_eq!(
            found.state(),
            wire::SelectionState::BudgetExhausted,
            "{budget:?}: {}",
            found.detail
        );
        assert!(found.detail.contains("what is left of the budget"), "{}", found.detail);
        assert_eq!(found.spent.clone().unwrap(), then, "nothing more was begun");
        assert!(found.choice.is_some());
        let shown = found.budget.unwrap();
        assert_eq!(shown.device_seconds, budget.device_seconds);
        assert_eq!(shown.example_parameters, budget.example_parameters);
        certified(&mut selector.client()).await;
        selector.stop().await;
    }
}

#[tokio::test]
async fn more_than_what_is_spent_pays_for_the_rest() {
    let most = 4 * 4_096;
    for budget in [
        examples(most),
        example_parameters(1e15),
        device_seconds(1e6),
        wall(3_600, 0),
    ] {
        let (then, found, selector) = worked(budget.clone()).await;
        assert_eq!(
            found.state(),
            wire::SelectionState::Succeeded,
            "{budget:?}: {}",
            found.detail
        );
        let spent = found.spent.clone().unwrap();
        assert!(
            spent.examples > then.examples && spent.examples <= most,
            "{budget:?}: {spent:?}"
        );
        assert_eq!(found.choice.unwrap().candidate_id, "steep");
        assert_eq!(found.deadline.is_some(), budget.wall_time.is_some());
        certified(&mut selector.client()).await;
        selector.stop().await;
    }
}

#[tokio::test]
async fn a_little_more_than_what_is_spent_is_kept() {
    // Of the last unit there is just enough for another run or two.
    for budget in [device_seconds(2.5 * 7.0), examples(6_000)] {
        let (then, found, selector) = worked(budget.clone()).await;
        let spent = found.spent.clone().unwrap();
        assert!(spent.examples >= then.examples);
        if budget.device_seconds.is_none() {
            assert!(spent.examples <= 6_000, "{spent:?}");
        }
        // What a run takes is known afterwards: the last one may go beyond the limit by its own time.
        if let Some(limit) = budget.device_seconds {
            assert!(spent.device_seconds.unwrap() <= limit + 2.5, "{spent:?}");
        }
        assert!(found.choice.is_some(), "{}", found.detail);
        certified(&mut selector.client()).await;
        selector.stop().await;
    }
}

#[tokio::test]
async fn a_deadline_that_is_over_ends_it_at_once() {
    let (_, found, selector) = worked(wall(0, 1_000_000)).await;
    // No round was judged by then: there is no choice.
    assert_eq!(
        (found.state(), found.failure()),
        (wire::SelectionState::Failed, wire::SelectionFailure::BudgetTooSmall)
    );
    assert!(found.detail.contains("wall time"), "{}", found.detail);
    let request = wire::GetCertificateRequest {
        selection_id: "one".to_owned(),
        ..wire::GetCertificateRequest::default()
    };
    let status = selector.client().get_certificate(request).await.unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    selector.stop().await;
}

#[tokio::test]
async fn what_no_plan_can_be_made_of_is_named() {
    let mut world = World::slow().await;
    let client = &mut world.client;
    let dear = wire::SelectionSpec {
        budget: Some(half(money(1_000, "EUR"))),
        // Some of the first runs wait.
        parallelism: Some(2),
        ..spec()
    };
    created(client, "one", dear).await;
    let before = until(client, "one", |selection| {
        selection.reserved.as_ref().unwrap().examples > 0
    })
    .await;
    assert_eq!(before.budget.clone().unwrap().money.unwrap().units, 1_000);
    let seconds_alone = wire::SelectionBudget {
        device_seconds: Some(5.0),
        ..wire::SelectionBudget::default()
    };
    for (budget, path) in [
        (half(money(10, "USD")), "budget.money"),
        (half(money(10, "euro")), "budget.money.currency_code"),
        (half(money(-1, "EUR")), "budget.money"),
        (device_seconds(-1.0), "budget.device_seconds"),
        (device_seconds(f64::NAN), "budget.device_seconds"),
        (example_parameters(0.0), "budget.example_parameters"),
        (examples(0), "budget.examples"),
        (wall(-1, 0), "budget.wall_time"),
        (seconds_alone, "budget"),
    ] {
        let status = amend(client, budget.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{budget:?}");
        assert!(fields(&status).contains(&path.to_owned()), "{budget:?}: {status:?}");
    }
    let unchanged = crate::support::get(client, "one").await.unwrap();
    assert_eq!(unchanged.budget, before.budget);

    // Less money than what is set aside: what runs goes on, what waits is given up.
    let cent = half(wire::SelectionBudget {
        money: Some(types::Money {
            currency_code: "EUR".to_owned(),
            units: 0,
            nanos: 1,
        }),
        ..wire::SelectionBudget::default()
    });
    amend(client, cent).await.unwrap();
    let poor = until(client, "one", |selection| {
        let out = |contender: &&wire::Contender| contender.exclusion() == wire::ExclusionReason::Budget;
        selection.contenders.iter().filter(out).count() > 0
    });
    let poor = poor.await;
    assert_eq!(poor.budget.unwrap().money.unwrap().nanos, 1);
    assert!(poor.reserved.unwrap().examples > 0, "runs in hand are not ended");
    let reason = "enough".to_owned();
    let selection_id = "one".to_owned();
    client
        .cancel_selection(wire::CancelSelectionRequest { selection_id, reason })
        .await
        .unwrap();
    ended_one(client, "one").await;
    world.stop().await;
}

fn money(units: i64, currency: &str) -> wire::SelectionBudget {
    wire::SelectionBudget {
        money: Some(types::Money {
            currency_code: currency.to_owned(),
            units,
            nanos: 0,
        }),
        ..wire::SelectionBudget::default()
    }
}

#[tokio::test]
async fn money_that_is_amended_before_the_plan_is_what_it_is_made_with() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let selection_id = "one".to_owned();
    let paused = client
        .pause_selection(wire::PauseSelectionRequest { selection_id })
        .await;
    if paused.is_err() {
        // On a busy machine it may have ended before: nothing to amend.
        world.stop().await;
        return;
    }
    let amended = amend(client, half(money(5_000, "EUR"))).await.unwrap();
    assert_eq!(amended.spec.unwrap().budget.unwrap().money.unwrap().units, 5_000);
    let selection_id = "one".to_owned();
    client
        .resume_selection(wire::ResumeSelectionRequest { selection_id })
        .await
        .unwrap();
    let found = ended_one(client, "one").await;
    assert_eq!(found.state(), wire::SelectionState::Succeeded, "{}", found.detail);
    assert_eq!(found.budget.unwrap().money.unwrap().units, 5_000);
    let spent = found.spent.unwrap().money.unwrap();
    assert!(spent.units > 0 || spent.nanos > 0, "{spent:?}");
    certified(client).await;
    world.stop().await;
}

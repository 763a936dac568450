//! Commands: pause, resume, cancel, amend; and lists.

use finepick_proto::selector::v1 as wire;
use tonic::Code;

use crate::support::{Client, World, created, ended, ended_one, fraction, get, spec, told, until};

async fn pause(client: &mut Client, id: &str) -> Result<wire::Selection, tonic::Status> {
    let selection_id = id.to_owned();
    let answer = client
        .pause_selection(wire::PauseSelectionRequest { selection_id })
        .await?;
    Ok(answer.into_inner().selection.unwrap())
}

async fn resume(client: &mut Client, id: &str) -> Result<wire::Selection, tonic::Status> {
    let selection_id = id.to_owned();
    let answer = client
        .resume_selection(wire::ResumeSelectionRequest { selection_id })
        .await?;
    Ok(answer.into_inner().selection.unwrap())
}

async fn cancel(client: &mut Client, id: &str) -> wire::Selection {
    let request = wire::CancelSelectionRequest {
        selection_id: id.to_owned(),
        reason: "changed my mind".to_owned(),
    };
    client
        .cancel_selection(request)
        .await
        .unwrap()
        .into_inner()
        .selection
        .unwrap()
}

fn busy(selection: &wire::Selection) -> bool {
    selection.contenders.iter().any(|contender| contender.active_runs > 0)
}

#[tokio::test]
async fn a_cancelled_selection_ends_with_its_runs() {
    let mut world = World::slow().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let running = until(client, "one", busy).await;
    assert_eq!(running.state(), wire::SelectionState::Running);
    assert_eq!(running.wait_reason(), wire::SelectionWaitReason::Runs);
    assert!(running.reserved.unwrap().examples > 0);
    let selection_id = "one".to_owned();
    let status = client
        .delete_selection(wire::DeleteSelectionRequest { selection_id })
        .await
        .unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));

    let state = cancel(client, "one").await.state();
    assert!(matches!(
        state,
        wire::SelectionState::Cancelling | wire::SelectionState::Cancelled
    ));
    let found = ended_one(client, "one").await;
    assert_eq!(
        (found.state(), found.detail.as_str()),
        (wire::SelectionState::Cancelled, "changed my mind")
    );
    assert_eq!(found.reserved.clone().unwrap().examples, 0);
    // Again, it stays as it is.
    assert_eq!(cancel(client, "one").await, found);
    for status in [
        pause(client, "one").await.unwrap_err(),
        resume(client, "one").await.unwrap_err(),
    ] {
        assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    }
    let selection_id = "one".to_owned();
    let status = client
        .get_certificate(wire::GetCertificateRequest {
            selection_id,
            ..wire::GetCertificateRequest::default()
        })
        .await
        .unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_paused_selection_goes_on_when_it_is_resumed() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let paused = pause(client, "one").await;
    // It may have ended before the pause came; on a trainer this fast that is no rule, so the other way is taken then.
    if let Ok(paused) = paused {
        assert_eq!(paused.state(), wire::SelectionState::Paused);
        assert_eq!(paused.wait_reason(), wire::SelectionWaitReason::Paused);
        let again = pause(client, "one").await.unwrap();
        assert_eq!(again.state(), wire::SelectionState::Paused);
        // Runs in hand end and are counted; no new ones begin.
        let still = until(client, "one", |selection| !busy(selection)).await;
        assert_eq!(still.state(), wire::SelectionState::Paused);
        let resumed = resume(client, "one").await.unwrap();
        assert_ne!(resumed.state(), wire::SelectionState::Paused);
    }
    let found = ended_one(client, "one").await;
    assert_eq!(found.state(), wire::SelectionState::Succeeded);
    assert_eq!(found.choice.unwrap().candidate_id, "steep");
    world.stop().await;
}

#[tokio::test]
async fn an_amended_budget_is_in_force() {
    let mut world = World::slow().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let before = until(client, "one", busy).await.budget.unwrap();
    let amend = |budget| wire::AmendBudgetRequest {
        selection_id: "one".to_owned(),
        budget,
    };
    let answer = client.amend_budget(amend(fraction(1.0))).await.unwrap().into_inner();
    let after = answer.selection.unwrap().budget.unwrap();
    assert!(after.examples > before.examples, "{before:?} {after:?}");
    // The same again changes nothing.
    let sequence = get(client, "one").await.unwrap().last_sequence;
    client.amend_budget(amend(fraction(1.0))).await.unwrap();
    assert_eq!(get(client, "one").await.unwrap().last_sequence, sequence);

    let status = client.amend_budget(amend(None)).await.unwrap_err();
    assert_eq!(crate::support::fields(&status), ["budget"]);
    let status = client.amend_budget(amend(fraction(7.0))).await.unwrap_err();
    assert_eq!(crate::support::fields(&status), ["budget.exhaustive_fraction"]);
    cancel(client, "one").await;
    ended_one(client, "one").await;
    let status = client.amend_budget(amend(fraction(0.9))).await.unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    world.stop().await;
}

async fn listed(client: &mut Client, request: wire::ListSelectionsRequest) -> (Vec<String>, String) {
    let page = client.list_selections(request).await.unwrap().into_inner();
    let ids = page.selections.into_iter().map(|selection| selection.selection_id);
    (ids.collect(), page.next_page_token)
}

#[tokio::test]
async fn lists_come_in_pages_newest_first_and_filtered() {
    let mut world = World::slow().await;
    let client = &mut world.client;
    for number in 0..5 {
        let labelled = wire::SelectionSpec {
            labels: [("team".to_owned(), if number % 2 == 0 { "a" } else { "b" }.to_owned())].into(),
            display_name: format!("number {number}"),
            ..spec()
        };
        created(client, &format!("s{number}"), labelled).await;
        // Their order is that of their creation, in milliseconds.
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    cancel(client, "s3").await;
    until(client, "s3", ended).await;
    let page = |size: i32, token: &str| wire::ListSelectionsRequest {
        page_size: size,
        page_token: token.to_owned(),
        ..wire::ListSelectionsRequest::default()
    };
    let (first, token) = listed(client, page(2, "")).await;
    assert_eq!(first, ["s4", "s3"]);
    // What is new does not disturb the pages that follow.
    created(client, "s5", spec()).await;
    let (second, token) = listed(client, page(2, &token)).await;
    assert_eq!(second, ["s2", "s1"]);
    let (third, token) = listed(client, page(2, &token)).await;
    assert_eq!((third, token.as_str()), (vec!["s0".to_owned()], ""));

    let labelled = wire::ListSelectionsRequest {
        labels: [("team".to_owned(), "b".to_owned())].into(),
        ..wire::ListSelectionsRequest::default()
    };
    assert_eq!(listed(client, labelled).await.0, ["s3", "s1"]);
    let gone = wire::ListSelectionsRequest {
        states: vec![wire::SelectionState::Cancelled.into()],
        ..wire::ListSelectionsRequest::default()
    };
    let page = client.list_selections(gone).await.unwrap().into_inner();
    let [only] = page.selections.as_slice() else {
        panic!("{page:#?}")
    };
    assert_eq!(
        (only.selection_id.as_str(), only.state()),
        ("s3", wire::SelectionState::Cancelled)
    );
    assert_eq!(only.spec.as_ref().unwrap().display_name, "number 3");
    assert!(only.contenders.is_empty());

    let wrong = wire::ListSelectionsRequest {
        page_size: 1_001,
        page_token: "00".to_owned(),
        states: vec![0],
        ..wire::ListSelectionsRequest::default()
    };
    let status = client.list_selections(wrong).await.unwrap_err();
    assert_eq!(
        crate::support::fields(&status),
        ["page_size", "page_token", "states[0]"]
    );
    world.stop().await;
}

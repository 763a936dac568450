//! Ask and tell: a worker of the caller's own.

use std::sync::Arc;
use std::time::Duration;

use finepick_proto::selector::v1 as wire;
use finepick_proto::types::v1 as types;
use selector_svc::store::Store;
use tonic::Code;
use wire::report_observation_request::Result as Finding;

use crate::support::{
    Client, PATIENCE, World, ask_tell, created, ended_one, fields, memory, selector, spec, told, until,
};

/// What the worker measures: `steep` is the best at the full size, and not at small ones.
fn loss(item: &wire::WorkItem) -> f64 {
    let size = item.data_size.max(1) as f64;
    let name = item.candidate.clone().unwrap().candidate.unwrap().candidate_id;
    let (scale, slope) = match name.as_str() {
        "steep" => (9.0, 0.20),
        "middling" => (7.0, 0.14),
        "flat" => (5.0, 0.08),
        _ => (4.5, 0.03),
    };
    scale * size.powf(-slope)
}

fn observation(data_size: i64, test_loss: f64) -> Option<Finding> {
    Some(Finding::Observation(types::Observation {
        data_size,
        test_loss,
        ..types::Observation::default()
    }))
}

fn ask(worker: &str, most: i32) -> wire::RequestWorkRequest {
    wire::RequestWorkRequest {
        selection_id: "one".to_owned(),
        worker: worker.to_owned(),
        max_items: most,
        lease_duration: None,
    }
}

fn tell(item: &wire::WorkItem, result: Option<Finding>) -> wire::ReportObservationRequest {
    wire::ReportObservationRequest {
        selection_id: "one".to_owned(),
        trial_id: item.trial_id.clone(),
        attempt: item.attempt,
        device_seconds: Some(2.5),
        result,
    }
}

/// At least one item, as soon as there is one; none: the selection has ended.
async fn work(client: &mut Client, request: &wire::RequestWorkRequest) -> Vec<wire::WorkItem> {
    let found = tokio::time::timeout(PATIENCE, async {
        loop {
            let answer = client.request_work(request.clone()).await.unwrap().into_inner();
            let over = !matches!(
                answer.state(),
                wire::SelectionState::Preparing | wire::SelectionState::Running
            );
            if !answer.items.is_empty() || over {
                return answer.items;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.expect("work, or the end")
}

#[tokio::test]
async fn a_worker_of_ones_own_brings_it_to_its_choice() {
    let store: Arc<dyn Store> = memory();
    // No trainer is configured at all.
    let selector = selector(store, None).await;
    let client = &mut selector.client();
    created(client, "one", ask_tell()).await;
    let waiting = until(client, "one", |selection| {
        selection.wait_reason() == wire::SelectionWaitReason::Worker
    });
    assert_eq!(waiting.await.state(), wire::SelectionState::Running);
    let mut items = 0;
    loop {
        let found = work(client, &ask("bench", 3)).await;
        if found.is_empty() {
            break;
        }
        assert!(found.len() <= 3);
        for item in found {
            assert_eq!((item.attempt, item.seed), (1, 7));
            assert!(item.lease_expire_time.is_some() && item.data.is_some());
            let answer = client.report_observation(tell(&item, observation(item.data_size, loss(&item))));
            let trial = answer.await.unwrap().into_inner().trial.unwrap();
            assert_eq!(trial.state(), wire::TrialState::Observed);
            assert_eq!(trial.attempts[0].trainer, "bench");
            items += 1;
        }
    }
    let found = ended_one(client, "one").await;
    assert_eq!(found.state(), wire::SelectionState::Succeeded, "{found:#?}");
    assert_eq!(found.choice.unwrap().candidate_id, "steep");
    let spent = found.spent.unwrap();
    assert!(spent.examples > 0 && spent.examples <= found.budget.unwrap().examples);
    let seconds = spent.device_seconds.unwrap();
    assert!((seconds - 2.5 * f64::from(items)).abs() < 1e-9, "{seconds} for {items}");
    // What workers measured is certified as what trainers do.
    let certificate = client.get_certificate(wire::GetCertificateRequest {
        selection_id: "one".to_owned(),
        ..wire::GetCertificateRequest::default()
    });
    let certificate = certificate.await.unwrap().into_inner();
    let question = wire::VerifyCertificateRequest {
        json: certificate.json,
        digest: certificate.digest,
    };
    let verified = client.verify_certificate(question).await.unwrap().into_inner();
    assert_eq!((verified.valid, verified.differences), (true, Vec::new()));
    selector.stop().await;
}

#[tokio::test]
async fn reports_are_checked_and_old_attempts_are_refused() {
    let world = World::fast().await;
    let client = &mut world.selector.client();
    created(client, "one", ask_tell()).await;
    let short = wire::RequestWorkRequest {
        lease_duration: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        ..ask("slow", 1)
    };
    let item = work(client, &short).await.remove(0);

    // NaN, a wrong size, an unknown trial, an attempt that was never given out, nothing at all.
    let size = item.data_size;
    let mut unknown = tell(&item, observation(size, 1.0));
    unknown.trial_id = "99-1".to_owned();
    let mut early = tell(&item, observation(size, 1.0));
    early.attempt = 2;
    for (request, path) in [
        (tell(&item, observation(size, f64::NAN)), "observation.test_loss"),
        (tell(&item, observation(size + 1, 1.0)), "observation.data_size"),
        (tell(&item, None), "result"),
        (tell(&item, Some(Finding::Failure(String::new()))), "failure"),
        (unknown, "trial_id"),
        (early, "attempt"),
    ] {
        let status = client.report_observation(request).await.unwrap_err();
        assert_eq!(
            (status.code(), fields(&status)),
            (Code::InvalidArgument, vec![path.to_owned()])
        );
    }

    // Nobody has reported in time: it is given to somebody else, as the next attempt.
    let again = tokio::time::timeout(PATIENCE, async {
        loop {
            let found = work(client, &ask("quick", 100)).await;
            if let Some(again) = found.into_iter().find(|found| found.trial_id == item.trial_id) {
                return again;
            }
        }
    });
    let again = again.await.expect("the trial comes back");
    assert_eq!(again.attempt, 2);
    let status = client
        .report_observation(tell(&item, observation(size, 1.0)))
        .await
        .unwrap_err();
    assert_eq!(told(&status), (Code::Aborted, "STALE_ATTEMPT".to_owned()));

    // The same report twice is one; another one is not.
    let report = tell(&again, observation(size, loss(&again)));
    let first = client.report_observation(report.clone()).await.unwrap().into_inner();
    let second = client.report_observation(report.clone()).await.unwrap().into_inner();
    assert_eq!(first, second);
    assert_eq!(first.trial.unwrap().attempts.len(), 2);
    let other = tell(&again, observation(size, 2.0 * loss(&again)));
    let status = client.report_observation(other).await.unwrap_err();
    assert_eq!(told(&status), (Code::Aborted, "STALE_ATTEMPT".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_failure_is_given_out_again_until_its_attempts_are_used_up() {
    let world = World::fast().await;
    let client = &mut world.selector.client();
    let patient = wire::SelectionSpec {
        max_attempts: Some(2),
        ..ask_tell()
    };
    created(client, "one", patient).await;
    // Whatever is asked of `level` fails.
    let mut failures = 0;
    loop {
        let found = work(client, &ask("bench", 10)).await;
        if found.is_empty() {
            break;
        }
        for item in found {
            let name = item.candidate.clone().unwrap().candidate.unwrap().candidate_id;
            let result = if name == "level" {
                failures += 1;
                Some(Finding::Failure("no luck".to_owned()))
            } else {
                observation(item.data_size, loss(&item))
            };
            // Others of its trials are taken back when it is out.
            match client.report_observation(tell(&item, result)).await {
                Ok(_) => {}
                Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
            }
        }
    }
    assert!(failures >= 2);
    let found = ended_one(client, "one").await;
    assert_eq!(found.choice.unwrap().candidate_id, "steep");
    let level = found
        .contenders
        .iter()
        .find(|contender| contender.candidate_id == "level")
        .unwrap();
    assert_eq!(level.state(), wire::ContenderState::Excluded);
    assert_eq!(level.exclusion(), wire::ExclusionReason::RunsFailed);
    assert!(level.detail.contains("no luck"), "{}", level.detail);
    world.stop().await;
}

#[tokio::test]
async fn cancelling_takes_work_back_and_driven_selections_have_none() {
    let world = World::slow().await;
    let client = &mut world.selector.client();
    created(client, "one", ask_tell()).await;
    let item = work(client, &ask("bench", 1)).await.remove(0);
    client
        .cancel_selection(wire::CancelSelectionRequest {
            selection_id: "one".to_owned(),
            reason: String::new(),
        })
        .await
        .unwrap();
    let found = ended_one(client, "one").await;
    assert_eq!(found.state(), wire::SelectionState::Cancelled);
    let status = client
        .report_observation(tell(&item, observation(item.data_size, 1.0)))
        .await
        .unwrap_err();
    assert_eq!(told(&status), (Code::Aborted, "STALE_ATTEMPT".to_owned()));
    let answer = client.request_work(ask("bench", 1)).await.unwrap().into_inner();
    assert_eq!(
        (answer.items.len(), answer.state()),
        (0, wire::SelectionState::Cancelled)
    );

    created(client, "driven", spec()).await;
    let mut request = ask("bench", 1);
    request.selection_id = "driven".to_owned();
    let status = client.request_work(request).await.unwrap_err();
    assert_eq!(told(&status), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
    let wrong = wire::RequestWorkRequest {
        worker: String::new(),
        max_items: 101,
        lease_duration: Some(prost_types::Duration { seconds: 0, nanos: 5 }),
        ..ask("", 1)
    };
    let status = client.request_work(wrong).await.unwrap_err();
    assert_eq!(fields(&status), ["worker", "max_items", "lease_duration"]);
    world.stop().await;
}

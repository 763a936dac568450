//! Deadlines, retries and errors of the unary calls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use finepick_proto::trainer::v1::{ListTrainingRunsRequest, TrainingRunSpec};
use svc_kit::client::Retry;
use tokio::time::Instant;
use trainer_client::{Limits, Problem, TrainerClient, TrainerError};

use crate::fake::{Fake, RUN, Script};

#[tokio::test]
async fn refused_calls_are_tried_again_and_each_attempt_has_its_own_id() {
    let fake = Fake::new(Script {
        refusals: 2,
        ..Script::default()
    });
    let client = TrainerClient::new(fake.transport().await);
    let run = client
        .create(RUN, TrainingRunSpec::default())
        .await
        .expect("the third attempt");
    assert_eq!(fake.calls.load(Ordering::SeqCst), 3);
    assert!(run.detail.ends_with("-3"), "{}", run.detail);
    assert_eq!(client.get(RUN).await.expect("again the third").training_run_id, RUN);

    let impatient = client.with_retry(Retry::never());
    let error = impatient
        .create(RUN, TrainingRunSpec::default())
        .await
        .expect_err("the first attempt");
    assert_eq!(error.problem(), Some(Problem::Unavailable));
}

#[tokio::test]
async fn a_call_without_an_answer_ends_in_time() {
    let limits = Limits {
        estimate: Duration::from_millis(100),
        ..Limits::default()
    };
    let client = TrainerClient::new(Fake::default().transport().await).with_limits(limits);
    let started = Instant::now();
    let error = client
        .estimate(TrainingRunSpec::default())
        .await
        .expect_err("no answer");
    assert_eq!(error.problem(), Some(Problem::DeadlineExceeded), "{error}");
    assert!(started.elapsed() >= Duration::from_millis(90));
}

#[tokio::test]
async fn a_delete_whose_answer_was_lost_has_succeeded() {
    let fake = Fake::default();
    let client = TrainerClient::new(fake.transport().await);
    client.delete(RUN).await.expect("the first attempt has deleted it");
    assert_eq!(fake.deletes.load(Ordering::SeqCst), 2);
    let error = client.delete(RUN).await.expect_err("it was not there");
    assert_eq!(error.problem(), Some(Problem::NotFound));
}

#[tokio::test]
async fn errors_are_told_apart_and_broken_answers_are_none() {
    let client = TrainerClient::new(Fake::default().transport().await);
    let problem = |error: TrainerError| error.problem();
    assert_eq!(
        client.pause(RUN).await.map_err(problem),
        Err(Some(Problem::CapabilityMissing))
    );
    assert_eq!(
        client.resume(RUN).await.map_err(problem),
        Err(Some(Problem::WrongState))
    );
    assert_eq!(
        client.get("nobody").await.map_err(problem),
        Err(Some(Problem::NotFound))
    );
    // What metadata cannot hold reaches the trainer all the same.
    assert_eq!(client.get("né\n").await.map_err(problem), Err(Some(Problem::NotFound)));
    let listed = client.list(ListTrainingRunsRequest::default()).await;
    assert_eq!(listed.map_err(problem), Err(Some(Problem::Unimplemented)));
    let error = client.cancel(RUN).await.expect_err("an answer without a run");
    assert!(matches!(error, TrainerError::BrokenContract(_)), "{error}");
}

#[tokio::test]
async fn the_name_of_a_trainer_goes_along() {
    let client = TrainerClient::new(Fake::default().transport().await);
    assert_eq!(client.info().await.expect("answered").name, "");
    let named = client.clone().for_trainer("gpu-a").expect("a name");
    assert_eq!(named.info().await.expect("answered").name, "gpu-a");
    for bad in ["né", "a\nb"] {
        assert!(client.clone().for_trainer(bad).is_err(), "{bad:?}");
    }
}

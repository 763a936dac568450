//! Trainers that lie and flood, and models and data that nobody can read: what becomes of a selection then.

use finepick_proto::selector::v1 as wire;
use svc_kit::config::HumanDuration;
use trainer_sim::SimulationConfig;

use crate::support::{Served, World, created, ended_one, reference, simulation, spec};

fn fast() -> SimulationConfig {
    simulation(200_000.0)
}

async fn trainer_that(config: SimulationConfig) -> Served {
    Served::start(|context| trainer_sim::grpc::app(&config, context)).await
}

#[tokio::test]
async fn what_a_liar_says_is_no_loss() {
    for (lie, word) in [
        ("nan_loss", "NaN"),
        ("negative_loss", "its loss is -"),
        ("wrong_size", "no held-out loss"),
        ("missing_evaluation", "no held-out loss"),
    ] {
        let liar = trainer_that(SimulationConfig {
            lie: lie.to_owned(),
            allow_lies: true,
            ..fast()
        });
        let mut world = World::on(liar.await).await;
        let client = &mut world.client;
        created(client, "one", spec()).await;
        let found = ended_one(client, "one").await;
        assert_eq!(
            (found.state(), found.failure()),
            (wire::SelectionState::Failed, wire::SelectionFailure::AllRunsFailed),
            "{lie}"
        );
        assert!(found.detail.contains("none of 4 contenders"), "{lie}: {}", found.detail);
        for contender in &found.contenders {
            assert_eq!(contender.state(), wire::ContenderState::Excluded);
            assert_eq!(contender.exclusion(), wire::ExclusionReason::RunsFailed);
            assert!(contender.detail.contains("breaks its contract"), "{}", contender.detail);
            assert!(contender.detail.contains(word), "{lie}: {}", contender.detail);
            assert!(contender.observations.is_empty());
        }
        let trials = client.list_trials(wire::ListTrialsRequest {
            selection_id: "one".to_owned(),
            ..wire::ListTrialsRequest::default()
        });
        let trials = trials.await.unwrap().into_inner().trials;
        let attempts: Vec<&wire::Attempt> = trials.iter().flat_map(|trial| &trial.attempts).collect();
        assert!(
            attempts
                .iter()
                .any(|attempt| attempt.outcome() == wire::AttemptOutcome::Refused)
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn a_flood_of_progress_leaves_no_trace_in_the_events() {
    // Thousands of messages for every run.
    let flood = trainer_that(SimulationConfig {
        progress_interval: HumanDuration::from_secs(0),
        ..fast()
    });
    let mut world = World::on(flood.await).await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let found = ended_one(client, "one").await;
    assert_eq!(found.state(), wire::SelectionState::Succeeded, "{}", found.detail);
    assert_eq!(found.choice.unwrap().candidate_id, "steep");
    let trials: usize = found
        .contenders
        .iter()
        .map(|contender| contender.observations.len())
        .sum();
    let most = 4 * i64::try_from(trials).unwrap() + 20;
    assert!(
        found.last_sequence < most,
        "{} events of {trials} trials",
        found.last_sequence
    );
    world.stop().await;
}

#[tokio::test]
async fn models_and_data_that_nobody_can_read_are_told_apart_from_the_rest() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    let mut one_unknown = spec();
    one_unknown.candidates[0].model = reference("ftp://nowhere/model");
    created(client, "model", one_unknown).await;
    let found = ended_one(client, "model").await;
    assert_eq!(found.state(), wire::SelectionState::Succeeded, "{}", found.detail);
    let out = &found.contenders[0];
    assert_eq!(
        (out.state(), out.exclusion()),
        (wire::ContenderState::Excluded, wire::ExclusionReason::TrainerCannot)
    );
    assert!(out.detail.contains("ftp"), "{}", out.detail);
    assert!(
        found.contenders[1..]
            .iter()
            .all(|other| other.exclusion() == wire::ExclusionReason::Unspecified)
    );

    let mut no_data = spec();
    no_data.data = reference("ftp://nowhere/data");
    created(client, "data", no_data.clone()).await;
    let found = ended_one(client, "data").await;
    assert_eq!(
        (found.state(), found.failure()),
        (
            wire::SelectionState::Failed,
            wire::SelectionFailure::NoEligibleCandidate
        )
    );
    assert!(found.detail.contains("no contender can take part"), "{}", found.detail);
    assert!(found.detail.contains("ftp"), "{}", found.detail);

    // Asked about only, it is a typed error.
    let estimate = wire::EstimateSelectionRequest { spec: Some(no_data) };
    let status = client.estimate_selection(estimate).await.unwrap_err();
    assert_eq!(
        crate::support::told(&status),
        (tonic::Code::FailedPrecondition, "NO_ELIGIBLE_CANDIDATE".to_owned())
    );
    world.stop().await;
}

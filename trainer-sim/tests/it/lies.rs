//! Each lie shows, and only where it was asked for.

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::TrainingRunState as S;
use finepick_proto::trainer::v1::training_event::Kind;
use tonic::Code;
use trainer_sim::SimulationConfig;
use trainer_sim::lie::Lie;

use crate::support::{World, create_request, labelled, spec, states};

fn liar(lie: Lie) -> World {
    World::new(&SimulationConfig {
        lie: lie.name().to_owned(),
        ..SimulationConfig::default()
    })
}

async fn ended(world: &mut World) -> wire::TrainingRun {
    world.create("r", spec()).await.unwrap();
    world.advance(3_600);
    world.get("r").await.unwrap()
}

#[tokio::test]
async fn lies_about_losses_and_costs_show_in_runs_and_events() {
    for lie in [
        Lie::NanLoss,
        Lie::NegativeLoss,
        Lie::WrongSize,
        Lie::MissingEvaluation,
        Lie::NegativeCost,
    ] {
        let mut world = liar(lie);
        let run = ended(&mut world).await;
        assert_eq!(run.state(), S::Succeeded);
        let shows = match lie {
            Lie::NanLoss => run.evaluations.iter().all(|e| e.loss.is_nan()),
            Lie::NegativeLoss => run.evaluations.iter().all(|e| e.loss < 0.0),
            Lie::WrongSize => run
                .evaluations
                .iter()
                .all(|e| !spec().data_sizes.contains(&e.data_size)),
            Lie::MissingEvaluation => run.evaluations.len() < 3,
            _ => run.cost.as_ref().unwrap().device_seconds < 0.0,
        };
        assert!(shows, "{lie:?}: {run:?}");
        let events = world.events("r", 0).await;
        let told = events
            .iter()
            .filter(|event| matches!(event.kind, Some(Kind::Evaluation(_))))
            .count();
        assert_eq!(told, run.evaluations.len(), "{lie:?}");
    }
}

#[tokio::test]
async fn lies_about_streams_show() {
    let mut world = liar(Lie::IllegalTransition);
    ended(&mut world).await;
    assert_eq!(
        states(&world.events("r", 0).await),
        [S::Queued, S::Running, S::Succeeded]
    );

    let mut world = liar(Lie::DuplicateSequence);
    ended(&mut world).await;
    let events = world.events("r", 0).await;
    assert!(events.windows(2).any(|pair| pair[0].sequence == pair[1].sequence));

    let mut world = liar(Lie::SequenceFromZero);
    ended(&mut world).await;
    assert_eq!(world.events("r", 0).await[0].sequence, 0);

    let mut world = liar(Lie::CursorIgnored);
    ended(&mut world).await;
    assert_eq!(world.events("r", 4).await[0].sequence, 1);

    let mut world = liar(Lie::CursorSkipsOne);
    ended(&mut world).await;
    assert_eq!(world.events("r", 4).await[0].sequence, 6);

    let mut world = liar(Lie::FutureCursor);
    ended(&mut world).await;
    assert!(world.events("r", 1_000).await.is_empty());

    let mut world = liar(Lie::WatchEndsEarly);
    ended(&mut world).await;
    assert_eq!(
        states(&world.events("r", 0).await),
        [S::Queued, S::Preparing, S::Running]
    );

    let mut world = liar(Lie::DecreasingCost);
    ended(&mut world).await;
    let events = world.events("r", 0).await;
    let costs: Vec<f64> = events
        .iter()
        .filter_map(|event| match &event.kind {
            Some(Kind::Cost(cost)) => Some(cost.device_seconds),
            _ => None,
        })
        .collect();
    assert!(costs.windows(2).all(|pair| pair[1] < pair[0]));
}

#[tokio::test]
async fn lies_about_calls_show() {
    let mut world = liar(Lie::CreateNotIdempotent);
    world.create("r", spec()).await.unwrap();
    assert_eq!(world.create("r", spec()).await.unwrap_err().code(), Code::AlreadyExists);

    let mut world = liar(Lie::OtherSpecAccepted);
    world.create("r", spec()).await.unwrap();
    world.create("r", labelled(&[("a", "b")])).await.unwrap();

    let mut world = liar(Lie::CancelIgnored);
    world.create("r", spec()).await.unwrap();
    assert_eq!(world.cancel("r").await.unwrap().state(), S::Preparing);

    let mut world = liar(Lie::CancelEndedFails);
    ended(&mut world).await;
    assert_eq!(world.cancel("r").await.unwrap_err().code(), Code::FailedPrecondition);

    let mut world = liar(Lie::DeleteIgnored);
    ended(&mut world).await;
    world.delete("r").await.unwrap();
    world.get("r").await.unwrap();

    let mut world = liar(Lie::NoDetails);
    assert!(world.get("r").await.unwrap_err().details().is_empty());
    let mut world = liar(Lie::UnknownCode);
    assert_eq!(world.get("r").await.unwrap_err().code(), Code::Unknown);
    let mut world = liar(Lie::PauseUnimplemented);
    world.create("r", spec()).await.unwrap();
    assert_eq!(world.pause("r").await.unwrap_err().code(), Code::Unimplemented);
    let mut world = liar(Lie::AnyId);
    world.create("../..", spec()).await.unwrap();
    let mut world = liar(Lie::AnySpec);
    world
        .client
        .create_training_run(create_request("r", wire::TrainingRunSpec::default()))
        .await
        .unwrap();
    let mut world = liar(Lie::NoIdentity);
    let info = world
        .client
        .get_trainer_info(wire::GetTrainerInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(info.contract_versions.is_empty());
}

#[tokio::test]
async fn a_label_lies_about_its_own_run_alone() {
    let mut world = World::new(&SimulationConfig {
        allow_lies: true,
        ..SimulationConfig::default()
    });
    world.create("honest", spec()).await.unwrap();
    world
        .create("liar", labelled(&[("sim.lie", "nan_loss")]))
        .await
        .unwrap();
    world.advance(3_600);
    assert!(world.get("liar").await.unwrap().evaluations[0].loss.is_nan());
    assert!(world.get("honest").await.unwrap().evaluations[0].loss.is_finite());
}

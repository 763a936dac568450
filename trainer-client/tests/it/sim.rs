//! The client and the simulated trainer: whole runs over streams that break, also over replicas.

use std::collections::BTreeSet;

use finepick_proto::trainer::v1 as pb;
use pb::training_event::Kind;
use svc_kit::client::Transport;
use svc_kit::config::{EndpointConfig, ServerConfig};
use svc_kit::server::{Context, Listener};
use svc_kit::shutdown::Token;
use trainer_client::{Problem, TrainerClient, has_ended};
use trainer_sim::SimulationConfig;

fn spec(sizes: &[i64]) -> pb::TrainingRunSpec {
    let reference = |uri: &str| {
        Some(pb::Reference {
            uri: uri.to_owned(),
            digest: String::new(),
        })
    };
    pb::TrainingRunSpec {
        candidate_id: "tiny".to_owned(),
        model: reference("sim://tiny-20m"),
        data: reference("sim://data"),
        data_sizes: sizes.to_vec(),
        method: Some(pb::TuningMethod {
            kind: Some(pb::tuning_method::Kind::Full(pb::FullTuning {})),
        }),
        ..pb::TrainingRunSpec::default()
    }
}

/// A simulated trainer on a free port whose streams break after so many events.
async fn trainer(stream_break: u32) -> EndpointConfig {
    let config = SimulationConfig {
        speed: 6_000.0,
        stream_break,
        ..SimulationConfig::default()
    };
    let server = ServerConfig::default();
    let context = Context::new(&server, Token::new());
    let listener = Listener::bind(&server).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr());
    let app = trainer_sim::grpc::app(&config, &context);
    tokio::spawn(async move { listener.serve(app, &server, &context).await });
    EndpointConfig::to(url)
}

/// Follows a run to its end; returns it, after checking that its events are complete, in order and agree with it.
async fn follow(client: &TrainerClient, id: &str) -> pb::TrainingRun {
    let mut watch = client.watch(id, 0);
    let mut sequence = 0;
    let mut losses = Vec::new();
    while let Some(event) = watch.next().await {
        let event = event.expect("no error");
        assert_eq!(event.sequence, sequence + 1, "nothing lost, nothing twice");
        sequence = event.sequence;
        if let Some(Kind::Evaluation(evaluation)) = event.kind {
            losses.push(evaluation);
        }
    }
    let run = client.get(id).await.expect("the run");
    assert!(has_ended(run.state()));
    assert_eq!((run.last_sequence, &run.evaluations), (sequence, &losses));
    run
}

#[tokio::test]
async fn a_run_is_followed_over_breaks_after_every_event() {
    let client = TrainerClient::new(Transport::remote(&trainer(1).await).expect("a URL"));
    let created = client.create("run-1", spec(&[0, 100, 200])).await.expect("accepted");
    assert_eq!(created.training_run_id, "run-1");
    let run = follow(&client, "run-1").await;
    assert_eq!(run.state(), pb::TrainingRunState::Succeeded);
    assert_eq!(run.evaluations.len(), 3);

    // The same again is the same run; another spec is refused; a deleted run is unknown.
    assert_eq!(
        client
            .create("run-1", spec(&[0, 100, 200]))
            .await
            .expect("the same")
            .last_sequence,
        run.last_sequence
    );
    let error = client.create("run-1", spec(&[7])).await.expect_err("another spec");
    assert_eq!(error.problem(), Some(Problem::AlreadyExists));
    client.delete("run-1").await.expect("it has ended");
    assert_eq!(
        client.get("run-1").await.expect_err("gone").problem(),
        Some(Problem::NotFound)
    );
}

#[tokio::test]
async fn over_replicas_every_call_finds_its_run() {
    let replicas = [trainer(0).await, trainer(3).await, trainer(0).await];
    let client = TrainerClient::new(Transport::replicas(&replicas).expect("URLs"));
    let mut instances = BTreeSet::new();
    for number in 0..12 {
        let id = format!("run-{number}");
        client.create(&id, spec(&[50])).await.expect("accepted");
        let run = follow(&client, &id).await;
        assert_eq!(run.state(), pb::TrainingRunState::Succeeded);
        assert!(client.cancel(&id).await.is_ok(), "an ended run stays as it is");
        instances.insert(run.instance_id);
    }
    assert!(instances.len() > 1, "all runs went to {instances:?}");
}

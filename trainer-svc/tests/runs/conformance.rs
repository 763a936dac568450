//! The contract, proved on the manager behind its gRPC face; and the process around it.

use std::sync::Arc;
use std::time::Duration;

use plugin_kit::{Format, Options, Outcome};
use svc_kit::config::{HumanDuration, ServerConfig};
use svc_kit::server::{Context, Listener};
use svc_kit::shutdown::Token;
use trainer_kit::state::RunState;
use trainer_svc::config::{Config, TrainerConfig};
use trainer_svc::grpc::{Host, Trainer};
use trainer_svc::runs::Executor;

use crate::fake::Fake;
use crate::world::{PATIENCE, World, settings, spec};

fn server() -> ServerConfig {
    let mut server = ServerConfig::on_port(0);
    server.drain_timeout = HumanDuration::from_secs(20);
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let config = TrainerConfig {
        state_dir: folder.path().join("state"),
        heartbeat_interval: HumanDuration::from_secs(1),
        queue_limit: 16,
        currency: "EUR".to_owned(),
        price_per_device_second: 0.01,
        ..TrainerConfig::default()
    };
    let (server, shutdown) = (server(), Token::new());
    let context = Context::new(&server, shutdown.clone());
    let trainer = Trainer::open(config.settings(), Arc::new(Fake::with_slots(&[("cpu", 2)]))).unwrap();
    let app = trainer.serve(&context);
    let listener = Listener::bind(&server).await.unwrap();
    let target = format!("http://{}", listener.local_addr());
    let serving = tokio::spawn(async move { listener.serve(app, &server, &context).await });
    let options = Options {
        model: "model".to_owned(),
        data: "data".to_owned(),
        sizes: vec![0, 200, 400],
        run_timeout: PATIENCE,
        call_timeout: Duration::from_secs(5),
        capabilities: [
            "pause",
            "checkpoint_resume",
            "nested_subsets",
            "deterministic_seeds",
            "estimate",
            "retention_sets",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Options::to(target)
    };
    let report = plugin_kit::run(options).await.unwrap();
    assert!(report.is_green(), "{}", report.render(Format::Text));
    let skipped: Vec<_> = report
        .cases
        .iter()
        .filter(|case| matches!(case.outcome, Outcome::Skipped(_)))
        .map(|case| case.id)
        .collect();
    assert!(
        skipped
            .iter()
            .all(|id| id.ends_with("unclaimed") || id.contains("data_size_max")),
        "{skipped:?}"
    );
    shutdown.trigger();
    serving.await.unwrap().unwrap();
    let drained = tokio::task::spawn_blocking(move || trainer.manager().drain(PATIENCE));
    assert_eq!(drained.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_saves_its_runs_when_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        server: server(),
        trainer: TrainerConfig {
            state_dir: folder.path().to_owned(),
            ..TrainerConfig::default()
        },
        ..Config::default()
    };
    let shutdown = Token::new();
    let context = Context::new(&config.server, shutdown.clone());
    let host = Host::default();
    let fake: Arc<dyn Executor> = Arc::new(Fake::with_slots(&[("cpu", 1)]));
    let app = host
        .assemble(config.clone(), context.clone(), move |_| Ok(fake))
        .await
        .unwrap();
    let transport = svc_kit::client::Transport::local(app.into_local(&config.server, &context).unwrap());
    let mut client = finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient::new(transport);
    let message = trainer_kit::grpc::spec(spec(&[1_000_000], &[("checkpoint_every", 1_000_000)]));
    let request = finepick_proto::trainer::v1::CreateTrainingRunRequest {
        training_run_id: "run".to_owned(),
        spec: Some(message),
        request_id: String::new(),
    };
    client.create_training_run(request).await.unwrap();
    let get = finepick_proto::trainer::v1::GetTrainingRunRequest {
        training_run_id: "run".to_owned(),
    };
    for _ in 0..10_000 {
        let run = client
            .get_training_run(get.clone())
            .await
            .unwrap()
            .into_inner()
            .run
            .unwrap();
        if run.progress.is_some_and(|progress| progress.step >= 5) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    shutdown.trigger();
    drop(client);
    tokio::task::spawn_blocking(move || host.finish()).await.unwrap();
    let saved = std::fs::read_to_string(folder.path().join("runs/run/events.jsonl")).unwrap();
    assert!(saved.contains("\"checkpoint_id\":\"step-"), "a checkpoint was saved");
    let dir = folder.path().to_owned();
    let resumed = tokio::task::spawn_blocking(move || {
        let world = World::with(&settings(&dir), &[("cpu", 1)]);
        let run = world.until("run", |run| {
            run.progress.as_ref().is_some_and(|progress| progress.step > 5)
        });
        world.manager.cancel("run").unwrap();
        world.until_state("run", RunState::Cancelled);
        world.close();
        run
    });
    assert_eq!(resumed.await.unwrap().state, RunState::Running);
}

#[test]
fn a_wrong_configuration_is_named_and_exits_with_2() {
    for (setting, named) in [
        ("trainer.stop_grace=1m", "trainer.stop_grace"),
        ("trainer.devices.cpu.slots=0", "trainer.devices"),
        ("trainer.devices.tpu.slots=1", "trainer.devices.tpu"),
        ("server.listen=0.0.0.0:0", "trainer.model_roots"),
    ] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_trainer-svc"))
            .args(["--set", setting])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(named), "{text}");
    }
}

//! Losses on other data before and after tuning, as a client of the service sees them: "before" is what an evaluation of the
//! checkpoint says, "after" what an evaluation of the saved result says.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use pb::EvaluationKind as Kind;
use pb::trainer_service_client::TrainerServiceClient;
use pb::tuning_method::Kind as Method;
use svc_kit::client::Transport;
use svc_kit::config::{HumanDuration, ServerConfig};
use svc_kit::server::Context;
use svc_kit::shutdown::Token;
use trainer_svc::config::{Config, DeviceConfig, TrainerConfig};
use trainer_svc::grpc::Host;
use trainer_svc::worker;

/// Waits of 5 ms until a run must have ended, however busy the machine is.
const PATIENCE: usize = 24_000;

fn lines(count: usize, words: &[&str]) -> String {
    let mut text = String::new();
    for i in 0..count {
        let at = |step: usize| words[(i * 3 + i / 7 + step) % words.len()];
        let line = format!("{i}. The {} and the {} of {} {}.", at(0), at(2), at(1), i % 13);
        writeln!(text, "{}", serde_json::json!({ "text": line })).unwrap();
    }
    text
}

struct Service {
    client: TrainerServiceClient<Transport>,
    host: Host,
    model: PathBuf,
    folder: PathBuf,
}

impl Service {
    async fn open(folder: &Path) -> Self {
        let mut server = ServerConfig::on_port(0);
        server.drain_timeout = HumanDuration::from_secs(60);
        let cpu = DeviceConfig {
            threads: 2,
            ..DeviceConfig::default()
        };
        let config = Config {
            server: server.clone(),
            trainer: TrainerConfig {
                state_dir: folder.join("state"),
                devices: [("cpu".to_owned(), cpu)].into(),
                ..TrainerConfig::default()
            },
            ..Config::default()
        };
        let (host, context) = (Host::default(), Context::new(&server, Token::new()));
        let app = host.assemble(config, context.clone(), worker::open).await.unwrap();
        let transport = Transport::local(app.into_local(&server, &context).unwrap());
        Self {
            client: TrainerServiceClient::new(transport),
            host,
            model: Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/gpt2-verse-xs"),
            folder: folder.to_owned(),
        }
    }

    /// Does a run, which must succeed.
    async fn run(&mut self, id: &str, spec: pb::TrainingRunSpec) -> pb::TrainingRun {
        let request = pb::CreateTrainingRunRequest {
            training_run_id: id.to_owned(),
            spec: Some(spec),
            request_id: String::new(),
        };
        self.client.create_training_run(request).await.unwrap();
        for _ in 0..PATIENCE {
            let request = pb::GetTrainingRunRequest {
                training_run_id: id.to_owned(),
            };
            let run = self
                .client
                .get_training_run(request)
                .await
                .unwrap()
                .into_inner()
                .run
                .unwrap();
            if run.end_time.is_some() {
                assert_eq!(run.state(), pb::TrainingRunState::Succeeded, "{}", run.detail);
                return run;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{id} does not end");
    }

    fn spec(&self, method: Method, sizes: &[i64]) -> pb::TrainingRunSpec {
        pb::TrainingRunSpec {
            candidate_id: "candidate".to_owned(),
            model: Some(reference(&self.model)),
            data: Some(reference(&self.folder.join("data.jsonl"))),
            data_sizes: sizes.to_vec(),
            method: Some(pb::TuningMethod { kind: Some(method) }),
            hyperparameters: Some(pb::Hyperparameters {
                batch_size: Some(4),
                sequence_length: Some(32),
                learning_rate: Some(5e-3),
                ..pb::Hyperparameters::default()
            }),
            ..pb::TrainingRunSpec::default()
        }
    }

    /// The loss on a file, as `finepick evaluate` asks for it.
    async fn evaluate(&mut self, id: &str, model: &Path, adapter: Option<(&Path, Method)>, data: &Path) -> f64 {
        let (adapter, method) = match adapter {
            Some((folder, method)) => (Some(reference(folder)), method),
            None => (None, Method::Full(pb::FullTuning {})),
        };
        let spec = pb::TrainingRunSpec {
            model: Some(reference(model)),
            data: Some(reference(data)),
            held_out: Some(reference(data)),
            initial_adapter: adapter,
            ..self.spec(method, &[0])
        };
        self.run(id, spec).await.evaluations[0].loss
    }
}

fn reference(path: &Path) -> pb::Reference {
    pb::Reference {
        uri: path.display().to_string(),
        digest: String::new(),
    }
}

fn methods() -> [(&'static str, Method); 3] {
    let lora = pb::LoraTuning {
        rank: 4,
        ..pb::LoraTuning::default()
    };
    let prompt = pb::PromptTuning {
        length: 3,
        initial_text: "The river and".to_owned(),
    };
    [
        ("full", Method::Full(pb::FullTuning {})),
        ("lora", Method::Lora(lora)),
        ("prompt", Method::Prompt(prompt)),
    ]
}

/// The loss of a kind on a set, which must be there once.
fn only(run: &pb::TrainingRun, kind: Kind, set: &str) -> (i64, f64) {
    let mut found = run
        .evaluations
        .iter()
        .filter(|one| one.kind() == kind && one.retention_set == set);
    let (first, second) = (found.next(), found.next());
    assert!(second.is_none(), "{kind:?} {set}: {second:?}");
    let first = first.unwrap();
    assert!(
        first.tokens > 0 && first.examples > 0 && first.standard_error > Some(0.0),
        "{first:?}"
    );
    (first.data_size, first.loss)
}

fn close(found: f64, wanted: f64) -> bool {
    (found / wanted - 1.0).abs() < 1e-6
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_reported_before_and_after_is_what_an_evaluation_says() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(
        at("data.jsonl"),
        lines(90, &["mill", "stone", "grain", "wheel", "miller"]),
    )
    .unwrap();
    std::fs::write(at("verse.jsonl"), lines(30, &["king", "crown", "sword", "queen"])).unwrap();
    std::fs::write(
        at("code.jsonl"),
        lines(21, &["return", "import", "self", "None", "def"]),
    )
    .unwrap();
    let mut service = Service::open(folder.path()).await;
    let model = service.model.clone();
    let sets = ["verse", "code"];
    let mut zero_shot = Vec::new();
    for set in sets {
        let data = at(&format!("{set}.jsonl"));
        zero_shot.push(service.evaluate(&format!("zero-{set}"), &model, None, &data).await);
    }
    for (name, method) in methods() {
        let mut spec = service.spec(method.clone(), &[0, 20, 40]);
        spec.retention_sets = sets
            .iter()
            .map(|set| pb::RetentionSet {
                name: (*set).to_owned(),
                data: Some(reference(&at(&format!("{set}.jsonl")))),
            })
            .collect();
        let run = service.run(name, spec).await;
        assert_eq!(run.evaluations.len(), 3 + 2 * sets.len(), "{:?}", run.evaluations);
        for (set, zero_shot) in sets.iter().zip(&zero_shot) {
            let (size, before) = only(&run, Kind::RetentionBefore, set);
            assert_eq!(size, 0);
            assert!(
                close(before, *zero_shot),
                "{name} {set}: before {before}, zero-shot {zero_shot}"
            );
            let (size, after) = only(&run, Kind::RetentionAfter, set);
            assert_eq!(size, 40, "after the largest size");
            let artifact = PathBuf::from(&run.artifact_uri);
            let adapter = Some((artifact.as_path(), method.clone())).filter(|_| name != "full");
            let base = if name == "full" { &artifact } else { &model };
            let data = at(&format!("{set}.jsonl"));
            let again = service
                .evaluate(&format!("again-{name}-{set}"), base, adapter, &data)
                .await;
            assert!(close(after, again), "{name} {set}: after {after}, saved {again}");
            assert!(!close(after, before), "{name} {set}: tuning changed something");
        }
    }
    let Service { client, host, .. } = service;
    drop(client);
    tokio::task::spawn_blocking(move || host.finish()).await.unwrap();
}

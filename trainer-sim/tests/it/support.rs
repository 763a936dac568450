//! A trainer, a clock to turn, a client; and specs to ask for.

use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::trainer_service_client::TrainerServiceClient;
use finepick_proto::trainer::v1::training_event::Kind;
use futures::StreamExt;
use svc_kit::client::Transport;
use svc_kit::config::ServerConfig;
use svc_kit::server::Context;
use svc_kit::shutdown::Token;
use tonic::{Status, Streaming};
use tonic_types::StatusExt;
use trainer_sim::clock::ManualClock;
use trainer_sim::{SimulationConfig, Trainer};

pub(crate) type Client = TrainerServiceClient<Transport>;

/// A trainer in process, on a clock that only the test turns.
pub(crate) struct World {
    pub(crate) trainer: Trainer,
    pub(crate) clock: ManualClock,
    pub(crate) client: Client,
    pub(crate) shutdown: Token,
}

impl World {
    pub(crate) fn new(config: &SimulationConfig) -> Self {
        let (trainer, clock) = Trainer::manual(config);
        let server = ServerConfig::on_port(0);
        let shutdown = Token::new();
        let context = Context::new(&server, shutdown.clone());
        let app = trainer_sim::grpc::serve(&trainer, &context);
        let client = Client::new(Transport::local(app.into_local(&server, &context).unwrap()));
        Self {
            trainer,
            clock,
            client,
            shutdown,
        }
    }

    pub(crate) fn plain() -> Self {
        Self::new(&SimulationConfig::default())
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.trainer.advance(&self.clock, Duration::from_secs(seconds));
    }

    pub(crate) async fn create(&mut self, id: &str, spec: wire::TrainingRunSpec) -> Result<wire::TrainingRun, Status> {
        let answer = self.client.create_training_run(create_request(id, spec)).await?;
        Ok(answer.into_inner().run.unwrap())
    }

    pub(crate) async fn get(&mut self, id: &str) -> Result<wire::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .client
            .get_training_run(wire::GetTrainingRunRequest { training_run_id });
        Ok(answer.await?.into_inner().run.unwrap())
    }

    pub(crate) async fn cancel(&mut self, id: &str) -> Result<wire::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .client
            .cancel_training_run(wire::CancelTrainingRunRequest { training_run_id });
        Ok(answer.await?.into_inner().run.unwrap())
    }

    pub(crate) async fn pause(&mut self, id: &str) -> Result<wire::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .client
            .pause_training_run(wire::PauseTrainingRunRequest { training_run_id });
        Ok(answer.await?.into_inner().run.unwrap())
    }

    pub(crate) async fn resume(&mut self, id: &str) -> Result<wire::TrainingRun, Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .client
            .resume_training_run(wire::ResumeTrainingRunRequest { training_run_id });
        Ok(answer.await?.into_inner().run.unwrap())
    }

    pub(crate) async fn delete(&mut self, id: &str) -> Result<(), Status> {
        let training_run_id = id.to_owned();
        let answer = self
            .client
            .delete_training_run(wire::DeleteTrainingRunRequest { training_run_id });
        answer.await.map(drop)
    }

    pub(crate) async fn watch(
        &mut self,
        id: &str,
        after_sequence: i64,
    ) -> Result<Streaming<wire::WatchTrainingRunResponse>, Status> {
        let training_run_id = id.to_owned();
        let request = wire::WatchTrainingRunRequest {
            training_run_id,
            after_sequence,
        };
        Ok(self.client.watch_training_run(request).await?.into_inner())
    }

    /// All events of an ended run after a cursor.
    pub(crate) async fn events(&mut self, id: &str, after: i64) -> Vec<wire::TrainingEvent> {
        let stream = self.watch(id, after).await.unwrap();
        stream.map(|item| item.unwrap().event.unwrap()).collect().await
    }
}

pub(crate) fn create_request(id: &str, spec: wire::TrainingRunSpec) -> wire::CreateTrainingRunRequest {
    wire::CreateTrainingRunRequest {
        training_run_id: id.to_owned(),
        spec: Some(spec),
        request_id: "test".to_owned(),
    }
}

pub(crate) fn reference(uri: &str) -> Option<wire::Reference> {
    Some(wire::Reference {
        uri: uri.to_owned(),
        digest: String::new(),
    })
}

pub(crate) fn method(kind: wire::tuning_method::Kind) -> Option<wire::TuningMethod> {
    Some(wire::TuningMethod { kind: Some(kind) })
}

/// A spec that every default trainer accepts.
pub(crate) fn spec() -> wire::TrainingRunSpec {
    wire::TrainingRunSpec {
        candidate_id: "candidate".to_owned(),
        model: reference("sim://tiny-20m"),
        data: reference("sim://data"),
        data_sizes: vec![0, 100, 1_000],
        method: method(wire::tuning_method::Kind::Full(wire::FullTuning {})),
        seed: 7,
        ..wire::TrainingRunSpec::default()
    }
}

pub(crate) fn labelled(pairs: &[(&str, &str)]) -> wire::TrainingRunSpec {
    wire::TrainingRunSpec {
        labels: pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..spec()
    }
}

/// `ErrorInfo.reason`; every error must have one.
pub(crate) fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"))
        .reason
}

/// Paths of the wrong fields.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let bad = status
        .get_details_bad_request()
        .unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    bad.field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}

/// Subjects of the missed preconditions.
pub(crate) fn subjects(status: &Status) -> Vec<String> {
    let failed = status.get_details_precondition_failure();
    let failed = failed.unwrap_or_else(|| panic!("no PreconditionFailure in {status:?}"));
    failed
        .violations
        .into_iter()
        .map(|violation| violation.subject)
        .collect()
}

/// The states that a run went through.
pub(crate) fn states(events: &[wire::TrainingEvent]) -> Vec<wire::TrainingRunState> {
    let changes = events.iter().filter_map(|event| match &event.kind {
        Some(Kind::StateChanged(change)) => Some(change.to()),
        _ => None,
    });
    changes.collect()
}

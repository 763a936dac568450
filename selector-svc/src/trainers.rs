//! The port [`Trainer`] over the plugin contract: asks, creates, watches, and believes only what the contract allows.
//!
//! [`run`]: a run from its creation to its end. [`told`]: what the messages say, checked.

mod run;
mod told;

use std::time::Duration;

use finepick_proto::trainer::v1::{TrainingRun, TrainingRunSpec};
use tonic_types::StatusExt;
use trainer_client::{Problem, TrainerClient, TrainerError};
use trainer_kit::spec::Spec;

use crate::ports::{BoxFuture, ProgressSink, RunEnd, RunEstimate, Trainer, TrainerDescription, TrainerFault};

/// The version of the plugin contract that is spoken here.
const CONTRACT_VERSION: &str = "v1";

/// A trainer behind a client. How patient it is with a trainer that goes away is the client's matter
/// ([`trainer_client::Limits`]).
#[derive(Clone, Debug)]
pub struct RemoteTrainer {
    name: String,
    client: TrainerClient,
    replicas: u32,
    nested_runs: bool,
}

impl RemoteTrainer {
    /// A trainer of this name in the configuration, with so many replicas behind the client.
    #[must_use]
    pub fn new(name: impl Into<String>, client: TrainerClient, replicas: u32) -> Self {
        Self {
            name: name.into(),
            client,
            replicas: replicas.max(1),
            nested_runs: true,
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is asked for several sizes in one run, where it claims that it can. Asked by default.
    #[must_use]
    pub fn with_nested_runs(self, nested_runs: bool) -> Self {
        Self { nested_runs, ..self }
    }

    async fn ask(&self) -> Result<TrainerDescription, TrainerFault> {
        let info = self.client.info().await.map_err(|error| self.fault(&error))?;
        if !info.contract_versions.iter().any(|version| version == CONTRACT_VERSION) {
            return Err(self.refused(
                "CONTRACT_VERSION",
                format!("it speaks {:?}, not {CONTRACT_VERSION}", info.contract_versions),
            ));
        }
        if !info.ready {
            return Err(self.unavailable(format!("it is not ready: {}", info.ready_reason)));
        }
        let claims = self.client.capabilities().await.map_err(|error| self.fault(&error))?;
        let mut described = told::description(&info, &claims, self.replicas);
        described.nested_subsets &= self.nested_runs;
        Ok(described)
    }

    async fn assess(&self, spec: Spec) -> Result<RunEstimate, TrainerFault> {
        let answer = self.client.estimate(trainer_kit::grpc::spec(spec)).await;
        Ok(told::estimate(answer.map_err(|error| self.fault(&error))?))
    }

    async fn create(&self, run_id: &str, spec: TrainingRunSpec) -> Result<TrainingRun, TrainerFault> {
        let created = self.client.create(run_id, spec).await;
        created.map_err(|error| self.fault(&error))
    }

    async fn end(&self, run_id: &str) -> Result<(), TrainerFault> {
        match self.client.cancel(run_id).await {
            Ok(_) => Ok(()),
            Err(error) if error.problem() == Some(Problem::NotFound) => Ok(()),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn unavailable(&self, detail: String) -> TrainerFault {
        TrainerFault::Unavailable {
            trainer: self.name.clone(),
            detail,
        }
    }

    fn refused(&self, reason: &str, detail: String) -> TrainerFault {
        TrainerFault::Refused {
            trainer: self.name.clone(),
            reason: reason.to_owned(),
            detail,
        }
    }

    /// What an error of a call means: whatever may pass is no refusal.
    fn fault(&self, error: &TrainerError) -> TrainerFault {
        match error.problem() {
            Some(Problem::Unavailable | Problem::DeadlineExceeded | Problem::Other) => {
                self.unavailable(error.to_string())
            }
            None if !matches!(error, TrainerError::BrokenContract(_)) => self.unavailable(error.to_string()),
            _ => {
                let details = error.status().map(StatusExt::get_error_details);
                let info = details.as_ref().and_then(|details| details.error_info());
                let reason = info.map_or("", |info| info.reason.as_str());
                let violations = details.as_ref().and_then(|details| details.bad_request());
                let fields = violations.into_iter().flat_map(|bad| &bad.field_violations);
                let fields: Vec<String> = fields
                    .take(8)
                    .map(|field| format!("{}: {}", field.field, field.description))
                    .collect();
                let detail = if fields.is_empty() {
                    error.to_string()
                } else {
                    format!("{error} ({})", fields.join("; "))
                };
                self.refused(reason, detail)
            }
        }
    }
}

impl Trainer for RemoteTrainer {
    fn describe(&self) -> BoxFuture<'_, Result<TrainerDescription, TrainerFault>> {
        Box::pin(self.ask())
    }

    fn estimate(&self, spec: Spec) -> BoxFuture<'_, Result<RunEstimate, TrainerFault>> {
        Box::pin(self.assess(spec))
    }

    fn run<'a>(
        &'a self,
        run_id: &'a str,
        spec: Spec,
        progress: ProgressSink,
    ) -> BoxFuture<'a, Result<RunEnd, TrainerFault>> {
        Box::pin(run::follow(self, run_id, spec, progress))
    }

    fn reaches(&self, run_id: Option<&str>) -> Option<bool> {
        self.client.reaches(run_id)
    }

    fn cancel<'a>(&'a self, run_id: &'a str) -> BoxFuture<'a, Result<(), TrainerFault>> {
        Box::pin(self.end(run_id))
    }
}

/// Progress is passed on at most so often; a trainer that floods costs no more than one that tells little.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

//! `finepick train`: one run, on a trainer or in this process, from its creation to its end.

mod answer;
mod interrupt;
mod output;
mod progress;
mod spec;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::Path;
use std::process::ExitCode;

use finepick_proto::trainer::v1 as pb;
use trainer_client::{TrainerClient, has_ended, state_name};

use self::answer::{RunAnswer, StepLoss};
use self::interrupt::{Interrupts, Wish};
use self::output::Output;
use self::progress::Progress;
pub(super) use self::spec::{hyperparameters, method, reference};
use super::trainers::{block_on, connect, told};
use super::{complain, json, print};
use crate::args::{GlobalArgs, PlainFormat, TrainArgs};
use crate::error::{CliError, EXIT_FAILED};
use crate::local_trainer::{LocalDevice, LocalTrainer};
use crate::terminal::Terminal;

/// Exit status: the run was cancelled.
pub const EXIT_CANCELLED: u8 = 4;
/// Exit status: the run was preempted or lost; a new one may succeed.
pub const EXIT_INTERRUPTED: u8 = 5;

/// Creates a run and follows it; returns the exit status.
#[must_use]
pub fn main(args: &TrainArgs, global: &GlobalArgs) -> ExitCode {
    match block_on(run(args, global)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::from(error.exit_status())
        }
    }
}

/// Who does the run: a trainer behind the endpoint, or one in this process.
pub(super) struct Runner {
    client: TrainerClient,
    local: Option<LocalTrainer>,
}

impl Runner {
    pub(super) async fn open(
        global: &GlobalArgs,
        trainer: Option<&str>,
        device: LocalDevice<'_>,
        state: Option<&Path>,
    ) -> Result<Self, CliError> {
        if global.endpoint.is_some() {
            return Ok(Self {
                client: connect(global, trainer)?,
                local: None,
            });
        }
        if trainer.is_some() {
            return Err(CliError::Usage(
                "--trainer names a trainer behind --endpoint".to_owned(),
            ));
        }
        let local = LocalTrainer::open(device, state).await?;
        Ok(Self {
            client: local.client(),
            local: Some(local),
        })
    }

    pub(super) fn client(&self) -> TrainerClient {
        self.client.clone()
    }

    /// The run is over, and nothing of it is needed any more.
    pub(super) fn forget(self) {
        if let Some(local) = self.local {
            local.forget();
        }
    }

    /// The run may be gone on with.
    fn close(self) {
        if let Some(local) = self.local {
            local.close();
        }
    }
}

async fn run(args: &TrainArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let terminal = Terminal::detect(global);
    let spec = spec::from_args(args)?;
    let output = Output::of(args, global)?;
    let state = output.as_ref().map(Output::state);
    let runner = Runner::open(
        global,
        args.trainer.as_deref(),
        LocalDevice {
            name: &args.device,
            precision: &args.tuning.settings.precision,
            threads: args.threads.map(usize::from),
        },
        state.as_deref(),
    )
    .await?;
    // A run that is kept has one name, so that the same command goes on with it.
    let kept = output.as_ref().map(|_| KEPT_ID.to_owned());
    let id = args.id.clone().or(kept).unwrap_or_else(new_id);
    let client = runner.client();
    let created = match client.create(&id, spec).await.map_err(told) {
        Ok(created) => created,
        Err(error) => {
            runner.close();
            return Err(match &output {
                Some(output) => output.explain(error),
                None => error,
            });
        }
    };
    if args.detach {
        answer(args, created, Vec::new(), &terminal)?;
        return Ok(0);
    }
    let (followed, losses) = follow(&client, &id).await?;
    let mut run = client.get(&id).await.map_err(told)?;
    if let Followed::UntilDetached = followed {
        complain(&format!(
            "the run {id} goes on; the same command with --id {id} watches it again"
        ));
        answer(args, run, losses, &terminal)?;
        return Ok(0);
    }
    let status = exit_status(run.state());
    if let (Some(output), 0) = (&output, status) {
        run.artifact_uri = output.take(&run.artifact_uri)?;
    }
    if status == 0 || run.state() == pb::TrainingRunState::Cancelled {
        if output.is_none() && runner.local.is_some() {
            run.artifact_uri.clear();
        }
        runner.forget();
    } else {
        runner.close();
    }
    answer(args, run, losses, &terminal)?;
    Ok(status)
}

/// Does a run without showing it.
pub(super) async fn quietly(client: &TrainerClient, spec: pb::TrainingRunSpec) -> Result<pb::TrainingRun, CliError> {
    let id = new_id();
    client.create(&id, spec).await.map_err(told)?;
    let mut watch = client.watch(&id, 0);
    while let Some(event) = watch.next().await {
        event.map_err(told)?;
    }
    client.get(&id).await.map_err(told)
}

/// Name of a run whose folder is kept.
const KEPT_ID: &str = "train";

/// An id that nobody has.
fn new_id() -> String {
    format!("train-{:016x}", RandomState::new().build_hasher().finish())
}

pub(super) fn exit_status(state: pb::TrainingRunState) -> u8 {
    use pb::TrainingRunState as State;
    match state {
        State::Succeeded => 0,
        State::Cancelled => EXIT_CANCELLED,
        State::Preempted | State::Lost => EXIT_INTERRUPTED,
        _ => EXIT_FAILED,
    }
}

fn answer(args: &TrainArgs, run: pb::TrainingRun, losses: Vec<StepLoss>, terminal: &Terminal) -> Result<(), CliError> {
    let answer = RunAnswer::of(run, losses);
    print(&match args.format {
        PlainFormat::Json => json(&answer)?,
        PlainFormat::Table => answer.to_text(terminal),
    })
}

/// How following a run ended.
enum Followed {
    /// The run has ended.
    ToTheEnd,
    /// The caller does not want to wait.
    UntilDetached,
}

/// Shows what happens to a run until it has ended.
async fn follow(client: &TrainerClient, id: &str) -> Result<(Followed, Vec<StepLoss>), CliError> {
    let mut progress = Progress::new(id);
    let mut losses = Vec::new();
    let mut interrupts = Interrupts::listen();
    let mut watch = client.watch(id, 0);
    progress.say(&format!("run {id}"));
    loop {
        tokio::select! {
            event = watch.next() => {
                let Some(event) = event else {
                    progress.finish();
                    return Ok((Followed::ToTheEnd, losses));
                };
                let event = event.map_err(told)?;
                // Progress is told without a step, too.
                let told = StepLoss::of(&event);
                losses.extend(told.filter(|told| losses.last() != Some(told)));
                progress.show(&event);
            }
            () = interrupts.heard() => {
                progress.pause();
                let wish = interrupts.wish(id).await;
                progress.resume();
                match wish {
                    Wish::Cancel => cancel(client, id, &progress).await?,
                    Wish::Detach => {
                        progress.finish();
                        return Ok((Followed::UntilDetached, losses));
                    }
                    Wish::GoOn => {}
                }
            }
        }
    }
}

/// Asks the trainer to end the run; its events tell when it has.
async fn cancel(client: &TrainerClient, id: &str, progress: &Progress) -> Result<(), CliError> {
    let run = client.cancel(id).await.map_err(told)?;
    if !has_ended(run.state()) {
        progress.say(&format!("cancelling; the run is {}", state_name(run.state())));
    }
    Ok(())
}

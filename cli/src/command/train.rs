//! `finepick train`: one run on a trainer, from its creation to its end.

mod answer;
mod interrupt;
mod progress;
mod spec;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::process::ExitCode;

use finepick_proto::trainer::v1 as pb;
use trainer_client::{TrainerClient, has_ended, state_name};

use self::answer::RunAnswer;
use self::interrupt::{Interrupts, Wish};
use self::progress::Progress;
use super::trainers::{block_on, connect, told};
use super::{complain, json, print};
use crate::args::{GlobalArgs, PlainFormat, TrainArgs};
use crate::error::{CliError, EXIT_FAILED};
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

async fn run(args: &TrainArgs, global: &GlobalArgs) -> Result<u8, CliError> {
    let terminal = Terminal::detect(global);
    let spec = spec::from_args(args)?;
    let client = connect(global, args.trainer.as_deref())?;
    let id = args.id.clone().unwrap_or_else(new_id);
    let created = client.create(&id, spec).await.map_err(told)?;
    if args.detach {
        answer(args, created, &terminal)?;
        return Ok(0);
    }
    let run = match follow(&client, &id).await? {
        Followed::ToTheEnd => client.get(&id).await.map_err(told)?,
        Followed::UntilDetached => {
            let run = client.get(&id).await.map_err(told)?;
            complain(&format!(
                "the run {id} goes on; the same command with --id {id} watches it again"
            ));
            answer(args, run, &terminal)?;
            return Ok(0);
        }
    };
    let status = exit_status(run.state());
    answer(args, run, &terminal)?;
    Ok(status)
}

/// An id that nobody has.
fn new_id() -> String {
    format!("train-{:016x}", RandomState::new().build_hasher().finish())
}

fn exit_status(state: pb::TrainingRunState) -> u8 {
    use pb::TrainingRunState as State;
    match state {
        State::Succeeded => 0,
        State::Cancelled => EXIT_CANCELLED,
        State::Preempted | State::Lost => EXIT_INTERRUPTED,
        _ => EXIT_FAILED,
    }
}

fn answer(args: &TrainArgs, run: pb::TrainingRun, terminal: &Terminal) -> Result<(), CliError> {
    let answer = RunAnswer::from(run);
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
async fn follow(client: &TrainerClient, id: &str) -> Result<Followed, CliError> {
    let mut progress = Progress::new(id);
    let mut interrupts = Interrupts::listen();
    let mut watch = client.watch(id, 0);
    progress.say(&format!("run {id}"));
    loop {
        tokio::select! {
            event = watch.next() => {
                let Some(event) = event else {
                    progress.finish();
                    return Ok(Followed::ToTheEnd);
                };
                progress.show(&event.map_err(told)?);
            }
            () = interrupts.heard() => {
                progress.pause();
                let wish = interrupts.wish(id).await;
                progress.resume();
                match wish {
                    Wish::Cancel => cancel(client, id, &progress).await?,
                    Wish::Detach => {
                        progress.finish();
                        return Ok(Followed::UntilDetached);
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

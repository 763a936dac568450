//! `finepick select` and `finepick watch`: a selection from its creation to its end.

mod board;
mod interrupt;
mod live;
mod methods;
mod models;
mod spec;
mod watch;
mod words;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};

use finepick_proto::selector::v1 as pb;

use self::board::Board;
use self::interrupt::Interrupts;
use self::live::Live;
pub(super) use self::spec::{budget, from_args, labels};
pub(super) use self::watch::has_ended;
use self::watch::{News, Watch};
pub(super) use self::words::{span, spending, told_decision};
use super::selection::{show_estimate, show_report};
use super::train::{EXIT_CANCELLED, EXIT_INTERRUPTED};
use super::{complain, json, print};
use crate::args::{GlobalArgs, HostedTrainer, LocalArgs, OnInterrupt, PlainFormat, SelectArgs, ShowArgs, WatchArgs};
use crate::error::{CliError, EXIT_FAILED};
use crate::output::selection::Selection;
use crate::selections::Selections;
use crate::suite;
use crate::terminal::Terminal;

/// Time between two redrawings, for what changes without an event.
const REDRAW: std::time::Duration = std::time::Duration::from_millis(500);

/// `finepick select`; returns the exit status.
///
/// # Errors
/// What is wrong with the command line, or a call failed.
pub(crate) async fn select(args: &SelectArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<u8, CliError> {
    let here = global.endpoint.is_none();
    if let Some(id) = &args.resume {
        return go_on(id, 0, &args.show, &args.local, global, terminal).await;
    }
    let trainer = hosted(&args.trainers, here)?;
    let spec = spec::from_args(args, here)?;
    if here && args.detach {
        return Err(CliError::Usage(
            "--detach needs --endpoint: a selection on this machine goes on only as long as a command does".to_owned(),
        ));
    }
    let selections = Selections::to_drive(global, &args.local, trainer).await?;
    let done = created(args, spec, &selections, global, terminal).await;
    selections.close().await;
    done
}

/// Makes the selection that the flags describe, and follows it to its report.
pub(super) async fn created(
    args: &SelectArgs,
    spec: pb::SelectionSpec,
    selections: &Selections,
    global: &GlobalArgs,
    terminal: &Terminal,
) -> Result<u8, CliError> {
    let mut client = selections.client();
    if args.dry_run {
        let request = pb::EstimateSelectionRequest { spec: Some(spec) };
        let estimate = client.estimate_selection(request).await?.into_inner().estimate;
        show_estimate(&estimate.unwrap_or_default(), args.show.format, terminal)?;
        return Ok(0);
    }
    let id = args.id.clone().unwrap_or_else(new_id);
    let request = pb::CreateSelectionRequest {
        selection_id: id.clone(),
        spec: Some(spec),
        request_id: String::new(),
        validate_only: false,
    };
    let selection = client
        .create_selection(request)
        .await?
        .into_inner()
        .selection
        .unwrap_or_default();
    if args.detach {
        let answer = Selection::from(&selection);
        print(&match args.show.format {
            PlainFormat::Json => json(&answer)?,
            PlainFormat::Table => format!("selection {id}: {}\n", answer.state),
        })?;
        return Ok(0);
    }
    if !args.show.quiet {
        complain(&format!("selection {id}"));
    }
    follow(selections, selection, 0, &args.show, global, terminal).await
}

/// `finepick watch`; returns the exit status.
///
/// # Errors
/// As [`select`].
pub(crate) async fn watch(args: &WatchArgs, global: &GlobalArgs, terminal: &Terminal) -> Result<u8, CliError> {
    if args.after < 0 {
        return Err(CliError::Usage("--after must not be negative".to_owned()));
    }
    go_on(&args.id, args.after, &args.show, &args.local, global, terminal).await
}

/// Follows a selection that is there already. One of this machine goes on unless another command drives it.
async fn go_on(
    id: &str,
    after: i64,
    show: &ShowArgs,
    local: &LocalArgs,
    global: &GlobalArgs,
    terminal: &Terminal,
) -> Result<u8, CliError> {
    let looking = Selections::to_look(global, local).await?;
    let selection = get(&looking, id).await?;
    if looking.local().is_none() || has_ended(selection.state()) {
        let done = follow(&looking, selection, after, show, global, terminal).await;
        looking.close().await;
        return done;
    }
    let names = selection
        .spec
        .as_ref()
        .map(|spec| spec.trainers.clone())
        .unwrap_or_default();
    let selections = match Selections::to_drive(global, local, hosted(&names, true)?).await {
        Ok(driving) => {
            looking.close().await;
            driving
        }
        Err(CliError::InUse { .. }) => {
            complain("another command drives the selections of this folder; watching only");
            looking
        }
        Err(error) => return Err(error),
    };
    let done = follow(&selections, selection, after, show, global, terminal).await;
    selections.close().await;
    done
}

/// The trainer that is hosted here, by its name.
fn hosted(names: &[String], here: bool) -> Result<HostedTrainer, CliError> {
    match names {
        _ if !here => Ok(HostedTrainer::Onnx),
        [] => Ok(HostedTrainer::Onnx),
        [name] if name == suite::ONNX => Ok(HostedTrainer::Onnx),
        [name] if name == suite::SIMULATED => Ok(HostedTrainer::Simulated),
        _ => Err(CliError::Usage(format!(
            "--trainer: without --endpoint one trainer is hosted here, {} or {}",
            suite::ONNX,
            suite::SIMULATED
        ))),
    }
}

/// A selection as it stands.
pub(super) async fn get(selections: &Selections, id: &str) -> Result<pb::Selection, CliError> {
    let request = pb::GetSelectionRequest {
        selection_id: id.to_owned(),
    };
    let response = selections.client().get_selection(request).await?.into_inner();
    Ok(response.selection.unwrap_or_default())
}

/// An id that nobody has.
fn new_id() -> String {
    let random = RandomState::new().build_hasher().finish();
    // Short enough to be typed: 40 bits.
    format!("sel-{:010x}", random >> 24)
}

/// Shows what happens to a selection until it has ended, then its report.
async fn follow(
    selections: &Selections,
    selection: pb::Selection,
    after: i64,
    show: &ShowArgs,
    global: &GlobalArgs,
    terminal: &Terminal,
) -> Result<u8, CliError> {
    let id = selection.selection_id.clone();
    let mut live = Live::new(show.quiet, terminal.colour_on_stderr);
    let followed = to_the_end(selections, selection, after, show, &mut live).await;
    live.finish();
    let followed = followed.inspect_err(|error| {
        // Whoever drives it is another process, and goes on.
        if error.is_of_the_connection() && selections.local().is_none() {
            complain(&left(&id, selections, global));
        }
    });
    let state = match followed? {
        Followed::Left => {
            complain(&left(&id, selections, global));
            return Ok(EXIT_INTERRUPTED);
        }
        Followed::Ended(state) => state,
    };
    show_report(selections, &id, show.format, show.plot.as_deref(), terminal).await?;
    Ok(exit_status(state))
}

enum Followed {
    /// With its last state.
    Ended(pb::SelectionState),
    Left,
}

async fn to_the_end(
    selections: &Selections,
    selection: pb::Selection,
    after: i64,
    show: &ShowArgs,
    live: &mut Live,
) -> Result<Followed, CliError> {
    let id = selection.selection_id.clone();
    let mut board = Board::of(&selection);
    let mut watch = Watch::new(selections.streams(), &id, after, selections.patience).spawn();
    let mut interrupts = Interrupts::listen();
    let mut redraw = tokio::time::interval(REDRAW);
    loop {
        tokio::select! {
            news = watch.next() => match news {
                None => return Ok(Followed::Ended(board.state())),
                Some(Err(error)) => return Err(error),
                Some(Ok(News::Broken(detail))) => {
                    live.say(&[format!("the stream of events broke ({detail}); taking it up again")]);
                }
                Some(Ok(News::Event(event))) => {
                    let lines = board.take(&event);
                    live.say(&lines);
                    live.draw(&board);
                }
            },
            _ = redraw.tick() => live.draw(&board),
            () = interrupts.heard() => {
                live.say(&[interrupt::words(show.on_interrupt, &id)]);
                match show.on_interrupt {
                    OnInterrupt::Leave => return Ok(Followed::Left),
                    OnInterrupt::Cancel => cancel(selections, &id).await?,
                }
            }
        }
    }
}

/// Asks for the end; the events tell when it has come.
async fn cancel(selections: &Selections, id: &str) -> Result<(), CliError> {
    let request = pb::CancelSelectionRequest {
        selection_id: id.to_owned(),
        reason: "interrupted on the command line".to_owned(),
    };
    selections.client().cancel_selection(request).await?;
    Ok(())
}

/// What to do about a selection that was left.
fn left(id: &str, selections: &Selections, global: &GlobalArgs) -> String {
    match &global.endpoint {
        Some(endpoint) if selections.local().is_none() => {
            format!("selection {id} goes on; `finepick watch {id} --endpoint {endpoint}` follows it again")
        }
        _ => format!("selection {id} is kept; `finepick select --resume {id}` goes on with it"),
    }
}

fn exit_status(state: pb::SelectionState) -> u8 {
    use pb::SelectionState as State;
    match state {
        State::Succeeded | State::BudgetExhausted => 0,
        State::Cancelled => EXIT_CANCELLED,
        _ => EXIT_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trainer_is_hosted_here() {
        let names = |names: &[&str]| hosted(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), true);
        assert_eq!(names(&[]).unwrap(), HostedTrainer::Onnx);
        assert_eq!(names(&["simulated"]).unwrap(), HostedTrainer::Simulated);
        for wrong in [&["gpu"][..], &["onnx", "simulated"]] {
            assert!(names(wrong).unwrap_err().to_string().contains("--trainer"));
        }
        assert_eq!(hosted(&["gpu".to_owned()], false).unwrap(), HostedTrainer::Onnx);
    }

    #[test]
    fn exit_statuses_tell_choices_from_failures() {
        use pb::SelectionState as State;
        let all = [
            State::Succeeded,
            State::BudgetExhausted,
            State::Failed,
            State::Cancelled,
        ]
        .map(exit_status);
        assert_eq!(all, [0, 0, EXIT_FAILED, EXIT_CANCELLED]);
    }
}

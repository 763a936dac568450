//! Events of a watch.

use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::selection_event::Kind;

use super::{answer, decision, time, trial};
use crate::desk::View;
use crate::grpc::convert::wire as examples;
use crate::ports::RunProgress;
use crate::selection::{Event, Millis};
use crate::store::StoredEvent;

/// The messages of a stored event; `view`: the selection right after it. An event about several trials has a message for each: all
/// but the last carry the number of the event before it, so that a cursor never skips one.
#[must_use]
pub fn event(stored: &StoredEvent, view: &View) -> Vec<wire::SelectionEvent> {
    let state = view.state.as_ref();
    let trials: Vec<usize> = match &stored.event {
        Event::RoundOpened { .. } => state
            .rounds
            .last()
            .map(|round| round.trials.clone())
            .unwrap_or_default(),
        Event::Scheduled { attempts } => attempts.iter().map(|attempt| attempt.trial).collect(),
        Event::AttemptEnded(end) => vec![end.trial],
        Event::TrialGivenUp { trial, .. } => vec![*trial],
        _ => Vec::new(),
    };
    let mut kinds: Vec<Kind> = trials
        .into_iter()
        .filter_map(|index| trial(state, index, None).map(Kind::Trial))
        .collect();
    match &stored.event {
        Event::Prepared { prepared } => kinds.push(Kind::Prepared(answer::estimate(&state.spec, prepared))),
        Event::Judged { .. } => {
            let judged = state
                .rounds
                .len()
                .checked_sub(1)
                .and_then(|round| decision(state, round));
            kinds.extend(judged.map(Kind::Decision));
        }
        _ => {}
    }
    if kinds.is_empty() {
        kinds.push(changed(view));
    }
    let last = kinds.len();
    let message = |(place, kind): (usize, Kind)| {
        let sequence = if place + 1 == last {
            stored.sequence
        } else {
            stored.sequence.saturating_sub(1)
        };
        wire::SelectionEvent {
            sequence: examples(sequence),
            time: Some(time(stored.at)),
            kind: Some(kind),
        }
    };
    kinds.into_iter().enumerate().map(message).collect()
}

fn changed(view: &View) -> Kind {
    Kind::Changed(wire::SelectionChanged {
        selection: Some(answer::selection(view, false)),
    })
}

/// How far a run is; not stored. `None`: there is no such trial.
#[must_use]
pub fn progress_event(
    view: &View,
    index: usize,
    progress: &RunProgress,
    sequence: u64,
    now: Millis,
) -> Option<wire::SelectionEvent> {
    Some(wire::SelectionEvent {
        sequence: examples(sequence),
        time: Some(time(now)),
        kind: Some(Kind::Trial(trial(&view.state, index, Some(progress))?)),
    })
}

/// Nothing happened; not stored.
#[must_use]
pub fn heartbeat(sequence: u64, now: Millis) -> wire::SelectionEvent {
    wire::SelectionEvent {
        sequence: examples(sequence),
        time: Some(time(now)),
        kind: Some(Kind::Heartbeat(wire::SelectionHeartbeat {})),
    }
}

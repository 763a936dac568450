//! Selections of very many contenders with long names, and a launcher that does at once whatever is waiting.

use std::sync::Arc;
use std::time::Duration;

use finepick_proto::selector::v1 as wire;
use selector_svc::curve::{Loss, Observation};
use selector_svc::selection::{AttemptEnd, Event, Outcome, ScheduledAttempt, State, TrialStatus, transition};
use selector_svc::store::{Append, Store, StoreError, StoredEvent, Summary, Writer};

use crate::support::{PATIENCE, ask_tell, candidate, fraction};

/// So many candidates with names of 250 bytes, references of so many, and further texts of so many.
pub(crate) fn spec(candidates: usize, reference: usize, text: usize) -> wire::SelectionSpec {
    let long = |number: usize| {
        let name = format!("{number:04}-{}", "n".repeat(245));
        let mut long = candidate(&name);
        if let Some(model) = &mut long.model {
            model.uri = format!("sim://{number}/{}", "u".repeat(reference));
        }
        if let Some(candidate) = &mut long.candidate {
            candidate.family = format!("family {}", number % 7);
            let pieces = (0..text.div_ceil(256)).map(|piece| (format!("text {piece}"), "t".repeat(256)));
            candidate.attributes.extend(pieces);
        }
        long
    };
    wire::SelectionSpec {
        candidates: (0..candidates).map(long).collect(),
        budget: fraction(1.0),
        ..ask_tell()
    }
}

fn loss(contender: usize, size: u64) -> f64 {
    let (c, size) = (contender as f64, size as f64);
    let noise = 0.001 * (7.0 * c + 3.0 * size.log2()).sin();
    (1.0 + 0.002 * c + 3.0 * size.powf(-0.2)) * (1.0 + noise)
}

/// A caller's events, however often the selection changes meanwhile; `state`: what was known of it before, if anything.
pub(crate) async fn write(
    store: &dyn Store,
    id: &str,
    mut state: Option<State>,
    events: impl Fn(&State) -> Vec<Event>,
) -> State {
    loop {
        let after = state.as_ref().map_or(0, |state| state.sequence);
        for StoredEvent { event, at, .. } in store.events(id, after, 1_000_000).await.unwrap() {
            state = Some(transition(state, event, at).unwrap().0);
        }
        let now = state.clone().unwrap();
        let events = events(&now);
        if events.is_empty() {
            return now;
        }
        let after = now.sequence;
        let next = events.iter().fold(now, |state, event| {
            let at = state.updated;
            transition(Some(state), event.clone(), at).unwrap().0
        });
        let append = Append {
            after,
            events,
            summary: Summary::of(&next),
            losses: Vec::new(),
            forecasts: Vec::new(),
        };
        match store.append(id, Writer::Caller, append).await {
            Ok(_) => return next,
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Every trial that waits is run: of one contender in twenty it fails for good, with many words.
fn done(state: &State) -> Vec<Event> {
    let waits = |index: &usize| matches!(state.trials[*index].status, TrialStatus::Waiting { .. });
    let waiting: Vec<usize> = (0..state.trials.len()).filter(waits).collect();
    let given = |index: &usize| ScheduledAttempt {
        trial: *index,
        attempt: 1,
        trainer: "launcher".to_owned(),
        run_id: selector_svc::order::run_id(state, "crowd", *index, 1),
        reserved: state.price(state.trials[*index].contender, state.trials[*index].data_size),
        max_seconds: None,
        lease_until: None,
    };
    let mut events = vec![Event::Scheduled {
        attempts: waiting.iter().map(given).collect(),
    }];
    for index in waiting {
        let trial = &state.trials[index];
        let fails = trial.contender % 20 == 19;
        let outcome = if fails {
            Outcome::Failed {
                failure: "OUT_OF_MEMORY".to_owned(),
            }
        } else {
            let loss = Loss::new(loss(trial.contender, trial.data_size.examples())).unwrap();
            Outcome::Observed {
                observation: Observation::new(trial.data_size, loss),
                model_digest: String::new(),
                data_digest: String::new(),
            }
        };
        events.push(Event::AttemptEnded(Box::new(AttemptEnd {
            trial: index,
            attempt: 1,
            outcome,
            spent: state.price(trial.contender, trial.data_size),
            detail: if fails { "many words ".repeat(90) } else { String::new() },
            retry_at: None,
        })));
    }
    if events.len() == 1 { Vec::new() } else { events }
}

/// Does what waits until the selection has ended.
pub(crate) async fn work(store: &Arc<impl Store + 'static>, id: &str) -> State {
    let working = async {
        let mut known = None;
        loop {
            let state = write(store.as_ref(), id, known.take(), done).await;
            if state.has_ended() {
                return state;
            }
            // Its times are not the store's: nothing here looks at them.
            known = Some(state);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, working).await.expect("it ends")
}

//! Records once written stay readable for ever. `FINEPICK_UPDATE_GOLDEN=1` writes files that are missing and changes none that are
//! there: a record that is written differently now is a new file, or a new version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use selector_svc::selection::{Event, Outcome, State, TrialStatus};
use selector_svc::store::Summary;
use selector_svc::store::record::{decode_event, decode_summary, encode_event, encode_summary};

use crate::samples;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn update() -> bool {
    #[allow(
        clippy::disallowed_methods,
        reason = "the one switch of golden files, the same in every crate"
    )]
    let update = std::env::var_os("FINEPICK_UPDATE_GOLDEN").is_some();
    update
}

/// The file's text; written first where it is missing and may be.
fn golden(path: &Path, now: &str) -> String {
    if update() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, now).unwrap();
    }
    fs::read_to_string(path).unwrap_or_else(|error| {
        panic!("{}: {error}; FINEPICK_UPDATE_GOLDEN=1 writes it", path.display());
    })
}

/// A new kind of event does not compile here until it has its sample.
fn position(event: &Event) -> usize {
    match event {
        Event::Created { .. } => 0,
        Event::Prepared { .. } => 1,
        Event::Fitted { .. } => 2,
        Event::Judged { .. } => 3,
        Event::RoundOpened { .. } => 4,
        Event::Scheduled { .. } => 5,
        Event::AttemptEnded(_) => 6,
        Event::TrialGivenUp { .. } => 7,
        Event::Waiting { .. } => 8,
        Event::Paused => 9,
        Event::Resumed => 10,
        Event::BudgetAmended { .. } => 11,
        Event::Stopping { .. } => 12,
        Event::Ended { .. } => 13,
    }
}

const KINDS: usize = 14;

/// The first of each kind in the history, and the variants.
fn events() -> BTreeMap<String, Event> {
    let mut named = BTreeMap::new();
    for event in samples::history() {
        named.entry(event.kind().to_owned()).or_insert(event);
    }
    let variants = samples::variants().into_iter();
    named.extend(variants.map(|(name, event)| (name.to_owned(), event)));
    named
}

#[test]
fn there_is_a_sample_of_every_kind() {
    let found: BTreeSet<usize> = samples::history().iter().map(position).collect();
    assert_eq!(found, (0..KINDS).collect());
}

#[test]
fn events_of_version_1_are_read_for_ever() {
    let wanted = events();
    for (name, event) in &wanted {
        let text = golden(
            &folder("events/v1").join(format!("{name}.json")),
            &(encode_event(event).unwrap() + "\n"),
        );
        assert_eq!(decode_event(&text).as_ref(), Ok(event), "{name}");
    }
    for entry in fs::read_dir(folder("events/v1")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let event = decode_event(&text).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        // What is read can be written again and is still the same.
        assert_eq!(
            decode_event(&encode_event(&event).unwrap()),
            Ok(event),
            "{}",
            path.display()
        );
    }
}

#[test]
fn summaries_of_version_1_are_read_for_ever() {
    let summary = Summary::of(&samples::play(&samples::history()));
    let path = folder("summaries/v1/budget_exhausted.json");
    let text = golden(&path, &(encode_summary(&summary).unwrap() + "\n"));
    assert_eq!(decode_summary(&text), Ok(summary));
}

/// What a history comes to, in words that do not change when the state gets another field.
fn outline(state: &State) -> String {
    let mut text = String::new();
    let (phase, paused, wait) = (&state.phase, state.paused, state.wait.reason);
    writeln!(text, "phase {phase:?}, paused {paused}, wait {wait:?}").unwrap();
    writeln!(text, "choice {:?}, leader {:?}", state.choice(), state.leader()).unwrap();
    let limits = (state.limits.examples, state.limits.money_nanos, state.limits.deadline);
    writeln!(text, "limits {limits:?}").unwrap();
    for (name, spending) in [
        ("spent", state.spent),
        ("wasted", state.wasted),
        ("reserved", state.reserved),
        ("saved", state.saved),
    ] {
        let (examples, seconds, nanos) = (spending.examples, spending.device_seconds, spending.money_nanos);
        writeln!(text, "{name} {examples} examples, {seconds} s, {nanos} nanos").unwrap();
    }
    for trial in &state.trials {
        let status = match &trial.status {
            TrialStatus::Observed(point) => format!("observed {} nats", point.test_loss().nats()),
            TrialStatus::GivenUp(exclusion) => format!("given up: {}", exclusion.reason.as_str()),
            other => format!("{other:?}"),
        };
        let (contender, data_size, round) = (trial.contender, trial.data_size, trial.round);
        writeln!(text, "trial {contender}-{data_size} of round {round}: {status}").unwrap();
        for attempt in &trial.attempts {
            let end = attempt.end.as_ref().map(|end| match &end.outcome {
                Outcome::Observed { .. } => format!("observed at {}", end.at),
                other => format!("{other:?} at {}", end.at),
            });
            writeln!(text, "  {} at {}: {end:?}", attempt.run_id, attempt.trainer).unwrap();
        }
    }
    for round in &state.rounds {
        let judged = round
            .decision
            .as_ref()
            .map(|(decision, at)| (at, &decision.explanation));
        writeln!(text, "round {:?}: {judged:?}", round.trials).unwrap();
    }
    for (contender, round, exclusion) in &state.withdrawn {
        let reason = exclusion.reason.as_str();
        writeln!(text, "withdrawn {contender} in round {round}: {reason}").unwrap();
    }
    for amendment in &state.amendments {
        let (rounds, examples) = (amendment.after_rounds, amendment.plan_examples);
        writeln!(text, "amended after {rounds} rounds: {examples} examples").unwrap();
    }
    writeln!(text, "{} events, ended {:?}", state.sequence, state.ended).unwrap();
    text
}

#[test]
fn a_history_of_version_1_leads_to_the_same_state_for_ever() {
    let records = samples::history();
    let records = records.iter().map(|event| encode_event(event).unwrap() + "\n");
    let text = golden(
        &folder("histories/v1/budget_exhausted.jsonl"),
        &records.collect::<String>(),
    );
    let events: Vec<Event> = text.lines().map(|line| decode_event(line).unwrap()).collect();
    let state = samples::play(&events);
    let path = folder("histories/v1/budget_exhausted.outline.txt");
    assert_eq!(outline(&state), golden(&path, &outline(&state)));
    assert_eq!(state, samples::play(&samples::history()));
}

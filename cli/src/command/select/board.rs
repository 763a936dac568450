//! What is known of a selection that goes on, gathered from its events.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use finepick_proto::selector::v1 as pb;
use pb::selection_event::Kind;

use super::words;
use crate::output::selection::contender_name;

/// Where a contender stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the race.
    #[default]
    Live,
    /// Out since this round.
    Dropped(i32),
    /// Needs no more runs.
    Stopped,
    /// Cannot run, or may not be chosen: why.
    Excluded(String),
    /// The choice.
    Chosen,
}

/// A contender's line.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Row {
    /// As it is shown.
    pub(super) name: String,
    /// Measured losses by size.
    pub(super) losses: BTreeMap<i64, f64>,
    /// Sizes in the hands of trainers, with the share that is done.
    pub(super) running: BTreeMap<i64, Option<f64>>,
    /// Sizes that are planned.
    pub(super) waiting: BTreeSet<i64>,
    /// Forecast by the last decision, nats per token.
    pub(super) forecast: Option<f64>,
    /// Where it stands.
    pub(super) standing: Standing,
}

/// The whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Board {
    /// The contenders in the order of the spec.
    pub(super) rows: Vec<Row>,
    places: HashMap<(String, String), usize>,
    /// The selection, as its newest event tells it.
    pub(super) selection: Option<pb::Selection>,
    /// Rounds judged.
    pub(super) rounds: i32,
    /// Attempts that were told already, by trial.
    told: HashMap<String, usize>,
    several_methods: bool,
}

impl Board {
    /// What is known of a selection before its events are read.
    pub(super) fn of(selection: &pb::Selection) -> Self {
        let mut board = Self::default();
        let methods = selection.spec.as_ref().map_or(0, |spec| spec.methods.len());
        board.several_methods = methods > 1;
        board.contenders(&selection.contenders);
        board
    }

    /// Takes an event; returns what people should be told of it, a line each.
    pub(super) fn take(&mut self, event: &pb::SelectionEvent) -> Vec<String> {
        match &event.kind {
            Some(Kind::Changed(change)) => change.selection.as_ref().map_or_else(Vec::new, |now| self.change(now)),
            Some(Kind::Prepared(plan)) => {
                self.contenders(&plan.contenders);
                words::plan_lines(plan, self.several_methods)
            }
            Some(Kind::Trial(trial)) => self.trial(trial),
            Some(Kind::Decision(decision)) => self.decision(decision),
            Some(Kind::Heartbeat(_)) | None => Vec::new(),
        }
    }

    /// Where it stands.
    pub(super) fn state(&self) -> pb::SelectionState {
        self.selection
            .as_ref()
            .map_or(pb::SelectionState::Unspecified, pb::Selection::state)
    }

    fn contenders(&mut self, contenders: &[pb::Contender]) {
        let methods: BTreeSet<&str> = contenders.iter().map(|c| c.method_id.as_str()).collect();
        self.several_methods |= methods.len() > 1;
        for contender in contenders {
            let excluded = contender.state() == pb::ContenderState::Excluded;
            let row = self.row(&contender.candidate_id, &contender.method_id);
            if excluded {
                row.standing = Standing::Excluded(words::exclusion(contender.exclusion(), &contender.detail));
            }
        }
    }

    /// The contender's row; a new one where it has none.
    fn row(&mut self, candidate: &str, method: &str) -> &mut Row {
        let key = (candidate.to_owned(), method.to_owned());
        let next = self.rows.len();
        let place = *self.places.entry(key).or_insert(next);
        if place == next {
            self.rows.push(Row {
                name: contender_name(candidate, method, self.several_methods),
                ..Row::default()
            });
        }
        // It was found, or added just now.
        let last = self.rows.len().saturating_sub(1);
        &mut self.rows[place.min(last)]
    }

    fn change(&mut self, now: &pb::Selection) -> Vec<String> {
        let before = self.selection.replace(now.clone());
        self.rounds = self.rounds.max(now.rounds);
        if let Some(choice) = &now.choice {
            let row = self.row(&choice.candidate_id, &choice.method_id);
            row.standing = Standing::Chosen;
            row.forecast = choice.predicted_loss.or(row.forecast);
        }
        words::change_lines(before.as_ref(), now)
    }

    fn trial(&mut self, trial: &pb::Trial) -> Vec<String> {
        let size = trial.data_size;
        let told = self.told.get(&trial.trial_id).copied();
        let ended = trial
            .attempts
            .iter()
            .filter(|attempt| attempt.end_time.is_some())
            .count();
        let name = {
            let row = self.row(&trial.candidate_id, &trial.method_id);
            row.running.remove(&size);
            row.waiting.remove(&size);
            match trial.state() {
                pb::TrialState::Running => {
                    row.running.insert(size, trial.progress.as_ref().and_then(words::share));
                }
                pb::TrialState::Waiting => {
                    row.waiting.insert(size);
                }
                pb::TrialState::Observed => {
                    if let Some(observation) = &trial.observation {
                        row.losses.insert(size, observation.test_loss);
                    }
                }
                _ => {}
            }
            row.name.clone()
        };
        let done = usize::from(matches!(
            trial.state(),
            pb::TrialState::Observed | pb::TrialState::Failed | pb::TrialState::Cancelled
        ));
        // Progress comes again and again; what is told is told once.
        if told.unwrap_or(0) >= ended + done {
            return Vec::new();
        }
        self.told.insert(trial.trial_id.clone(), ended + done);
        words::trial_lines(&name, trial)
    }

    fn decision(&mut self, decision: &pb::Decision) -> Vec<String> {
        self.rounds = self.rounds.max(decision.round);
        for judged in &decision.contenders {
            let round = decision.round;
            let row = self.row(&judged.candidate_id, &judged.method_id);
            row.forecast = judged.score.or(row.forecast);
            let already_out = matches!(row.standing, Standing::Dropped(_) | Standing::Excluded(_));
            match judged.verdict() {
                pb::ContenderVerdict::Dropped if !already_out => row.standing = Standing::Dropped(round),
                pb::ContenderVerdict::Stopped => row.standing = Standing::Stopped,
                pb::ContenderVerdict::Chosen => row.standing = Standing::Chosen,
                pb::ContenderVerdict::Excluded if !already_out => {
                    row.standing = Standing::Excluded(judged.reason.clone());
                }
                _ => {}
            }
        }
        words::decision_lines(decision)
    }
}

#[cfg(test)]
mod tests {
    use finepick_proto::types::v1::Observation;

    use super::*;

    fn event(kind: Kind) -> pb::SelectionEvent {
        pb::SelectionEvent {
            kind: Some(kind),
            ..pb::SelectionEvent::default()
        }
    }

    fn trial(candidate: &str, size: i64, state: pb::TrialState, loss: Option<f64>) -> pb::SelectionEvent {
        event(Kind::Trial(pb::Trial {
            trial_id: format!("{candidate}-{size}"),
            candidate_id: candidate.to_owned(),
            method_id: "full".to_owned(),
            data_size: size,
            state: state.into(),
            observation: loss.map(|test_loss| Observation {
                data_size: size,
                test_loss,
                ..Observation::default()
            }),
            ..pb::Trial::default()
        }))
    }

    #[test]
    fn events_become_rows_and_are_told_once() {
        let mut board = Board::default();
        assert!(board.take(&trial("a", 64, pb::TrialState::Waiting, None)).is_empty());
        assert!(board.take(&trial("a", 64, pb::TrialState::Running, None)).is_empty());
        assert!(board.rows[0].running.contains_key(&64) && board.rows[0].waiting.is_empty());
        let done = trial("a", 64, pb::TrialState::Observed, Some(3.25));
        assert_eq!(board.take(&done), ["a at 64 examples: loss 3.2500"]);
        assert!(board.take(&done).is_empty(), "told once");
        assert_eq!(board.rows[0].losses.get(&64), Some(&3.25));
        let judged = |candidate: &str, verdict: pb::ContenderVerdict, score| pb::JudgedContender {
            candidate_id: candidate.to_owned(),
            method_id: "full".to_owned(),
            verdict: verdict.into(),
            score: Some(score),
            ..pb::JudgedContender::default()
        };
        let decision = pb::Decision {
            round: 2,
            contenders: vec![
                judged("b", pb::ContenderVerdict::Kept, 2.5),
                judged("a", pb::ContenderVerdict::Dropped, 2.75),
            ],
            explanation: "b is ahead.".to_owned(),
            ..pb::Decision::default()
        };
        let lines = board.take(&event(Kind::Decision(decision)));
        assert!(lines[0] == "Round 2: b is ahead.", "{lines:?}");
        assert_eq!(board.rows[0].standing, Standing::Dropped(2));
        assert_eq!(
            (board.rows[1].standing.clone(), board.rows[1].forecast),
            (Standing::Live, Some(2.5))
        );
    }
}

//! Runs in our hands: attended to, cancelled, given up.

use std::sync::Arc;

use tokio::task::{Id, JoinError};
use tokio::time::Instant;
use tracing::Instrument;

use super::{CANCEL_GRACE, Task};
use crate::driver::attend::{self, Ended, Order};
use crate::order;
use crate::selection::{Action, Outcome, WorkMode, due};

impl Task {
    /// Does what the state asks for: attends to runs, cancels them.
    pub(super) fn act(&mut self) {
        let state = self.journal.state();
        let external = state.spec.work_mode == WorkMode::AskTell;
        let runs = state.runs_in_hand();
        let mut orders = Vec::new();
        let mut cancel = Vec::new();
        for action in due(state, self.journal.clock().now()) {
            let (key, cancelled) = match action {
                Action::Attend { trial, attempt } => ((trial, attempt), false),
                Action::Cancel { trial, attempt } => ((trial, attempt), true),
                _ => continue,
            };
            let Some(in_hand) = state.trials.get(key.0).and_then(|trial| trial.attempts.last()) else {
                continue;
            };
            // Attempts that share a run are one: the largest stands for all.
            let members = runs
                .get(in_hand.run_id.as_str())
                .filter(|members| members.last() == Some(&key));
            let Some(members) = members else { continue };
            let names = (in_hand.trainer.clone(), in_hand.run_id.clone());
            if external {
                if cancelled {
                    let words = "the selection ends";
                    self.ended
                        .push(Ended::without_word(key.0, key.1, Outcome::Cancelled, words));
                }
                continue;
            }
            if !self.followed.contains(&key) {
                orders.push(Order {
                    trial: key.0,
                    attempt: key.1,
                    trials: members.iter().map(|(trial, _)| *trial).collect(),
                    spec: order::run_spec(state, self.journal.id(), members),
                    grace: attend::grace(state, in_hand),
                    trainer: names.0.clone(),
                    run_id: names.1.clone(),
                });
            }
            if cancelled && !self.cancelled.contains(&key) {
                cancel.push((key, names));
            }
        }
        for order in orders {
            self.attend(order);
        }
        for (key, (trainer, run_id)) in cancel {
            self.cancelled.insert(key);
            self.stopping_since.get_or_insert_with(Instant::now);
            self.cancels
                .spawn(attend::cancel(Arc::clone(&self.shared), trainer, run_id));
        }
        self.give_up_on_the_cancelled();
    }

    fn attend(&mut self, order: Order) {
        let key = (order.trial, order.attempt);
        let slots = &self.shared.slots;
        self.attending
            .entry(key)
            .or_default()
            .get_or_insert_with(|| slots.hold(&order.trainer));
        let span = tracing::info_span!("run", run = order.run_id, trainer = order.trainer);
        let run = attend::attend(Arc::clone(&self.shared), order, self.live.clone());
        let id = self.runs.spawn(run.instrument(span)).id();
        self.ids.insert(id, key);
        self.followed.insert(key);
    }

    /// Cancelled runs whose trainers do not end them are ended without them.
    fn give_up_on_the_cancelled(&mut self) {
        if self.stopping_since.is_none_or(|since| since.elapsed() < CANCEL_GRACE) {
            return;
        }
        for (trial, attempt) in self.attending.keys() {
            let words = "its trainer did not end it in time";
            self.ended
                .push(Ended::without_word(*trial, *attempt, Outcome::Cancelled, words));
        }
    }

    /// Takes note of a run that has ended.
    pub(super) fn take(&mut self, joined: Result<(Id, Ended), JoinError>) {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, Some(ended)),
            Err(error) => (error.id(), None),
        };
        let Some(key) = self.ids.remove(&id) else { return };
        self.attending.remove(&key);
        self.followed.remove(&key);
        let words = "following it failed by a defect";
        self.ended
            .push(ended.unwrap_or_else(|| Ended::without_word(key.0, key.1, Outcome::Lost, words)));
    }
}

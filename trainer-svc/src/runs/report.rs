//! What executions report, and how they end.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use trainer_kit::event::{Checkpoint, Evaluation, EvaluationKind, Happening, Progress, Severity};
use trainer_kit::state::{Cause, Failure, RunState};

use super::executor::{Done, Prepared, Report};
use super::manager::Shared;
use super::record::Facts;
use super::slots::{Outcome, cause_of};
use super::stop::StopReason;
use super::world::World;

/// Progress as it is told: numbers that are none are left out.
fn told(mut progress: Progress) -> Progress {
    progress.training_loss = progress.training_loss.filter(|loss| loss.is_finite());
    progress.tokens_per_second = progress
        .tokens_per_second
        .filter(|rate| rate.is_finite() && *rate >= 0.0);
    progress
}

impl World {
    /// Notes that an execution is alive. False: it does not count, or its run has ended.
    pub(super) fn sign_of_life(&mut self, key: u64, ticket: u64) -> bool {
        let Some(entry) = self.runs.get_mut(&key) else {
            return false;
        };
        let live = entry.record.state.holds_slot();
        match &mut entry.active {
            Some(active) if active.ticket == ticket && live => {
                active.last_sign = Instant::now();
                true
            }
            _ => false,
        }
    }

    /// Takes a report.
    pub(super) fn report(&mut self, key: u64, ticket: u64, report: Report) {
        if !self.sign_of_life(key, ticket) {
            return;
        }
        let written = match report {
            Report::Prepared(prepared) => self.prepared(key, prepared),
            Report::Log(severity, text) => self.append(key, Happening::log(severity, &text), Facts::default(), 0),
            Report::Progress(progress) => self
                .running(key)
                .and_then(|()| self.append(key, Happening::Progress(told(progress)), Facts::default(), 0)),
            Report::Evaluation(evaluation) => self.running(key).and_then(|()| self.evaluated(key, evaluation)),
            Report::CheckpointSaved(checkpoint) => self.running(key).and_then(|()| self.saved(key, checkpoint)),
        };
        if let Err(error) = written {
            self.fail_unwritten(key, &error);
        }
    }

    /// Work has begun, whether or not it was said.
    fn running(&mut self, key: u64) -> io::Result<()> {
        if self
            .runs
            .get(&key)
            .is_some_and(|entry| entry.record.state == RunState::Preparing)
        {
            return self.change(key, Cause::Prepared, "", Facts::default());
        }
        Ok(())
    }

    fn log(&mut self, key: u64, severity: Severity, text: &str) -> io::Result<()> {
        self.append(key, Happening::log(severity, text), Facts::default(), 0)
    }

    fn prepared(&mut self, key: u64, prepared: Prepared) -> io::Result<()> {
        let Some(entry) = self.runs.get(&key) else {
            return Ok(());
        };
        let record = &entry.record;
        let other = |known: &str, found: &str| !known.is_empty() && !found.is_empty() && known != found;
        if other(&record.model_digest, &prepared.model_digest) || other(&record.data_digest, &prepared.data_digest) {
            let text = "model or data are not those that the run began with";
            self.log(key, Severity::Warning, text)?;
        }
        let facts = Facts {
            model_digest: Some(prepared.model_digest).filter(|digest| !digest.is_empty()),
            data_digest: Some(prepared.data_digest).filter(|digest| !digest.is_empty()),
            sequence_length: prepared.sequence_length,
            ..Facts::default()
        };
        let state = self.runs.get(&key).map(|entry| entry.record.state);
        if state == Some(RunState::Preparing) {
            self.change(key, Cause::Prepared, "", facts)?;
        }
        match prepared.total_steps {
            Some(steps) => self.log(key, Severity::Info, &format!("{steps} steps in all")),
            None => Ok(()),
        }
    }

    fn evaluated(&mut self, key: u64, mut evaluation: Evaluation) -> io::Result<()> {
        evaluation.standard_error = evaluation
            .standard_error
            .filter(|error| error.is_finite() && *error >= 0.0);
        let Some(entry) = self.runs.get(&key) else {
            return Ok(());
        };
        let record = &entry.record;
        if !(evaluation.loss.is_finite() && evaluation.loss > 0.0) {
            let detail = format!(
                "the loss after {} examples is {}",
                evaluation.data_size, evaluation.loss
            );
            self.change(key, Cause::Failed(Failure::LossNotFinite), &detail, Facts::default())?;
            self.order_end(key, StopReason::Cancel);
            return Ok(());
        }
        if let Some(known) = record.measured(&evaluation) {
            // Measured again after a restart: what was told once stays.
            if known.loss.to_bits() != evaluation.loss.to_bits() {
                let text = format!(
                    "measured again, the loss is {} instead of {}",
                    evaluation.loss, known.loss
                );
                self.log(key, Severity::Warning, &text)?;
            }
            return Ok(());
        }
        let held_out = evaluation.kind == EvaluationKind::HeldOut;
        if held_out && !record.spec.data_sizes.contains(&evaluation.data_size) {
            let text = format!(
                "a loss for {} examples, which nobody asked for: {}",
                evaluation.data_size, evaluation.loss
            );
            return self.log(key, Severity::Warning, &text);
        }
        self.append(key, Happening::Evaluation(evaluation), Facts::default(), 0)?;
        self.account(key)
    }

    fn saved(&mut self, key: u64, checkpoint: Checkpoint) -> io::Result<()> {
        let known = self.runs.get(&key).is_some_and(|entry| {
            let mut checkpoints = entry.record.checkpoints.iter();
            checkpoints.any(|known| known.checkpoint_id == checkpoint.checkpoint_id)
        });
        if known {
            return Ok(());
        }
        self.append(key, Happening::Checkpoint(checkpoint), Facts::default(), 0)?;
        self.account(key)
    }

    /// An execution has returned: its slot is free, and its run goes where the outcome leads it.
    pub(super) fn finished(
        &mut self,
        key: u64,
        ticket: u64,
        reason: Option<StopReason>,
        outcome: Outcome,
        shared: &Arc<Shared>,
    ) {
        for slot in self.slots.iter_mut().filter(|slot| slot.ticket == Some(ticket)) {
            slot.ticket = None;
        }
        if let Some(straggler) = self.stragglers.remove(&ticket) {
            self.aftermath.trash.extend(straggler.trash);
        }
        let counts = self
            .runs
            .get(&key)
            .and_then(|entry| entry.active.as_ref())
            .is_some_and(|active| active.ticket == ticket);
        if counts {
            self.conclude(key, reason, outcome);
            if let Some(entry) = self.runs.get_mut(&key) {
                entry.active = None;
                entry.journal.close();
            }
        }
        self.dispatch(shared);
    }

    fn conclude(&mut self, key: u64, reason: Option<StopReason>, outcome: Outcome) {
        let Some(entry) = self.runs.get(&key) else { return };
        if !entry.record.state.holds_slot() {
            return;
        }
        let id = entry.record.id.clone();
        let (cause, detail) = match (outcome, reason.and_then(cause_of)) {
            (Outcome::Returned(Ok(Done::Finished)), _) => return self.conclude_finished(key),
            (Outcome::Panicked(words), _) => {
                self.tell(Severity::Error, format!("run {id}: the executor panicked: {words}"));
                let detail = "a defect of the trainer; its log has more";
                (Cause::Failed(Failure::Internal), detail.to_owned())
            }
            (Outcome::Returned(_), Some((cause, detail))) => (cause, detail.to_owned()),
            (Outcome::Returned(Ok(Done::Stopped)), None) if reason.is_some() => return self.conclude_stopped(key),
            (Outcome::Returned(Ok(Done::Stopped)), None) => {
                let detail = "it stopped, and nobody had asked for it";
                (Cause::Failed(Failure::Internal), detail.to_owned())
            }
            (Outcome::Returned(Err(failure)), None) if reason == Some(StopReason::Drain) => {
                let text = format!("run {id} failed while it was stopped, and is tried again: {failure}");
                self.tell(Severity::Warning, text);
                return self.conclude_stopped(key);
            }
            (Outcome::Returned(Err(failure)), None) => (Cause::Failed(failure.failure), failure.detail),
        };
        self.change_or_fail(key, cause, &detail, Facts::default());
    }

    fn conclude_finished(&mut self, key: u64) {
        if let Err(error) = self.running(key) {
            return self.fail_unwritten(key, &error);
        }
        let Some(entry) = self.runs.get(&key) else { return };
        let facts = Facts {
            artifact: entry.folder.join(super::ARTIFACT).exists(),
            ..Facts::default()
        };
        match entry.record.missing_evaluation() {
            None => self.change_or_fail(key, Cause::Finished, "", facts),
            Some(why) => {
                let cause = Cause::Failed(Failure::EvaluationMissing);
                self.change_or_fail(key, cause, &why, facts);
            }
        }
    }

    /// It stopped with a checkpoint: paused, if a caller wants that still; else it waits for a slot, or for the next start.
    fn conclude_stopped(&mut self, key: u64) {
        let Some(entry) = self.runs.get(&key) else { return };
        let (paused, device) = (entry.pause_wanted, entry.record.spec.device.clone());
        if self.draining && !paused {
            // Its state stays: the next start goes on from here.
            if let Err(error) = self.account(key) {
                self.fail_unwritten(key, &error);
            }
            return;
        }
        self.change_or_fail(key, Cause::Paused, "paused by a caller", Facts::default());
        let is_paused = self
            .runs
            .get(&key)
            .is_some_and(|entry| entry.record.state == RunState::Paused);
        if !paused && is_paused {
            let cause = Cause::Resumed(Self::wait_reason(&device));
            self.change_or_fail(key, cause, "resumed by a caller", Facts::default());
            self.queue.push_back(key);
        }
    }
}

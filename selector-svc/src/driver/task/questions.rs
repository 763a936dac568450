//! Questions beside the runs: to trainers before anything is spent, to the fitter before rounds are judged.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio::time::Instant;

use super::Task;
use crate::driver::PrepareError;
use crate::driver::journal::{Halt, doubled};
use crate::driver::prepare::{self, Asked};
use crate::policy::fitted::FittedForecasts;
use crate::ports::{FitRequest, FitterError};
use crate::selection::{BudgetSpec, Ending, Prepared, State, Wait, WaitReason};

/// So often the fitter may say that it cannot fit before the selection fails; one that is away is waited for.
const MAX_FIT_FAILURES: u32 = 5;
/// How long a selection is prepared before trainers that are away are left out.
const PREPARE_PATIENCE: Duration = Duration::from_secs(30);

/// Something that was asked of the world and is awaited beside the runs.
pub(super) enum Answer {
    Prepared(Result<Asked, PrepareError>),
    Planned(Result<Box<(BudgetSpec, Prepared)>, PrepareError>),
    Fitted(Result<FittedForecasts, FitterError>),
}

impl Task {
    /// Asks the trainers, unless they are being asked or were asked a moment ago. An ending: it cannot succeed.
    pub(super) fn ask_trainers(&mut self, state: &State) -> Option<Ending> {
        self.asking_since.get_or_insert_with(Instant::now);
        if self.refusal.is_some() || !self.may_ask() {
            return self.refusal.take();
        }
        let (shared, spec) = (Arc::clone(&self.shared), state.spec.clone());
        self.question
            .spawn(async move { Answer::Prepared(prepare::ask(&shared, &spec).await) });
        None
    }

    /// Asks the fitter, unless it is being asked or was asked a moment ago.
    ///
    /// # Errors
    /// It has said too often that it cannot.
    pub(super) fn ask_fitter(&mut self, request: FitRequest) -> Result<(), Halt> {
        if self.fit_failures >= MAX_FIT_FAILURES {
            let detail = self.hindrance.take().map_or_else(String::new, |wait| wait.detail);
            return Err(Halt::Defect(detail));
        }
        if !self.may_ask() {
            return Ok(());
        }
        let fitter = Arc::clone(&self.shared.parts.fitter);
        self.question
            .spawn(async move { Answer::Fitted(fitter.forecast(request).await) });
        Ok(())
    }

    fn may_ask(&self) -> bool {
        self.question.is_empty() && self.ask_not_before.is_none_or(|time| time <= Instant::now())
    }

    /// Takes an answer in.
    pub(super) fn hear(&mut self, answer: Result<Answer, JoinError>) {
        match answer {
            Ok(Answer::Prepared(Ok(asked))) => self.hear_trainers(asked),
            Ok(Answer::Planned(Ok(prepared))) => {
                self.answered();
                self.prepared = Some(*prepared);
            }
            Ok(Answer::Prepared(Err(error)) | Answer::Planned(Err(error))) => self.hear_no(&error),
            Ok(Answer::Fitted(Ok(forecasts))) => {
                self.answered();
                self.fitted = Some(forecasts);
            }
            Ok(Answer::Fitted(Err(error @ FitterError::Failed { .. }))) => {
                self.fit_failures += 1;
                self.ask_later(WaitReason::FitterUnavailable, error.to_string());
            }
            Ok(Answer::Fitted(Err(error))) => self.ask_later(WaitReason::FitterUnavailable, error.to_string()),
            Err(panicked) => self.ask_later(WaitReason::None, panicked.to_string()),
        }
    }

    /// Goes on with the answers, or asks again while trainers are away that may come back.
    fn hear_trainers(&mut self, asked: Asked) {
        let patience = PREPARE_PATIENCE.min(self.shared.config.patience);
        let waited = self.asking_since.map_or(Duration::ZERO, |since| since.elapsed());
        if let Some(fault) = asked.away.values().next().filter(|_| waited < patience) {
            self.ask_later(WaitReason::TrainerUnavailable, fault.to_string());
            return;
        }
        let spec = self.journal.state().spec.clone();
        self.question.spawn(async move {
            let planned = prepare::conclude(&spec, asked.told).await;
            Answer::Planned(planned.map(|prepared| Box::new((spec.budget, prepared))))
        });
    }

    fn hear_no(&mut self, error: &PrepareError) {
        match error {
            PrepareError::Failed { failure, detail } => {
                self.answered();
                let (failure, detail) = (*failure, detail.clone());
                self.refusal = Some(Ending::Failed { failure, detail });
            }
            PrepareError::UnknownTrainer { .. } | PrepareError::Trainer(_) => {
                self.ask_later(WaitReason::TrainerUnavailable, error.to_string());
            }
            PrepareError::Store(_) => self.ask_later(WaitReason::None, error.to_string()),
        }
    }

    pub(super) fn ask_later(&mut self, reason: WaitReason, detail: String) {
        tracing::warn!(selection = self.journal.id(), detail, "a question is asked again later");
        self.ask_not_before = Some(Instant::now() + self.pause);
        self.pause = doubled(self.pause, self.shared.config.backoff.1);
        self.hindrance = Some(Wait { reason, detail });
    }

    fn answered(&mut self) {
        self.pause = self.shared.config.backoff.0;
        self.ask_not_before = None;
        self.hindrance = None;
    }
}

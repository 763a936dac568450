//! What the policy is asked and what follows from its judgements.

use std::collections::HashMap;

use super::Task;
use crate::curve::DataSize;
use crate::driver::journal::{Batch, Halt};
use crate::order;
use crate::race::{Next, Race};
use crate::selection::{Ending, Event, PlannedTrial, State};
use crate::store::KnownForecast;

impl Task {
    /// The judgement of the last round and the round that follows; `false`: the fitter was asked first.
    pub(super) async fn judge(&mut self, mut batch: Batch) -> Result<(Batch, bool), Halt> {
        let race = self.race(&batch.state).await?;
        let fitted = batch.state.rounds.last().is_some_and(|round| round.fitted.is_some());
        if let Some(request) = race.fit_request(&batch.state).filter(|_| !fitted) {
            let Some(forecasts) = self.fitted.take() else {
                self.race = Some(race);
                self.ask_fitter(request)?;
                return Ok((batch, false));
            };
            let forecasts = Box::new(forecasts);
            batch = batch.with(Event::Fitted { forecasts })?;
        }
        let judging = tokio::task::spawn_blocking(move || {
            let mut race = race;
            let fitted = batch.state.rounds.last().and_then(|round| round.fitted.as_ref());
            let judgement = race.judge(&batch.state, fitted);
            (race, judgement, batch)
        });
        let judged = judging.await.map_err(|panicked| Halt::Defect(panicked.to_string()))?;
        let (race, judgement, mut batch) = judged;
        self.race = Some(race);
        if let Some(decision) = judgement.decision {
            let decision = Box::new(decision);
            batch = batch.with(Event::Judged { decision })?;
        }
        match judgement.next {
            Next::Finish(ending) => batch = self.finish(batch, ending).await?,
            Next::Round(trials) => {
                let trials = self.known(&batch.state, trials).await?;
                batch = batch.with(Event::RoundOpened { trials })?;
            }
        }
        Ok((batch, true))
    }

    async fn race(&mut self, state: &State) -> Result<Race, Halt> {
        if let Some(race) = self.race.take() {
            return Ok(race);
        }
        let state = state.clone();
        let made = tokio::task::spawn_blocking(move || Race::new(&state)).await;
        let made = made.map_err(|panicked| Halt::Defect(panicked.to_string()))?;
        made.map_err(|error| Halt::Defect(error.to_string()))
    }

    /// Trials with the losses that earlier selections have measured.
    async fn known(&self, state: &State, trials: Vec<(usize, DataSize)>) -> Result<Vec<PlannedTrial>, Halt> {
        let key = |contender, size| {
            state
                .spec
                .reuse
                .then(|| order::loss_key(state, contender, size))
                .flatten()
        };
        let keyed: Vec<_> = trials
            .into_iter()
            .map(|(contender, size)| (contender, size, key(contender, size)))
            .collect();
        let keys: Vec<_> = keyed.iter().filter_map(|(_, _, key)| key.clone()).collect();
        let known = if keys.is_empty() {
            Vec::new()
        } else {
            self.journal.known_losses(&keys).await?
        };
        let known: HashMap<_, _> = known.into_iter().map(|loss| (loss.key.clone(), loss)).collect();
        let planned = keyed.into_iter().map(|(contender, data_size, key)| {
            let found = key.and_then(|key| known.get(&key));
            let reused = found.filter(|loss| loss.observation.data_size() == data_size);
            PlannedTrial {
                contender,
                data_size,
                reused: reused.map(|loss| (loss.observation, loss.selection.clone())),
            }
        });
        Ok(planned.collect())
    }

    /// The end, with what later selections may start from.
    pub(super) async fn finish(&mut self, mut batch: Batch, ending: Ending) -> Result<Batch, Halt> {
        if matches!(ending, Ending::Succeeded | Ending::BudgetExhausted { .. }) {
            // Forecasts are a service to others: without them the selection ends all the same.
            if let Ok(race) = self.race(&batch.state).await {
                batch.forecasts = forecasts(&race, &batch.state, self.journal.id());
                self.race = Some(race);
            }
        }
        batch.with(Event::Ended { ending })
    }
}

/// What the contenders' losses at the full size are forecast to be, under their models' keys.
fn forecasts(race: &Race, state: &State, id: &str) -> Vec<KnownForecast> {
    let Some(data_digest) = state.prepared.as_ref().map(|prepared| prepared.data_digest.clone()) else {
        return Vec::new();
    };
    if data_digest.is_empty() {
        return Vec::new();
    }
    let forecasts = race.forecasts(state).into_iter().enumerate();
    let known = forecasts.filter_map(|(contender, forecast)| {
        let loss = forecast?.log_loss.exp();
        Some(KnownForecast {
            data_digest: data_digest.clone(),
            model_key: order::model_key(state, contender)?,
            loss: Some(loss).filter(|loss| loss.is_finite())?,
            selection: id.to_owned(),
        })
    });
    known.collect()
}

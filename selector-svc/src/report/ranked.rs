//! Who stands where, and why.

use std::collections::HashSet;

use super::build::Conclusion;
use super::{Named, ReportedContender, UnrankedContender, remarks};
use crate::conclude;
use crate::curve::Observation;
use crate::diagnostics::pooled_noise;
use crate::explain;
use crate::policy::FinalForecast;
use crate::selection::{JudgedRecord, Spending, State, Verdict};

/// Everything that the entries of the ranking share.
pub(super) struct Standing<'a> {
    state: &'a State,
    conclusion: &'a Conclusion,
    /// By place: contender and its last judgement.
    order: Vec<(usize, Option<&'a JudgedRecord>)>,
    curves: Vec<Vec<Observation>>,
    shares: Vec<Option<f64>>,
    noise: Option<f64>,
    spent: Vec<Spending>,
}

impl<'a> Standing<'a> {
    pub(super) fn new(state: &'a State, conclusion: &'a Conclusion, excluded: &[UnrankedContender]) -> Self {
        let out: HashSet<usize> = excluded.iter().map(|entry| entry.named.contender).collect();
        let curves = curves(state);
        let noise = pooled_noise(curves.iter().map(|curve| trained(curve)));
        Self {
            order: order(state, conclusion, &out),
            shares: shares(state, &conclusion.forecasts, &out),
            spent: spent(state),
            state,
            conclusion,
            curves,
            noise,
        }
    }

    pub(super) fn contenders(&self) -> Vec<ReportedContender> {
        let entry = |(place, (contender, judged)): (usize, &(usize, Option<&JudgedRecord>))| {
            self.entry(place + 1, *contender, *judged)
        };
        self.order.iter().enumerate().map(entry).collect()
    }

    fn entry(&self, rank: usize, contender: usize, judged: Option<&JudgedRecord>) -> ReportedContender {
        let forecast = self.conclusion.forecasts.get(contender).copied().flatten();
        let curve = self.curves.get(contender).map_or(&[][..], Vec::as_slice);
        let log_loss = forecast
            .map(|f| f.log_loss)
            .or(judged.and_then(|judged| judged.log_score));
        let level = self.state.spec.interval_level;
        let interval = forecast
            .and_then(|forecast| conclude::interval(&forecast, level))
            .filter(|interval| interval.upper.is_finite());
        ReportedContender {
            named: Named::of(self.state, contender),
            rank,
            predicted_loss: log_loss.filter(|log_loss| log_loss.is_finite()).map(conclude::nats),
            log_sd: forecast.and_then(|forecast| forecast.sd),
            interval,
            win_share: self.shares.get(contender).copied().flatten(),
            observations: curve.to_vec(),
            dropped_after_round: dropped_after(self.state, contender),
            reason: self.reason(contender, forecast, judged, curve),
            spent: self.spent.get(contender).copied().unwrap_or(Spending::ZERO),
            warnings: remarks::of_contender(self.state, contender, trained(curve), self.noise, interval.is_some()),
        }
    }

    /// The last decision's own words; else the forecast and how it compares with the leader's.
    fn reason(
        &self,
        contender: usize,
        forecast: Option<FinalForecast>,
        judged: Option<&JudgedRecord>,
        curve: &[Observation],
    ) -> String {
        if let Some(judged) = judged.filter(|judged| !judged.reason.is_empty()) {
            return judged.reason.clone();
        }
        let Some(forecast) = forecast else {
            return String::new();
        };
        let full = self.state.prepared.as_ref().map(|prepared| prepared.data_size_full);
        let seen = curve.last().map(Observation::data_size);
        let Some(at) = full.or(seen) else { return String::new() };
        let own = explain::expectation(forecast.log_loss, forecast.sd, at);
        let leader = self
            .order
            .first()
            .map(|(leader, _)| *leader)
            .filter(|leader| *leader != contender);
        let other = leader.and_then(|leader| self.conclusion.forecasts.get(leader).copied().flatten());
        match other {
            Some(other) => {
                let gap = explain::against(
                    "the leader",
                    (other.log_loss, other.sd),
                    (forecast.log_loss, forecast.sd),
                );
                format!("{own}; {gap}")
            }
            None => own,
        }
    }
}

/// A curve without its zero-shot point: the shape of the rest is what forecasts rest on.
fn trained(curve: &[Observation]) -> &[Observation] {
    match curve {
        [first, rest @ ..] if first.data_size().is_zero() => rest,
        all => all,
    }
}

fn curves(state: &State) -> Vec<Vec<Observation>> {
    let mut curves = vec![Vec::new(); state.spec.contenders()];
    for trial in &state.trials {
        if let (Some(curve), Some(point)) = (curves.get_mut(trial.contender), trial.observation()) {
            curve.push(*point);
        }
    }
    for curve in &mut curves {
        curve.sort_by_key(Observation::data_size);
    }
    curves
}

fn spent(state: &State) -> Vec<Spending> {
    let mut bills = vec![Spending::ZERO; state.spec.contenders()];
    for trial in &state.trials {
        let Some(bill) = bills.get_mut(trial.contender) else {
            continue;
        };
        for end in trial.attempts.iter().filter_map(|attempt| attempt.end.as_ref()) {
            *bill = bill.plus(end.spent);
        }
    }
    bills
}

/// The last decision's order, then of each earlier one those that are not placed yet; those never judged by their forecasts.
fn order<'a>(
    state: &'a State,
    conclusion: &Conclusion,
    out: &HashSet<usize>,
) -> Vec<(usize, Option<&'a JudgedRecord>)> {
    let mut placed = HashSet::new();
    let mut order = Vec::new();
    for (decision, _) in state.rounds.iter().rev().filter_map(|round| round.decision.as_ref()) {
        for judged in &decision.contenders {
            let contender = judged.contender;
            let known = contender < state.spec.contenders();
            let in_the_race = known && (judged.verdict != Verdict::Excluded || judged.may_be_chosen());
            if in_the_race && !out.contains(&contender) && placed.insert(contender) {
                order.push((contender, Some(judged)));
            }
        }
    }
    let mut unjudged: Vec<(usize, f64)> = conclusion
        .forecasts
        .iter()
        .enumerate()
        .filter(|(contender, _)| !out.contains(contender) && !placed.contains(contender))
        .filter_map(|(contender, forecast)| Some((contender, forecast.as_ref()?.log_loss)))
        .filter(|(_, log_loss)| log_loss.is_finite())
        .collect();
    unjudged.sort_by(|a, b| a.1.total_cmp(&b.1));
    order.extend(unjudged.into_iter().map(|(contender, _)| (contender, None)));
    order
}

fn dropped_after(state: &State, contender: usize) -> Option<usize> {
    let mut dropped = None;
    for (index, round) in state.rounds.iter().enumerate() {
        let Some((decision, _)) = &round.decision else { continue };
        let verdict = decision.contenders.iter().find(|judged| judged.contender == contender);
        match verdict.map(|judged| judged.verdict) {
            Some(Verdict::Dropped) => dropped = dropped.or(Some(index + 1)),
            Some(Verdict::Kept | Verdict::Chosen) => dropped = None,
            _ => {}
        }
    }
    dropped
}

/// Shares of simulations by position, among those that are ranked; none where anybody's forecast has no deviation.
fn shares(state: &State, forecasts: &[Option<FinalForecast>], out: &HashSet<usize>) -> Vec<Option<f64>> {
    let ranked = |(contender, forecast): (usize, &Option<FinalForecast>)| {
        forecast.filter(|forecast| forecast.log_loss.is_finite() && !out.contains(&contender))
    };
    let ranked: Vec<Option<FinalForecast>> = forecasts.iter().enumerate().map(ranked).collect();
    let draws = state.spec.policy.draws();
    conclude::shares(&ranked, draws, state.spec.seed)
}

//! What a replay answers.

use super::arena::{Arena, Played};
use super::{HistoryAlone, Rung, SelectionPolicy, SimulateRequest, SimulatedCandidate, Simulation};
use crate::conclude;
use crate::curve::Observation;
use crate::diagnostics::{Warning, WarningCode, curve_warnings, pooled_noise};
use crate::error::SimulateError;
use crate::policy::{AdaptivePolicy, Decision, FinalForecast};

impl Arena<'_> {
    pub(super) fn answer(
        self,
        request: &SimulateRequest,
        policy: &dyn AdaptivePolicy,
        played: &Played,
    ) -> Result<Simulation, SimulateError> {
        let leader = played.decisions.last().and_then(|(decision, _)| decision.leader());
        let chosen = leader.ok_or(SimulateError::NothingScored)?;
        let forecasts = policy.forecasts(&played.observed);
        let mut warnings = policy.warnings();
        if played.spent > self.budget {
            let detail = format!(
                "spent {} examples of {}: the policy's smallest plan",
                played.spent, self.budget
            );
            warnings.push(Warning::new(WarningCode::BudgetExceeded, detail));
        }
        let flat = matches!(request.policy, SelectionPolicy::Flat(_));
        let predicted: Option<Vec<f64>> = forecasts.iter().map(|f| f.as_ref().map(|f| f.log_loss.exp())).collect();
        let scores = predicted.filter(|_| flat);
        let history_alone = policy.history_report().map(|report| HistoryAlone {
            chosen: self.name(report.chosen),
            rank_correlation: report.rank_correlation,
            used: report.used,
            metrics: self.metrics(request.full, report.chosen, None),
        });
        Ok(Simulation {
            policy: policy.name(),
            chosen: self.name(chosen),
            budget_examples: self.budget,
            planned_examples: policy.planned_examples(),
            spent_examples: played.spent,
            exhaustive_examples: request.full.examples().saturating_mul(self.live.len() as u64),
            metrics: self.metrics(request.full, chosen, scores.as_deref()),
            rungs: played
                .decisions
                .iter()
                .map(|(decision, spent)| self.rung(decision, *spent))
                .collect(),
            candidates: self.simulated(request, played, &forecasts),
            excluded: self.excluded,
            history_alone,
            warnings,
        })
    }

    fn rung(&self, decision: &Decision, spent: u64) -> Rung {
        let names: Vec<String> = decision.scores.iter().map(|(c, _)| self.name(*c)).collect();
        let (kept, dropped) = names.split_at(decision.kept.min(names.len()));
        Rung {
            data_size: decision.data_size,
            candidates: names.len(),
            trained_data_sizes: decision.trained.clone(),
            leader: names.first().cloned().unwrap_or_default(),
            kept: kept.to_vec(),
            dropped: dropped.to_vec(),
            log_scores: decision.scores.iter().map(|(_, score)| *score).collect(),
            spent_examples: spent,
        }
    }

    fn simulated(
        &self,
        request: &SimulateRequest,
        played: &Played,
        forecasts: &[Option<FinalForecast>],
    ) -> Vec<SimulatedCandidate> {
        let by_candidate = conclude::shares(forecasts, request.policy.draws(), request.seed);
        let noise = pooled_noise(played.observed.curves());
        let decisions = played
            .decisions
            .iter()
            .map(|(decision, _)| (decision.order(), decision.kept));
        conclude::order(&decisions.collect::<Vec<_>>())
            .into_iter()
            .enumerate()
            .filter_map(|(place, (candidate, dropped_at_rung))| {
                let forecast = forecasts.get(candidate)?.as_ref()?;
                Some(SimulatedCandidate {
                    candidate: self.name(candidate),
                    rank: place + 1,
                    predicted_loss: conclude::nats(forecast.log_loss),
                    log_sd: forecast.sd,
                    interval: conclude::interval(forecast, request.level),
                    win_share: by_candidate.get(candidate).copied().flatten(),
                    data_sizes_trained: played
                        .observed
                        .curve(candidate)
                        .iter()
                        .map(Observation::data_size)
                        .collect(),
                    dropped_at_rung,
                    warnings: curve_warnings(played.observed.curve(candidate), noise),
                })
            })
            .collect()
    }
}

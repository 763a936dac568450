//! A decision as it is written down.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::words::Scene;
use super::{Race, Replay, is_stand_in};
use crate::conclude::nats;
use crate::curve::{DataSize, Observation};
use crate::policy::{Action, Decision, Stop};
use crate::selection::{DecisionRecord, JudgedRecord, State, Verdict};

/// Normal draws for one expected regret, over all contenders; within the bounds below for each.
const ALL_DRAWS: usize = 200_000;
/// Fewest and most draws of each.
const DRAWS: (usize, usize) = (200, 2_000);

/// A contender that the policy has ordered.
pub(super) struct Scored {
    /// Its position in the spec.
    pub(super) contender: usize,
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// `None`: the policy does not score by losses.
    pub(super) log_score: Option<f64>,
    pub(super) log_sd: Option<f64>,
    /// Largest size observed.
    pub(super) data_size: DataSize,
    /// The test of its curve, where there was one.
    pub(super) test: Option<Stop>,
    /// Why a run of it was not paid for: it is judged by the losses up to `data_size`.
    pub(super) unpaid: Option<String>,
}

impl Race {
    pub(super) fn record(&self, state: &State, replay: &Replay, decision: &Decision) -> DecisionRecord {
        let full = state
            .prepared
            .as_ref()
            .map_or(DataSize::ZERO, |prepared| prepared.data_size_full);
        let round = state.rounds.len().saturating_sub(1);
        let scored = self.scored(state, replay, decision);
        let excluded = self.excluded(state, replay, decision, round);
        let dropped = || scored.iter().filter(|scored| scored.verdict == Verdict::Dropped);
        let unmeasured = dropped().filter(|scored| scored.data_size < full).count() as u64;
        let saved_examples = full.examples().saturating_mul(unmeasured);
        let expected_regret = expected_regret(&scored, state.spec.seed.wrapping_add(round as u64));
        let scene = Scene {
            state,
            decision,
            scored: &scored,
            excluded: excluded.len(),
            full,
            stand_in: is_stand_in(&state.spec.policy),
            finished: replay.step.action == Action::Finish,
            next: next_sizes(&replay.step.action),
            spent: replay.observed.spent(),
            saved_examples,
            expected_regret,
        };
        let judged = scored.iter().enumerate().map(|(place, scored)| JudgedRecord {
            contender: scored.contender,
            verdict: scored.verdict,
            log_score: scored.log_score,
            log_sd: scored.log_sd,
            data_size: scored.data_size,
            reason: scene.reason(place),
        });
        DecisionRecord {
            rule: replay.policy.name().to_owned(),
            data_size: decision.data_size,
            trained: decision.trained.clone(),
            contenders: judged.chain(excluded).collect(),
            log_threshold: dropped().find_map(|scored| scored.log_score),
            saved_examples,
            expected_regret,
            next: scene.next.clone(),
            explanation: scene.explanation(round),
        }
    }

    fn scored(&self, state: &State, replay: &Replay, decision: &Decision) -> Vec<Scored> {
        let forecasts = replay.policy.forecasts(&replay.observed);
        let goes_on: BTreeSet<usize> = match &replay.step.action {
            Action::Train(runs) => runs.iter().map(|run| run.candidate).collect(),
            Action::Finish => BTreeSet::new(),
        };
        let verdict = |place: usize, candidate: usize| match &replay.step.action {
            Action::Finish if place == 0 => Verdict::Chosen,
            Action::Train(_) if goes_on.contains(&candidate) => Verdict::Kept,
            Action::Train(_) if place < decision.kept => Verdict::Stopped,
            _ => Verdict::Dropped,
        };
        let losses = replay.policy.forecasts_losses();
        let ordered = decision.scores.iter().enumerate();
        let scored = |(place, (candidate, score)): (usize, &(usize, f64))| {
            let contender = *self.pool.get(*candidate)?;
            let forecast = forecasts.get(*candidate).copied().flatten();
            Some(Scored {
                contender,
                name: state.spec.contender_name(contender),
                verdict: verdict(place, *candidate),
                log_score: (losses && score.is_finite()).then_some(*score),
                log_sd: forecast
                    .and_then(|forecast| forecast.sd)
                    .filter(|sd| losses && sd.is_finite()),
                data_size: replay
                    .observed
                    .curve(*candidate)
                    .last()
                    .map_or(DataSize::ZERO, Observation::data_size),
                test: decision
                    .tests
                    .iter()
                    .find(|(tested, _)| tested == candidate)
                    .map(|(_, stop)| *stop),
                unpaid: state.unpaid(contender).map(|exclusion| exclusion.detail.clone()),
            })
        };
        ordered.filter_map(scored).collect()
    }

    /// Those that are out since this round, and those that the policy could not score.
    fn excluded(&self, state: &State, replay: &Replay, decision: &Decision, round: usize) -> Vec<JudgedRecord> {
        let scored: BTreeSet<usize> = decision.scores.iter().map(|(candidate, _)| *candidate).collect();
        let mut out: Vec<(usize, String)> = Vec::new();
        for (contender, at, exclusion) in &state.withdrawn {
            if let Ok(candidate) = self.pool.binary_search(contender)
                && *at == round
                && !scored.contains(&candidate)
            {
                out.push((candidate, exclusion.detail.clone()));
            }
        }
        for (candidate, exclusion) in replay.policy.refusals(&replay.observed) {
            if !scored.contains(&candidate) && out.iter().all(|(other, _)| *other != candidate) {
                out.push((candidate, exclusion.detail));
            }
        }
        let record = |(candidate, reason): (usize, String)| {
            let last = replay.observed.curve(candidate).last();
            Some(JudgedRecord {
                contender: *self.pool.get(candidate)?,
                verdict: Verdict::Excluded,
                log_score: None,
                log_sd: None,
                data_size: last.map_or(DataSize::ZERO, Observation::data_size),
                reason,
            })
        };
        out.into_iter().filter_map(record).collect()
    }
}

/// Sizes of the next round, ascending.
fn next_sizes(action: &Action) -> Vec<DataSize> {
    let Action::Train(runs) = action else { return Vec::new() };
    let sizes: BTreeSet<DataSize> = runs.iter().map(|run| run.data_size).collect();
    sizes.into_iter().collect()
}

/// Mean over simulations of how far the best dropped one is below the best of the others, nats; `None` where none is dropped, or one has no
/// predictive distribution.
fn expected_regret(scored: &[Scored], seed: u64) -> Option<f64> {
    let is_dropped = |scored: &Scored| scored.verdict == Verdict::Dropped;
    if scored.iter().all(|scored| !is_dropped(scored)) || scored.iter().all(is_dropped) {
        return None;
    }
    let normal = |scored: &Scored| Some((scored.log_score?, scored.log_sd?, is_dropped(scored)));
    let normals: Vec<(f64, f64, bool)> = scored.iter().map(normal).collect::<Option<_>>()?;
    let draws = (ALL_DRAWS / normals.len().max(1)).clamp(DRAWS.0, DRAWS.1);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut sum = 0.0;
    for _ in 0..draws {
        let (mut kept, mut dropped) = (f64::INFINITY, f64::INFINITY);
        for (mean, sd, is_dropped) in &normals {
            let noise: f64 = StandardNormal.sample(&mut rng);
            let best = if *is_dropped { &mut dropped } else { &mut kept };
            *best = best.min(mean + sd * noise);
        }
        sum += (nats(kept) - nats(dropped)).max(0.0);
    }
    Some(sum / draws as f64).filter(|regret| regret.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(verdict: Verdict, nats: f64, log_sd: Option<f64>) -> Scored {
        Scored {
            contender: 0,
            name: "c".to_owned(),
            verdict,
            log_score: Some(nats.ln()),
            log_sd,
            data_size: DataSize::ZERO,
            test: None,
            unpaid: None,
        }
    }

    #[test]
    fn regret_is_that_of_two_normals() {
        let pair = |nats, sd| {
            let two = [
                scored(Verdict::Kept, 2.0, Some(sd)),
                scored(Verdict::Dropped, nats, Some(sd)),
            ];
            expected_regret(&two, 7)
        };
        // Equal means: E max(0, difference) = σ_difference / √(2π), here in nats about 2.
        let expected = 2.0 * 0.01 * std::f64::consts::SQRT_2 / (2.0 * std::f64::consts::PI).sqrt();
        let found = pair(2.0, 0.01).unwrap();
        assert!((found / expected - 1.0).abs() < 0.1, "{found} instead of {expected}");
        assert!(pair(3.0, 0.01).unwrap() < 1e-12);
        assert_eq!(pair(2.0, 0.0), Some(0.0));
        assert_eq!(pair(2.0, 0.01), pair(2.0, 0.01));
        let unsure = [scored(Verdict::Kept, 2.0, None), scored(Verdict::Dropped, 2.0, None)];
        assert_eq!(expected_regret(&unsure, 7), None);
        assert_eq!(expected_regret(&[scored(Verdict::Kept, 2.0, Some(0.1))], 7), None);
    }
}

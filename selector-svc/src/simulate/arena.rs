//! The table as an arena: who competes, on which ladder, for how much, and what a policy does there.

use super::{Budget, SimulateRequest};
use crate::curve::{DataSize, Observation};
use crate::error::SimulateError;
use crate::field::{Field, Losses};
use crate::metrics::Metrics;
use crate::policy::exhaustive::Profile;
use crate::policy::{Action, AdaptivePolicy, Decision, MAX_ROUNDS, Observed, Run};
use crate::ranking::{ExcludedCandidate, eligible};
use crate::schedule::replay_ladder;
use crate::table::{Candidate, CandidateTable};

/// A request made ready: who competes, on which ladder, for how much.
pub(super) struct Arena<'a> {
    pub(super) live: Vec<&'a Candidate>,
    pub(super) excluded: Vec<ExcludedCandidate>,
    pub(super) rungs: Vec<DataSize>,
    pub(super) budget: u64,
}

impl<'a> Arena<'a> {
    pub(super) fn new(table: &'a CandidateTable, request: &SimulateRequest) -> Result<Self, SimulateError> {
        request.validate()?;
        let (live, excluded) = eligible(table, &request.constraints);
        if live.is_empty() {
            return Err(SimulateError::NoCandidates);
        }
        let rungs = replay_ladder(live.iter().copied(), request.full);
        let budget = match request.budget {
            Budget::Examples(examples) => examples,
            Budget::RelativeToAts { ratio, fraction } => floor(fraction * ats_cost(&live, request.full, ratio)),
        };
        Ok(Self {
            live,
            excluded,
            rungs,
            budget,
        })
    }

    /// Ready for the policies.
    pub(super) fn field(&self, seed: u64) -> Field {
        let profile = |c: &&Candidate| Profile {
            name: c.name().to_owned(),
            attributes: c.attributes().clone(),
            zero_shot: c.curve().zero_shot_loss(),
        };
        Field {
            profiles: self.live.iter().map(profile).collect(),
            aliases: Vec::new(),
            rungs: self.rungs.clone(),
            budget: self.budget,
            seed,
            losses: Losses::Recorded,
        }
    }

    pub(super) fn name(&self, candidate: usize) -> String {
        self.live
            .get(candidate)
            .map_or_else(String::new, |c| c.name().to_owned())
    }

    fn look_up(&self, run: Run) -> Result<Observation, SimulateError> {
        let curve = self.live.get(run.candidate).map(|c| c.curve());
        let point = curve.and_then(|curve| {
            let loss = curve.loss_at(run.data_size)?;
            let measured = curve.observation_at(run.data_size).copied();
            Some(measured.unwrap_or_else(|| Observation::new(run.data_size, loss)))
        });
        point.ok_or_else(|| SimulateError::MissingObservation {
            candidate: self.name(run.candidate),
            data_size: run.data_size,
        })
    }

    pub(super) fn metrics(&self, full: DataSize, chosen: usize, scores: Option<&[f64]>) -> Option<Metrics> {
        let truths: Vec<(&str, f64)> = self
            .live
            .iter()
            .map(|c| Some((c.name(), c.true_loss(full)?.nats())))
            .collect::<Option<_>>()?;
        Metrics::compare(&truths, chosen, scores)
    }
}

/// What Accept then Stop costs in examples at the ratio γ: every measured size up to γ · full, of every candidate.
fn ats_cost(live: &[&Candidate], full: DataSize, ratio: f64) -> f64 {
    // 1/3 · 300 must not become 99 by rounding.
    let limit = DataSize::new(floor(ratio * full.examples() as f64 * (1.0 + 1e-12))).unwrap_or(full);
    live.iter()
        .flat_map(|c| c.curve().up_to(limit))
        .map(|p| p.data_size().examples() as f64)
        .sum()
}

fn floor(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates"
    )]
    let whole = value.floor() as u64;
    whole
}

/// What happened: decisions with the bill so far, and all that was observed.
pub(super) struct Played {
    pub(super) decisions: Vec<(Decision, u64)>,
    pub(super) observed: Observed,
    pub(super) spent: u64,
}

pub(super) fn play(policy: &mut dyn AdaptivePolicy, arena: &Arena<'_>) -> Result<Played, SimulateError> {
    let mut played = Played {
        decisions: Vec::new(),
        observed: Observed::new(arena.live.len()),
        spent: 0,
    };
    for _ in 0..MAX_ROUNDS {
        let step = policy.next(&played.observed);
        if let Some(decision) = step.decision {
            played.decisions.push((decision, played.spent));
        }
        let Action::Train(runs) = step.action else {
            return Ok(played);
        };
        for run in runs {
            played.observed.insert(run.candidate, arena.look_up(run)?);
            played.spent = played.spent.saturating_add(run.data_size.examples());
        }
    }
    Err(SimulateError::DidNotStop { rounds: MAX_ROUNDS })
}

//! Who takes part: constraints, what the trainers can do, and what it costs there.

use super::{Digests, Told};
use crate::constraint::{Constraints, MemoryLimit, TuningMethod, gibibytes};
use crate::curve::{DataSize, LearningCurve};
use crate::policy::{Exclusion, ExclusionReason};
use crate::ports::{RunEstimate, TrainerDescription};
use crate::selection::{ContenderFacts, CostModel, SelectionSpec, TrainerFacts, WorkMode};
use crate::table::{Attributes, Candidate};
use trainer_kit::spec::MethodKind;

/// Everybody with what is known of them.
pub(super) struct LineUp {
    /// By contender.
    pub(super) contenders: Vec<ContenderFacts>,
    /// Those that may be used, in the order of their names.
    pub(super) trainers: Vec<TrainerFacts>,
    /// ISO 4217 code that prices count in; empty: there are none.
    pub(super) currency: String,
}

impl LineUp {
    pub(super) fn new(spec: &SelectionSpec, told: &Told, full: DataSize, digests: &Digests) -> Self {
        let mut trainers: Vec<&(String, TrainerDescription)> = told
            .trainers
            .iter()
            .filter(|(name, _)| spec.trainers.is_empty() || spec.trainers.contains(name))
            .collect();
        trainers.sort_by(|a, b| a.0.cmp(&b.0));
        let priced = || {
            trainers
                .iter()
                .find_map(|(_, trainer)| Some(trainer.price.as_ref()?.0.clone()))
        };
        let asked = spec.budget.money.as_ref().map(|(_, currency)| currency.clone());
        let currency = asked.or_else(priced).unwrap_or_default();
        let judge = Judge {
            spec,
            told,
            full,
            trainers: &trainers,
            currency: &currency,
        };
        let contenders = (0..spec.contenders()).map(|c| {
            let digest = digests.models.get(c).cloned().unwrap_or_default();
            judge.facts(c, digest)
        });
        let contenders = contenders.collect();
        let facts = |(name, trainer): &&(String, TrainerDescription)| TrainerFacts {
            name: name.clone(),
            implementation: trainer.implementation.clone(),
            slots: trainer.slots.max(1),
            nested_subsets: trainer.nested_subsets,
            deterministic: trainer.deterministic,
        };
        Self {
            contenders,
            trainers: trainers.iter().map(facts).collect(),
            currency,
        }
    }

    /// Positions of those that take part.
    pub(super) fn pool(&self) -> Vec<usize> {
        let takes_part = |(c, facts): (usize, &ContenderFacts)| facts.exclusion.is_none().then_some(c);
        self.contenders.iter().enumerate().filter_map(takes_part).collect()
    }

    /// Why nobody takes part.
    pub(super) fn nobody(&self, spec: &SelectionSpec) -> String {
        let reason = |(c, facts): (usize, &ContenderFacts)| {
            let exclusion = facts.exclusion.as_ref()?;
            Some(format!("{}: {}", spec.contender_name(c), exclusion.detail))
        };
        let reasons: Vec<String> = self.contenders.iter().enumerate().filter_map(reason).take(3).collect();
        let more = self.contenders.len().saturating_sub(reasons.len());
        let rest = if more > 0 {
            format!("; {more} more")
        } else {
            String::new()
        };
        format!("no contender can take part. {}{rest}", reasons.join("; "))
    }
}

/// Looks at one contender after the other.
struct Judge<'a> {
    spec: &'a SelectionSpec,
    told: &'a Told,
    full: DataSize,
    trainers: &'a [&'a (String, TrainerDescription)],
    currency: &'a str,
}

impl Judge<'_> {
    fn facts(&self, contender: usize, model_digest: String) -> ContenderFacts {
        let Some((candidate, _)) = self.spec.contender(contender) else {
            return ContenderFacts::default();
        };
        let answers = || self.told.of(contender).filter_map(|(_, answer)| answer.as_ref().ok());
        let told = || {
            answers()
                .find_map(|answer| answer.parameters)
                .filter(|count| *count > 0)
        };
        let parameters = candidate.attributes.parameters().or_else(told);
        let mut facts = ContenderFacts {
            parameters,
            model_digest,
            ..ContenderFacts::default()
        };
        if let Err(exclusion) = self.constraints(contender, parameters) {
            facts.exclusion = Some(exclusion);
            return facts;
        }
        if self.spec.work_mode == WorkMode::AskTell {
            return facts;
        }
        let mut refusals = Vec::new();
        for (name, trainer) in self.trainers {
            match self.at(contender, name, trainer) {
                Ok(cost) => {
                    facts.costs.insert(name.clone(), cost);
                }
                Err(exclusion) => refusals.push(exclusion),
            }
        }
        if facts.costs.is_empty() {
            facts.exclusion = Some(together(&refusals));
        }
        facts
    }

    /// What the spec asks of everybody, whoever trains.
    fn constraints(&self, contender: usize, parameters: Option<u64>) -> Result<(), Exclusion> {
        let Some((candidate, _)) = self.spec.contender(contender) else {
            return Ok(());
        };
        let own = &candidate.attributes;
        let attributes = Attributes::new(own.family().map(str::to_owned), parameters, own.other().clone());
        let missing = |error: String| Exclusion::new(ExclusionReason::MissingData, error);
        let known = Candidate::new(candidate.id.clone(), attributes, LearningCurve::default());
        let known = known.map_err(|error| missing(error.to_string()))?;
        let wanted = &self.spec.constraints;
        let but_memory = Constraints {
            memory_limit: None,
            ..wanted.clone()
        };
        but_memory.check(&known)?;
        if self.spec.budget.example_parameters.is_some() && parameters.is_none() {
            let detail = "the number of parameters is unknown, and the budget limits examples times parameters";
            return Err(Exclusion::new(ExclusionReason::Parameters, detail));
        }
        let told = self
            .told
            .of(contender)
            .any(|(_, answer)| answer.as_ref().is_ok_and(|a| a.memory_bytes.is_some()));
        let Some(limit) = wanted.memory_limit.filter(|_| !told) else {
            return Ok(());
        };
        // Nobody measured: the formula, for the method that the contender is tuned with.
        let by_formula = Constraints {
            memory_limit: Some(MemoryLimit {
                method: self.method(contender),
                ..limit
            }),
            ..Constraints::default()
        };
        by_formula.check(&known)
    }

    fn kind(&self, contender: usize) -> Option<MethodKind> {
        Some(self.spec.contender(contender)?.1.method.kind())
    }

    fn method(&self, contender: usize) -> TuningMethod {
        match self.kind(contender) {
            Some(MethodKind::Lora) => TuningMethod::Lora,
            Some(MethodKind::Prompt) => TuningMethod::Prompt,
            Some(MethodKind::Full) | None => TuningMethod::Full,
        }
    }

    /// What a contender's runs cost at a trainer, or why it cannot run there.
    fn at(&self, contender: usize, name: &str, trainer: &TrainerDescription) -> Result<CostModel, Exclusion> {
        let cannot = |detail: String| Err(Exclusion::new(ExclusionReason::TrainerCannot, detail));
        if let Some(kind) = self.kind(contender)
            && !trainer.methods.contains(&kind)
        {
            return cannot(format!("{name} does not tune by {}", kind.name()));
        }
        if let Some(most) = trainer.data_size_max
            && most < self.full.examples()
        {
            return cannot(format!(
                "{name} trains on at most {most} examples, the full size is {}",
                self.full
            ));
        }
        let price = trainer
            .price
            .as_ref()
            .filter(|(currency, ..)| currency == self.currency);
        if let Some((_, wanted)) = &self.spec.budget.money
            && price.is_none()
        {
            return cannot(format!("{name} has no prices in {wanted}, which the budget is in"));
        }
        let answers = self.told.estimates.get(&(contender, name.to_owned()));
        let answers = answers.map_or(&[][..], Vec::as_slice);
        let mut estimates = Vec::with_capacity(answers.len());
        for (size, answer) in answers {
            let estimate = match answer {
                Ok(estimate) => estimate,
                Err(fault) => return cannot(fault.to_string()),
            };
            self.able(name, trainer, estimate)?;
            estimates.push((*size, estimate));
        }
        let (_, per_second, per_run) = price.cloned().unwrap_or_default();
        let mut cost = cost_model(&estimates);
        (cost.nanos_per_second, cost.nanos_per_run) = (per_second.max(0), per_run.max(0));
        let timed = estimates.iter().any(|(_, estimate)| estimate.device_seconds.is_some());
        let by_time = self.spec.budget.device_seconds.is_some() || (self.spec.budget.money.is_some() && per_second > 0);
        if by_time && !timed {
            return cannot(format!("{name} does not estimate device time, which the budget limits"));
        }
        Ok(cost)
    }

    fn able(&self, name: &str, trainer: &TrainerDescription, estimate: &RunEstimate) -> Result<(), Exclusion> {
        if let Some((reason, detail)) = &estimate.infeasible {
            let kind = if reason == "OUT_OF_MEMORY" {
                ExclusionReason::Memory
            } else {
                ExclusionReason::TrainerCannot
            };
            return Err(Exclusion::new(kind, format!("{name}: {reason}: {detail}")));
        }
        if let Some(held) = estimate.data_examples
            && held < self.full.examples()
        {
            let detail = format!(
                "{name}: the data hold {held} examples to train on, the full size is {}",
                self.full
            );
            return Err(Exclusion::new(ExclusionReason::TrainerCannot, detail));
        }
        let limits = [
            (
                self.spec.constraints.memory_limit.map(|limit| limit.bytes),
                "the limit is",
            ),
            (trainer.memory_bytes, "its largest device has"),
        ];
        for (limit, which) in limits {
            if let (Some(needed), Some(limit)) = (estimate.memory_bytes, limit)
                && needed > limit
            {
                let (needed, limit) = (gibibytes(needed as f64), gibibytes(limit as f64));
                let detail = format!("{name} estimates {needed} GiB of device memory, {which} {limit} GiB");
                return Err(Exclusion::new(ExclusionReason::Memory, detail));
            }
        }
        Ok(())
    }
}

/// All trainers' refusals as one: their common reason, or that no trainer can.
fn together(refusals: &[Exclusion]) -> Exclusion {
    let Some(first) = refusals.first() else {
        return Exclusion::new(ExclusionReason::TrainerCannot, "no trainer may be used");
    };
    let same = refusals.iter().all(|other| other.reason == first.reason);
    let details: Vec<&str> = refusals.iter().map(|exclusion| exclusion.detail.as_str()).collect();
    let reason = if same {
        first.reason
    } else {
        ExclusionReason::TrainerCannot
    };
    Exclusion::new(reason, details.join("; "))
}

/// A line through the device-seconds of the smallest and the largest size that were told; through the origin where only one was.
fn cost_model(estimates: &[(DataSize, &RunEstimate)]) -> CostModel {
    let memory_bytes = estimates
        .iter()
        .filter_map(|(_, estimate)| estimate.memory_bytes)
        .max()
        .unwrap_or(0);
    let usable = |seconds: &f64| seconds.is_finite() && *seconds >= 0.0;
    let told = estimates
        .iter()
        .filter_map(|(size, estimate)| Some((size.examples() as f64, estimate.device_seconds.filter(usable)?)));
    let told: Vec<(f64, f64)> = told.collect();
    let by_size = |a: &&(f64, f64), b: &&(f64, f64)| a.0.total_cmp(&b.0);
    let (fixed_seconds, seconds_per_example) = match (told.iter().min_by(by_size), told.iter().max_by(by_size)) {
        (Some((small, least)), Some((large, most))) if large > small => {
            let slope = ((most - least) / (large - small)).max(0.0);
            // Never below what was told: a time that falls with size is a flat one.
            (
                least.max(*most) - slope * if most >= least { *large } else { 0.0 },
                slope,
            )
        }
        (Some((size, seconds)), _) if *size > 0.0 => (0.0, seconds / size),
        (Some((_, seconds)), _) => (*seconds, 0.0),
        _ => (0.0, 0.0),
    };
    // A line whose times grow faster than the sizes would begin below 0.
    let (fixed_seconds, seconds_per_example) = match told.iter().max_by(by_size) {
        Some((large, most)) if fixed_seconds < 0.0 => (0.0, most / large),
        _ => (fixed_seconds, seconds_per_example),
    };
    CostModel {
        fixed_seconds,
        seconds_per_example,
        memory_bytes,
        ..CostModel::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(points: &[(u64, f64)]) -> (f64, f64) {
        let estimate = |seconds| RunEstimate {
            device_seconds: Some(seconds),
            ..RunEstimate::default()
        };
        let estimates: Vec<RunEstimate> = points.iter().map(|(_, seconds)| estimate(*seconds)).collect();
        let sizes = points.iter().map(|(size, _)| DataSize::new(*size).unwrap());
        let model = cost_model(&sizes.zip(&estimates).collect::<Vec<_>>());
        (model.fixed_seconds, model.seconds_per_example)
    }

    #[test]
    fn two_estimates_make_a_line_that_is_never_below_them() {
        assert_eq!(model(&[(100, 20.0), (1_100, 120.0)]), (10.0, 0.1));
        assert_eq!(model(&[(1_000, 50.0)]), (0.0, 0.05));
        assert_eq!(model(&[(0, 5.0)]), (5.0, 0.0));
        assert_eq!(model(&[]), (0.0, 0.0));
        assert_eq!(model(&[(100, 50.0), (1_000, 20.0)]), (50.0, 0.0));
        // Steeper than proportional: through the origin and the largest.
        assert_eq!(model(&[(100, 1.0), (1_000, 100.0)]), (0.0, 0.1));
        assert_eq!(model(&[(100, f64::NAN)]), (0.0, 0.0));
    }

    #[test]
    fn refusals_keep_a_common_reason() {
        let memory = Exclusion::new(ExclusionReason::Memory, "a: too small");
        let method = Exclusion::new(ExclusionReason::TrainerCannot, "b: no lora");
        assert_eq!(
            together(&[memory.clone(), memory.clone()]).reason,
            ExclusionReason::Memory
        );
        let both = together(&[memory, method]);
        assert_eq!(
            (both.reason, both.detail.as_str()),
            (ExclusionReason::TrainerCannot, "a: too small; b: no lora")
        );
        assert_eq!(together(&[]).detail, "no trainer may be used");
    }
}

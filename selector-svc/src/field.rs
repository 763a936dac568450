//! Who competes, on which ladder, for how much: what a policy is built for, in a replay as with real runs.

use std::collections::HashMap;

use crate::curve::DataSize;
use crate::error::SimulateError;
use crate::policy::AdaptivePolicy;
use crate::policy::ats_online::AtsOnline;
use crate::policy::exhaustive::{Exhaustive, Profile};
use crate::policy::fitted::FittedForecasts;
use crate::policy::full::FullSize;
use crate::policy::geometric::{Geometric, History, HistorySet};
use crate::policy::halving::Halving;
use crate::policy::random::RandomChoice;
use crate::policy::zero_shot::ZeroShotControl;
use crate::simulate::{NamedHistory, SelectionPolicy};

/// Where losses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Losses {
    /// From a table. Policies whose published rule exceeds its budget do so there, and say it.
    Recorded,
    /// From runs that cost: no policy exceeds its budget.
    Measured,
}

/// Who competes, on which ladder, for how much.
#[derive(Clone, Debug)]
pub(crate) struct Field {
    /// The candidates.
    pub(crate) profiles: Vec<Profile>,
    /// Second names that a history may know them by, in the same order; empty: none have one.
    pub(crate) aliases: Vec<String>,
    /// Ascending; the last is the full size.
    pub(crate) rungs: Vec<DataSize>,
    /// Examples.
    pub(crate) budget: u64,
    /// Of chance.
    pub(crate) seed: u64,
    /// Where they come from.
    pub(crate) losses: Losses,
}

impl Field {
    /// The policy, ready to begin. `sets`: histories besides those that the policy brings. `fitted`: for flat policies with a law.
    pub(crate) fn policy(
        &self,
        policy: &SelectionPolicy,
        sets: &[NamedHistory],
        fitted: Option<&FittedForecasts>,
    ) -> Result<Box<dyn AdaptivePolicy>, SimulateError> {
        let (count, rungs, budget) = (self.profiles.len(), self.rungs.clone(), self.budget);
        let full = rungs.last().copied().unwrap_or(DataSize::ZERO);
        Ok(match (policy, self.losses) {
            (SelectionPolicy::Geometric(parameters, own), _) => {
                let history = self.history(own.iter().chain(sets));
                Box::new(Geometric::new(count, rungs, budget, parameters.clone(), history)?)
            }
            (SelectionPolicy::Halving(parameters), Losses::Recorded) => {
                Box::new(Halving::new(count, rungs, budget, *parameters))
            }
            (SelectionPolicy::Halving(parameters), Losses::Measured) => {
                Box::new(Halving::within(count, rungs, budget, *parameters)?)
            }
            (SelectionPolicy::Flat(ranking), losses) => {
                let (ranking, profiles) = (ranking.build(fitted), self.profiles.clone());
                Box::new(match losses {
                    Losses::Recorded => Exhaustive::new(ranking, profiles, &rungs, budget)?,
                    Losses::Measured => Exhaustive::online(ranking, profiles, &rungs, budget)?,
                })
            }
            (SelectionPolicy::Ats(parameters, largest), _) => {
                Box::new(AtsOnline::new(count, &rungs, budget, *parameters, *largest)?)
            }
            (SelectionPolicy::Exhaustive, _) => Box::new(FullSize::new(count, full, budget)?),
            (SelectionPolicy::Random, _) => Box::new(RandomChoice::new(count, self.seed)),
            (SelectionPolicy::ZeroShot, _) => Box::new(ZeroShotControl::new(count)),
        })
    }

    fn history<'a>(&self, sets: impl Iterator<Item = &'a NamedHistory>) -> Option<History> {
        let set = |named: &NamedHistory| {
            let by_name: HashMap<&str, f64> = named.losses.iter().map(|(n, l)| (n.as_str(), l.nats().ln())).collect();
            let find = |(index, profile): (usize, &Profile)| {
                let alias = || by_name.get(self.aliases.get(index)?.as_str());
                by_name.get(profile.name.as_str()).or_else(alias).copied()
            };
            HistorySet {
                name: named.data_set.clone(),
                log_losses: self.profiles.iter().enumerate().map(find).collect(),
            }
        };
        History::new(self.profiles.len(), &sets.map(set).collect::<Vec<_>>())
    }
}

//! Selections driven without trainers: the state machine, the plan and the race, with losses from a table. They must choose what the
//! replay chooses, whatever is interrupted, and never spend more than they may.

mod ride;

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use selector_svc::curve::{LearningCurve, Loss, Observation};
use selector_svc::policy::{ExclusionReason, RankingPolicy};
use selector_svc::race::Race;
use selector_svc::ranking::{RankRequest, rank};
use selector_svc::selection::{BudgetSpec, Ending, Failure, Phase, State, Verdict};
use selector_svc::simulate::{Budget, NamedHistory, SelectionPolicy, SimulateRequest, Simulation, simulate};
use selector_svc::table::{Attributes, Candidate, CandidateTable};

use self::ride::{Ride, Trouble, spec_of};
use crate::data::{FULL, assert_close, golden, integer, number, size, table};

fn relative(ratio: f64, fraction: f64) -> BudgetSpec {
    BudgetSpec {
        relative: Some((ratio, fraction)),
        ..BudgetSpec::default()
    }
}

fn examples(examples: u64) -> BudgetSpec {
    BudgetSpec {
        examples: Some(examples),
        ..BudgetSpec::default()
    }
}

/// The same question to the replay and to a driven selection.
fn both(table: &CandidateTable, policy: &SelectionPolicy, ratio: f64, fraction: f64) -> Option<(Simulation, State)> {
    let budget = Budget::RelativeToAts { ratio, fraction };
    let replayed = simulate(table, &SimulateRequest::new(size(FULL), budget, policy.clone()), None);
    let spec = spec_of(table, size(FULL), 200, policy.clone(), relative(ratio, fraction));
    let mut ride = Ride::new(table, spec, Trouble::default());
    ride.rebuilds = false;
    let state = ride.run();
    match replayed {
        Ok(replayed) if replayed.spent_examples <= replayed.budget_examples => Some((replayed, state)),
        // Where the replayed rule exceeds its budget, or has none that fits, the driven one refuses.
        _ => {
            let refused = Failure::BudgetTooSmall;
            assert!(
                matches!(&state.phase, Phase::Ended(Ending::Failed { failure, .. }) if *failure == refused),
                "{} at {ratio}·{fraction}: {:?}",
                policy.name(),
                state.phase
            );
            assert!(state.trials.is_empty());
            None
        }
    }
}

fn assert_same(replayed: &Simulation, state: &State) {
    let chosen = state.choice().map(|contender| state.spec.contender_name(contender));
    assert_eq!(chosen.as_deref(), Some(replayed.chosen.as_str()));
    assert_eq!(state.spent.examples, replayed.spent_examples);
    assert_eq!(state.limits.examples, Some(replayed.budget_examples));
    assert_eq!(state.rounds.len(), replayed.rungs.len());
    for (round, rung) in state.rounds.iter().zip(&replayed.rungs) {
        let (decision, _) = round.decision.as_ref().unwrap();
        assert_eq!(
            (decision.data_size, &decision.trained),
            (rung.data_size, &rung.trained_data_sizes)
        );
        let names: Vec<String> = decision
            .contenders
            .iter()
            .map(|c| state.spec.contender_name(c.contender))
            .collect();
        let both: Vec<String> = rung.kept.iter().chain(&rung.dropped).cloned().collect();
        assert_eq!(names, both);
        for (judged, score) in decision.contenders.iter().zip(&rung.log_scores) {
            if let Some(own) = judged.log_score {
                assert_eq!(own.to_bits(), score.to_bits());
            }
        }
        assert_eq!(round.spent.examples, rung.spent_examples);
    }
    let forecasts = Race::new(state).unwrap().forecasts(state);
    for candidate in &replayed.candidates {
        let contender = state
            .spec
            .candidates
            .iter()
            .position(|c| c.id == candidate.candidate)
            .unwrap();
        let Some(forecast) = forecasts[contender] else { continue };
        assert_close(forecast.log_loss.exp(), candidate.predicted_loss, "forecast");
        assert_eq!(forecast.sd, candidate.log_sd);
    }
}

#[test]
fn driven_selections_choose_as_replays_do_on_the_published_curves() {
    let Some(rows) = golden("geometric") else { return };
    let mut compared = 0;
    for name in ["flan", "wmt19"] {
        let Some(table) = table(name) else { return };
        for row in &rows {
            let (ratio, fraction) = (1.0 / number(row, "gamma_inv"), number(row, "budget_fraction"));
            for policy in [
                "geometric",
                "halving",
                "halving_current",
                "ats_online",
                "ats",
                "rwl",
                "local_trend",
                "sub_tuning",
            ] {
                let policy = SelectionPolicy::from_name(policy).unwrap();
                let Some((replayed, state)) = both(&table, &policy, ratio, fraction) else {
                    continue;
                };
                assert_same(&replayed, &state);
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared} comparisons");
}

#[test]
fn controls_choose_as_replays_do() {
    let Some(table) = table("flan") else { return };
    for policy in ["zero_shot_control", "random", "model_size", "exhaustive"] {
        let policy = SelectionPolicy::from_name(policy).unwrap();
        let (replayed, state) = both(&table, &policy, 1.0, 1.0).unwrap();
        assert_same(&replayed, &state);
    }
    // A ranking by the loss before fine-tuning is measured at size 0 alone when runs cost.
    let policy = SelectionPolicy::from_name("zero_shot").unwrap();
    let (replayed, state) = both(&table, &policy, 1.0 / 64.0, 1.0).unwrap();
    let chosen = state.choice().map(|contender| state.spec.contender_name(contender));
    assert_eq!((chosen, state.spent.examples), (Some(replayed.chosen), 0));
}

#[test]
fn geometric_driven_spends_and_chooses_as_its_golden() {
    let (Some(table), Some(rows)) = (table("flan"), golden("geometric")) else {
        return;
    };
    let policy = SelectionPolicy::from_name("geometric").unwrap();
    for row in &rows {
        let (ratio, fraction) = (1.0 / number(row, "gamma_inv"), number(row, "budget_fraction"));
        let spec = spec_of(&table, size(FULL), 200, policy.clone(), relative(ratio, fraction));
        let state = Ride::new(&table, spec, Trouble::default()).run();
        assert_eq!(state.limits.examples, Some(integer(row, "budget_points")));
        assert_eq!(state.spent.examples, integer(row, "spent_points"));
        assert_eq!(state.spec.contender_name(state.choice().unwrap()), row["chosen"]);
    }
}

#[test]
fn ats_paid_run_by_run_answers_as_the_flat_ranking_for_less() {
    for (name, gammas) in [
        ("flan", crate::data::GAMMA_INVERSES),
        ("wmt19", crate::data::GAMMA_INVERSES),
    ] {
        let Some(table) = table(name) else { return };
        for gamma in gammas {
            let ratio = 1.0 / gamma as f64;
            let policy = SelectionPolicy::from_name("ats_online").unwrap();
            let (_, state) = both(&table, &policy, ratio, 1.0).unwrap();
            let request = RankRequest::new(size(FULL / gamma), size(FULL), RankingPolicy::from_name("ats").unwrap());
            let flat = rank(&table, &request, None).unwrap();
            let (decision, _) = state.rounds.last().unwrap().decision.as_ref().unwrap();
            let online: Vec<(String, u64)> = decision
                .contenders
                .iter()
                .map(|c| (state.spec.contender_name(c.contender), c.log_score.unwrap().to_bits()))
                .collect();
            let ranked: Vec<(String, u64)> = flat
                .candidates
                .iter()
                .map(|c| (c.candidate.clone(), c.predicted_loss.unwrap().ln().to_bits()))
                .collect();
            assert_eq!(online, ranked, "{name} at 1/{gamma}");
            assert!(state.spent.examples <= state.limits.examples.unwrap());
            let sizes = state.rounds[0].decision.as_ref().unwrap().0.trained.clone();
            assert_eq!(sizes.last(), Some(&size(FULL / gamma)));
        }
    }
}

#[test]
fn an_explicit_largest_size_of_ats_is_halved_down() {
    let Some(table) = table("flan") else { return };
    let policy = SelectionPolicy::Ats(
        selector_svc::policy::ats::AtsParameters::default(),
        Some(size(FULL / 64)),
    );
    let request = SimulateRequest::new(size(FULL), Budget::Examples(u64::MAX), policy.clone());
    let found = simulate(&table, &request, None).unwrap();
    let flat = SimulateRequest::new(
        size(FULL),
        Budget::RelativeToAts {
            ratio: 1.0 / 64.0,
            fraction: 1.0,
        },
        SelectionPolicy::from_name("ats").unwrap(),
    );
    assert_eq!(found.chosen, simulate(&table, &flat, None).unwrap().chosen);
    let too_little = SimulateRequest::new(size(FULL), Budget::Examples(1_000), policy);
    assert!(
        simulate(&table, &too_little, None)
            .unwrap_err()
            .to_string()
            .contains("smallest plan")
    );
}

#[test]
fn histories_of_the_spec_and_of_the_store_start_alike() {
    let (Some(flan), Some(wmt)) = (table("flan"), table("wmt19")) else {
        return;
    };
    let history = NamedHistory::from_table("wmt19", &wmt, size(FULL));
    let Some(SelectionPolicy::Geometric(parameters, _)) = SelectionPolicy::from_name("geometric") else {
        panic!("geometric")
    };
    let policy = SelectionPolicy::Geometric(parameters, vec![history]);
    let (replayed, state) = both(&flan, &policy, 1.0 / 64.0, 0.25).unwrap();
    assert_same(&replayed, &state);
}

/// Every candidate at every size of one ladder, full size last, and zero-shot.
fn complete_table() -> impl Strategy<Value = CandidateTable> {
    (1_usize..9, 1_usize..9).prop_flat_map(|(candidates, rungs)| {
        let loss = prop_oneof![0.5..8.0_f64, Just(1.0)].prop_map(|nats| Loss::new(nats).unwrap());
        prop::collection::vec(prop::collection::vec(loss, rungs + 1), candidates).prop_map(|losses| {
            let curve = |row: Vec<Loss>| {
                let point = |(i, loss): (usize, Loss)| {
                    let data_size = if i == 0 { 0 } else { 100_u64 << (i - 1) };
                    Observation::new(size(data_size), loss)
                };
                LearningCurve::new(row.into_iter().enumerate().map(point).collect()).unwrap()
            };
            let candidate = |(i, row): (usize, Vec<Loss>)| {
                let attributes = Attributes::new(None, Some(1_000 + i as u64), BTreeMap::new());
                Candidate::new(format!("c{i}"), attributes, curve(row)).unwrap()
            };
            CandidateTable::new(losses.into_iter().enumerate().map(candidate).collect()).unwrap()
        })
    })
}

fn any_policy() -> impl Strategy<Value = SelectionPolicy> {
    let names = [
        "geometric",
        "geometric",
        "halving",
        "halving_current",
        "ats_online",
        "ats_online",
        "exhaustive",
        "random",
        "zero_shot_control",
        "ats",
        "rwl",
        "zero_shot",
        "model_size",
    ];
    prop::sample::select(names.to_vec()).prop_map(|name| SelectionPolicy::from_name(name).unwrap())
}

fn any_trouble() -> impl Strategy<Value = Trouble> {
    let dice = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 1..40),
        prop::collection::vec(0..80_u8, 1..40)
    ];
    (dice, prop::collection::vec((0..60_u64, 1..100_000_u64), 0..3)).prop_map(|(dice, amendments)| Trouble {
        dice,
        at: 0,
        amendments,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_fails_nothing_panics_and_no_limit_is_passed(table in complete_table(), policy in any_policy(),
        budget in prop_oneof![1..20_000_u64, 1..400_000_u64], trouble in any_trouble()) {
        let full = table.largest_data_size().unwrap();
        let amended = !trouble.amendments.is_empty();
        let state = Ride::new(&table, spec_of(&table, full, 100, policy, examples(budget)), trouble).run();
        prop_assert_eq!(state.reserved.examples, 0);
        if !amended {
            prop_assert!(state.spent.examples <= budget);
        }
        // Every round was within what the policy was allowed at the time, whatever was wasted before.
        if let Some(prepared) = state.prepared.as_ref().filter(|_| !amended) {
            for round in 0..state.rounds.len() {
                let before = if round == 0 { 0 } else { state.rounds[round - 1].spent.examples };
                let planned: u64 = state.rounds[round].trials.iter().map(|t| state.trials[*t].data_size.examples()).sum();
                prop_assert!(before + planned <= prepared.plan_examples);
            }
        }
        let out: HashMap<usize, ExclusionReason> =
            state.withdrawn.iter().map(|(contender, _, exclusion)| (*contender, exclusion.reason)).collect();
        match &state.phase {
            Phase::Ended(Ending::Succeeded) => {
                let choice = state.choice().unwrap();
                prop_assert!(!out.contains_key(&choice) || out[&choice] != ExclusionReason::RunsFailed);
                prop_assert!(!out.values().any(|reason| *reason == ExclusionReason::Budget));
            }
            Phase::Ended(Ending::BudgetExhausted { .. }) => {
                prop_assert!(state.choice().is_some());
                prop_assert!(out.values().any(|reason| *reason == ExclusionReason::Budget));
            }
            Phase::Ended(Ending::Failed { failure, detail }) => {
                prop_assert!(!detail.is_empty());
                prop_assert!(matches!(failure, Failure::BudgetTooSmall | Failure::AllRunsFailed), "{failure:?} {detail}");
                prop_assert!(state.trials.is_empty() || !out.is_empty());
            }
            other => prop_assert!(false, "{other:?}"),
        }
        for (decision, _) in state.rounds.iter().filter_map(|round| round.decision.as_ref()) {
            let chosen = decision.contenders.iter().filter(|c| c.verdict == Verdict::Chosen).count();
            prop_assert!(chosen <= 1);
            prop_assert!(decision.contenders.iter().all(|c| c.log_score.is_none_or(f64::is_finite)));
            prop_assert!(decision.expected_regret.is_none_or(|regret| regret.is_finite() && regret >= 0.0));
        }
    }

    #[test]
    fn without_trouble_a_driven_selection_is_its_replay(table in complete_table(), policy in any_policy(), budget in 1..400_000_u64) {
        let full = table.largest_data_size().unwrap();
        let state = Ride::new(&table, spec_of(&table, full, 100, policy.clone(), examples(budget)), Trouble::default()).run();
        let replayed = simulate(&table, &SimulateRequest::new(full, Budget::Examples(budget), policy.clone()), None);
        let Some(choice) = state.choice() else { return Ok(()) };
        let replayed = replayed.unwrap();
        prop_assert_eq!(&state.spec.contender_name(choice), &replayed.chosen);
        if policy.name() != "zero_shot" {
            prop_assert_eq!(state.spent.examples, replayed.spent_examples);
        }
    }
}

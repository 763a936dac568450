//! What no table may break: no panic, order of the input without influence, budgets kept, answers complete.

use std::collections::BTreeMap;

use proptest::prelude::*;
use selector_svc::curve::{DataSize, LearningCurve, Loss, Observation};
use selector_svc::policy::RankingPolicy;
use selector_svc::ranking::{RankRequest, rank};
use selector_svc::simulate::{Budget, SelectionPolicy, SimulateRequest, simulate};
use selector_svc::table::{Attributes, Candidate, CandidateTable};

fn build(curves: Vec<Vec<Observation>>) -> CandidateTable {
    let candidates = curves.into_iter().enumerate().map(|(i, points)| {
        let attributes = Attributes::new(
            Some(format!("f{}", i % 3)),
            (i % 4 != 0).then_some(1000 + i as u64),
            BTreeMap::new(),
        );
        Candidate::new(format!("c{i}"), attributes, LearningCurve::new(points).unwrap()).unwrap()
    });
    CandidateTable::new(candidates.collect()).unwrap()
}

fn reversed(table: &CandidateTable) -> CandidateTable {
    CandidateTable::new(table.candidates().iter().rev().cloned().collect()).unwrap()
}

fn any_loss() -> impl Strategy<Value = Loss> {
    prop_oneof![0.5..8.0_f64, Just(1.0), 1e-300..1e6_f64].prop_map(|nats| Loss::new(nats).unwrap())
}

/// Any sizes, dense and sparse, with any losses and noise.
fn any_curve() -> impl Strategy<Value = Vec<Observation>> {
    let sizes = prop_oneof![0..40_u64, 0..2_000_000_u64, 0..DataSize::MAX];
    prop::collection::btree_map(sizes, (any_loss(), prop::option::of(0.0..1e3_f64)), 0..8).prop_map(|points| {
        let point = |(size, (loss, error)): (u64, (Loss, Option<f64>))| {
            let point = Observation::new(DataSize::new(size).unwrap(), loss);
            error.map_or(point, |error| point.with_standard_error(error).unwrap())
        };
        points.into_iter().map(point).collect()
    })
}

fn any_table() -> impl Strategy<Value = CandidateTable> {
    prop::collection::vec(any_curve(), 1..7).prop_map(build)
}

/// Every candidate at every size of one ladder.
fn complete_table() -> impl Strategy<Value = CandidateTable> {
    (1_usize..12, 1_usize..12).prop_flat_map(|(candidates, rungs)| {
        prop::collection::vec(prop::collection::vec(any_loss(), rungs), candidates).prop_map(|losses| {
            let curve = |row: Vec<Loss>| {
                let point = |(i, loss)| Observation::new(DataSize::new(100_u64 << i).unwrap(), loss);
                row.into_iter().enumerate().map(point).collect()
            };
            build(losses.into_iter().map(curve).collect())
        })
    })
}

fn any_size() -> impl Strategy<Value = DataSize> {
    prop_oneof![0..100_u64, 0..4_000_000_u64, 0..=DataSize::MAX].prop_map(|size| DataSize::new(size).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_candidate_is_answered_with_finite_numbers(table in any_table(), budget in any_size(), full in any_size(),
        policy in prop::sample::select(RankingPolicy::NAMES.to_vec())) {
        let mut request = RankRequest::new(budget, full, RankingPolicy::from_name(policy).unwrap());
        request.forecast_data_sizes = vec![DataSize::new(7).unwrap(), DataSize::new(DataSize::MAX).unwrap()];
        let Ok(ranking) = rank(&table, &request, None) else { return Ok(()) };
        prop_assert_eq!(ranking.candidates.len() + ranking.excluded.len(), table.candidates().len());
        for (i, candidate) in ranking.candidates.iter().enumerate() {
            prop_assert_eq!(candidate.rank, i + 1);
            prop_assert!(candidate.score.is_finite());
            if let Some(interval) = candidate.interval {
                prop_assert!(interval.lower.is_finite() && interval.upper.is_finite() && interval.lower <= interval.upper);
                let predicted = candidate.predicted_loss.unwrap();
                prop_assert!(interval.lower <= predicted * (1.0 + 1e-9) && predicted <= interval.upper * (1.0 + 1e-9));
            }
            prop_assert!(candidate.win_share.is_none_or(|share| (-1e-9..=1.0 + 1e-6).contains(&share)));
        }
        prop_assert!(ranking.candidates.is_sorted_by(|a, b| a.score <= b.score));
    }

    #[test]
    fn the_order_of_the_table_does_not_matter(table in complete_table(),
        policy in prop::sample::select(vec!["ats", "ats_corrected", "rwl", "local_trend", "sub_tuning"])) {
        let Some(budget) = table.largest_data_size() else { return Ok(()) };
        let full = DataSize::new(budget.examples() * 8).unwrap();
        let request = RankRequest::new(budget, full, RankingPolicy::from_name(policy).unwrap());
        let (a, b) = (rank(&table, &request, None).unwrap(), rank(&reversed(&table), &request, None).unwrap());
        for candidate in &a.candidates {
            let other = b.candidates.iter().find(|c| c.candidate == candidate.candidate).unwrap();
            // Sums over the pool are rounded in another order.
            prop_assert!((candidate.score - other.score).abs() <= 1e-6 * candidate.score.abs(), "{candidate:?} {other:?}");
        }
    }

    #[test]
    fn replays_never_panic_and_geometric_keeps_its_budget(table in complete_table(), budget in 1..400_000_u64,
        policy in prop::sample::select(vec!["geometric", "halving", "halving_current", "ats", "rwl", "model_size"])) {
        let Some(full) = table.largest_data_size() else { return Ok(()) };
        let request = SimulateRequest::new(full, Budget::Examples(budget), SelectionPolicy::from_name(policy).unwrap());
        let Ok(found) = simulate(&table, &request, None) else { return Ok(()) };
        if !policy.starts_with("halving") {
            prop_assert!(found.spent_examples <= budget);
            prop_assert!(found.planned_examples <= budget);
        }
        prop_assert_eq!(found.warnings.iter().any(|w| w.code.as_str() == "budget_exceeded"), found.spent_examples > budget);
        let trained: u64 = found.candidates.iter().flat_map(|c| &c.data_sizes_trained).map(|s| s.examples()).sum();
        if policy != "model_size" && policy != "ats" && policy != "rwl" {
            prop_assert_eq!(trained, found.spent_examples);
            prop_assert_eq!(found.candidates.len(), table.candidates().len());
        }
        prop_assert_eq!(&found.candidates[0].candidate, &found.chosen);
        prop_assert_eq!(&found.rungs.last().unwrap().leader, &found.chosen);
        prop_assert_eq!(found.rungs.last().unwrap().spent_examples, found.spent_examples);
    }

    #[test]
    fn replays_of_holey_tables_name_what_is_missing(table in any_table(), full in any_size(), budget in 1..u64::MAX,
        policy in prop::sample::select(vec!["geometric", "halving", "ats"])) {
        let request = SimulateRequest::new(full, Budget::Examples(budget), SelectionPolicy::from_name(policy).unwrap());
        if let Err(error) = simulate(&table, &request, None) {
            prop_assert!(!error.to_string().is_empty());
        }
    }
}

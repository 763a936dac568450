//! Adaptive policies against their goldens.

use std::collections::HashMap;

use selector_svc::simulate::{Budget, NamedHistory, SelectionPolicy, SimulateRequest, Simulation, simulate};
use selector_svc::table::CandidateTable;

use crate::data::{FULL, assert_close, golden, integer, number, size, table};

fn replay(table: &CandidateTable, policy: &str, row: &HashMap<String, String>) -> Simulation {
    let budget = Budget::RelativeToAts {
        ratio: 1.0 / number(row, "gamma_inv"),
        fraction: number(row, "budget_fraction"),
    };
    let policy = SelectionPolicy::from_name(policy).unwrap();
    simulate(table, &SimulateRequest::new(size(FULL), budget, policy), None).unwrap()
}

fn check_choice(found: &Simulation, row: &HashMap<String, String>) {
    assert_eq!(found.budget_examples, integer(row, "budget_points"));
    assert_eq!(found.spent_examples, integer(row, "spent_points"));
    assert_eq!(found.chosen, row["chosen"]);
    let metrics = found.metrics.as_ref().unwrap();
    assert_close(metrics.relative_accuracy.unwrap(), number(row, "relacc"), "RelAcc");
    assert_close(metrics.relative_regret, number(row, "rel_regret"), "relative regret");
    assert_close(metrics.chosen_loss, number(row, "chosen_true_loss"), "true loss");
}

#[test]
fn halving_equals_its_golden() {
    let (Some(table), Some(rows)) = (table("flan"), golden("halving_eta2_tau1")) else {
        return;
    };
    for row in &rows {
        let found = replay(&table, "halving", row);
        check_choice(&found, row);
        let survivors: Vec<String> = found.rungs.iter().map(|rung| rung.candidates.to_string()).collect();
        assert_eq!(survivors.join(">"), row["survivors"]);
        assert_eq!(found.rungs[0].data_size.examples(), integer(row, "start_rung_size"));
        assert_eq!(
            found.rungs.last().unwrap().data_size.examples(),
            integer(row, "end_rung_size")
        );
        let exceeded = found.spent_examples > found.budget_examples;
        assert_eq!(
            found.warnings.iter().any(|w| w.code.as_str() == "budget_exceeded"),
            exceeded
        );
        assert_eq!(found.planned_examples, found.spent_examples);
    }
}

#[test]
fn geometric_equals_its_golden() {
    let (Some(table), Some(rows)) = (table("flan"), golden("geometric")) else {
        return;
    };
    for row in &rows {
        let found = replay(&table, "geometric", row);
        check_choice(&found, row);
        let (first, rest) = found.rungs.split_first().unwrap();
        let sizes: Vec<String> = first.trained_data_sizes.iter().map(ToString::to_string).collect();
        assert_eq!(format!("{}>{}", sizes.join("+"), first.leader), row["init_sizes"]);
        let rounds: Vec<String> = rest
            .iter()
            .map(|r| format!("{}:{}>{}", r.data_size, r.candidates, r.leader))
            .collect();
        assert_eq!(rounds.join(" | "), row["rounds"]);
        let chosen = found.candidates.iter().find(|c| c.candidate == found.chosen).unwrap();
        let claimed = number(row, "claimed_pbest");
        assert!(
            (chosen.win_share.unwrap() - claimed).abs() < 0.03,
            "{:?} instead of {claimed}",
            chosen.win_share
        );
        assert!(found.spent_examples <= found.budget_examples);
    }
}

#[test]
fn geometric_forecasts_equal_their_golden() {
    let (Some(table), Some(rows)) = (table("flan"), golden("geometric_posterior")) else {
        return;
    };
    let mut replays: HashMap<String, Simulation> = HashMap::new();
    for row in &rows {
        let key = format!("{} {}", row["gamma_inv"], row["budget_fraction"]);
        let found = replays.entry(key).or_insert_with(|| replay(&table, "geometric", row));
        let candidate = found.candidates.iter().find(|c| c.candidate == row["model"]).unwrap();
        let bought: Vec<String> = candidate.data_sizes_trained.iter().map(ToString::to_string).collect();
        assert_eq!(bought.join("+"), row["sizes_bought"]);
        if candidate.data_sizes_trained.last() == Some(&size(FULL)) {
            // The golden lists the filtered forecast; the answer is what was observed.
            let truth = table.find(&row["model"]).unwrap().true_loss(size(FULL)).unwrap();
            assert_close(candidate.predicted_loss, truth.nats(), "observed loss");
            assert_eq!(candidate.log_sd, Some(0.0));
            continue;
        }
        assert_close(
            candidate.predicted_loss.ln(),
            number(row, "pred_ln_loss_full"),
            "forecast",
        );
        assert_close(candidate.log_sd.unwrap(), number(row, "pred_sd"), "deviation");
    }
}

#[test]
fn a_warm_start_reports_what_history_alone_would_choose() {
    let (Some(flan), Some(wmt)) = (table("flan"), table("wmt19")) else {
        return;
    };
    let history = NamedHistory::from_table("wmt19", &wmt, size(FULL));
    let SelectionPolicy::Geometric(parameters, _) = SelectionPolicy::from_name("geometric").unwrap() else {
        panic!("geometric")
    };
    let policy = SelectionPolicy::Geometric(parameters, vec![history]);
    let budget = Budget::RelativeToAts {
        ratio: 1.0 / 64.0,
        fraction: 0.25,
    };
    let found = simulate(&flan, &SimulateRequest::new(size(FULL), budget, policy), None).unwrap();
    let alone = found.history_alone.unwrap();
    let best = wmt.candidates().iter().min_by(|a, b| {
        a.true_loss(size(FULL))
            .unwrap()
            .nats()
            .total_cmp(&b.true_loss(size(FULL)).unwrap().nats())
    });
    assert_eq!(alone.chosen, best.unwrap().name());
    assert_eq!(alone.used, alone.rank_correlation.unwrap() >= 0.2);
    assert_eq!(found.warnings.is_empty(), alone.used);
    assert!(found.spent_examples <= found.budget_examples);
}

#[test]
fn flat_policies_replayed_at_their_own_cost_choose_as_the_ranking() {
    let Some(rows) = golden("selection_summary") else {
        return;
    };
    let flan = table("flan").unwrap();
    for row in rows.iter().filter(|row| row["method"] == "AtS") {
        let budget = Budget::RelativeToAts {
            ratio: 1.0 / number(row, "gamma_inv"),
            fraction: 1.0,
        };
        let policy = SelectionPolicy::from_name("ats").unwrap();
        let found = simulate(&flan, &SimulateRequest::new(size(FULL), budget, policy), None).unwrap();
        assert_eq!(found.chosen, row["chosen"]);
        assert_eq!(found.rungs[0].data_size.examples(), integer(row, "budget"));
        let metrics = found.metrics.unwrap();
        assert_close(
            metrics.pearson_correlation.unwrap(),
            number(row, "pearcorr"),
            "PearCorr",
        );
        assert_eq!(found.spent_examples, found.budget_examples);
    }
}

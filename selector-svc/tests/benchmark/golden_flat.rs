//! Flat policies against their goldens and the published table.

use selector_svc::policy::rwl::{RwlParameters, RwlPolicy};
use selector_svc::policy::{Model, Pool, RankingPolicy, StopReason};
use selector_svc::ranking::{RankRequest, RankedCandidate, Ranking, rank};
use selector_svc::table::CandidateTable;

use crate::data::{FULL, GAMMA_INVERSES, assert_close, golden, integer, number, size, table};

fn ranking(table: &CandidateTable, policy: &str, budget: u64) -> Ranking {
    let policy = RankingPolicy::from_name(policy).unwrap();
    rank(table, &RankRequest::new(size(budget), size(FULL), policy), None).unwrap()
}

fn candidate<'a>(ranking: &'a Ranking, name: &str) -> &'a RankedCandidate {
    ranking.candidates.iter().find(|c| c.candidate == name).unwrap()
}

#[test]
fn ats_equals_its_golden() {
    let (Some(table), Some(rows)) = (table("flan"), golden("ats_predictions")) else {
        return;
    };
    let mut checked = 0;
    for gamma_inverse in GAMMA_INVERSES {
        let ranking = ranking(&table, "ats", FULL / gamma_inverse);
        for row in rows.iter().filter(|row| integer(row, "gamma_inv") == gamma_inverse) {
            let found = candidate(&ranking, &row["model"]);
            let line = found.line.unwrap();
            assert_close(line.slope, number(row, "slope"), "slope");
            assert_close(line.intercept, number(row, "intercept"), "intercept");
            assert_close(
                found.predicted_loss.unwrap(),
                number(row, "pred_loss"),
                "predicted loss",
            );
            assert_eq!(found.rank as u64, integer(row, "pred_rank"));
            assert_eq!(found.points_used() as u64, integer(row, "n_fitted"));
            assert_eq!(
                found.first_size_used().unwrap().examples(),
                integer(row, "first_fitted_size")
            );
            assert_close(
                found.stop.standardized_residual.unwrap(),
                number(row, "last_std_residual"),
                "residual",
            );
            let stopped = found.stop.reason == StopReason::Outlier;
            assert_eq!(u64::from(stopped), integer(row, "stopped_by_outlier"));
            checked += 1;
        }
    }
    assert_eq!(checked, rows.len());
}

#[test]
fn rwl_equals_its_golden() {
    let (Some(table), Some(rows)) = (table("flan"), golden("rwl_predictions")) else {
        return;
    };
    for gamma_inverse in GAMMA_INVERSES {
        let ranking = ranking(&table, "rwl", FULL / gamma_inverse);
        let pool = Pool::new(table.candidates(), size(FULL / gamma_inverse), size(FULL));
        let uncapped = RwlParameters {
            slope_cap_quantile: None,
            ..RwlParameters::default()
        };
        let (lines, _) = RwlPolicy::new(uncapped).lines(&pool);
        let (_, cap) = RwlPolicy::new(RwlParameters::default()).lines(&pool);
        for row in rows.iter().filter(|row| integer(row, "gamma_inv") == gamma_inverse) {
            let found = candidate(&ranking, &row["model"]);
            assert_close(
                found.predicted_loss.unwrap(),
                number(row, "pred_loss"),
                "predicted loss",
            );
            assert_eq!(found.rank as u64, integer(row, "pred_rank"));
            let position = table
                .candidates()
                .iter()
                .position(|c| c.name() == row["model"])
                .unwrap();
            let line = lines[position].unwrap();
            assert_close(line.level, number(row, "level_log"), "level");
            assert_close(line.slope, number(row, "slope_per_doubling"), "slope");
            assert_close(cap.unwrap(), number(row, "slope_cap_q10"), "cap");
        }
    }
}

#[test]
fn selections_equal_their_golden() {
    let (Some(table), Some(rows)) = (table("flan"), golden("selection_summary")) else {
        return;
    };
    for row in &rows {
        let policy = match row["method"].as_str() {
            "AtS" => "ats",
            "ZeroShot" => "zero_shot",
            "SubTuning" => "sub_tuning",
            "ModelSize" => "model_size",
            other => panic!("unknown method {other}"),
        };
        let ranking = ranking(&table, policy, integer(row, "budget"));
        let metrics = ranking.metrics.as_ref().unwrap();
        let what = format!("{policy} at {}", row["budget"]);
        assert_eq!(ranking.candidates[0].candidate, row["chosen"], "{what}");
        assert_close(metrics.pearson_correlation.unwrap(), number(row, "pearcorr"), &what);
        assert_close(metrics.relative_accuracy.unwrap(), number(row, "relacc"), &what);
        assert_close(metrics.regret, number(row, "regret"), &what);
        assert_close(metrics.relative_regret, number(row, "rel_regret"), &what);
    }
}

/// Table 1 of the paper to its four places.
#[test]
fn baselines_and_ats_equal_the_published_table() {
    let (Some(flan), Some(rows)) = (table("flan"), golden("selection_summary")) else {
        return;
    };
    let four = |x: f64| (x * 1e4).round() / 1e4;
    for row in &rows {
        let policy = match row["method"].as_str() {
            "AtS" => "ats",
            "ZeroShot" => "zero_shot",
            "SubTuning" => "sub_tuning",
            _ => "model_size",
        };
        let metrics = ranking(&flan, policy, integer(row, "budget")).metrics.unwrap();
        assert!((four(metrics.pearson_correlation.unwrap()) - number(row, "pearcorr_ref4")).abs() < 1e-9);
        assert!((four(metrics.relative_accuracy.unwrap()) - number(row, "relacc_ref4")).abs() < 1e-9);
    }
}

#[test]
fn the_line_and_the_forecasts_at_further_sizes_agree() {
    let Some(table) = table("wmt19") else { return };
    let policy = RankingPolicy::from_name("ats").unwrap();
    let mut request = RankRequest::new(size(25_600), size(FULL), policy);
    request.forecast_data_sizes = vec![size(51_200), size(FULL)];
    let ranking = rank(&table, &request, None).unwrap();
    for found in &ranking.candidates {
        let line = found.line.unwrap();
        assert_close(
            found.forecasts[0].predicted_loss,
            line.log_loss_at(size(51_200)).exp(),
            "further size",
        );
        assert_close(
            found.forecasts[1].predicted_loss,
            found.predicted_loss.unwrap(),
            "full size",
        );
        assert_eq!(found.forecasts[1].interval, found.interval);
    }
}

#[test]
fn local_trend_forecasts_come_from_its_own_model() {
    let Some(table) = table("flan") else { return };
    let pool = Pool::new(table.candidates(), size(25_600), size(FULL));
    let outcomes = RankingPolicy::from_name("local_trend")
        .unwrap()
        .build(None)
        .forecast(&pool);
    for outcome in outcomes {
        let forecast = outcome.unwrap();
        let Model::Trend(state, variances) = forecast.model else {
            panic!("a trend")
        };
        let mean = state.forecast(size(FULL).log2(), variances).mean;
        assert_close(forecast.score, mean.exp(), "score");
    }
}

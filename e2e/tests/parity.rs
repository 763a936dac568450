//! The command line prints the paper's tables and the reference results for the published benchmark.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "a test fails by panicking; ranks are whole numbers"
)]

use std::collections::HashMap;
use std::path::Path;

use e2e::{benchmark_dir, finepick, finepick_json};
use serde_json::Value;

/// Lines of a CSV file as maps from column to text. The goldens quote nothing but one column without inner quotes.
fn golden(path: &Path) -> Vec<HashMap<String, String>> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.lines().map(|line| {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for character in line.chars() {
            match character {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                other => fields.last_mut().expect("never empty").push(other),
            }
        }
        fields
    });
    let header = lines.next().expect("a header");
    lines
        .map(|fields| header.iter().cloned().zip(fields).collect())
        .collect()
}

fn number(row: &HashMap<String, String>, column: &str) -> f64 {
    row[column]
        .parse()
        .unwrap_or_else(|_| panic!("{column} = {:?}", row[column]))
}

fn close(found: &Value, expected: f64, tolerance: f64, what: &str) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{what}: {found} is no number"));
    assert!(
        (found - expected).abs() <= tolerance * expected.abs().max(1e-300),
        "{what}: {found} is not {expected}"
    );
}

fn table(dir: &Path, name: &str) -> String {
    dir.join("benchmark").join(format!("{name}.csv")).display().to_string()
}

#[test]
fn benchmark_prints_the_published_table() {
    let Some(dir) = benchmark_dir() else { return };
    let policies = HashMap::from([
        ("AtS", "ats"),
        ("ZeroShot", "zero_shot"),
        ("SubTuning", "sub_tuning"),
        ("ModelSize", "model_size"),
    ]);
    let mut cells = 0;
    for name in ["flan", "wmt19"] {
        let curves = table(&dir, name);
        let rows = finepick_json(&[
            "benchmark",
            "--curves",
            &curves,
            "--full-size",
            "1638400",
            "--format",
            "json",
        ]);
        let rows = rows.as_array().expect("rows");
        for golden in golden(&dir.join("golden/selection_summary.csv"))
            .iter()
            .filter(|row| row["dataset"] == name)
        {
            let (policy, ratio) = (policies[golden["method"].as_str()], 1.0 / number(golden, "gamma_inv"));
            let row = rows
                .iter()
                .find(|row| row["policy"] == policy && row["budget_ratio"] == ratio);
            let row = row.unwrap_or_else(|| panic!("no cell for {policy} at {ratio}"));
            let what = format!("{name} {policy} {ratio}");
            for (key, column) in [
                ("pearson_correlation", "pearcorr_ref4"),
                ("relative_accuracy", "relacc_ref4"),
            ] {
                let found = row[key].as_f64().expect("a metric");
                assert!(
                    (found - number(golden, column)).abs() < 5.001e-5,
                    "{what} {key}: {found} {}",
                    golden[column]
                );
            }
            assert_eq!(row["chosen"], golden["chosen"].as_str(), "{what}");
            close(&row["relative_regret"], number(golden, "rel_regret"), 1e-9, &what);
            cells += 1;
        }
    }
    assert!(cells >= 28, "only {cells} cells were compared");
}

#[test]
fn ats_and_rwl_equal_their_references() {
    let Some(dir) = benchmark_dir() else { return };
    let curves = table(&dir, "flan");
    for (policy, file) in [("ats", "ats_predictions"), ("rwl", "rwl_predictions")] {
        let golden = golden(&dir.join(format!("golden/{file}.csv")));
        for gamma_inv in [8, 16, 32, 64, 128, 256, 512] {
            let ratio = format!("1/{gamma_inv}");
            let answer = finepick_json(&[
                "rank",
                "--curves",
                &curves,
                "--budget-ratio",
                &ratio,
                "--full-size",
                "1638400",
                "--policy",
                policy,
                "--format",
                "json",
            ]);
            for row in golden.iter().filter(|row| row["gamma_inv"] == gamma_inv.to_string()) {
                let candidates = answer["candidates"].as_array().expect("candidates");
                let found = candidates
                    .iter()
                    .find(|c| c["candidate"] == row["model"].as_str())
                    .expect("every model");
                let what = format!("{policy} {ratio} {}", row["model"]);
                close(&found["predicted_loss"], number(row, "pred_loss"), 1e-9, &what);
                assert_eq!(found["rank"].as_f64(), Some(number(row, "pred_rank")), "{what}");
                if policy == "ats" {
                    assert_eq!(found["points_used"].as_f64(), Some(number(row, "n_fitted")), "{what}");
                    assert_eq!(
                        found["first_size_used"].as_f64(),
                        Some(number(row, "first_fitted_size")),
                        "{what}"
                    );
                    if !row["last_std_residual"].is_empty() && number(row, "n_tests") > 0.0 {
                        close(
                            &found["stop"]["standardized_residual"],
                            number(row, "last_std_residual"),
                            1e-7,
                            &what,
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn replays_equal_their_references() {
    let Some(dir) = benchmark_dir() else { return };
    let curves = table(&dir, "flan");
    let simulate = |policy: &str, row: &HashMap<String, String>, history: &[&str]| {
        let ratio = format!("1/{}", row["gamma_inv"]);
        let question = [
            &[
                "simulate",
                "--curves",
                &curves,
                "--full-size",
                "1638400",
                "--budget-ratio",
                &ratio,
                "--policy",
                policy,
                "--budget-fraction",
                &row["budget_fraction"],
                "--format",
                "json",
            ],
            history,
        ];
        finepick_json(&question.concat())
    };
    for row in golden(&dir.join("golden/halving_eta2_tau1.csv"))
        .iter()
        .filter(|row| row["dataset"] == "flan")
    {
        let answer = simulate("halving", row, &[]);
        let what = format!("halving {} {}", row["gamma_inv"], row["budget_fraction"]);
        assert_eq!(answer["chosen"], row["chosen"].as_str(), "{what}");
        assert_eq!(
            answer["spent_examples"].as_f64(),
            Some(number(row, "spent_points")),
            "{what}"
        );
        let rungs = answer["rungs"].as_array().expect("rungs");
        let survivors: Vec<String> = rungs.iter().map(|rung| rung["candidates"].to_string()).collect();
        assert_eq!(survivors.join(">"), row["survivors"], "{what}");
        assert_eq!(
            rungs.first().and_then(|rung| rung["data_size"].as_f64()),
            Some(number(row, "start_rung_size")),
            "{what}"
        );
        assert_eq!(
            rungs.last().and_then(|rung| rung["data_size"].as_f64()),
            Some(number(row, "end_rung_size")),
            "{what}"
        );
    }
    for row in golden(&dir.join("golden/geometric.csv"))
        .iter()
        .filter(|row| row["policy"] == "cold" && row["dataset"] == "flan")
    {
        let answer = simulate("geometric", row, &[]);
        let what = format!("geometric {} {}", row["gamma_inv"], row["budget_fraction"]);
        assert_eq!(answer["chosen"], row["chosen"].as_str(), "{what}");
        assert_eq!(
            answer["spent_examples"].as_f64(),
            Some(number(row, "spent_points")),
            "{what}"
        );
        close(&answer["relative_regret"], number(row, "rel_regret"), 1e-9, &what);
    }
}

#[test]
fn fits_reach_the_global_optimum() {
    let Some(dir) = benchmark_dir() else { return };
    let fit = |name: &str, objective: &str, extra: &[&str]| {
        let curves = table(&dir, name);
        finepick_json(
            &[
                &[
                    "fit",
                    "--curves",
                    &curves,
                    "--objective",
                    objective,
                    "--predict",
                    "1638400",
                    "--format",
                    "json",
                ],
                extra,
            ]
            .concat(),
        )
    };
    let objectives = [("log_rmse", "log-rmse"), ("huber1e-3", "huber")];
    let full = golden(&dir.join("golden/curve_optimum_full14.csv"));
    for (key, flag) in objectives {
        let answers = fit("flan", flag, &[]);
        for row in full
            .iter()
            .filter(|row| row["dataset"] == "flan" && row["objective"] == key)
        {
            let found = answers
                .as_array()
                .and_then(|all| all.iter().find(|a| a["candidate"] == row["model"].as_str()));
            let found = found.expect("every model");
            let what = format!("{key} {}", row["model"]);
            close(&found["objective_value"], number(row, "objective_value"), 1e-6, &what);
            close(
                &found["predictions"][0]["predicted_loss"],
                number(row, "pred_1638400"),
                1e-4,
                &what,
            );
        }
    }
    let truncated = golden(&dir.join("golden/curve_optimum_truncated.csv"));
    let mut sizes: Vec<&str> = truncated.iter().map(|row| row["max_size"].as_str()).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for (key, flag) in objectives {
        for size in &sizes {
            let answers = fit("flan", flag, &["--max-size", size]);
            for row in truncated
                .iter()
                .filter(|r| r["dataset"] == "flan" && r["objective"] == key && r["max_size"] == **size)
            {
                let found = answers
                    .as_array()
                    .and_then(|all| all.iter().find(|a| a["candidate"] == row["model"].as_str()));
                let value = found
                    .and_then(|found| found["objective_value"].as_f64())
                    .expect("a fit");
                let expected = number(row, "objective_value");
                assert!(
                    value <= expected * 1.002 + 1e-18,
                    "{key} {size} {}: {value} above {expected}",
                    row["model"]
                );
            }
        }
    }
}

#[test]
fn the_table_for_people_shows_four_places() {
    let Some(dir) = benchmark_dir() else { return };
    let curves = table(&dir, "flan");
    let output = finepick(&["benchmark", "--curves", &curves, "--full-size", "1638400"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let ats = text
        .lines()
        .find(|line| line.starts_with("ats"))
        .expect("a line for ats");
    // The published correlations of Accept then Stop on FLAN.
    for cell in ["0.9087", "0.7312", "0.6553", "0.6113", "0.5218", "0.5054", "0.4556"] {
        assert!(ats.contains(cell), "{cell} is missing from {ats:?}");
    }
}

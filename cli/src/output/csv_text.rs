//! Answers as comma-separated values: one header, one line an item, unknown values empty.

use super::{BenchmarkRow, FitAnswer, RankAnswer, SimulateAnswer};

/// One CSV document. Writing to memory cannot fail for well-formed rows; if it ever did, the text would end there.
fn document(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let _ = writer.write_record(header);
    for row in rows {
        let _ = writer.write_record(&row);
    }
    writer
        .into_inner()
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default()
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// `rank` as CSV: ranked candidates, then the excluded ones with an empty rank.
#[must_use]
pub fn rank_csv(answer: &RankAnswer) -> String {
    let header = [
        "rank",
        "candidate",
        "predicted_loss",
        "lower",
        "upper",
        "level",
        "win_share",
        "points_used",
        "first_size_used",
        "stop_reason",
        "standardized_residual",
        "true_loss",
        "warnings",
        "excluded",
    ];
    let ranked = answer.candidates.iter().map(|c| {
        let interval = c.interval.as_ref();
        vec![
            c.rank.to_string(),
            c.candidate.clone(),
            text(c.predicted_loss),
            text(interval.map(|i| i.lower)),
            text(interval.map(|i| i.upper)),
            text(interval.map(|i| i.level)),
            text(c.win_share),
            c.points_used.to_string(),
            text(c.first_size_used),
            text(c.stop.as_ref().map(|stop| stop.reason.clone())),
            text(c.stop.as_ref().and_then(|stop| stop.standardized_residual)),
            text(c.true_loss),
            c.warnings.join(" "),
            String::new(),
        ]
    });
    let excluded = answer.excluded.iter().map(|e| {
        let mut row = vec![String::new(); 14];
        row[1].clone_from(&e.candidate);
        row[13] = format!("{}: {}", e.reason, e.detail);
        row
    });
    document(&header, ranked.chain(excluded))
}

/// `fit` as CSV: one line a candidate and coefficient or prediction would be unwieldy, so names are columns, in the order of
/// their first appearance.
#[must_use]
pub fn fit_csv(answers: &[FitAnswer]) -> String {
    let mut names: Vec<&str> = Vec::new();
    let mut sizes: Vec<i64> = Vec::new();
    for answer in answers {
        for name in answer.coefficients.keys() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        for prediction in answer
            .predictions
            .iter()
            .filter(|prediction| prediction.candidate.is_none())
        {
            if !sizes.contains(&prediction.data_size) {
                sizes.push(prediction.data_size);
            }
        }
    }
    let fixed = [
        "candidate",
        "law",
        "objective",
        "objective_value",
        "rmsd_log",
        "verdict",
        "points_used",
        "aicc",
        "warnings",
    ];
    let mut header: Vec<String> = fixed.map(str::to_owned).to_vec();
    header.extend(names.iter().map(|name| (*name).to_owned()));
    for size in &sizes {
        header.extend(["predicted", "lower", "upper"].map(|what| format!("{what}_{size}")));
    }
    let rows = answers.iter().map(|answer| {
        let mut row = vec![
            answer.candidate.clone(),
            answer.law.clone(),
            answer.objective.clone(),
            text(answer.objective_value),
            text(answer.rmsd_log),
            answer.verdict.clone(),
            answer.points_used.to_string(),
            text(answer.aicc),
            answer.warnings.join(" "),
        ];
        row.extend(names.iter().map(|name| text(answer.coefficients.get(*name).copied())));
        for size in &sizes {
            let prediction = answer.predictions.iter().find(|p| p.data_size == *size);
            let interval = prediction.and_then(|p| p.interval.as_ref());
            row.push(text(prediction.map(|p| p.predicted_loss)));
            row.push(text(interval.map(|i| i.lower)));
            row.push(text(interval.map(|i| i.upper)));
        }
        row
    });
    document(&header.iter().map(String::as_str).collect::<Vec<_>>(), rows)
}

/// `benchmark` as CSV.
#[must_use]
pub fn benchmark_csv(rows: &[BenchmarkRow]) -> String {
    let header = [
        "curves",
        "policy",
        "budget_ratio",
        "pearson_correlation",
        "relative_accuracy",
        "relative_regret",
        "cost_examples",
        "chosen",
        "error",
    ];
    document(
        &header,
        rows.iter().map(|row| {
            vec![
                row.curves.clone(),
                row.policy.clone(),
                row.budget_ratio.to_string(),
                text(row.pearson_correlation),
                text(row.relative_accuracy),
                text(row.relative_regret),
                text(row.cost_examples),
                text(row.chosen.clone()),
                text(row.error.clone()),
            ]
        }),
    )
}

/// `simulate` as CSV: one line a decision.
#[must_use]
pub fn simulate_csv(answer: &SimulateAnswer) -> String {
    let header = [
        "policy",
        "rung",
        "data_size",
        "candidates",
        "trained_sizes",
        "leader",
        "kept",
        "spent_examples",
        "chosen",
    ];
    document(
        &header,
        answer.rungs.iter().enumerate().map(|(index, rung)| {
            vec![
                answer.policy.clone(),
                index.to_string(),
                rung.data_size.to_string(),
                rung.candidates.to_string(),
                rung.trained_sizes
                    .iter()
                    .map(i64::to_string)
                    .collect::<Vec<_>>()
                    .join(" "),
                rung.leader.clone(),
                rung.kept.len().to_string(),
                rung.spent_examples.to_string(),
                answer.chosen.clone(),
            ]
        }),
    )
}

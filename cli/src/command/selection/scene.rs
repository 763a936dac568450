//! The picture of a selection.

use crate::output::selection::{RankedContender, Report};
use crate::plot::{ForecastPoint, PlotPoint, PlotScene, PlotSeries, Segment};
use crate::text::{examples, loss, percent};

/// Every contender's losses and forecast; the choice in front, the dropped ones grey with their round; what each round has spent.
pub(super) fn scene(report: &Report) -> PlotScene {
    let title = report.choice.as_ref().map_or("No choice".to_owned(), |choice| {
        format!("Fine-tune {}", report.name(&choice.candidate, &choice.method))
    });
    let largest = |contender: &RankedContender| contender.observations.iter().map(|point| point.data_size).max();
    let reached = report.contenders.iter().filter_map(largest).max();
    let mut verticals = Vec::new();
    if let Some(reached) = reached.filter(|size| *size > 0 && *size < report.full_size) {
        verticals.push((reached as f64, format!("trained up to {}", examples(reached))));
    }
    verticals.push((
        report.full_size as f64,
        format!("all data: {}", examples(report.full_size)),
    ));
    PlotScene {
        title,
        subtitle: subtitle(report),
        x_label: "fine-tuning examples".to_owned(),
        y_label: "held-out loss (nats per token)".to_owned(),
        verticals,
        series: report
            .contenders
            .iter()
            .map(|contender| series(report, contender))
            .collect(),
        spending: segments(report),
        spending_total: report
            .estimate
            .as_ref()
            .and_then(|estimate| estimate.budget.as_ref())
            .map_or(0.0, |budget| budget.examples as f64),
    }
}

fn subtitle(report: &Report) -> String {
    let mut parts = vec![format!("policy {}", report.policy)];
    if let Some(choice) = &report.choice
        && let Some(predicted) = choice.predicted_loss
    {
        let interval = choice
            .interval
            .as_ref()
            .map(|i| format!(" ({} interval {}–{})", percent(i.level), loss(i.lower), loss(i.upper)))
            .unwrap_or_default();
        parts.push(format!("predicted loss {}{interval}", loss(predicted)));
    }
    if let Some(spent) = &report.spent {
        parts.push(format!(
            "{} examples spent, {} of trying all",
            examples(spent.examples),
            percent(report.spent_share)
        ));
    }
    parts.join(" · ")
}

fn series(report: &Report, contender: &RankedContender) -> PlotSeries {
    let measured: Vec<PlotPoint> = contender
        .observations
        .iter()
        .filter(|point| point.data_size > 0)
        .map(|point| PlotPoint {
            x: point.data_size as f64,
            y: point.test_loss,
            used: true,
        })
        .collect();
    let full = report.full_size as f64;
    let forecast = match measured.last() {
        // The truth is there: nothing is extrapolated.
        Some(last) if last.x >= full => Vec::new(),
        last => contender.predicted_loss.map_or_else(Vec::new, |predicted| {
            let end = ForecastPoint {
                x: full,
                y: predicted,
                band: contender
                    .interval
                    .as_ref()
                    .map(|interval| (interval.lower, interval.upper)),
            };
            let start = last.map(|last| ForecastPoint {
                x: last.x,
                y: last.y,
                band: Some((last.y, last.y)),
            });
            start.into_iter().chain([end]).collect()
        }),
    };
    let last_round = report.decisions.last().map_or(i32::MAX, |decision| decision.round);
    let choice = report.choice.as_ref();
    PlotSeries {
        name: report.name(&contender.candidate, &contender.method),
        rank: u32::try_from(contender.rank).ok(),
        highlight: choice
            .is_some_and(|choice| choice.candidate == contender.candidate && choice.method == contender.method),
        // Those of the last round were in the race to its end.
        faded: contender.dropped_after_round.is_some_and(|round| round < last_round),
        measured,
        fitted: Vec::new(),
        forecast,
        truth: None,
        note: contender
            .dropped_after_round
            .map(|round| format!("dropped in round {round}")),
    }
}

/// What each round has spent.
fn segments(report: &Report) -> Vec<Segment> {
    let mut before = 0;
    let mut segments = Vec::new();
    for decision in &report.decisions {
        let total = decision.spent.as_ref().map_or(before, |spent| spent.examples);
        let spent = total - before;
        if spent > 0 {
            segments.push(Segment {
                label: format!("round {}", decision.round),
                value: spent as f64,
            });
        }
        before = total;
    }
    segments
}

#[cfg(test)]
mod tests {
    use finepick_proto::selector::v1 as pb;

    use super::*;

    #[test]
    fn rounds_are_told_apart_by_what_they_added() {
        let decision = |round: i32, spent: i64| pb::Decision {
            round,
            spent: Some(pb::Spending {
                examples: spent,
                ..pb::Spending::default()
            }),
            ..pb::Decision::default()
        };
        let report = Report::from(&pb::SelectionReport {
            decisions: vec![decision(1, 448), decision(2, 448), decision(3, 1_000)],
            data_size_full: 2_048,
            ..pb::SelectionReport::default()
        });
        let scene = scene(&report);
        let values: Vec<(String, f64)> = scene
            .spending
            .iter()
            .map(|segment| (segment.label.clone(), segment.value))
            .collect();
        assert_eq!(values, [("round 1".to_owned(), 448.0), ("round 3".to_owned(), 552.0)]);
        assert_eq!(scene.title, "No choice");
    }
}

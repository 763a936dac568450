//! `finepick explain`: a selection's story in plain words, for somebody who has read no paper.

use std::fmt::Write as _;

use finepick_proto::selector::v1 as pb;

use super::table;
use crate::command::select::{span, spending, told_decision};
use crate::curves::printable;
use crate::output::selection::{Decision, Report, Spending, contender_name};
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::{examples, loss, percent};

/// Columns of text where the output is no terminal.
const WIDTH: usize = 100;
/// Win shares below which a lead is called narrow, and from which it is called clear.
const LEADS: (f64, f64) = (0.5, 0.8);

/// The whole story.
pub(super) fn whole(selection: &pb::Selection, report: &Report, terminal: &Terminal) -> String {
    let mut text = String::new();
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            let heading = if terminal.colour {
                format!("\u{1b}[1m{title}\u{1b}[0m")
            } else {
                title.to_owned()
            };
            let _ = writeln!(text, "{heading}\n{body}");
        }
    };
    section("What was asked", paragraphs(&asked(selection, report), terminal));
    section("The plan", paragraphs(&plan(report), terminal));
    section("What happened", paragraphs(&happened(report), terminal));
    section("The answer", paragraphs(&answer(report), terminal));
    section("What it cost and saved", paragraphs(&costs(report), terminal));
    section("How sure it is", paragraphs(&sure(report), terminal));
    section("What would change it", paragraphs(&change(selection, report), terminal));
    text
}

fn asked(selection: &pb::Selection, report: &Report) -> Vec<String> {
    let Some(spec) = &selection.spec else { return Vec::new() };
    let mut lines = Vec::new();
    let data = spec
        .data
        .as_ref()
        .map_or("data of the caller's own", |data| data.uri.as_str());
    let methods: Vec<&str> = spec.methods.iter().map(|method| method.method_id.as_str()).collect();
    let by = match methods.as_slice() {
        [] | [""] => String::new(),
        [one] => format!(" (method {})", printable(one)),
        several => format!(", each by {}", printable(&several.join(" and by "))),
    };
    // A list that would not fit the message is left out; then there are contenders.
    let candidates = match spec.candidates.len() {
        0 => selection.contenders.len() / methods.len().max(1),
        several => several,
    };
    lines.push(format!(
        "Selection {} asks which of {candidates} checkpoints to fine-tune on {} ({} examples){by}.",
        printable(&selection.selection_id),
        printable(data),
        selection.data_size_full.map_or("not counted yet".to_owned(), examples),
    ));
    if let Some(budget) = &selection.budget {
        lines.push(format!("It may spend {}.", spending(&Spending::from(budget))));
    }
    let policy = policy_words(&report.policy);
    lines.push(format!("Policy {}: {policy}", report.policy));
    lines
}

fn policy_words(name: &str) -> &'static str {
    match name {
        "geometric" => {
            "everybody is trained on small subsets; a curve is drawn through each one's losses and continued to all data; those whose \
             forecasts are worst are dropped, and the others go on with subsets four times as large."
        }
        "halving" => "at every size the worse half, by losses continued to all data, is dropped.",
        "halving_current" => "at every size the worse half is dropped, by the loss at that size.",
        "ats_online" => {
            "the largest size that can be paid is trained first, then ever smaller ones as long as a candidate's losses lie on a line \
             (Accept then Stop); the lines are continued to all data."
        }
        "exhaustive" => "everybody is fine-tuned on all data: the truth, for its full price.",
        "random" => "one is drawn by chance, as a control.",
        "zero_shot_control" | "zero_shot" => "the best before fine-tuning is taken, as a control.",
        _ => "everybody is trained at every size up to the budget's, then ranked.",
    }
}

fn plan(report: &Report) -> Vec<String> {
    let Some(plan) = &report.estimate else {
        return Vec::new();
    };
    let sizes: Vec<String> = plan.data_sizes.iter().map(|size| examples(*size)).collect();
    let mut lines = vec![format!("Sizes to train at: {}.", sizes.join(", "))];
    if let Some(planned) = &plan.planned {
        let mut line = format!(
            "Before the first run it was reckoned to cost at most {}",
            spending(planned)
        );
        if let Some(seconds) = plan.wall_time_seconds {
            let _ = write!(line, ", and to take about {}", span(seconds));
        }
        line.push('.');
        lines.push(line);
    }
    for excluded in &report.excluded {
        let name = report.name(&excluded.candidate, &excluded.method);
        lines.push(format!(
            "{} could not be ranked: {}.",
            printable(&name),
            printable(&excluded.detail)
        ));
    }
    lines
}

fn happened(report: &Report) -> Vec<String> {
    let several = report.several_methods();
    let mut lines = Vec::new();
    for decision in &report.decisions {
        lines.push(told_decision(decision.round, &decision.explanation));
        let dropped: Vec<String> = decision
            .contenders
            .iter()
            .filter(|judged| judged.verdict == "dropped")
            .map(|judged| {
                let name = printable(&contender_name(&judged.candidate, &judged.method, several));
                judged
                    .score
                    .map_or(name.clone(), |score| format!("{name} (forecast {})", loss(score)))
            })
            .collect();
        if !dropped.is_empty() {
            lines.push(format!("  Dropped: {}.", dropped.join(", ")));
        }
    }
    if report.decisions.is_empty() {
        lines.push("Nothing has been judged yet.".to_owned());
    }
    lines
}

fn answer(report: &Report) -> Vec<String> {
    let mut lines = vec![table::choice(report).trim_end().to_owned()];
    let runner_up = report.contenders.get(1);
    if let (Some(best), Some(second)) = (report.contenders.first(), runner_up) {
        let name = printable(&report.name(&second.candidate, &second.method));
        if let (Some(first), Some(next)) = (best.predicted_loss, second.predicted_loss) {
            lines.push(format!(
                "The next best is {name}, forecast at {}: {} worse.",
                loss(next),
                percent((next - first) / first)
            ));
        }
    }
    if let Some(best) = report.contenders.first().filter(|best| !best.reason.is_empty()) {
        lines.push(format!(
            "Why it leads: {}.",
            printable(best.reason.trim_end_matches('.'))
        ));
    }
    lines
}

fn costs(report: &Report) -> Vec<String> {
    let mut lines: Vec<String> = table::cost(report).lines().map(str::to_owned).collect();
    if let Some(all) = report.exhaustive.as_ref().filter(|all| all.examples > 0) {
        lines.push(format!(
            "Fine-tuning every candidate on all data would have cost {}.",
            spending(all)
        ));
    }
    if let Some(accuracy) = &report.accuracy {
        let times = |what: &str, factor: Option<f64>| factor.map(|factor| format!("{factor:.2} times the {what}"));
        let parts = [
            times("examples", accuracy.examples),
            times("device time", accuracy.device_seconds),
            times("wall time", accuracy.wall_time),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            lines.push(format!("It took {} of the estimate.", parts.join(", ")));
        }
    }
    lines
}

fn sure(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let best = report.contenders.first();
    if let Some(share) = best.and_then(|best| best.win_share) {
        let words = match share {
            _ if share < LEADS.0 => "a narrow lead",
            _ if share < LEADS.1 => "a lead",
            _ => "a clear lead",
        };
        lines.push(format!(
            "In simulations of what the curves may still do, the choice is the best in {}: {words}. (A share of simulations, not a \
             calibrated probability.)",
            percent(share)
        ));
    }
    let regret: f64 = report
        .decisions
        .iter()
        .filter_map(|decision| decision.expected_regret)
        .sum();
    if regret > 0.0 {
        lines.push(format!(
            "By the forecasts, dropping candidates early has given away {} nats per token on average.",
            loss(regret)
        ));
    }
    if let Some(interval) = best.and_then(|best| best.interval.as_ref()) {
        lines.push(format!(
            "Its loss on all data is expected between {} and {} ({} of the time).",
            loss(interval.lower),
            loss(interval.upper),
            percent(interval.level)
        ));
    }
    lines.extend(
        report
            .history_alone
            .iter()
            .map(|alone| alone.to_line("Earlier selections")),
    );
    for warning in &report.warnings {
        lines.push(format!("Mind: {}.", printable(warning.detail.trim_end_matches('.'))));
    }
    lines
}

fn change(selection: &pb::Selection, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    let id = printable(&selection.selection_id);
    if let (Some(best), Some(second)) = (report.contenders.first(), report.contenders.get(1)) {
        let second_name = printable(&report.name(&second.candidate, &second.method));
        let overlap = match (&best.interval, &second.interval) {
            (Some(a), Some(b)) => b.lower <= a.upper,
            _ => false,
        };
        let gap = second
            .predicted_loss
            .zip(best.predicted_loss)
            .map(|(next, first)| next - first);
        if overlap {
            lines.push(format!(
                "The intervals of the first two overlap: a larger budget could put {second_name} first. \
                 `finepick clone {id} --budget-share ...` says what the losses that are known would give."
            ));
        } else if let Some(gap) = gap {
            lines.push(format!(
                "{second_name} would have to come out {} below its forecast to be first.",
                loss(gap)
            ));
        }
    }
    for crossover in &report.crossovers {
        lines.push(format!(
            "{}: {}",
            printable(&crossover.candidate),
            printable(&crossover.detail)
        ));
    }
    if report.choice.is_some() {
        lines.push(format!(
            "Anybody can recompute the ranking: `finepick certificate {id} > certificate.json`, `finepick verify certificate.json`."
        ));
    }
    lines
}

/// One round, with every contender's reason.
pub(super) fn round(decision: &Decision, terminal: &Terminal) -> String {
    let mut methods: Vec<&str> = decision
        .contenders
        .iter()
        .map(|judged| judged.method.as_str())
        .collect();
    methods.sort_unstable();
    methods.dedup();
    let sizes: Vec<String> = decision.trained_data_sizes.iter().map(|size| examples(*size)).collect();
    let mut lines = vec![format!("Round {}, by the rule {}.", decision.round, decision.rule)];
    if !sizes.is_empty() {
        lines.push(format!("Newly trained at {} examples.", sizes.join(", ")));
    }
    lines.push(printable(&decision.explanation));
    let mut text = paragraphs(&lines, terminal);
    let columns = vec![
        Column::new("contender", Align::Left, 0),
        Column::new("verdict", Align::Left, 1),
        Column::new("forecast", Align::Right, 1),
        Column::new("+-", Align::Right, 3),
        Column::new("judged at", Align::Right, 2),
        Column::new("because", Align::Left, 4),
    ];
    let rows = decision.contenders.iter().map(|judged| {
        let style = match judged.verdict.as_str() {
            "dropped" | "excluded" => Style::Dim,
            "chosen" => Style::Strong,
            _ => Style::Plain,
        };
        let name = contender_name(&judged.candidate, &judged.method, methods.len() > 1);
        vec![
            Cell::styled(name, style),
            Cell::styled(judged.verdict.clone(), style),
            Cell::plain(judged.score.map_or("-".to_owned(), loss)),
            Cell::plain(judged.log_score_deviation.map_or("-".to_owned(), percent)),
            Cell::plain(examples(judged.data_size)),
            Cell::styled(judged.reason.clone(), Style::Dim),
        ]
    });
    let table = Table {
        columns,
        rows: rows.collect(),
    };
    text.push('\n');
    text.push_str(&table.render(terminal.width, terminal.colour));
    let mut more = Vec::new();
    if let Some(threshold) = decision.threshold {
        more.push(format!("The best dropped forecast is {}.", loss(threshold)));
    }
    if decision.saved_examples > 0 {
        more.push(format!(
            "Training the dropped ones to the end would have cost {} examples.",
            examples(decision.saved_examples)
        ));
    }
    if !decision.next_data_sizes.is_empty() {
        let sizes: Vec<String> = decision.next_data_sizes.iter().map(|size| examples(*size)).collect();
        more.push(format!("Next: {} examples.", sizes.join(", ")));
    }
    if !more.is_empty() {
        text.push('\n');
        text.push_str(&paragraphs(&more, terminal));
    }
    text
}

/// Sentences as paragraphs of the terminal's width, indented.
fn paragraphs(lines: &[String], terminal: &Terminal) -> String {
    let width = terminal.width.unwrap_or(WIDTH).clamp(40, 120);
    lines.iter().map(|line| wrapped(line, width)).collect()
}

/// A line broken at blanks, with two blanks before each part.
fn wrapped(line: &str, width: usize) -> String {
    use unicode_width::UnicodeWidthStr as _;
    let mut text = String::new();
    let mut used = 0;
    for word in line.split_whitespace() {
        let length = word.width();
        if used == 0 {
            text.push_str("  ");
            used = 2;
        } else if used + 1 + length > width {
            text.push_str("\n  ");
            used = 2;
        } else {
            text.push(' ');
            used += 1;
        }
        text.push_str(word);
        used += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_blanks() {
        assert_eq!(wrapped("one two three", 9), "  one two\n  three\n");
        assert_eq!(wrapped("", 9), "\n");
        assert_eq!(wrapped("unbreakable-word", 4), "  unbreakable-word\n");
    }

    #[test]
    fn every_policy_is_told_in_words() {
        for name in [
            "geometric",
            "halving",
            "halving_current",
            "ats_online",
            "exhaustive",
            "random",
            "zero_shot_control",
        ] {
            assert!(policy_words(name).ends_with('.'), "{name}");
            assert_ne!(policy_words(name), policy_words("rwl"), "{name} is not flat");
        }
        assert_eq!(policy_words("ats"), policy_words("rwl"), "the flat one");
    }
}

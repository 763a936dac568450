//! Reports and plans for people.

use std::fmt::Write as _;

use crate::command::select::{span, spending};
use crate::curves::printable;
use crate::output::WarningDetail;
use crate::output::selection::{Contender, Estimate, RankedContender, Report};
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::{examples, interval, loss, percent};

/// A report: the ranking, the choice in one sentence, what it cost, and what to beware of.
pub(super) fn report(report: &Report, terminal: &Terminal) -> String {
    let mut text = String::new();
    if !report.contenders.is_empty() {
        text.push_str(&ranking(report).render(terminal.width, terminal.colour));
        text.push('\n');
    }
    text.push_str(&choice(report));
    text.push_str(&cost(report));
    if let Some(alone) = &report.history_alone {
        let _ = writeln!(text, "{}", alone.to_line("Earlier selections"));
    }
    for warning in &report.warnings {
        note(&mut text, warning);
    }
    for crossover in &report.crossovers {
        let _ = writeln!(
            text,
            "{}: {}",
            printable(&crossover.candidate),
            printable(&crossover.detail)
        );
    }
    for excluded in &report.excluded {
        let name = report.name(&excluded.candidate, &excluded.method);
        let _ = writeln!(
            text,
            "Not ranked: {} ({}: {})",
            printable(&name),
            excluded.reason,
            printable(&excluded.detail)
        );
    }
    if !report.id.is_empty() {
        let _ = writeln!(text, "The whole story: finepick explain {}", report.id);
    }
    text
}

pub(super) fn note(text: &mut String, warning: &WarningDetail) {
    let _ = writeln!(text, "Note: {}.", printable(warning.detail.trim_end_matches('.')));
}

fn ranking(report: &Report) -> Table {
    let several = report.several_methods();
    let shares = report.contenders.iter().any(|contender| contender.win_share.is_some());
    let level = report
        .contenders
        .iter()
        .find_map(|contender| contender.interval.as_ref().map(|interval| interval.level));
    let heading = level.map_or("interval".to_owned(), |level| format!("{} interval", percent(level)));
    let mut columns = vec![
        Column::new("#", Align::Right, 0),
        Column::new("candidate", Align::Left, 0),
    ];
    if several {
        columns.push(Column::new("method", Align::Left, 1));
    }
    columns.push(Column::new("predicted", Align::Right, 0));
    columns.push(Column::new(&heading, Align::Left, 1));
    if shares {
        columns.push(Column::new("wins", Align::Right, 2));
    }
    columns.push(Column::new("trained to", Align::Right, 3));
    columns.push(Column::new("cost", Align::Right, 4));
    columns.push(Column::new("because", Align::Left, 5));
    let chosen = |contender: &RankedContender| {
        let choice = report.choice.as_ref();
        choice.is_some_and(|choice| choice.candidate == contender.candidate && choice.method == contender.method)
    };
    let rows = report
        .contenders
        .iter()
        .map(|contender| row(contender, several, shares, chosen(contender)));
    Table {
        columns,
        rows: rows.collect(),
    }
}

fn row(contender: &RankedContender, several: bool, shares: bool, chosen: bool) -> Vec<Cell> {
    let style = match (chosen, contender.dropped_after_round) {
        (true, _) => Style::Strong,
        (false, Some(_)) => Style::Dim,
        (false, None) => Style::Plain,
    };
    let largest = contender.observations.iter().map(|point| point.data_size).max();
    let mut row = vec![
        Cell::styled(contender.rank.to_string(), style),
        Cell::styled(contender.candidate.clone(), style),
    ];
    if several {
        row.push(Cell::styled(contender.method.clone(), style));
    }
    row.push(Cell::styled(
        contender.predicted_loss.map_or("-".to_owned(), loss),
        style,
    ));
    row.push(Cell::plain(interval(contender.interval.as_ref())));
    if shares {
        row.push(Cell::plain(contender.win_share.map_or("-".to_owned(), percent)));
    }
    row.push(Cell::plain(largest.map_or("-".to_owned(), examples)));
    let spent = contender
        .spent
        .as_ref()
        .map_or("-".to_owned(), |spent| examples(spent.examples));
    row.push(Cell::plain(spent));
    row.push(Cell::styled(contender.reason.clone(), Style::Dim));
    row
}

/// The choice in one sentence.
pub(super) fn choice(report: &Report) -> String {
    let Some(choice) = &report.choice else {
        return match report.state.as_str() {
            "succeeded" | "budget_exhausted" | "failed" | "cancelled" => {
                format!("No choice: the selection is {}.\n", report.state)
            }
            state => format!("No choice yet: the selection is {state}.\n"),
        };
    };
    let mut text = format!("Fine-tune {}", printable(&choice.candidate));
    if report.several_methods() {
        let _ = write!(text, " by {}", printable(&choice.method));
    }
    if let Some(predicted) = choice.predicted_loss {
        let _ = write!(
            text,
            ": predicted loss {} at {} examples",
            loss(predicted),
            examples(report.full_size)
        );
        if let Some(interval) = &choice.interval {
            let _ = write!(
                text,
                " ({} interval {} to {})",
                percent(interval.level),
                loss(interval.lower),
                loss(interval.upper)
            );
        }
    }
    let share = report
        .contenders
        .iter()
        .find(|contender| contender.candidate == choice.candidate && contender.method == choice.method)
        .and_then(|contender| contender.win_share);
    if let Some(share) = share {
        let _ = write!(text, "; best in {} of simulations", percent(share));
    }
    text.push_str(".\n");
    text
}

/// What it cost, against trying all.
pub(super) fn cost(report: &Report) -> String {
    let mut text = String::new();
    let Some(spent) = &report.spent else { return text };
    let _ = write!(text, "Cost: {}", spending(spent));
    if report.exhaustive.as_ref().is_some_and(|all| all.examples > 0) {
        let _ = write!(
            text,
            ", {} of fine-tuning every candidate on all data",
            percent(report.spent_share)
        );
    }
    if let Some(elapsed) = report.elapsed_seconds {
        let _ = write!(text, ", in {}", span(elapsed));
    }
    text.push_str(".\n");
    if let Some(saved) = report.saved.as_ref().filter(|saved| saved.examples > 0) {
        let _ = writeln!(text, "Saved by losses that were known already: {}.", spending(saved));
    }
    if report.failed_attempts > 0 {
        let noun = if report.failed_attempts == 1 {
            "attempt"
        } else {
            "attempts"
        };
        let _ = writeln!(
            text,
            "{} {noun} ended without a loss, and were made again or given up.",
            report.failed_attempts
        );
    }
    text
}

/// A plan.
pub(super) fn estimate(estimate: &Estimate, terminal: &Terminal) -> String {
    let mut text = String::new();
    let mut methods: Vec<&str> = estimate.contenders.iter().map(|c| c.method.as_str()).collect();
    methods.dedup();
    let several = methods.len() > 1;
    let mut columns = vec![Column::new("candidate", Align::Left, 0)];
    if several {
        columns.push(Column::new("method", Align::Left, 1));
    }
    columns.push(Column::new("weights", Align::Right, 2));
    columns.push(Column::new("takes part", Align::Left, 0));
    let rows = estimate.contenders.iter().map(|contender| planned(contender, several));
    let table = Table {
        columns,
        rows: rows.collect(),
    };
    text.push_str(&table.render(terminal.width, terminal.colour));
    text.push('\n');
    let sizes: Vec<String> = estimate.data_sizes.iter().map(|size| examples(*size)).collect();
    let _ = writeln!(
        text,
        "Sizes: {} of {} examples.",
        sizes.join(", "),
        examples(estimate.full_size)
    );
    for (what, amount) in [
        ("Plan: at most", &estimate.planned),
        ("Budget:", &estimate.budget),
        (
            "Fine-tuning every candidate on all data would cost",
            &estimate.exhaustive,
        ),
    ] {
        if let Some(amount) = amount {
            let _ = writeln!(text, "{what} {}.", spending(amount));
        }
    }
    if let Some(seconds) = estimate.wall_time_seconds {
        let _ = writeln!(text, "It takes about {}.", span(seconds));
    }
    if let Some(regret) = estimate.expected_relative_regret {
        let _ = writeln!(
            text,
            "On published curves such a plan's choice has lost {} against the best candidate.",
            percent(regret)
        );
    }
    for warning in &estimate.warnings {
        note(&mut text, warning);
    }
    text
}

fn planned(contender: &Contender, several: bool) -> Vec<Cell> {
    let mut row = vec![Cell::plain(contender.candidate.clone())];
    if several {
        row.push(Cell::plain(contender.method.clone()));
    }
    row.push(Cell::plain(contender.parameters.map_or("-".to_owned(), examples)));
    row.push(match &contender.exclusion {
        None => Cell::plain("yes".to_owned()),
        Some(reason) => Cell::styled(format!("no ({reason}): {}", contender.detail), Style::Warning),
    });
    row
}

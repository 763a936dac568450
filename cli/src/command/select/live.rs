//! How a selection is shown while it goes on: a line a contender and a bar for the budget on a terminal, lines elsewhere. All of it on
//! standard error.

use std::io::IsTerminal as _;
use std::time::Instant;

use finepick_proto::selector::v1 as pb;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use unicode_width::UnicodeWidthStr as _;

use super::board::{Board, Row, Standing};
use super::words;
use crate::command::complain;
use crate::curves::printable;
use crate::output::selection::state_word;
use crate::text::{examples, loss, percent};

/// Cells of the budget's bar.
const BAR: usize = 30;
/// Cells of a run's bar.
const RUN_BAR: usize = 8;
/// The widest that names are shown.
const NAME: usize = 28;
/// Contenders that get a line; the worst of the others are counted.
const MAX_ROWS: usize = 24;
/// Parts of a cell.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// Shows a selection.
pub(super) struct Live {
    /// Nothing is shown.
    quiet: bool,
    /// Absent where standard error is no terminal.
    screen: Option<Screen>,
    begun: Instant,
}

struct Screen {
    bars: MultiProgress,
    rows: Vec<ProgressBar>,
    budget: ProgressBar,
    state: ProgressBar,
    colour: bool,
}

impl Live {
    pub(super) fn new(quiet: bool, colour: bool) -> Self {
        let screen = (!quiet && std::io::stderr().is_terminal()).then(|| Screen::new(colour));
        Self {
            quiet,
            screen,
            begun: Instant::now(),
        }
    }

    /// Lines that stay.
    pub(super) fn say(&self, lines: &[String]) {
        if self.quiet {
            return;
        }
        for line in lines {
            match &self.screen {
                Some(screen) => screen.bars.suspend(|| complain(line)),
                None => complain(line),
            }
        }
    }

    /// Draws the board as it is now; on a terminal only.
    pub(super) fn draw(&mut self, board: &Board) {
        let elapsed = self.begun.elapsed().as_secs_f64();
        if let Some(screen) = &mut self.screen {
            screen.draw(board, elapsed);
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        if let Some(screen) = &self.screen {
            let _ = screen.bars.clear();
        }
    }
}

impl Screen {
    fn new(colour: bool) -> Self {
        let bars = MultiProgress::new();
        let (budget, state) = (bars.add(line()), bars.add(line()));
        Self {
            bars,
            rows: Vec::new(),
            budget,
            state,
            colour,
        }
    }

    fn draw(&mut self, board: &Board, elapsed: f64) {
        let shown = board.rows.len().min(MAX_ROWS);
        while self.rows.len() < shown {
            let bar = self.bars.insert_before(&self.budget, line());
            self.rows.push(bar);
        }
        let width = board
            .rows
            .iter()
            .map(|row| printable(&row.name).width())
            .max()
            .unwrap_or(0)
            .min(NAME);
        for (bar, row) in self.rows.iter().zip(&board.rows) {
            bar.set_message(row_text(row, width, self.colour));
        }
        self.budget.set_message(budget_text(board.selection.as_ref()));
        self.state.set_message(state_text(board, elapsed));
    }
}

fn line() -> ProgressBar {
    let bar = ProgressBar::no_length();
    // The template is a constant that the tests have tried.
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style);
    }
    bar
}

const TEMPLATE: &str = "{wide_msg}";

/// One contender: mark, name, largest measured size with its loss, forecast, runs, or why it is out.
fn row_text(row: &Row, width: usize, colour: bool) -> String {
    let name = fitted(&printable(&row.name), width);
    let (mark, code) = match &row.standing {
        Standing::Chosen => ("★", "1;33"),
        Standing::Live => ("●", "32"),
        Standing::Stopped => ("●", "36"),
        Standing::Dropped(_) => ("○", "2"),
        Standing::Excluded(_) => ("–", "2"),
    };
    let measured = row.losses.last_key_value().map_or_else(String::new, |(size, value)| {
        format!("{:>9}: {}", examples(*size), loss(*value))
    });
    let forecast = row
        .forecast
        .map_or_else(String::new, |value| format!("→ {}", loss(value)));
    let now = match &row.standing {
        Standing::Dropped(round) => format!("dropped in round {round}"),
        Standing::Excluded(why) => why.clone(),
        _ => runs_text(row),
    };
    let text = format!("{mark} {name}  {measured:<18} {forecast:<9} {now}");
    if colour {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text
    }
}

fn runs_text(row: &Row) -> String {
    let mut parts: Vec<String> = row
        .running
        .iter()
        .map(|(size, share)| match share {
            Some(share) => format!("{} {} {}", examples(*size), bar(*share, RUN_BAR), percent(*share)),
            None => format!("{} …", examples(*size)),
        })
        .collect();
    if parts.is_empty() && !row.waiting.is_empty() {
        let sizes: Vec<String> = row.waiting.iter().map(|size| examples(*size)).collect();
        parts.push(format!("next: {}", sizes.join(", ")));
    }
    if parts.is_empty() && row.standing == Standing::Stopped {
        parts.push("needs no more runs".to_owned());
    }
    parts.join("  ")
}

/// A bar of so many cells.
fn bar(share: f64, cells: usize) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a few cells"
    )]
    let eighths = (share.clamp(0.0, 1.0) * (cells * 8) as f64).round() as usize;
    let part = EIGHTHS.get(eighths % 8).copied().unwrap_or_default();
    let filled = format!("{}{part}", "█".repeat(eighths / 8));
    let rest = cells.saturating_sub(filled.chars().count());
    format!("▕{filled}{}▏", " ".repeat(rest))
}

fn budget_text(selection: Option<&pb::Selection>) -> String {
    let Some(selection) = selection else {
        return String::new();
    };
    let of = |spending: &Option<pb::Spending>| spending.as_ref().map_or(0, |spending| spending.examples);
    let (budget, spent, reserved) = (of(&selection.budget), of(&selection.spent), of(&selection.reserved));
    if budget <= 0 {
        return String::new();
    }
    let share = spent as f64 / budget as f64;
    let in_hand = if reserved > 0 {
        format!(", {} in hand", examples(reserved))
    } else {
        String::new()
    };
    format!(
        "budget {} {}: {} of {} examples{in_hand}",
        bar(share, BAR),
        percent(share),
        examples(spent),
        examples(budget)
    )
}

fn state_text(board: &Board, elapsed: f64) -> String {
    let Some(selection) = &board.selection else {
        return "…".to_owned();
    };
    let mut parts = vec![state_word(selection.state())];
    if board.rounds > 0 {
        let noun = if board.rounds == 1 { "round" } else { "rounds" };
        parts.push(format!("{} {noun} judged", board.rounds));
    }
    parts.push(words::span(elapsed));
    let wait = words::waiting(selection);
    if !wait.is_empty() {
        parts.push(wait);
    }
    if let Some(more) = board.rows.len().checked_sub(MAX_ROWS + 1) {
        parts.push(format!("{} contenders more", more + 1));
    }
    parts.join(" · ")
}

/// `text` in just so many columns.
fn fitted(text: &str, width: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let mut longer = out.clone();
        longer.push(c);
        if longer.width() > width {
            break;
        }
        out = longer;
    }
    let padding = width.saturating_sub(out.width());
    format!("{out}{}", " ".repeat(padding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_they_say() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        for (share, text) in [
            (0.0, "▕    ▏"),
            (0.5, "▕██  ▏"),
            (0.53, "▕██▏ ▏"),
            (1.0, "▕████▏"),
            (7.0, "▕████▏"),
            (f64::NAN, "▕    ▏"),
        ] {
            assert_eq!(bar(share, 4), text);
        }
    }

    #[test]
    fn a_row_says_where_a_contender_stands() {
        let mut row = Row {
            name: "llama".to_owned(),
            forecast: Some(2.5),
            ..Row::default()
        };
        row.losses.insert(64, 3.0);
        row.running.insert(128, Some(0.5));
        let text = row_text(&row, 8, false);
        assert!(text.starts_with("● llama            64: 3.0000"), "{text}");
        assert!(
            text.contains("→ 2.5000") && text.contains("128 ▕████    ▏ 50%"),
            "{text}"
        );
        row.standing = Standing::Dropped(3);
        assert!(row_text(&row, 8, true).contains("dropped in round 3"));
        assert_eq!(fitted("模型模型", 5), "模型 ");
    }

    #[test]
    fn the_budget_counts_what_is_in_hand() {
        let selection = pb::Selection {
            budget: Some(pb::Spending {
                examples: 4_000,
                ..pb::Spending::default()
            }),
            spent: Some(pb::Spending {
                examples: 1_000,
                ..pb::Spending::default()
            }),
            reserved: Some(pb::Spending {
                examples: 64,
                ..pb::Spending::default()
            }),
            ..pb::Selection::default()
        };
        let text = budget_text(Some(&selection));
        assert!(text.ends_with("25%: 1,000 of 4,000 examples, 64 in hand"), "{text}");
        assert_eq!(budget_text(None), "");
    }
}

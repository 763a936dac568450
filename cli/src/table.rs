//! Aligned tables for a terminal.
//!
//! On a terminal (a width is given) a table is made to fit: the name column – the first one aligned to the left – is
//! shortened in its middle, where model names differ least, then columns of low priority are shortened or dropped.
//! Elsewhere lines are as long as they need to be and the table's own marks are plain ASCII. Widths are those of the
//! characters on screen, so names in any script line up.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use crate::curves::printable;

/// Spaces between two columns.
const GAP: usize = 2;
/// The name column is not made narrower than this as long as another column can give way.
const COMFORTABLE_NAME: usize = 24;
/// The narrowest the name column becomes.
const NARROW_NAME: usize = 8;
/// A column of text is dropped rather than made narrower than this.
const NARROW_TEXT: usize = 12;

/// Side on which a column's cells line up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// How a cell is shown where colours are allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    /// As the terminal shows text.
    #[default]
    Plain,
    /// Bold: the answer.
    Strong,
    /// Yellow: something to look at.
    Warning,
    /// Faint: less important.
    Dim,
}

impl Style {
    /// The ANSI sequence that turns the style on.
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("\u{1b}[1m"),
            Self::Warning => Some("\u{1b}[33m"),
            Self::Dim => Some("\u{1b}[2m"),
        }
    }
}

/// A column's head and behaviour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The header.
    pub header: String,
    /// Where cells line up.
    pub align: Align,
    /// 0: never dropped; of the others the largest number goes first.
    pub priority: u8,
}

impl Column {
    /// A column.
    #[must_use]
    pub fn new(header: &str, align: Align, priority: u8) -> Self {
        Self {
            header: header.to_owned(),
            align,
            priority,
        }
    }
}

/// One cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says; control characters are shown escaped.
    pub text: String,
    /// How it looks where colours are allowed.
    pub style: Style,
}

impl Cell {
    /// A cell without a style.
    #[must_use]
    pub fn plain(text: String) -> Self {
        Self {
            text,
            style: Style::Plain,
        }
    }

    /// A cell with a style.
    #[must_use]
    pub fn styled(text: String, style: Style) -> Self {
        Self { text, style }
    }
}

/// A table. A row shorter than the columns is filled up with empty cells, a longer one cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// The columns, from left to right.
    pub columns: Vec<Column>,
    /// The rows, from top to bottom.
    pub rows: Vec<Vec<Cell>>,
}

/// A column as it will be shown.
struct Shown<'t> {
    index: usize,
    column: &'t Column,
    width: usize,
}

impl Table {
    /// The table as lines of text, each ended by a line feed; empty without columns.
    ///
    /// `width` is the terminal's width in columns, `None` when the output is no terminal; `colour` allows ANSI
    /// sequences (the caller knows about `NO_COLOR`).
    #[must_use]
    pub fn render(&self, width: Option<usize>, colour: bool) -> String {
        let mut shown: Vec<Shown<'_>> = self
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| Shown {
                index,
                column,
                width: self.natural_width(index, column),
            })
            .collect();
        if let Some(width) = width {
            fit(&mut shown, width);
        }
        let mut out = String::new();
        if shown.is_empty() {
            return out;
        }
        let header = shown.iter().map(|s| (s.column.header.as_str(), Style::Strong));
        line(&mut out, &shown, header, colour);
        let dash = if width.is_some() { "\u{2500}" } else { "-" };
        let rules: Vec<String> = shown.iter().map(|s| dash.repeat(s.width)).collect();
        line(
            &mut out,
            &shown,
            rules.iter().map(|rule| (rule.as_str(), Style::Dim)),
            colour,
        );
        for row in &self.rows {
            let cells = shown.iter().map(|s| {
                row.get(s.index)
                    .map_or(("", Style::Plain), |c| (c.text.as_str(), c.style))
            });
            line(&mut out, &shown, cells, colour);
        }
        out
    }

    fn natural_width(&self, index: usize, column: &Column) -> usize {
        let cells = self
            .rows
            .iter()
            .filter_map(|row| row.get(index))
            .map(|cell| cell.text.as_str());
        cells
            .chain([column.header.as_str()])
            .map(|text| printable(text).width())
            .max()
            .unwrap_or(0)
    }
}

/// Makes the columns fit into `width`, as far as that is possible.
fn fit(shown: &mut Vec<Shown<'_>>, width: usize) {
    shrink_name(shown, width, COMFORTABLE_NAME);
    while excess(shown, width) > 0 {
        // The lowest priority, and of equals the rightmost, gives way first.
        let last = shown
            .iter()
            .enumerate()
            .max_by_key(|(_, s)| s.column.priority)
            .map(|(at, s)| (at, s.column.priority));
        let Some((at, 1..)) = last else { break };
        let excess = excess(shown, width);
        match shown.get_mut(at) {
            Some(s) if s.column.align == Align::Left && s.width >= NARROW_TEXT + excess => s.width -= excess,
            _ => drop(shown.remove(at)),
        }
    }
    shrink_name(shown, width, NARROW_NAME);
}

/// How many columns too many the lines have.
fn excess(shown: &[Shown<'_>], width: usize) -> usize {
    let cells: usize = shown.iter().map(|s| s.width).sum();
    (cells + GAP * shown.len().saturating_sub(1)).saturating_sub(width)
}

/// Takes what is too much from the name column, down to `floor`.
fn shrink_name(shown: &mut [Shown<'_>], width: usize, floor: usize) {
    let excess = excess(shown, width);
    if let Some(name) = shown
        .iter_mut()
        .find(|s| s.column.align == Align::Left && s.column.priority == 0)
    {
        let floor = floor.min(name.width);
        name.width = name.width.saturating_sub(excess).max(floor);
    }
}

/// Writes one line; padding stands outside the styles, and nothing stands after the last text.
fn line<'c>(out: &mut String, shown: &[Shown<'_>], cells: impl Iterator<Item = (&'c str, Style)>, colour: bool) {
    let mut pending = 0;
    for (s, (text, style)) in shown.iter().zip(cells) {
        let shorten = if s.column.priority == 0 {
            shorten_middle
        } else {
            shorten_end
        };
        let text = shorten(&printable(text), s.width);
        let padding = s.width.saturating_sub(text.width());
        let (before, after) = if s.column.align == Align::Right {
            (padding, 0)
        } else {
            (0, padding)
        };
        pending += before;
        if !text.is_empty() {
            out.extend(std::iter::repeat_n(' ', pending));
            pending = 0;
            // Writing to a string cannot fail.
            let _ = match style.code().filter(|_| colour) {
                Some(code) => write!(out, "{code}{text}\u{1b}[0m"),
                None => write!(out, "{text}"),
            };
        }
        pending += after + GAP;
    }
    out.push('\n');
}

/// `text` in at most `width` columns, the middle left out when it is longer.
fn shorten_middle(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else {
        return String::new();
    };
    let head = prefix(text, room.div_ceil(2));
    let tail_room = room.saturating_sub(head.width());
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    let tail = starts
        .filter_map(|at| text.get(at..))
        .find(|tail| tail.width() <= tail_room)
        .unwrap_or_default();
    format!("{head}…{tail}")
}

/// `text` in at most `width` columns, the end left out when it is longer.
fn shorten_end(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else {
        return String::new();
    };
    format!("{}…", prefix(text, room).trim_end())
}

/// The longest beginning of `text` that fits into `width` columns.
fn prefix(text: &str, width: usize) -> &str {
    let ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.filter_map(|end| text.get(..end))
        .take_while(|head| head.width() <= width)
        .last()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Table {
        let row = |name: &str, loss: &str, note: &str| {
            vec![
                Cell::styled(name.to_owned(), Style::Strong),
                Cell::plain(loss.to_owned()),
                Cell::styled(note.to_owned(), Style::Dim),
            ]
        };
        Table {
            columns: vec![
                Column::new("candidate", Align::Left, 0),
                Column::new("predicted", Align::Right, 0),
                Column::new("warnings", Align::Left, 3),
            ],
            rows: vec![
                row("organisation/a-long-model-name-7b", "1.5", "few points, steep"),
                row("模型/名", "12.25", ""),
            ],
        }
    }

    #[test]
    fn without_a_terminal_lines_are_whole_and_plain() {
        let expected = "\
candidate                          predicted  warnings
---------------------------------  ---------  -----------------
organisation/a-long-model-name-7b        1.5  few points, steep
模型/名                                12.25
";
        assert_eq!(example().render(None, false), expected);
    }

    #[test]
    fn a_narrow_terminal_shortens_the_name_then_the_least_important_column() {
        let at = |width| example().render(Some(width), false);
        assert_eq!(
            at(63).lines().nth(2),
            Some("organisation/a-long-model-name-7b        1.5  few points, steep")
        );
        assert_eq!(
            at(56).lines().nth(2),
            Some("organisation/…odel-name-7b        1.5  few points, steep")
        );
        assert_eq!(
            at(51).lines().nth(2),
            Some("organisation…del-name-7b        1.5  few points, s…")
        );
        assert_eq!(
            at(40).lines().next(),
            Some("candidate                 predicted"),
            "the column is dropped"
        );
        assert_eq!(at(20).lines().nth(2), Some("orga…e-7b        1.5"));
        assert_eq!(
            at(1).lines().nth(2),
            Some("orga…-7b        1.5"),
            "never less than this"
        );
    }

    #[test]
    fn colours_only_when_told_and_padding_stays_outside() {
        let coloured = example().render(Some(80), true);
        assert!(coloured.contains("\u{1b}[1m模型/名\u{1b}[0m   "), "{coloured:?}");
        let mut stripped = coloured;
        for style in [Style::Strong, Style::Warning, Style::Dim] {
            stripped = stripped.replace(style.code().unwrap(), "");
        }
        assert_eq!(stripped.replace("\u{1b}[0m", ""), example().render(Some(80), false));
    }

    #[test]
    fn hostile_cells_cannot_reach_the_terminal() {
        let table = Table {
            columns: vec![Column::new("name", Align::Left, 0)],
            rows: vec![
                vec![Cell::plain("\u{1b}]0;x\u{7}\n\u{202e}".to_owned())],
                Vec::new(),
                vec![Cell::default(); 3],
            ],
        };
        let text = table.render(None, false);
        assert_eq!(text.lines().count(), 5, "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert_eq!(Table::default().render(Some(80), true), "");
    }

    proptest! {
        #[test]
        fn shortened_text_fits(text in "\\PC{0,40}", width in 0_usize..30) {
            for short in [shorten_middle(&text, width), shorten_end(&text, width)] {
                // A mark cut from its base may combine with the ellipsis, which then takes a column more.
                prop_assert!(short.width() <= width + usize::from(!text.is_ascii()), "{:?}", short);
                prop_assert_eq!(short == text, text.width() <= width);
            }
        }

        #[test]
        fn lines_fit_whenever_the_fixed_columns_do(
            names in prop::collection::vec("[a-z/中é]{0,40}", 1..5),
            notes in prop::collection::vec("[a-z ]{0,60}", 1..5),
            width in 30_usize..120,
        ) {
            let rows = names.iter().zip(notes.iter().cycle()).map(|(name, note)| {
                vec![Cell::plain(name.clone()), Cell::plain("1.25".to_owned()), Cell::plain(note.clone())]
            });
            let table = Table { columns: example().columns, rows: rows.collect() };
            for line in table.render(Some(width), false).lines() {
                prop_assert!(line.width() <= width, "{} > {}: {}", line.width(), width, line);
            }
        }
    }
}

//! The legend: only the marks that occur, explained in a line or two below the plot.

use svg::node::element::{Group, Rectangle};

use super::draw;
use super::frame::{Frame, LEGEND_LINE, WIDTH};
use super::picture::{Curve, Picture, Role};
use super::text;

/// Size of the text.
const SIZE: f64 = 12.0;
/// Width of a mark with the space after it.
const MARK: f64 = 32.0;
/// Space between two entries.
const GAP: f64 = 15.0;
/// Left and right edge.
const MARGIN: f64 = 28.0;

/// A mark as it occurs in the plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Used,
    Unused,
    Fit,
    Extrapolation,
    Band,
    Star,
    Diamond,
    Cross,
    Others,
}

/// A mark and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    mark: Mark,
    text: String,
}

/// The entries a picture needs.
pub(super) fn entries(picture: &Picture<'_>) -> Vec<Entry> {
    let any = |test: &dyn Fn(&Curve<'_>) -> bool| picture.curves.iter().any(test);
    let front = |curve: &Curve<'_>| curve.role.is_prominent();
    let dotted = |curve: &Curve<'_>| front(curve) || picture.is_small();
    let used = any(&|curve| dotted(curve) && curve.measured.iter().any(|point| point.used));
    let unused = any(&|curve| dotted(curve) && curve.measured.iter().any(|point| !point.used));
    let chosen = any(&|curve| curve.role == Role::Chosen && !curve.forecast.is_empty());
    let band = any(&|curve| curve.role == Role::Chosen && curve.forecast.iter().any(|point| point.band.is_some()));
    let others = picture.curves.iter().filter(|curve| !front(curve)).count();
    let omitted = if picture.omitted > 0 {
        format!(" ({} more not drawn)", picture.omitted)
    } else {
        String::new()
    };
    let faded = picture
        .curves
        .iter()
        .filter(|curve| !front(curve))
        .all(|curve| curve.series.faded);
    let noun = match others {
        _ if faded => "dropped on the way",
        1 => "other",
        _ => "others",
    };
    let all = [
        (
            Mark::Star,
            chosen,
            if picture.curves.len() == 1 {
                "prediction"
            } else {
                "chosen: predicted loss"
            }
            .to_owned(),
        ),
        (Mark::Band, band, "its interval".to_owned()),
        (
            Mark::Diamond,
            any(&|c| matches!(c.role, Role::Runner(_)) && !c.forecast.is_empty()),
            "predicted loss".to_owned(),
        ),
        (Mark::Cross, any(&|curve| curve.truth.is_some()), "true loss".to_owned()),
        (
            Mark::Used,
            used,
            if unused { "measured, used" } else { "measured" }.to_owned(),
        ),
        (Mark::Unused, unused, "not used".to_owned()),
        (
            Mark::Fit,
            any(&|curve| front(curve) && curve.fitted.len() > 1),
            "fit".to_owned(),
        ),
        (
            Mark::Extrapolation,
            any(&|curve| curve.forecast.len() > 1),
            "extrapolation".to_owned(),
        ),
        (Mark::Others, others > 0, format!("{others} {noun}{omitted}")),
    ];
    all.into_iter()
        .filter(|(_, occurs, _)| *occurs)
        .map(|(mark, _, text)| Entry { mark, text })
        .collect()
}

/// How many lines the entries take.
pub(super) fn rows(entries: &[Entry]) -> usize {
    placed(entries).last().map_or(0, |(_, row, _)| row + 1)
}

/// Each entry's left edge and line.
fn placed(entries: &[Entry]) -> Vec<(f64, usize, &Entry)> {
    let (mut x, mut row) = (MARGIN, 0);
    let mut placed = Vec::new();
    for entry in entries {
        let width = MARK + text::width(&entry.text, SIZE, false);
        if x > MARGIN && x + width > WIDTH - MARGIN {
            (x, row) = (MARGIN, row + 1);
        }
        placed.push((x, row, entry));
        x += width + GAP;
    }
    placed
}

/// Adds the legend below the plot.
pub(super) fn draw(mut content: Group, frame: &Frame, entries: &[Entry]) -> Group {
    let top = frame.height - 14.0 - rows(entries) as f64 * LEGEND_LINE;
    for (x, row, entry) in placed(entries) {
        let y = top + LEGEND_LINE * (row as f64 + 0.5);
        content =
            mark(content, entry.mark, (x, y)).add(draw::label((x + MARK, y + 4.2), &entry.text, SIZE, draw::MUTED));
    }
    content
}

/// Draws a mark into a box of 26 pixels that starts at `x` and is centred on `y`.
fn mark(content: Group, mark: Mark, (x, y): (f64, f64)) -> Group {
    let middle = (x + 13.0, y);
    let across = |width| draw::line((x, y), (x + 26.0, y), draw::MUTED, width);
    match mark {
        Mark::Used => content.add(draw::dot(middle, draw::MUTED, 4.0, true)),
        Mark::Unused => content.add(draw::dot(middle, draw::MUTED, 4.0, false)),
        Mark::Fit => content.add(across(2.4)),
        Mark::Extrapolation => content.add(across(2.2).set("stroke-dasharray", "7 4")),
        Mark::Band => content.add(
            Rectangle::new()
                .set("x", draw::px(x))
                .set("y", draw::px(y - 6.0))
                .set("width", "26")
                .set("height", "12")
                .set("fill", draw::CHOSEN.line)
                .set("fill-opacity", "0.16"),
        ),
        Mark::Star => content.add(draw::star(middle, draw::CHOSEN.line, 9.0)),
        Mark::Diamond => content.add(draw::diamond(
            middle,
            draw::RUNNERS.first().map_or(draw::MUTED, |c| c.line),
            5.0,
        )),
        Mark::Cross => content.add(draw::cross(middle, draw::MUTED, 4.2, 1.8)),
        Mark::Others => content.add(draw::line((x, y), (x + 26.0, y), draw::REST.line, 1.2)),
    }
}

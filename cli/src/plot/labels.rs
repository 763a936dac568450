//! Labels at the right end of the curves, kept apart, each joined to its curve by a thin line.

use svg::node::element::Group;

use super::draw;
use super::frame::Frame;
use super::picture::{Curve, Picture, Role};
use super::scale::{count, loss};
use super::{place, text};

/// Most labels.
const MAX_LABELS: usize = 12;
/// Widest label in pixels.
const MAX_WIDTH: f64 = 262.0;
/// From the frame to the text: room for the joining line.
const LEAD: f64 = 30.0;
/// A curve that ends further left of the frame's edge is led to its label by dots.
const FAR: f64 = 60.0;
/// Sizes of the name and of the line below it.
const NAME_SIZE: f64 = 12.5;
const DETAIL_SIZE: f64 = 11.5;

/// A label before it is placed.
struct Label {
    name: String,
    detail: String,
    height: f64,
    width: f64,
}

/// How many pixels the labels need right of the frame.
pub(super) fn gutter(picture: &Picture<'_>) -> f64 {
    let widest = labelled(picture).map(|curve| label(curve).width).fold(0.0, f64::max);
    if widest > 0.0 { widest + LEAD } else { 12.0 }
}

/// The curves that get a label, best first.
fn labelled<'p, 's>(picture: &'p Picture<'s>) -> impl Iterator<Item = &'p Curve<'s>> {
    let small = picture.is_small();
    let wanted = move |curve: &&Curve<'_>| curve.role.is_prominent() || small;
    picture.curves.iter().rev().filter(wanted).take(MAX_LABELS)
}

fn label(curve: &Curve<'_>) -> Label {
    let chosen = curve.role == Role::Chosen;
    let rank = curve.series.rank.map(|rank| format!("{rank}. ")).unwrap_or_default();
    let room = MAX_WIDTH - text::width(&rank, NAME_SIZE, chosen);
    let name = format!("{rank}{}", text::fitted(&curve.series.name, NAME_SIZE, chosen, room));
    let detail = text::fitted(&detail(curve), DETAIL_SIZE, false, MAX_WIDTH);
    let width = text::width(&name, NAME_SIZE, chosen).max(text::width(&detail, DETAIL_SIZE, false));
    let height = if detail.is_empty() { 19.0 } else { 35.0 };
    Label {
        name,
        detail,
        height,
        width: width.min(MAX_WIDTH),
    }
}

/// Predicted loss, interval, truth, remark.
fn detail(curve: &Curve<'_>) -> String {
    let mut parts = Vec::new();
    if let Some(end) = curve.forecast.last() {
        let band = end
            .band
            .map(|(lower, upper)| format!(" [{}, {}]", loss(lower), loss(upper)));
        parts.push(format!("{}{}", loss(end.y), band.unwrap_or_default()));
    }
    if let Some((_, truth)) = curve.truth {
        parts.push(format!("true {}", loss(truth)));
    }
    parts.extend(curve.series.note.clone());
    parts.join(" · ")
}

/// What a browser shows while the pointer rests on a curve: the whole name and every figure.
pub(super) fn tooltip(curve: &Curve<'_>) -> String {
    let rank = curve.series.rank.map(|rank| format!("{rank}. ")).unwrap_or_default();
    let mut tooltip = format!("{rank}{}", curve.series.name);
    if let Some(end) = curve.forecast.last() {
        tooltip.push_str(" · at ");
        tooltip.push_str(&count(end.x));
        tooltip.push_str(": ");
    } else if curve.truth.is_some() || curve.series.note.is_some() {
        tooltip.push_str(" · ");
    }
    tooltip + &detail(curve)
}

/// Adds the labels.
pub(super) fn labels(mut content: Group, frame: &Frame, picture: &Picture<'_>) -> Group {
    let curves: Vec<_> = labelled(picture)
        .filter_map(|curve| Some((curve, label(curve), frame.at(curve.end()?))))
        .collect();
    let wishes: Vec<_> = curves.iter().map(|(_, label, (_, y))| (*y, label.height)).collect();
    let centres = place::spread(&wishes, frame.top - 8.0, frame.bottom + 8.0);
    for ((curve, label, end), centre) in curves.iter().zip(centres) {
        let (colour, chosen) = (curve.role.colour(), curve.role == Role::Chosen);
        // A curve may leave the frame above or below; its label then points to the edge.
        let from = end.1.clamp(frame.top, frame.bottom);
        let edge = frame.right + frame.lane;
        let (x, bend) = (edge + LEAD, edge + LEAD - 12.0);
        let through = [
            (edge + 2.0, from),
            (edge + 6.0, from),
            (bend, centre),
            (bend + 6.0, centre),
        ];
        content = content.add(draw::polyline(&through, colour.line, if chosen { 1.4 } else { 1.0 }));
        // Where a curve ends early, dots lead the eye; a line would look like an extrapolation.
        if frame.right - end.0 > FAR {
            let dots = draw::line((end.0 + 8.0, from), (edge, from), draw::AXIS, 1.0);
            content = content.add(dots.set("stroke-dasharray", "1 5"));
        }
        let text_colour = if curve.role.is_prominent() {
            colour.text
        } else {
            draw::MUTED
        };
        let name_at = if label.detail.is_empty() {
            centre + 4.4
        } else {
            centre - 3.0
        };
        let name = draw::label((x, name_at), &label.name, NAME_SIZE, text_colour);
        content = content.add(name.set("font-weight", if chosen { "700" } else { "500" }));
        if !label.detail.is_empty() {
            content = content.add(draw::label((x, centre + 11.5), &label.detail, DETAIL_SIZE, draw::MUTED));
        }
    }
    content
}

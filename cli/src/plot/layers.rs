//! The curves themselves, from the back to the front.

use svg::node::element::{Group, Rectangle, SVG, Title};

use super::draw::{self, px};
use super::frame::Frame;
use super::picture::{Curve, Picture, Role};
use super::{labels, text};

/// Adds all curves. Lines and bands are cut at the frame; marks outside it are left out.
pub(super) fn curves(mut content: Group, frame: &Frame, picture: &Picture<'_>) -> Group {
    for curve in &picture.curves {
        let group = Group::new().add(Title::new(text::clean(&labels::tooltip(curve))));
        let lines = lines(clip(frame), frame, curve);
        content = content.add(marks(group.add(lines), frame, curve, picture.is_small()));
    }
    content
}

/// A nested viewport that cuts what is drawn in it at the frame, in the coordinates of the document. (A clip path
/// would need an identifier, which collides where two plots stand on one page.)
fn clip(frame: &Frame) -> SVG {
    let (width, height) = (px(frame.right - frame.left), px(frame.bottom - frame.top));
    let (x, y) = (px(frame.left), px(frame.top));
    SVG::new()
        .set("viewBox", format!("{x} {y} {width} {height}"))
        .set("x", x)
        .set("y", y)
        .set("width", width)
        .set("height", height)
}

/// Band, measured line, fit and extrapolation.
fn lines(mut clip: SVG, frame: &Frame, curve: &Curve<'_>) -> SVG {
    let colour = curve.role.colour().line;
    let chosen = curve.role == Role::Chosen;
    let prominent = curve.role.is_prominent();
    if chosen && let Some(outline) = band(frame, curve) {
        clip = clip.add(draw::closed(&outline, colour).set("fill-opacity", "0.16"));
    }
    let measured: Vec<_> = curve
        .measured
        .iter()
        .map(|point| frame.at((point.x, point.y)))
        .collect();
    let fitted: Vec<_> = curve.fitted.iter().map(|point| frame.at(*point)).collect();
    let forecast: Vec<_> = curve
        .forecast
        .iter()
        .map(|point| frame.at((point.x, point.y)))
        .collect();
    if measured.len() > 1 {
        // Under a fit the measured line only joins the points; without one it is the curve.
        let thin = prominent && fitted.len() > 1;
        let line = draw::polyline(&measured, colour, if prominent && !thin { 1.8 } else { 1.1 });
        clip = clip.add(if thin { line.set("stroke-opacity", "0.45") } else { line });
    }
    let width = if chosen { 2.8 } else { 1.9 };
    if prominent && fitted.len() > 1 {
        if chosen {
            clip = clip.add(draw::polyline(&fitted, draw::PAPER, width + 2.4));
        }
        clip = clip.add(draw::polyline(&fitted, colour, width));
    }
    if forecast.len() > 1 {
        let dashes = if prominent { "7 5" } else { "3 4" };
        let line = draw::polyline(&forecast, colour, if prominent { width } else { 1.0 });
        clip = clip.add(line.set("stroke-dasharray", dashes).set("stroke-linecap", "butt"));
    }
    clip
}

/// The outline of the interval: the upper ends forth, the lower ends back.
fn band(frame: &Frame, curve: &Curve<'_>) -> Option<Vec<(f64, f64)>> {
    let with_band: Vec<_> = curve
        .forecast
        .iter()
        .filter_map(|p| p.band.map(|band| (p.x, band)))
        .collect();
    let upper = with_band.iter().map(|(x, (_, upper))| frame.at((*x, *upper)));
    let lower = with_band.iter().rev().map(|(x, (lower, _))| frame.at((*x, *lower)));
    (with_band.len() > 1).then(|| upper.chain(lower).collect())
}

/// Measured points, the true loss, and the prediction.
fn marks(mut group: Group, frame: &Frame, curve: &Curve<'_>, small: bool) -> Group {
    let colour = curve.role.colour().line;
    let chosen = curve.role == Role::Chosen;
    let prominent = curve.role.is_prominent();
    if prominent || small {
        let radius = if chosen { 4.2 } else { 3.2 };
        for point in &curve.measured {
            let at = frame.at((point.x, point.y));
            if frame.contains(at) {
                group = group.add(draw::dot(at, colour, radius, point.used));
            }
        }
    }
    if let (true, Some(end)) = (prominent, curve.forecast.last()) {
        let at = frame.at((end.x, end.y));
        if let (true, Some((lower, upper))) = (chosen, end.band) {
            group = error_bar(group, frame, end.x, (lower, upper), colour);
        }
        if frame.contains(at) {
            group = group.add(if chosen {
                draw::star(at, colour, 10.0)
            } else {
                draw::diamond(at, colour, 5.0)
            });
        }
    }
    if let Some(truth) = curve
        .truth
        .map(|truth| frame.at(truth))
        .filter(|at| frame.contains(*at))
    {
        let x = if curve.has_truth_at_end() {
            frame.lane_middle()
        } else {
            truth.0
        };
        group = if prominent {
            let halo = draw::cross((x, truth.1), draw::PAPER, 5.4, 4.2);
            group
                .add(halo)
                .add(draw::cross((x, truth.1), curve.role.colour().text, 4.6, 2.0))
        } else {
            group.add(draw::cross((x, truth.1), draw::REST.line, 3.0, 1.1))
        };
    }
    group
}

/// A vertical bar with caps over the interval, cut at the frame.
fn error_bar(group: Group, frame: &Frame, x: f64, (lower, upper): (f64, f64), colour: &str) -> Group {
    let within = |value: f64| frame.y.px(value).clamp(frame.top, frame.bottom);
    let (x, low, high) = (frame.x.px(x), within(lower), within(upper));
    let cap = |y: f64| {
        Rectangle::new()
            .set("x", px(x - 5.0))
            .set("y", px(y - 0.9))
            .set("width", "10")
            .set("height", "1.8")
            .set("fill", colour)
    };
    group
        .add(draw::line((x, low), (x, high), colour, 1.8))
        .add(cap(low))
        .add(cap(high))
}

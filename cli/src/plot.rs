//! Plots of learning curves as one self-contained SVG: log-log, the chosen candidate in front, readable with 30 of them.
//!
//! The document is built with the `svg` crate, which escapes text and attributes and writes attributes in a fixed order.
//! A charting crate (`plotters` and its SVG backend) was looked at and not taken: it snaps to whole pixels, has neither
//! tooltips nor text halos, and what makes this plot legible – labels at the curves' ends that avoid each other, ticks
//! like 1.5, 2, 3 on a narrow logarithmic axis – would have to be drawn beside it anyway.
//!
//! The output depends on the scene alone: no clock, no randomness, no fonts or other resources from outside. It brings
//! its own white background, so it reads the same on light and dark pages.

use svg::node::element::{Group, Rectangle, SVG};

mod bar;
mod draw;
mod frame;
mod labels;
mod layers;
mod legend;
mod picture;
mod place;
mod scale;
mod text;

/// Everything a plot shows. Values that a logarithmic axis cannot show (zero, negative,
/// not finite, beyond 1e±100) are left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlotScene {
    /// The message of the plot, e.g. `Fine-tune org/model-7b`.
    pub title: String,
    /// Details: predicted loss, policy, cost. Broken into at most two lines.
    pub subtitle: String,
    /// What the horizontal axis shows, e.g. `fine-tuning examples`.
    pub x_label: String,
    /// What the vertical axis shows, with its unit.
    pub y_label: String,
    /// Labelled vertical lines, e.g. the budget's and the full data size. What lies between the first and the last is
    /// shaded as the range of the extrapolation.
    pub verticals: Vec<(f64, String)>,
    /// The curves, in any order.
    pub series: Vec<PlotSeries>,
    /// What was spent step by step: one bar below the plot. Empty: no bar.
    pub spending: Vec<Segment>,
    /// What might have been spent: the length of that bar, if it is longer than all steps together.
    pub spending_total: f64,
}

/// A part of the bar of what was spent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Segment {
    /// What it was spent for, e.g. `round 1`.
    pub label: String,
    /// How much, in examples.
    pub value: f64,
}

/// One candidate's curve.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PlotSeries {
    /// The candidate's name; shortened where it is too long, whole in the tooltip.
    pub name: String,
    /// Rank, from 1. The next four after the chosen get a colour and a label.
    pub rank: Option<u32>,
    /// Whether this is the chosen candidate: colour, star, interval band, label.
    pub highlight: bool,
    /// Whether this candidate is out of the race: grey, whatever its rank.
    pub faded: bool,
    /// Measured points.
    pub measured: Vec<PlotPoint>,
    /// The fitted line or law over the data, as points to connect.
    pub fitted: Vec<(f64, f64)>,
    /// The extrapolation, as points to connect; the last one is the prediction that is marked and labelled.
    pub forecast: Vec<ForecastPoint>,
    /// The loss that was measured where the prediction points to, when it is known.
    pub truth: Option<(f64, f64)>,
    /// A remark for label and tooltip.
    pub note: Option<String>,
}

/// A measured point.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PlotPoint {
    /// Fine-tuning examples.
    pub x: f64,
    /// Loss, nats per token.
    pub y: f64,
    /// Whether the method used it (filled) or not (hollow).
    pub used: bool,
}

/// A point of an extrapolation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ForecastPoint {
    /// Fine-tuning examples.
    pub x: f64,
    /// Predicted loss, nats per token.
    pub y: f64,
    /// Lower and upper end of the interval.
    pub band: Option<(f64, f64)>,
}

/// Draws a scene. Any scene gives a valid document; one without a single valid value says that there is nothing to
/// show.
#[must_use]
pub fn render_svg(scene: &PlotScene) -> String {
    let picture = picture::Picture::of(scene);
    let entries = legend::entries(&picture);
    let bar = bar::Bar::of(scene);
    let below = bar.as_ref().map_or(0.0, |_| bar::HEIGHT);
    let frame = frame::Frame::of(&picture, (legend::rows(&entries), below), labels::gutter(&picture));
    let background = Rectangle::new()
        .set("x", "0.5")
        .set("y", "0.5")
        .set("width", draw::px(frame::WIDTH - 1.0))
        .set("height", draw::px(frame.height - 1.0))
        .set("rx", 10)
        .set("fill", draw::PAPER)
        .set("stroke", draw::EDGE);
    let mut content = Group::new().set("font-family", draw::FONT).add(background);
    content = frame::header(content, &picture);
    content = frame::axes(content, &frame, &picture);
    if picture.curves.is_empty() {
        let middle = (
            f64::midpoint(frame.left, frame.right),
            f64::midpoint(frame.top, frame.bottom),
        );
        content = content.add(draw::label(middle, "nothing to plot", 14.0, draw::MUTED).set("text-anchor", "middle"));
    }
    content = layers::curves(content, &frame, &picture);
    content = labels::labels(content, &frame, &picture);
    if let Some(bar) = &bar {
        content = bar.draw(content, &frame);
    }
    content = legend::draw(content, &frame, &entries);
    let (width, height) = (draw::px(frame::WIDTH), draw::px(frame.height));
    let document = SVG::new()
        .set("viewBox", format!("0 0 {width} {height}"))
        .set("width", width)
        .set("height", height)
        .set("role", "img")
        .set("aria-label", text::clean(picture.title))
        .set("xmlns", "http://www.w3.org/2000/svg")
        .add(content);
    format!("{document}\n")
}

//! The frame: header, axes, grid and vertical lines.

use svg::node::element::{Group, Rectangle};

use super::draw::{self, px};
use super::picture::Picture;
use super::scale::LogAxis;
use super::{place, text};

/// Width of the document in pixels.
pub(super) const WIDTH: f64 = 1080.0;
/// Room for a line across the document.
pub(super) const ROOM: f64 = WIDTH - 2.0 * MARGIN;
/// Height of the area between the axes.
const PLOT_HEIGHT: f64 = 430.0;
/// Space at the outer edges.
const MARGIN: f64 = 28.0;
/// Left of the vertical axis: tick labels and the axis label.
const LEFT: f64 = 86.0;
/// Above the plot: title, up to two lines of subtitle and the labels of the vertical lines.
const HEADER: f64 = 56.0;
/// Height of a line of the subtitle.
const SUBTITLE_LINE: f64 = 19.0;
/// Below the plot: tick labels and the axis label.
pub(super) const FOOTER: f64 = 58.0;
/// Height of a line of the legend.
pub(super) const LEGEND_LINE: f64 = 24.0;
/// Width of the lane for true losses.
const LANE: f64 = 26.0;
/// Size of the subtitle.
pub(super) const SUBTITLE_SIZE: f64 = 13.5;
/// Size of the tick labels.
const TICK_SIZE: f64 = 12.0;

/// Where things are, in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    /// Width of the lane for true losses right of the frame; 0 without them.
    pub(super) lane: f64,
    /// Height of the document.
    pub(super) height: f64,
    pub(super) x: LogAxis,
    pub(super) y: LogAxis,
}

impl Frame {
    /// A frame that leaves `gutter` pixels on the right for labels, and below room for so many lines of the legend and pixels above them.
    pub(super) fn of(picture: &Picture<'_>, (legend_rows, below): (usize, f64), gutter: f64) -> Self {
        let lane = if picture.has_truth_at_end() { LANE } else { 0.0 };
        let (left, right) = (LEFT, WIDTH - MARGIN - gutter - lane);
        let top = HEADER + picture.subtitle.len() as f64 * SUBTITLE_LINE + 38.0;
        let bottom = top + PLOT_HEIGHT;
        let height = bottom + FOOTER + below + legend_rows as f64 * LEGEND_LINE + 14.0;
        let x = LogAxis::new(picture.x, (0.03, 0.03), left, right);
        let y = LogAxis::new(picture.y, (0.05, 0.05), bottom, top);
        Self {
            left,
            right,
            top,
            bottom,
            lane,
            height,
            x,
            y,
        }
    }

    /// The pixel of a point.
    pub(super) fn at(&self, point: (f64, f64)) -> (f64, f64) {
        (self.x.px(point.0), self.y.px(point.1))
    }

    /// The middle of the lane for true losses.
    pub(super) fn lane_middle(&self) -> f64 {
        self.right + self.lane / 2.0
    }

    /// Whether a pixel is within the axes.
    pub(super) fn contains(&self, at: (f64, f64)) -> bool {
        (self.left..=self.right).contains(&at.0) && (self.top..=self.bottom).contains(&at.1)
    }
}

/// Title and subtitle.
pub(super) fn header(content: Group, picture: &Picture<'_>) -> Group {
    let title = text::fitted(picture.title, 20.0, true, ROOM);
    let mut content = content.add(draw::label((MARGIN, 40.0), &title, 20.0, draw::INK).set("font-weight", "600"));
    for (index, line) in picture.subtitle.iter().enumerate() {
        let baseline = HEADER + 8.0 + SUBTITLE_LINE * index as f64;
        content = content.add(draw::label((MARGIN, baseline), line, SUBTITLE_SIZE, draw::MUTED));
    }
    content
}

/// Shade, grid, tick labels, axis labels and vertical lines.
pub(super) fn axes(content: Group, frame: &Frame, picture: &Picture<'_>) -> Group {
    let content = shade(content, frame, picture);
    let content = horizontal_axis(content, frame, picture.axis_labels.0);
    let content = vertical_axis(content, frame, picture.axis_labels.1);
    let content = lane(content, frame);
    verticals(content, frame, picture)
}

fn shade(content: Group, frame: &Frame, picture: &Picture<'_>) -> Group {
    match picture.verticals.as_slice() {
        [(first, _), .., (last, _)] => {
            let (from, to) = (frame.x.px(*first), frame.x.px(*last));
            content.add(
                Rectangle::new()
                    .set("x", px(from))
                    .set("y", px(frame.top))
                    .set("width", px(to - from))
                    .set("height", px(frame.bottom - frame.top))
                    .set("fill", draw::SHADE),
            )
        }
        _ => content,
    }
}

/// The lane beside the plot in which true losses stand, so that they do not cover the predictions.
fn lane(content: Group, frame: &Frame) -> Group {
    if frame.lane <= 0.0 {
        return content;
    }
    let (x, right) = (frame.lane_middle(), frame.right + frame.lane);
    content
        .add(draw::line((right, frame.top), (right, frame.bottom), draw::GRID, 1.0))
        .add(draw::label((x, frame.bottom + 20.0), "true", TICK_SIZE, draw::MUTED).set("text-anchor", "middle"))
}

fn horizontal_axis(mut content: Group, frame: &Frame, label: &str) -> Group {
    for (value, text) in frame.x.count_ticks() {
        let x = frame.x.px(value);
        content = content
            .add(draw::line((x, frame.top), (x, frame.bottom), draw::GRID, 1.0))
            .add(draw::line((x, frame.bottom), (x, frame.bottom + 6.0), draw::AXIS, 1.0))
            .add(draw::label((x, frame.bottom + 20.0), &text, TICK_SIZE, draw::MUTED).set("text-anchor", "middle"));
    }
    for value in frame.x.minor_ticks() {
        let x = frame.x.px(value);
        content = content.add(draw::line((x, frame.bottom), (x, frame.bottom + 3.0), draw::AXIS, 1.0));
    }
    let middle = f64::midpoint(frame.left, frame.right);
    let label = text::fitted(label, 13.0, false, frame.right - frame.left);
    content
        .add(draw::line(
            (frame.left, frame.bottom),
            (frame.right, frame.bottom),
            draw::AXIS,
            1.0,
        ))
        .add(draw::label((middle, frame.bottom + 42.0), &label, 13.0, draw::INK).set("text-anchor", "middle"))
}

fn vertical_axis(mut content: Group, frame: &Frame, label: &str) -> Group {
    for (value, text) in frame.y.value_ticks() {
        let y = frame.y.px(value);
        content = content
            .add(draw::line((frame.left, y), (frame.right, y), draw::GRID, 1.0))
            .add(draw::label((frame.left - 9.0, y + 4.2), &text, TICK_SIZE, draw::MUTED).set("text-anchor", "end"));
    }
    let (x, y) = (MARGIN + 4.0, f64::midpoint(frame.top, frame.bottom));
    let label = text::fitted(label, 13.0, false, frame.bottom - frame.top);
    content
        .add(draw::line(
            (frame.left, frame.top),
            (frame.left, frame.bottom),
            draw::AXIS,
            1.0,
        ))
        .add(
            draw::label((x, y), &label, 13.0, draw::INK)
                .set("text-anchor", "middle")
                .set("transform", format!("rotate(-90 {} {})", px(x), px(y))),
        )
}

/// The labelled vertical lines; their labels stand above the plot and avoid each other.
fn verticals(mut content: Group, frame: &Frame, picture: &Picture<'_>) -> Group {
    const SIZE: f64 = 12.0;
    let room = (frame.right - frame.left) / picture.verticals.len().max(1) as f64;
    let labels: Vec<_> = picture
        .verticals
        .iter()
        .map(|(x, label)| (frame.x.px(*x), text::fitted(label, SIZE, false, room - 16.0)))
        .collect();
    let wishes: Vec<_> = labels
        .iter()
        .map(|(x, text)| (*x, text::width(text, SIZE, false) + 16.0))
        .collect();
    // A label may stand out a little over the frame to the right, where nothing else is.
    let centres = place::spread(&wishes, frame.left, frame.right + 40.0);
    for ((x, text), centre) in labels.iter().zip(centres) {
        content = content
            .add(draw::line((*x, frame.top), (*x, frame.bottom), draw::AXIS, 1.2).set("stroke-dasharray", "2 3"))
            .add(draw::line((centre, frame.top - 7.0), (*x, frame.top), draw::AXIS, 1.0))
            .add(draw::label((centre, frame.top - 11.0), text, SIZE, draw::INK).set("text-anchor", "middle"));
    }
    content
}

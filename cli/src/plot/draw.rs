//! Colours and the small marks everything is made of.

use std::fmt::Write as _;

use svg::node::element::{Circle, Element, Line, Path, Polyline};
use svg::node::{Node, Text, Value};

/// The fonts of the page the plot is most likely to stand on; none is loaded.
pub(super) const FONT: &str =
    "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif";
/// Background.
pub(super) const PAPER: &str = "#ffffff";
/// Outer edge of the background.
pub(super) const EDGE: &str = "#d1d9e0";
/// Text.
pub(super) const INK: &str = "#1f2328";
/// Text of less weight.
pub(super) const MUTED: &str = "#59636e";
/// Grid lines.
pub(super) const GRID: &str = "#e8ecf0";
/// Axis and vertical lines.
pub(super) const AXIS: &str = "#8c959f";
/// The range of the extrapolation.
pub(super) const SHADE: &str = "#f6f8fa";
/// The chosen candidate (vermilion of the Okabe-Ito palette, darkened).
pub(super) const CHOSEN: Colour = Colour {
    line: "#d9480f",
    text: "#b93a06",
};
/// The runners-up: four muted hues of Paul Tol's palettes that stay apart for colour-blind readers.
pub(super) const RUNNERS: [Colour; 4] = [
    Colour {
        line: "#4477aa",
        text: "#2f5a87",
    },
    Colour {
        line: "#3fa08f",
        text: "#1c7466",
    },
    Colour {
        line: "#a39a2e",
        text: "#6f6810",
    },
    Colour {
        line: "#aa4499",
        text: "#86307a",
    },
];
/// The better half of the rest.
pub(super) const REST: Colour = Colour {
    line: "#b4bdc7",
    text: "#59636e",
};
/// The other half of the rest.
pub(super) const FAINT: Colour = Colour {
    line: "#d9dee4",
    text: "#59636e",
};

/// A hue for lines and a darker one for text, which needs more contrast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colour {
    /// For lines and marks.
    pub(super) line: &'static str,
    /// For text.
    pub(super) text: &'static str,
}

/// A coordinate in pixels: two decimals at most, always a number.
pub(super) fn px(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" || !value.is_finite() {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// `x,y x,y …`
pub(super) fn points(points: &[(f64, f64)]) -> String {
    points
        .iter()
        .map(|(x, y)| format!("{},{}", px(*x), px(*y)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A `text` element. The crate's own puts line feeds around its content, which is harmless but looks untidy.
#[derive(Debug, Clone)]
pub(super) struct Caption(Element);

impl Caption {
    /// Sets an attribute.
    pub(super) fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.assign(name, value);
        self
    }
}

impl From<Caption> for Box<dyn Node> {
    fn from(caption: Caption) -> Self {
        Box::new(caption.0)
    }
}

/// A line of text whose baseline starts at a point.
pub(super) fn label(at: (f64, f64), content: &str, size: f64, colour: &str) -> Caption {
    let mut element = Element::new("text");
    element.append(Text::new(super::text::clean(content)));
    Caption(element)
        .set("x", px(at.0))
        .set("y", px(at.1))
        .set("font-size", px(size))
        .set("fill", colour)
}

/// A straight line.
pub(super) fn line(from: (f64, f64), to: (f64, f64), colour: &str, width: f64) -> Line {
    Line::new()
        .set("x1", px(from.0))
        .set("y1", px(from.1))
        .set("x2", px(to.0))
        .set("y2", px(to.1))
        .set("stroke", colour)
        .set("stroke-width", px(width))
}

/// A line through points.
pub(super) fn polyline(through: &[(f64, f64)], colour: &str, width: f64) -> Polyline {
    Polyline::new()
        .set("points", points(through))
        .set("fill", "none")
        .set("stroke", colour)
        .set("stroke-width", px(width))
        .set("stroke-linejoin", "round")
        .set("stroke-linecap", "round")
}

/// A measured point: filled when it was used, hollow when not.
pub(super) fn dot(at: (f64, f64), colour: &str, radius: f64, used: bool) -> Circle {
    let circle = Circle::new().set("cx", px(at.0)).set("cy", px(at.1));
    if used {
        circle
            .set("r", px(radius))
            .set("fill", colour)
            .set("stroke", PAPER)
            .set("stroke-width", "0.8")
    } else {
        circle
            .set("r", px(radius - 0.4))
            .set("fill", PAPER)
            .set("stroke", colour)
            .set("stroke-width", "1.4")
    }
}

/// A five-pointed star with a white rim.
pub(super) fn star(at: (f64, f64), colour: &str, radius: f64) -> Path {
    let corners: Vec<_> = (0..10)
        .map(|corner| {
            let angle = std::f64::consts::PI * (f64::from(corner) / 5.0 - 0.5);
            let reach = if corner % 2 == 0 { radius } else { radius * 0.45 };
            (at.0 + reach * angle.cos(), at.1 + reach * angle.sin())
        })
        .collect();
    closed(&corners, colour)
        .set("stroke", PAPER)
        .set("stroke-width", "1.6")
        .set("paint-order", "stroke")
}

/// A small diamond.
pub(super) fn diamond(at: (f64, f64), colour: &str, radius: f64) -> Path {
    let (x, y) = at;
    closed(
        &[(x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y)],
        colour,
    )
    .set("stroke", PAPER)
    .set("stroke-width", "0.8")
}

/// A diagonal cross.
pub(super) fn cross(at: (f64, f64), colour: &str, radius: f64, width: f64) -> Path {
    let (x, y) = at;
    let stroke = |x1: f64, y1: f64, x2: f64, y2: f64| format!("M{} {}L{} {}", px(x1), px(y1), px(x2), px(y2));
    let first = stroke(x - radius, y - radius, x + radius, y + radius);
    let second = stroke(x - radius, y + radius, x + radius, y - radius);
    Path::new()
        .set("d", first + &second)
        .set("stroke", colour)
        .set("stroke-width", px(width))
        .set("fill", "none")
}

/// A filled shape.
pub(super) fn closed(corners: &[(f64, f64)], colour: &str) -> Path {
    let mut data = String::new();
    for (index, (x, y)) in corners.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(data, "{}{} {}", if index == 0 { 'M' } else { 'L' }, px(*x), px(*y));
    }
    data.push('Z');
    Path::new().set("d", data).set("fill", colour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        let cases = [
            (1.0, "1"),
            (1.255, "1.25"),
            (-0.001, "0"),
            (10.0, "10"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
        ];
        for (value, text) in cases {
            assert_eq!(px(value), text);
        }
    }
}

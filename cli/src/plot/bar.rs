//! What was spent, as one bar below the plot: a part for each step, and what was left.

use svg::node::element::{Group, Rectangle, Title};

use super::draw::{self, px};
use super::frame::{FOOTER, Frame};
use super::{PlotScene, Segment, text};

/// Room that the bar takes, its labels included.
pub(super) const HEIGHT: f64 = 62.0;
/// Height of the bar.
const THICKNESS: f64 = 20.0;
/// Size of its labels.
const SIZE: f64 = 11.5;
/// Most parts that are told apart; the later ones are drawn as one.
const MAX_PARTS: usize = 16;

/// A number of examples, whole.
fn whole(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates where no number of examples is"
    )]
    crate::text::examples(value.round() as i64)
}

/// A bar that can be drawn: positive parts, and a total that holds them.
pub(super) struct Bar<'s> {
    parts: Vec<(&'s Segment, f64)>,
    spent: f64,
    total: f64,
}

impl<'s> Bar<'s> {
    /// The bar of a scene, if there is something to show.
    pub(super) fn of(scene: &'s PlotScene) -> Option<Self> {
        let drawable = |value: f64| (1e-100..=1e100).contains(&value);
        let parts: Vec<(&Segment, f64)> = scene
            .spending
            .iter()
            .filter(|segment| drawable(segment.value))
            .map(|segment| (segment, segment.value))
            .take(MAX_PARTS)
            .collect();
        let spent: f64 = scene
            .spending
            .iter()
            .map(|segment| segment.value)
            .filter(|value| drawable(*value))
            .sum();
        let total = if drawable(scene.spending_total) {
            scene.spending_total.max(spent)
        } else {
            spent
        };
        (!parts.is_empty()).then_some(Self { parts, spent, total })
    }

    /// Draws it between the horizontal axis and the legend.
    pub(super) fn draw(&self, content: Group, frame: &Frame) -> Group {
        let top = frame.bottom + FOOTER + 16.0;
        let width = frame.right - frame.left;
        let scale = width / self.total;
        let heading = format!("examples spent: {} of {}", whole(self.spent), whole(self.total));
        let mut content = content
            .add(draw::label((frame.left, top - 7.0), &heading, SIZE, draw::INK))
            .add(
                Rectangle::new()
                    .set("x", px(frame.left))
                    .set("y", px(top))
                    .set("width", px(width))
                    .set("height", px(THICKNESS))
                    .set("rx", 3)
                    .set("fill", draw::SHADE)
                    .set("stroke", draw::EDGE),
            );
        let mut x = frame.left;
        for (index, (segment, value)) in self.parts.iter().enumerate() {
            let length = value * scale;
            content = part(content, segment, (x, top, length), index);
            x += length;
        }
        content
    }
}

fn part(content: Group, segment: &Segment, (x, top, length): (f64, f64, f64), index: usize) -> Group {
    // Neighbours differ, and later rounds, which train fewer candidates further, are darker.
    let opacity = 0.25 + 0.12 * (index.min(5) as f64);
    let tooltip = format!("{}: {} examples", segment.label, whole(segment.value));
    let block = Group::new().add(Title::new(text::clean(&tooltip))).add(
        Rectangle::new()
            .set("x", px(x))
            .set("y", px(top))
            .set("width", px(length))
            .set("height", px(THICKNESS))
            .set("fill", draw::CHOSEN.line)
            .set("fill-opacity", px(opacity))
            .set("stroke", draw::PAPER)
            .set("stroke-width", "1"),
    );
    let mut content = content.add(block);
    let long = format!("{} · {}", segment.label, whole(segment.value));
    // The longest of the texts that fits.
    for words in [long, segment.label.clone()] {
        if text::width(&words, SIZE, false) + 8.0 <= length {
            let at = (x + length / 2.0, top + THICKNESS / 2.0 + 4.0);
            content = content.add(draw::label(at, &words, SIZE, draw::INK).set("text-anchor", "middle"));
            break;
        }
    }
    content
}

//! The scene as it can be drawn: impossible values gone, roles given, ranges chosen.

use super::draw::{self, Colour};
use super::{ForecastPoint, PlotPoint, PlotScene, PlotSeries, frame, text};

/// Most curves that are drawn; the worst ranked beyond are counted in the legend.
const MAX_CURVES: usize = 300;
/// Up to this many curves each one has its points and a label.
const FEW_CURVES: usize = 8;
/// How far intervals and curves of no rank may stretch the vertical range beyond that of the labelled ones, as a share
/// of it at either end: a single wild curve or interval must not press the others together.
const STRETCH: f64 = 0.75;

/// What a curve is in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The candidate to fine-tune.
    Chosen,
    /// One of the next four, from 0.
    Runner(usize),
    /// The better half of the others.
    Rest,
    /// The other half.
    Faint,
}

impl Role {
    /// The curve's colour.
    pub(super) fn colour(self) -> Colour {
        match self {
            Self::Chosen => draw::CHOSEN,
            Self::Runner(index) => draw::RUNNERS.get(index).copied().unwrap_or(draw::REST),
            Self::Rest => draw::REST,
            Self::Faint => draw::FAINT,
        }
    }

    /// Whether the curve stands out from the crowd.
    pub(super) fn is_prominent(self) -> bool {
        matches!(self, Self::Chosen | Self::Runner(_))
    }
}

/// One curve with drawable values only, each list ascending in x.
#[derive(Debug, Clone)]
pub(super) struct Curve<'s> {
    pub(super) series: &'s PlotSeries,
    pub(super) role: Role,
    pub(super) measured: Vec<PlotPoint>,
    pub(super) fitted: Vec<(f64, f64)>,
    pub(super) forecast: Vec<ForecastPoint>,
    pub(super) truth: Option<(f64, f64)>,
}

impl Curve<'_> {
    /// Where the curve ends on the right: the prediction, if there is one.
    pub(super) fn end(&self) -> Option<(f64, f64)> {
        let forecast = self.forecast.last().map(|point| (point.x, point.y));
        let measured = || self.measured.last().map(|point| (point.x, point.y));
        forecast.or_else(|| self.fitted.last().copied()).or_else(measured)
    }

    /// Whether the true loss is that at the size the prediction is for.
    pub(super) fn has_truth_at_end(&self) -> bool {
        let end = self.forecast.last().map(|point| point.x);
        self.truth
            .zip(end)
            .is_some_and(|((x, _), end)| (x / end).ln().abs() < 1e-9)
    }

    /// All points but bands.
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let measured = self.measured.iter().map(|point| (point.x, point.y));
        let forecast = self.forecast.iter().map(|point| (point.x, point.y));
        measured
            .chain(self.fitted.iter().copied())
            .chain(forecast)
            .chain(self.truth)
    }
}

/// The drawable scene.
#[derive(Debug, Clone)]
pub(super) struct Picture<'s> {
    /// The title as given.
    pub(super) title: &'s str,
    /// The subtitle's lines.
    pub(super) subtitle: Vec<String>,
    /// The curves from back to front.
    pub(super) curves: Vec<Curve<'s>>,
    /// Vertical lines, ascending.
    pub(super) verticals: Vec<(f64, &'s str)>,
    /// Axis labels.
    pub(super) axis_labels: (&'s str, &'s str),
    /// Horizontal range.
    pub(super) x: (f64, f64),
    /// Vertical range.
    pub(super) y: (f64, f64),
    /// Curves beyond the limit.
    pub(super) omitted: usize,
}

impl<'s> Picture<'s> {
    /// Cleans a scene.
    pub(super) fn of(scene: &'s PlotScene) -> Self {
        let mut order: Vec<&PlotSeries> = scene.series.iter().collect();
        // Best first; without a rank last, in the order given.
        order.sort_by_key(|series| (!series.highlight, series.rank.unwrap_or(u32::MAX)));
        let mut curves: Vec<Curve<'s>> = order.into_iter().filter_map(clean).collect();
        let omitted = curves.len().saturating_sub(MAX_CURVES);
        curves.truncate(MAX_CURVES);
        assign_roles(&mut curves);
        // The front is drawn last.
        curves.reverse();
        let mut verticals: Vec<_> = scene
            .verticals
            .iter()
            .filter(|(x, _)| drawable(*x))
            .map(|(x, label)| (*x, label.as_str()))
            .collect();
        verticals.sort_by(|a, b| a.0.total_cmp(&b.0));
        let xs = curves
            .iter()
            .flat_map(|curve| curve.points().map(|(x, _)| x).collect::<Vec<_>>());
        let x = range(xs.chain(verticals.iter().map(|(x, _)| *x))).unwrap_or((100.0, 1e6));
        let y = vertical_range(&curves).unwrap_or((1.0, 10.0));
        let subtitle = text::two_lines(&scene.subtitle, frame::SUBTITLE_SIZE, frame::ROOM);
        Self {
            title: &scene.title,
            subtitle,
            curves,
            verticals,
            axis_labels: (&scene.x_label, &scene.y_label),
            x,
            y,
            omitted,
        }
    }

    /// Whether a true loss stands where a prediction does.
    pub(super) fn has_truth_at_end(&self) -> bool {
        self.curves.iter().any(Curve::has_truth_at_end)
    }

    /// Whether there are so few curves that each can show its points and have a label.
    pub(super) fn is_small(&self) -> bool {
        self.curves.len() <= FEW_CURVES
    }
}

/// Values a logarithmic axis can show. The bounds keep ratios of two of them well inside what a float holds.
fn drawable(value: f64) -> bool {
    (1e-100..=1e100).contains(&value)
}

fn clean(series: &PlotSeries) -> Option<Curve<'_>> {
    let both = |x: f64, y: f64| drawable(x) && drawable(y);
    let mut measured: Vec<_> = series
        .measured
        .iter()
        .copied()
        .filter(|point| both(point.x, point.y))
        .collect();
    let mut fitted: Vec<_> = series
        .fitted
        .iter()
        .copied()
        .filter(|point| both(point.0, point.1))
        .collect();
    let mut forecast: Vec<_> = series
        .forecast
        .iter()
        .copied()
        .filter(|point| both(point.x, point.y))
        .collect();
    for point in &mut forecast {
        point.band = point
            .band
            .filter(|(lower, upper)| both(*lower, *upper) && lower <= upper);
    }
    measured.sort_by(|a, b| a.x.total_cmp(&b.x));
    fitted.sort_by(|a, b| a.0.total_cmp(&b.0));
    forecast.sort_by(|a, b| a.x.total_cmp(&b.x));
    let truth = series.truth.filter(|(x, y)| both(*x, *y));
    let curve = Curve {
        series,
        role: Role::Faint,
        measured,
        fitted,
        forecast,
        truth,
    };
    let empty = curve.points().next().is_none();
    (!empty).then_some(curve)
}

/// Gives roles to curves that are sorted from best to worst.
fn assign_roles(curves: &mut [Curve<'_>]) {
    let live = curves.iter().filter(|curve| !curve.series.faded).count();
    let few = live <= draw::RUNNERS.len() + 1;
    let small = curves.len() <= FEW_CURVES;
    let rest = curves
        .iter()
        .filter(|curve| !curve.series.highlight)
        .count()
        .saturating_sub(draw::RUNNERS.len());
    let (mut runners, mut others) = (0, 0);
    for curve in curves {
        curve.role = if curve.series.highlight {
            Role::Chosen
        } else if !curve.series.faded
            && runners < draw::RUNNERS.len()
            && (few || curve.series.rank.is_some_and(|rank| rank <= 5))
        {
            runners += 1;
            Role::Runner(runners - 1)
        } else {
            others += 1;
            if small || 2 * others <= rest + 1 {
                Role::Rest
            } else {
                Role::Faint
            }
        };
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// The range of the prominent curves, stretched within limits towards the others and the intervals.
fn vertical_range(curves: &[Curve<'_>]) -> Option<(f64, f64)> {
    let heights = |prominent: bool| {
        let wanted = curves
            .iter()
            .filter(move |curve| curve.role.is_prominent() == prominent);
        range(wanted.flat_map(|curve| curve.points().map(|(_, y)| y).collect::<Vec<_>>()))
    };
    let Some((low, high)) = heights(true) else {
        return heights(false);
    };
    let reach = (STRETCH * (high / low).ln()).max(0.05);
    let bands = curves
        .iter()
        .filter(|curve| curve.role == Role::Chosen)
        .flat_map(|curve| curve.forecast.iter().filter_map(|point| point.band))
        .flat_map(|(lower, upper)| [lower, upper]);
    // Few curves are all labelled: they all belong into the picture, those that left a race early, too.
    if curves.len() <= FEW_CURVES && curves.iter().any(|curve| curve.series.faded) {
        let (others_low, others_high) = heights(false).unwrap_or((low, high));
        return range(bands.chain([low, high, others_low, others_high]));
    }
    let others = heights(false).into_iter().flat_map(|(low, high)| [low, high]);
    let (outer_low, outer_high) = range(bands.chain(others)).unwrap_or((low, high));
    let floor = (low.ln() - reach).exp();
    let ceiling = (high.ln() + reach).exp();
    Some((outer_low.clamp(floor, low), outer_high.clamp(high, ceiling)))
}

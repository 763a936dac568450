//! Where one tuning method overtakes another on the same candidate (the critical data size; Zhang et al., ICLR 2024,
//! arXiv 2402.17193, §4).
//!
//! Point estimate and yes/no come from the log-linear trends: ln L = a + b·log₂ D by least squares over each method's losses; the
//! critical size is where the two lines meet. The paper fits its joint law to many model sizes; one candidate's few points do not
//! identify that law, and the lines are what the decisions rest on as well.
//!
//! The interval is simulated with the selection's seed: each line's coefficients are drawn from their least-squares distribution
//! with a noise that is pooled over all contenders (at least that of [`TrendVariances::RANK`]), and beyond the largest measured size
//! its slope drifts as the pooled trend's does (`q·h³/3` after h doublings). What is judged is the range from the larger of the
//! methods' smallest sizes to the full size; "no crossing within it" is an answer.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::curve::{DataSize, Observation};
use crate::explain;
use crate::regression::Line;
use crate::selection::State;
use crate::trend::TrendVariances;

/// Simulated pairs of trends for one interval.
const DRAWS: usize = 2_000;

/// Where one method overtakes another.
#[derive(Clone, Debug, PartialEq)]
pub struct Crossover {
    /// Id of the candidate.
    pub candidate: String,
    /// Id of the better method below the critical size; without one: of the better method all over the range.
    pub method_below: String,
    /// Id of the better method above it; without a critical size: the same as below.
    pub method_above: String,
    /// Examples; absent: no crossing within the range that can be judged.
    pub critical_data_size: Option<f64>,
    /// Lower end of its interval; absent: below the range, or no crossing.
    pub lower: Option<f64>,
    /// Upper end of its interval; absent: above the range, or no crossing.
    pub upper: Option<f64>,
    /// For people.
    pub detail: String,
}

/// All pairs of methods of all candidates that were measured at two sizes or more with both, in the order of the spec. Empty while
/// the full size is unknown.
#[must_use]
pub fn crossovers(state: &State) -> Vec<Crossover> {
    let methods = state.spec.methods.len();
    let Some(prepared) = state.prepared.as_ref().filter(|_| methods > 1) else {
        return Vec::new();
    };
    let trends: Vec<Option<Trend>> = curves(state).iter().map(|curve| Trend::fit(curve)).collect();
    let noise = pooled_noise(&trends);
    let mut found = Vec::new();
    for (index, candidate) in state.spec.candidates.iter().enumerate() {
        for (first, one) in state.spec.methods.iter().enumerate() {
            for (second, other) in state.spec.methods.iter().enumerate().skip(first + 1) {
                let trend = |method: usize| trends.get(index * methods + method).and_then(Option::as_ref);
                let (Some(a), Some(b)) = (trend(first), trend(second)) else {
                    continue;
                };
                let pair = Pair {
                    a,
                    b,
                    noise,
                    full: prepared.data_size_full,
                };
                // Each pair draws for itself: an answer does not depend on the other pairs.
                let stream = (index * methods + first) * methods + second;
                let mut rng = ChaCha8Rng::seed_from_u64(state.spec.seed);
                rng.set_stream(stream as u64);
                found.extend(pair.judge(&candidate.id, [&one.id, &other.id], state.spec.interval_level, &mut rng));
            }
        }
    }
    found
}

/// Losses of all contenders above size 0, ascending.
fn curves(state: &State) -> Vec<Vec<Observation>> {
    let mut curves = vec![Vec::new(); state.spec.contenders()];
    for trial in &state.trials {
        if let (Some(curve), Some(point)) = (curves.get_mut(trial.contender), trial.observation())
            && !point.data_size().is_zero()
        {
            curve.push(*point);
        }
    }
    for curve in &mut curves {
        curve.sort_by_key(Observation::data_size);
    }
    curves
}

/// A curve's line and what its uncertainty follows from. x = log₂ examples.
#[derive(Clone, Debug)]
struct Trend {
    line: Line,
    points: f64,
    first: f64,
    last: f64,
    mean_x: f64,
    /// Σ (x − mean)².
    spread: f64,
}

impl Trend {
    /// `None` for fewer than two sizes.
    fn fit(curve: &[Observation]) -> Option<Self> {
        let xy = curve.iter().map(|point| (point.log2_data_size(), point.log_loss()));
        let line = Line::fit(xy.clone())?;
        let points = curve.len() as f64;
        let mean_x = xy.clone().map(|(x, _)| x).sum::<f64>() / points;
        Some(Self {
            line,
            points,
            first: curve.first()?.log2_data_size(),
            last: curve.last()?.log2_data_size(),
            mean_x,
            spread: xy.map(|(x, _)| (x - mean_x).powi(2)).sum(),
        })
    }

    /// A line as it might be as well: (level at `mean_x`, slope within the data, slope beyond them).
    fn draw(&self, noise: f64, full: f64, rng: &mut ChaCha8Rng) -> Bent {
        let mut normal = || -> f64 { StandardNormal.sample(rng) };
        let sd = noise.sqrt();
        let level = self.line.at(self.mean_x) + normal() * sd / self.points.sqrt();
        let slope = self.line.slope + normal() * sd / self.spread.sqrt();
        // q·h³/3 is the variance of the level after h doublings; one slope for all of them has it at the full size.
        let drift = normal() * (TrendVariances::RANK.slope * (full - self.last).max(0.0) / 3.0).sqrt();
        Bent {
            mean_x: self.mean_x,
            level,
            slope,
            knee: self.last,
            beyond: slope + drift,
        }
    }
}

/// Noise variance of ln loss: residuals of all lines over their degrees of freedom, at least the trend's own.
fn pooled_noise(trends: &[Option<Trend>]) -> f64 {
    let (squares, freedom) = trends.iter().flatten().fold((0.0, 0.0), |(squares, freedom), trend| {
        let own = trend.line.residual_sd.powi(2) * trend.points;
        (squares + own, freedom + trend.points - 2.0)
    });
    let pooled = if freedom > 0.0 { squares / freedom } else { 0.0 };
    pooled.max(TrendVariances::RANK.observation)
}

/// A line with a bend at its last measured size.
struct Bent {
    mean_x: f64,
    level: f64,
    slope: f64,
    knee: f64,
    beyond: f64,
}

impl Bent {
    fn at(&self, x: f64) -> f64 {
        let within = self.level + self.slope * (x.min(self.knee) - self.mean_x);
        within + self.beyond * (x - self.knee).max(0.0)
    }
}

/// Where two straight pieces, told by their differences at both ends, meet.
fn zero_between((x0, d0): (f64, f64), (x1, d1): (f64, f64)) -> Option<f64> {
    if d0 == 0.0 {
        return Some(x0);
    }
    ((d0 < 0.0) != (d1 < 0.0)).then(|| x0 + (x1 - x0) * d0 / (d0 - d1))
}

/// Two methods on one candidate.
struct Pair<'a> {
    a: &'a Trend,
    b: &'a Trend,
    noise: f64,
    full: DataSize,
}

impl Pair<'_> {
    fn range(&self) -> Option<(f64, f64)> {
        let (low, high) = (self.a.first.max(self.b.first), self.full.log2());
        (low.is_finite() && high > low).then_some((low, high))
    }

    fn judge(&self, candidate: &str, methods: [&str; 2], level: f64, rng: &mut ChaCha8Rng) -> Option<Crossover> {
        let (low, high) = self.range()?;
        let gap = |x: f64| self.a.line.at(x) - self.b.line.at(x);
        let [first, second] = methods;
        let (below, above) = if gap(low) <= 0.0 {
            (first, second)
        } else {
            (second, first)
        };
        let ends = [low, high].map(|x| explain::grouped(whole(x)));
        let Some(critical) = zero_between((low, gap(low)), (high, gap(high))).filter(|x| *x > low) else {
            let better = if gap(high) <= 0.0 { first } else { second };
            let worse = if better == first { second } else { first };
            let detail = format!(
                "by the trends {better} stays better than {worse} from {} to {} examples: no crossing in this range",
                ends[0], ends[1]
            );
            return Some(Crossover {
                candidate: candidate.to_owned(),
                method_below: better.to_owned(),
                method_above: better.to_owned(),
                critical_data_size: None,
                lower: None,
                upper: None,
                detail,
            });
        };
        let [lower, upper] = self.interval((low, high), gap(low) <= 0.0, level, rng);
        let (lower, upper) = (lower.map(f64::exp2), upper.map(f64::exp2));
        let critical = critical.exp2();
        let detail = format!(
            "{below} is better up to about {} examples, {above} beyond; {}",
            explain::grouped(rounded(critical)),
            described(lower, upper, level, &ends)
        );
        Some(Crossover {
            candidate: candidate.to_owned(),
            method_below: below.to_owned(),
            method_above: above.to_owned(),
            critical_data_size: Some(critical),
            lower,
            upper,
            detail,
        })
    }

    /// log₂ of the interval's ends. A draw that crosses outside the range counts as beyond that end; one that crosses the other way
    /// round tells nothing of where, and counts half to either side.
    fn interval(
        &self,
        (low, high): (f64, f64),
        first_below: bool,
        level: f64,
        rng: &mut ChaCha8Rng,
    ) -> [Option<f64>; 2] {
        let mut crossings = Vec::with_capacity(DRAWS);
        let mut astray = 0_usize;
        let sign = if first_below { 1.0 } else { -1.0 };
        for _ in 0..DRAWS {
            let (a, b) = (self.a.draw(self.noise, high, rng), self.b.draw(self.noise, high, rng));
            // Below 0 where the method that is better below the critical size is better.
            let gap = |x: f64| sign * (a.at(x) - b.at(x));
            crossings.push(match (gap(low) <= 0.0, gap(high) <= 0.0) {
                (true, false) => self.crossing(&gap, low, high),
                (true, true) => f64::INFINITY,
                (false, false) => f64::NEG_INFINITY,
                (false, true) => {
                    astray += 1;
                    if astray.is_multiple_of(2) {
                        f64::INFINITY
                    } else {
                        f64::NEG_INFINITY
                    }
                }
            });
        }
        crossings.sort_by(f64::total_cmp);
        let tail = (1.0 - level) / 2.0;
        let end = |fraction: f64| {
            let place = fraction * (crossings.len().saturating_sub(1)) as f64;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and the number of draws"
            )]
            let found = crossings.get(place.round().max(0.0) as usize).copied();
            found.filter(|x| x.is_finite())
        };
        [end(tail), end(1.0 - tail)]
    }

    /// The first upward crossing between the ends, piece by piece.
    fn crossing(&self, gap: &impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
        let mut knees = [self.a.last, self.b.last].map(|x| x.clamp(low, high));
        knees.sort_by(f64::total_cmp);
        let places = [low, knees[0], knees[1], high].map(|x| (x, gap(x)));
        let pieces = places.windows(2).filter_map(|piece| match piece {
            [from, to] if from.1 <= 0.0 && to.1 > 0.0 => zero_between(*from, *to),
            _ => None,
        });
        pieces.into_iter().next().unwrap_or(high)
    }
}

/// The whole number of examples at x = log₂ examples.
fn whole(x: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and sizes are positive"
    )]
    let examples = x.exp2().round() as u64;
    examples
}

/// Two leading digits: more would pretend.
fn rounded(examples: f64) -> u64 {
    let step = 10_f64.powf((examples.max(1.0).log10().floor() - 1.0).max(0.0));
    whole(((examples / step).round() * step).max(1.0).log2())
}

fn described(lower: Option<f64>, upper: Option<f64>, level: f64, ends: &[String; 2]) -> String {
    let sure = explain::percent(level);
    let number = |size: f64| explain::grouped(rounded(size));
    match (lower, upper) {
        (Some(lower), Some(upper)) => format!("the {sure} interval is {} to {}", number(lower), number(upper)),
        (Some(lower), None) => format!(
            "the {sure} interval begins at {} and has no end before {}",
            number(lower),
            ends[1]
        ),
        (None, Some(upper)) => format!(
            "the {sure} interval begins below {} and ends at {}",
            ends[0],
            number(upper)
        ),
        (None, None) => format!("too uncertain to name an interval between {} and {}", ends[0], ends[1]),
    }
}

#[cfg(test)]
mod tests;

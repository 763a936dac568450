//! The critical data size at which one curve overtakes another (Zhang et al., ICLR 2024, arXiv 2402.17193).
//!
//! Point estimate and yes-or-no come from log-linear fits, which err least when little is measured; where the measured
//! curves themselves cross, that is the answer. The interval comes from bootstrap draws of the rectified law.

use crate::curve::{DataSize, LearningCurve, MAX_DATA_SIZE, Observation};
use crate::error::FitError;
use crate::fit::{FitOptions, Fitter, root};
use crate::law::{Law, LawKind};
use crate::uncertainty::{DEFAULT_DRAWS, Draws, Level, bootstrap, sorted_quantile};

/// The default range ends at so many times the largest measured size.
pub const DEFAULT_REACH: DataSize = 64;
/// Log-linear fits use the newest points only.
const LINE_POINTS: usize = 8;
/// Fewest points of both curves for draws of the rectified law; with fewer, power laws are drawn.
const MIN_RECTIFIED_POINTS: usize = 5;
/// Fewest points that a curve needs.
const MIN_POINTS: usize = 2;
/// Steps of the scan for sign changes between two laws.
const SCAN_STEPS: u32 = 64;

/// What to search and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossoverOptions {
    /// Smallest size of interest, > 0; `None`: the smallest size that both curves have reached.
    pub data_size_min: Option<DataSize>,
    /// Largest size of interest; `None`: [`DEFAULT_REACH`] times the largest measured size.
    pub data_size_max: Option<DataSize>,
    /// Bootstrap draws.
    pub draws: usize,
    /// Coverage of the interval.
    pub level: Level,
    /// Seed of the bootstrap.
    pub seed: u64,
}

impl Default for CrossoverOptions {
    fn default() -> Self {
        Self {
            data_size_min: None,
            data_size_max: None,
            draws: DEFAULT_DRAWS,
            level: Level::default(),
            seed: 0,
        }
    }
}

/// Whether the curves cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CrossoverOutcome {
    /// They cross in the range.
    Crosses,
    /// One is better over the whole range.
    NoneInRange,
    /// The draws do not tell which is better anywhere in the range.
    Indistinguishable,
    /// A curve has fewer than two points of positive size.
    TooFewPoints,
}

/// One of the two curves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crossover {
    /// Whether they cross.
    pub outcome: CrossoverOutcome,
    /// The critical data size in examples.
    pub critical_data_size: Option<f64>,
    /// Lower end of its interval; `None`: unbounded within the range, or no crossing.
    pub lower: Option<f64>,
    /// Upper end of its interval; `None`: unbounded within the range, or no crossing.
    pub upper: Option<f64>,
    /// Share of the draws that cross in the range.
    pub crossing_share: f64,
    /// Who has the lower loss below the critical size (everywhere, without one); `None`: undecided.
    pub better_below: Option<Side>,
    /// Who has the lower loss above it; `None`: undecided.
    pub better_above: Option<Side>,
}

const NO_ANSWER: Crossover = Crossover {
    outcome: CrossoverOutcome::TooFewPoints,
    critical_data_size: None,
    lower: None,
    upper: None,
    crossing_share: 0.0,
    better_below: None,
    better_above: None,
};

/// Finds the crossing of two curves.
///
/// # Errors
/// [`FitError::Range`] when the range is empty, starts at 0 or ends beyond 2^53; [`FitError::NoDraws`] without draws.
pub fn find_crossover(
    first: &LearningCurve,
    second: &LearningCurve,
    options: &CrossoverOptions,
) -> Result<Crossover, FitError> {
    if options.draws == 0 {
        return Err(FitError::NoDraws);
    }
    let points = [first.fit_points(None), second.fit_points(None)];
    let given = (
        options.data_size_min.unwrap_or(1),
        options.data_size_max.unwrap_or(MAX_DATA_SIZE - 1),
    );
    check_range(given.0, given.1)?;
    let [Some(a), Some(b)] = points.map(ends) else {
        return Ok(NO_ANSWER);
    };
    if points.iter().any(|p| p.len() < MIN_POINTS) {
        return Ok(NO_ANSWER);
    }
    let lower = options.data_size_min.unwrap_or(a.0.max(b.0));
    let reach = a.1.max(b.1).saturating_mul(DEFAULT_REACH).min(MAX_DATA_SIZE - 1);
    let upper = options
        .data_size_max
        .unwrap_or(reach.max(lower.saturating_mul(2)).min(MAX_DATA_SIZE - 1));
    check_range(lower, upper)?;
    let range = ((lower as f64).ln(), (upper as f64).ln());
    let lines = points.map(line);
    let estimate = measured_crossing(points[0], points[1])
        .filter(|x| within(*x, range))
        .or_else(|| {
            let difference = |x: f64| lines[0].log_loss(x) - lines[1].log_loss(x);
            root::find(difference, range.0, range.1).filter(|x| within(*x, range))
        });
    let pairs = draw_pairs(first, second, options);
    Ok(answer(&lines, &pairs, estimate, range, options.level))
}

fn check_range(lower: DataSize, upper: DataSize) -> Result<(), FitError> {
    if lower == 0 || lower >= upper || upper >= MAX_DATA_SIZE {
        Err(FitError::Range { lower, upper })
    } else {
        Ok(())
    }
}

fn within(x: f64, range: (f64, f64)) -> bool {
    x >= range.0 && x <= range.1
}

fn ends(points: &[Observation]) -> Option<(DataSize, DataSize)> {
    Some((points.first()?.data_size, points.last()?.data_size))
}

/// The log-linear fit to the newest points.
fn line(points: &[Observation]) -> Law {
    let newest = points.get(points.len().saturating_sub(LINE_POINTS)..).unwrap_or(points);
    let flat = Law::constant(LawKind::Power, 0.0);
    let Ok(curve) = LearningCurve::new(newest.to_vec()) else {
        return flat;
    };
    Fitter::default()
        .fit(
            &curve,
            &FitOptions {
                law: LawKind::Power,
                ..FitOptions::default()
            },
        )
        .law
        .unwrap_or(flat)
}

/// ln D where the measured curves cross, linear in ln L over ln D, when their difference changes sign exactly once over
/// the sizes that both have.
fn measured_crossing(first: &[Observation], second: &[Observation]) -> Option<f64> {
    let difference = |o: &Observation| {
        let at = second
            .binary_search_by_key(&o.data_size, |other| other.data_size)
            .ok()?;
        second
            .get(at)
            .map(|other| ((o.data_size as f64).ln(), (o.test_loss / other.test_loss).ln()))
    };
    let gaps: Vec<(f64, f64)> = first
        .iter()
        .filter_map(difference)
        .filter(|(_, gap)| *gap != 0.0)
        .collect();
    let mut crossings = gaps.windows(2).filter_map(|pair| match pair {
        [left, right] if left.1 * right.1 < 0.0 => Some(left.0 + (right.0 - left.0) * left.1 / (left.1 - right.1)),
        _ => None,
    });
    let crossing = crossings.next()?;
    crossings.next().is_none().then_some(crossing)
}

fn draw_pairs(first: &LearningCurve, second: &LearningCurve, options: &CrossoverOptions) -> Vec<(Law, Law)> {
    let fewest = first.fit_points(None).len().min(second.fit_points(None).len());
    let law = if fewest >= MIN_RECTIFIED_POINTS {
        LawKind::Rectified
    } else {
        LawKind::Power
    };
    let fit_options = FitOptions {
        law,
        ..FitOptions::default()
    };
    let mut fitter = Fitter::default();
    let mut draws = |curve: &LearningCurve, seed: u64| {
        let report = fitter.fit(curve, &fit_options);
        bootstrap(&mut fitter, curve, &fit_options, &report, options.draws, seed)
    };
    // Equal curves have equal random streams; the second seed keeps the draws independent.
    let (first, second) = (
        draws(first, options.seed),
        draws(second, options.seed.wrapping_add(0x9e37_79b9)),
    );
    let laws = |draws: &Option<Draws>| draws.as_ref().map(|d| d.laws().to_vec()).unwrap_or_default();
    laws(&first).into_iter().zip(laws(&second)).collect()
}

/// Who is better where ln L differs by `difference` = first − second.
fn better(difference: f64) -> Option<Side> {
    if difference < 0.0 {
        Some(Side::First)
    } else if difference > 0.0 {
        Some(Side::Second)
    } else {
        None
    }
}

fn answer(lines: &[Law; 2], pairs: &[(Law, Law)], estimate: Option<f64>, range: (f64, f64), level: Level) -> Crossover {
    let middle = 0.5 * (range.0 + range.1);
    let by_lines = |x: f64| better(lines[0].log_loss(x) - lines[1].log_loss(x));
    let crossings: Vec<Option<f64>> = pairs
        .iter()
        .map(|pair| crossing_of(pair, range, estimate.unwrap_or(middle)))
        .collect();
    let count = pairs.len().max(1) as f64;
    let crossing_share = crossings.iter().flatten().count() as f64 / count;
    let Some(estimate) = estimate else {
        let undecided = [range.0, middle, range.1]
            .into_iter()
            .all(|x| undecided(pairs, x, level));
        let side = if undecided { None } else { by_lines(middle) };
        let outcome = if side.is_none() {
            CrossoverOutcome::Indistinguishable
        } else {
            CrossoverOutcome::NoneInRange
        };
        return Crossover {
            outcome,
            crossing_share,
            better_below: side,
            better_above: side,
            ..NO_ANSWER
        };
    };
    // The lines may not cross where the measured curves do: the side above is theirs, the side below its opposite.
    let better_above = by_lines(range.1);
    let better_below = better_above.map(|side| if side == Side::First { Side::Second } else { Side::First });
    // A draw that does not cross has its crossing beyond the end at which the leader of the other side still leads.
    let position = |(crossing, pair): (&Option<f64>, &(Law, Law))| {
        crossing.unwrap_or_else(|| {
            let leader = better(pair.0.log_loss(middle) - pair.1.log_loss(middle));
            if leader == better_above {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        })
    };
    let positions: Vec<f64> = crossings.iter().zip(pairs).map(position).collect();
    let tail = 0.5 * (1.0 - level.get());
    let bound = |probability| quantile_or_none(&positions, probability);
    Crossover {
        outcome: CrossoverOutcome::Crosses,
        critical_data_size: Some(estimate.exp()),
        lower: bound(tail).map(|x| x.min(estimate).exp()),
        upper: bound(1.0 - tail).map(|x| x.max(estimate).exp()),
        crossing_share,
        better_below,
        better_above,
    }
}

/// `None` where the quantile falls among the draws that cross outside the range.
fn quantile_or_none(positions: &[f64], probability: f64) -> Option<f64> {
    sorted_quantile(positions, probability).filter(|x| x.is_finite())
}

/// Whether the draws disagree at ln D = `x` on who is better, at the level asked for.
fn undecided(pairs: &[(Law, Law)], x: f64, level: Level) -> bool {
    let first_better = pairs.iter().filter(|(a, b)| a.log_loss(x) < b.log_loss(x)).count() as f64;
    let share = first_better / pairs.len().max(1) as f64;
    let tail = 0.5 * (1.0 - level.get());
    share > tail && share < 1.0 - tail
}

/// ln D of the crossing of two laws in the range that is nearest to `near`.
fn crossing_of(pair: &(Law, Law), range: (f64, f64), near: f64) -> Option<f64> {
    let difference = |x: f64| pair.0.log_loss(x) - pair.1.log_loss(x);
    let at = |step: u32| range.0 + (range.1 - range.0) * f64::from(step) / f64::from(SCAN_STEPS);
    let mut nearest: Option<f64> = None;
    let mut left = difference(at(0));
    for step in 1..=SCAN_STEPS {
        let right = difference(at(step));
        if left * right < 0.0 {
            let found = root::find(difference, at(step - 1), at(step));
            nearest = match (nearest, found) {
                (Some(old), Some(new)) if (new - near).abs() >= (old - near).abs() => Some(old),
                (_, Some(new)) => Some(new),
                (old, None) => old,
            };
        }
        left = right;
    }
    nearest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::PowerLaw;

    fn curve(law: &Law, points: u32) -> LearningCurve {
        let noise = |i: u32| 1.0 + 0.001 * (f64::from(i) * 2.4).sin();
        let pairs: Vec<_> = (0..points)
            .map(|i| (200_u64 << i, law.loss(200 << i) * noise(i)))
            .collect();
        LearningCurve::from_pairs(&pairs).unwrap()
    }

    fn power(scale: f64, exponent: f64) -> Law {
        Law::Power(PowerLaw::new(scale.ln(), exponent, 0.0))
    }

    #[test]
    fn finds_a_crossing_beyond_the_data() {
        // 4 D^-0.1 = 8 D^-0.15 at D = 2^20.
        let (slow, fast) = (curve(&power(4.0, 0.1), 8), curve(&power(8.0, 0.15), 8));
        let found = find_crossover(&slow, &fast, &CrossoverOptions::default()).unwrap();
        assert_eq!(found.outcome, CrossoverOutcome::Crosses);
        assert!((found.critical_data_size.unwrap().log2() - 20.0).abs() < 1.0);
        assert_eq!(
            (found.better_below, found.better_above),
            (Some(Side::First), Some(Side::Second))
        );
        let (lower, critical) = (found.lower.unwrap_or(0.0), found.critical_data_size.unwrap());
        assert!(lower <= critical && found.upper.is_none_or(|u| u >= critical));
        let mirrored = find_crossover(&fast, &slow, &CrossoverOptions::default()).unwrap();
        assert_eq!(
            (mirrored.better_below, mirrored.better_above),
            (Some(Side::Second), Some(Side::First))
        );
    }

    #[test]
    fn measured_crossings_are_taken_as_they_are() {
        let first = LearningCurve::from_pairs(&[(100, 3.0), (200, 2.8), (400, 2.6), (800, 2.4)]).unwrap();
        let second = LearningCurve::from_pairs(&[(100, 3.2), (200, 2.9), (400, 2.55), (800, 2.2)]).unwrap();
        let found = find_crossover(&first, &second, &CrossoverOptions::default()).unwrap();
        assert_eq!(found.outcome, CrossoverOutcome::Crosses);
        assert!((200.0..400.0).contains(&found.critical_data_size.unwrap()));
    }

    #[test]
    fn parallel_and_equal_curves_do_not_cross() {
        let (low, high) = (curve(&power(4.0, 0.1), 9), curve(&power(6.0, 0.1), 9));
        let found = find_crossover(&low, &high, &CrossoverOptions::default()).unwrap();
        assert_eq!(found.outcome, CrossoverOutcome::NoneInRange);
        assert_eq!(found.better_below, Some(Side::First));
        let same = find_crossover(&low, &low, &CrossoverOptions::default()).unwrap();
        assert_eq!(same.outcome, CrossoverOutcome::Indistinguishable);
        assert_eq!((same.better_below, same.critical_data_size), (None, None));
    }

    #[test]
    fn poor_input_is_answered_or_refused() {
        let one = LearningCurve::from_pairs(&[(0, 4.0), (100, 3.0)]).unwrap();
        let good = curve(&power(4.0, 0.1), 6);
        let found = find_crossover(&one, &good, &CrossoverOptions::default()).unwrap();
        assert_eq!(found.outcome, CrossoverOutcome::TooFewPoints);
        let range = |min, max| {
            let options = CrossoverOptions {
                data_size_min: min,
                data_size_max: max,
                ..CrossoverOptions::default()
            };
            find_crossover(&good, &good, &options)
        };
        assert!(matches!(range(Some(0), None), Err(FitError::Range { .. })));
        assert!(matches!(range(Some(10), Some(10)), Err(FitError::Range { .. })));
        assert!(matches!(range(None, Some(1 << 53)), Err(FitError::Range { .. })));
        assert!(matches!(range(None, Some(150)), Err(FitError::Range { .. })));
        let none = CrossoverOptions {
            draws: 0,
            ..CrossoverOptions::default()
        };
        assert_eq!(find_crossover(&good, &good, &none), Err(FitError::NoDraws));
    }
}

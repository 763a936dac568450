//! Logarithmic axes and the ticks people read on them.

/// Fewest ticks an axis should have.
const FEW: usize = 5;
/// Most ticks an axis should have.
const MANY: usize = 9;

/// A logarithmic axis from values to pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogAxis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl LogAxis {
    /// An axis over `[low, high]` (both within 1e±100) with a share of `margins` added at either end, drawn from
    /// pixel `from` to `to`. A range without extent is widened.
    pub(super) fn new(range: (f64, f64), margins: (f64, f64), from: f64, to: f64) -> Self {
        /// Smallest extent in ln units: below, ticks would need more digits than anyone reads.
        const NARROWEST: f64 = 0.002;
        let (mut low, mut high) = (range.0.ln(), range.1.ln());
        if high - low < NARROWEST {
            let middle = f64::midpoint(low, high);
            (low, high) = (middle - 0.1, middle + 0.1);
        }
        let extent = high - low;
        Self {
            low: low - margins.0 * extent,
            high: high + margins.1 * extent,
            from,
            to,
        }
    }

    /// Where a value is drawn. The value is within 1e±100.
    pub(super) fn px(&self, value: f64) -> f64 {
        self.from + (value.ln() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The axis's ends as values, a hair wider: the way through the logarithm must not lose a tick at an end.
    fn range(&self) -> (f64, f64) {
        const HAIR: f64 = 1e-9;
        (
            self.low.exp().max(f64::MIN_POSITIVE) * (1.0 - HAIR),
            (self.high.exp() * (1.0 + HAIR)).min(f64::MAX),
        )
    }

    /// Labelled ticks for counts: `100`, `1k`, `10k`.
    pub(super) fn count_ticks(&self) -> Vec<(f64, String)> {
        let (low, high) = self.range();
        let decades = log_ticks(low, high, &[1.0]);
        let values = if decades.len() >= 3 {
            thinned(decades)
        } else {
            let finer = log_ticks(low, high, &[1.0, 2.0, 5.0]);
            if finer.len() >= 3 {
                finer
            } else {
                linear_ticks(low, high)
            }
        };
        values.into_iter().map(|value| (value, count(value))).collect()
    }

    /// Labelled ticks for losses: 1.5, 2, 3, 4, and finer where the range is narrow.
    pub(super) fn value_ticks(&self) -> Vec<(f64, String)> {
        /// Above this ratio of the ends, equal steps crowd the upper end.
        const WIDE: f64 = 2.2;
        let (low, high) = self.range();
        let families: [&[f64]; 4] = [
            &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            &[1.0, 2.0, 5.0],
            &[1.0],
        ];
        if high / low <= WIDE {
            return labelled(linear_ticks(low, high));
        }
        let all = families.map(|family| log_ticks(low, high, family));
        if let Some(ticks) = all.iter().find(|ticks| (FEW..=MANY).contains(&ticks.len())) {
            return labelled(ticks.clone());
        }
        let [finest, .., decades] = all;
        labelled(if finest.len() < FEW {
            linear_ticks(low, high)
        } else {
            thinned(decades)
        })
    }

    /// Unlabelled ticks at 2, 3, … 9 times a power of ten; none where they would be a smear.
    pub(super) fn minor_ticks(&self) -> Vec<f64> {
        let (low, high) = self.range();
        if high.log10() - low.log10() > 8.0 {
            return Vec::new();
        }
        log_ticks(low, high, &[2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    }
}

/// `digits` times powers of ten within the range, ascending.
fn log_ticks(low: f64, high: f64, digits: &[f64]) -> Vec<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "decimal exponents of a float lie within ±400"
    )]
    let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = exponents.flat_map(|exponent| digits.iter().map(move |digit| times_power(*digit, exponent)));
    all.filter(|value| value.is_finite() && *value > 0.0 && (low..=high).contains(value))
        .collect()
}

/// `digit · 10^exponent` as the nearest float to its decimal notation (a product with 10^-1 is not).
fn times_power(digit: f64, exponent: i32) -> f64 {
    format!("{digit}e{exponent}").parse().unwrap_or(f64::NAN)
}

/// Every n-th tick, so that there are not too many.
fn thinned(ticks: Vec<f64>) -> Vec<f64> {
    let stride = ticks.len().div_ceil(MANY).max(1);
    ticks.into_iter().step_by(stride).collect()
}

/// Ticks in equal steps of 1, 2 or 5 times a power of ten: the longest step that gives enough of them.
fn linear_ticks(low: f64, high: f64) -> Vec<f64> {
    let extent = high - low;
    let mut steps = log_ticks(extent / 100.0, extent, &[1.0, 2.0, 5.0]);
    steps.reverse();
    let at = |step: f64| -> Vec<f64> {
        let first = (low / step).ceil();
        (0..40)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|value| *value <= high)
            .collect()
    };
    steps
        .into_iter()
        .map(at)
        .find(|ticks| ticks.len() >= FEW)
        .unwrap_or_default()
}

/// Ticks with as many decimals as the finest needs.
fn labelled(ticks: Vec<f64>) -> Vec<(f64, String)> {
    let extreme = ticks.iter().any(|value| *value >= 1e6 || *value < 1e-4);
    if extreme {
        return ticks.into_iter().map(|value| (value, format!("{value:.0e}"))).collect();
    }
    let gap = ticks
        .windows(2)
        .filter_map(|pair| Some(pair.get(1)? - pair.first()?))
        .fold(f64::INFINITY, f64::min);
    let even = ticks
        .windows(3)
        .all(|w| matches!(w, [a, b, c] if ((c - b) - (b - a)).abs() < 1e-6 * gap));
    let decimals = decimals(gap);
    ticks
        .into_iter()
        .map(|value| {
            let text = format!("{value:.*}", if even { decimals } else { decimals.max(4) });
            let trimmed = if even || !text.contains('.') {
                &text
            } else {
                text.trim_end_matches('0').trim_end_matches('.')
            };
            (value, trimmed.to_owned())
        })
        .collect()
}

/// Decimals that tell values `gap` apart.
fn decimals(gap: f64) -> usize {
    (0..10)
        .find(|places| {
            let scaled = gap * 10_f64.powi(*places);
            (scaled - scaled.round()).abs() < 1e-6 * scaled && scaled >= 1.0
        })
        .and_then(|places| usize::try_from(places).ok())
        .unwrap_or(2)
}

/// A count in the short form of axes: `200`, `1k`, `1.6M`.
pub(super) fn count(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    if !(1e-3..1e15).contains(&value) {
        return format!("{value:.0e}");
    }
    let (unit, name) = units.into_iter().find(|(unit, _)| value >= *unit).unwrap_or((1.0, ""));
    let digits = format!("{:.3}", value / unit);
    format!("{}{name}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A loss as labels show it: four significant digits.
pub(super) fn loss(value: f64) -> String {
    let magnitude = value.abs().log10().floor();
    if !(-4.0..7.0).contains(&magnitude) {
        return format!("{value:.3e}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 7")]
    let decimals = (3.0 - magnitude).clamp(0.0, 7.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(low: f64, high: f64) -> Vec<String> {
        let axis = LogAxis::new((low, high), (0.0, 0.0), 0.0, 1.0);
        axis.value_ticks().into_iter().map(|(_, text)| text).collect()
    }

    fn counts(low: f64, high: f64) -> Vec<String> {
        let axis = LogAxis::new((low, high), (0.0, 0.0), 0.0, 1.0);
        axis.count_ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn losses_get_the_ticks_people_expect() {
        assert_eq!(values(1.1, 5.2), ["1.2", "1.5", "2", "2.5", "3", "4", "5"]);
        assert_eq!(values(0.9, 12.0), ["1", "1.5", "2", "3", "4", "5", "7", "10"]);
        assert_eq!(values(1.45, 3.7), ["1.5", "2.0", "2.5", "3.0", "3.5"]);
        assert_eq!(values(1.5, 2.8), ["1.6", "1.8", "2.0", "2.2", "2.4", "2.6", "2.8"]);
        assert_eq!(
            values(0.05, 30.0),
            ["0.05", "0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]
        );
        assert_eq!(values(1.41, 1.52), ["1.42", "1.44", "1.46", "1.48", "1.50", "1.52"]);
        assert_eq!(values(2.0, 3.0), ["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]);
        assert_eq!(values(1e-9, 1e-3).first().map(String::as_str), Some("1e-9"));
    }

    #[test]
    fn counts_get_short_ticks() {
        assert_eq!(counts(150.0, 2e6), ["1k", "10k", "100k", "1M"]);
        assert_eq!(counts(900.0, 11_000.0), ["1k", "2k", "5k", "10k"]);
        assert_eq!(counts(1000.0, 1400.0), ["1k", "1.1k", "1.2k", "1.3k", "1.4k"]);
        assert_eq!(count(1_638_400.0), "1.638M");
        assert_eq!(
            [loss(1.23456), loss(12.0), loss(0.012_345)],
            ["1.235", "12.00", "0.01235"]
        );
    }

    proptest! {
        #[test]
        fn every_axis_has_finite_ticks_in_range(low in -100.0..100.0_f64, extent in 0.0..200.0_f64) {
            let range = (10_f64.powf(low), 10_f64.powf((low + extent).min(100.0)));
            let axis = LogAxis::new(range, (0.03, 0.03), 0.0, 100.0);
            for ticks in [axis.value_ticks(), axis.count_ticks()] {
                prop_assert!((1..=20).contains(&ticks.len()), "{:?}", ticks);
                for (value, text) in ticks {
                    let at = axis.px(value);
                    prop_assert!((-1e-6..=100.0 + 1e-6).contains(&at), "{} at {}", text, at);
                }
            }
        }
    }
}

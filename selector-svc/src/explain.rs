//! Numbers in plain words: the sentences that decisions, reports and what-ifs are made of.
//!
//! Every sentence stands by itself: it says what was measured or expected, at how many examples, and how sure that is. Uncertainty
//! is told as a standard deviation; [`GLOSS`] says what that is, once a paragraph.

use crate::conclude::nats;
use crate::curve::DataSize;
use crate::selection::Spending;

/// What "standard deviation" means to someone who does not use the word.
pub const GLOSS: &str =
    "A standard deviation is the usual size of a forecast's error; a gap of two or more is rarely chance.";
/// A deviation below this is no more than rounding: the loss counts as measured.
const CERTAIN: f64 = 1e-9;
/// Beyond so many deviations the exact number says nothing.
const MANY_DEVIATIONS: f64 = 20.0;

/// A whole number with commas at the thousands: `40,000`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `40,000 examples`, `1 example`.
#[must_use]
pub fn examples(number: u64) -> String {
    let unit = if number == 1 { "example" } else { "examples" };
    format!("{} {unit}", grouped(number))
}

/// `3 rounds`, `1 round`.
#[must_use]
pub fn count(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number as u64), if number == 1 { one } else { many })
}

/// Longest words of others that are kept, bytes: they are repeated in every answer about a contender.
const MAX_WORDS: usize = 1_024;

/// Somebody else's words, cut where they are too many.
#[must_use]
pub fn shortened(words: &str) -> String {
    if words.len() <= MAX_WORDS {
        return words.to_owned();
    }
    let end = (0..=MAX_WORDS).rev().find(|at| words.is_char_boundary(*at));
    format!("{}…", words.get(..end.unwrap_or(0)).unwrap_or_default())
}

/// A loss with about four digits: `2.312`, `12.31`, `0.0462`.
#[must_use]
pub fn loss(nats: f64) -> String {
    let places = if nats >= 100.0 {
        1
    } else if nats >= 10.0 {
        2
    } else if nats >= 0.1 {
        3
    } else {
        4
    };
    if (0.0005..1e6).contains(&nats) {
        format!("{nats:.places$}")
    } else {
        format!("{nats:.2e}")
    }
}

/// A share as a percentage: `12 %`, `0.4 %`.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = 100.0 * share;
    if value.abs() >= 10.0 || value.abs() < 1e-9 {
        format!("{value:.0} %")
    } else if value.abs() >= 0.1 {
        format!("{value:.1} %")
    } else {
        format!("{value:.1e} %")
    }
}

/// `expected loss 2.31 ± 0.04 at 40,000 examples`; `measured` where the deviation (of ln loss) is 0, without ± where there is none.
#[must_use]
pub fn expectation(log_loss: f64, log_sd: Option<f64>, at: DataSize) -> String {
    let (mean, at) = (nats(log_loss), examples(at.examples()));
    match log_sd {
        Some(sd) if sd <= CERTAIN => format!("measured loss {} at {at}", loss(mean)),
        // The deviation of a loss is that of its logarithm times the loss, while it is small.
        Some(sd) => format!("expected loss {} ± {} at {at}", loss(mean), loss(mean * sd)),
        None => format!("expected loss {} at {at}", loss(mean)),
    }
}

/// How far `ahead` of `behind` a forecast of ln loss is, in standard deviations of their difference; `None` without deviations, or
/// where both are certain.
#[must_use]
pub fn deviations(ahead: (f64, Option<f64>), behind: (f64, Option<f64>)) -> Option<f64> {
    let spread = ahead.1?.hypot(behind.1?);
    let gap = behind.0 - ahead.0;
    (spread > CERTAIN && gap.is_finite()).then(|| gap / spread)
}

/// `the leader is at 2.12: 4.6 standard deviations better`. Each as (ln loss, its standard deviation).
#[must_use]
pub fn against(name: &str, other: (f64, Option<f64>), own: (f64, Option<f64>)) -> String {
    let standing = format!("{name} is at {}", loss(nats(other.0)));
    match deviations(other, own) {
        Some(many) if many.abs() >= MANY_DEVIATIONS => {
            format!(
                "{standing}: over {MANY_DEVIATIONS:.0} standard deviations {}",
                side(many)
            )
        }
        Some(many) if many.abs() < 0.05 => format!("{standing}: no difference that could be told from chance"),
        Some(many) => {
            let unit = if (many.abs() - 1.0).abs() < 0.05 {
                "standard deviation"
            } else {
                "standard deviations"
            };
            format!("{standing}: {:.1} {unit} {}", many.abs(), side(many))
        }
        None => {
            let gap = nats(own.0) - nats(other.0);
            format!("{standing}: {} {}", loss(gap.abs()), side(gap))
        }
    }
}

fn side(gap: f64) -> &'static str {
    if gap >= 0.0 { "better" } else { "worse" }
}

/// A time: `45 s`, `12 min`, `3.5 h`, `2.1 days`.
#[must_use]
pub fn seconds(time: f64) -> String {
    if time < 1.0 {
        format!("{time:.2} s")
    } else if time < 120.0 {
        format!("{time:.0} s")
    } else if time < 7_200.0 {
        format!("{:.0} min", time / 60.0)
    } else if time < 172_800.0 {
        format!("{:.1} h", time / 3_600.0)
    } else {
        format!("{:.1} days", time / 86_400.0)
    }
}

/// What was spent, in the units that are known: `40,000 examples, 12 min of device time, 0.53 EUR`.
#[must_use]
pub fn spending(spent: &Spending, currency: &str) -> String {
    let mut parts = vec![examples(spent.examples)];
    if spent.device_seconds > 0.0 {
        parts.push(format!("{} of device time", seconds(spent.device_seconds)));
    }
    if spent.money_nanos > 0 && !currency.is_empty() {
        parts.push(format!("{:.2} {currency}", spent.money_nanos as f64 / 1e9));
    }
    parts.join(", ")
}

/// Names in a row: `a`, `a and b`, `a, b and 3 more`.
#[must_use]
pub fn list(names: &[String], most: usize) -> String {
    let shown = names.get(..most.min(names.len())).unwrap_or_default();
    let rest = names.len() - shown.len();
    match (shown, rest) {
        ([], 0) => "none".to_owned(),
        ([], rest) => rest.to_string(),
        (shown, rest) if rest > 0 => format!("{} and {rest} more", shown.join(", ")),
        ([only], _) => only.clone(),
        ([first @ .., last], _) => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(examples: u64) -> DataSize {
        DataSize::new(examples).unwrap()
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        assert_eq!(shortened("few"), "few");
        // 1,024 falls into the middle of a character of three bytes.
        assert_eq!(shortened(&"€".repeat(400)), format!("{}…", "€".repeat(341)));
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(
            ["0", "999", "1,000", "1,638,400"],
            [0, 999, 1_000, 1_638_400].map(grouped)
        );
        assert_eq!(
            (examples(1), examples(40_000)),
            ("1 example".to_owned(), "40,000 examples".to_owned())
        );
        assert_eq!(
            ["2.312", "12.31", "0.0462", "1.00e9"],
            [2.3119, 12.312, 0.0462, 1e9].map(loss)
        );
        assert_eq!(
            ["12 %", "0.4 %", "0 %", "1.0e-2 %"],
            [0.12, 0.004, 0.0, 0.0001].map(percent)
        );
        assert_eq!(
            ["0.50 s", "45 s", "12 min", "3.5 h", "3.0 days"],
            [0.5, 45.0, 720.0, 12_600.0, 259_200.0].map(seconds)
        );
    }

    #[test]
    fn a_forecast_says_its_size_and_its_uncertainty() {
        let log = 2.31_f64.ln();
        assert_eq!(
            expectation(log, Some(0.04 / 2.31), size(40_000)),
            "expected loss 2.310 ± 0.0400 at 40,000 examples"
        );
        assert_eq!(expectation(log, Some(0.0), size(1)), "measured loss 2.310 at 1 example");
        assert_eq!(expectation(log, None, size(10)), "expected loss 2.310 at 10 examples");
    }

    #[test]
    fn a_comparison_says_who_is_better_by_how_much() {
        let (leader, own) = (2.12_f64.ln(), 2.31_f64.ln());
        let sd = (own - leader) / 4.6;
        assert_eq!(
            against("the leader", (leader, Some(sd)), (own, Some(0.0))),
            "the leader is at 2.120: 4.6 standard deviations better"
        );
        assert_eq!(
            against("b", (own, Some(sd)), (leader, Some(0.0))),
            "b is at 2.310: 4.6 standard deviations worse"
        );
        assert_eq!(against("b", (leader, None), (own, None)), "b is at 2.120: 0.190 better");
        assert_eq!(
            against("b", (leader, Some(1e-4)), (own, Some(0.0))),
            "b is at 2.120: over 20 standard deviations better"
        );
        assert_eq!(
            against("b", (leader, Some(0.1)), (leader, Some(0.1))),
            "b is at 2.120: no difference that could be told from chance"
        );
        // Two measurements: nothing to divide by.
        assert_eq!(
            against("b", (leader, Some(0.0)), (own, Some(0.0))),
            "b is at 2.120: 0.190 better"
        );
    }

    #[test]
    fn lists_and_bills() {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let listed = [0, 1, 2, 3, 4].map(|n| list(&names[..n], 3));
        assert_eq!(listed, ["none", "a", "a and b", "a, b and c", "a, b, c and 1 more"]);
        let spent = Spending {
            examples: 40_000,
            device_seconds: 720.0,
            money_nanos: 530_000_000,
            ..Spending::ZERO
        };
        assert_eq!(
            spending(&spent, "EUR"),
            "40,000 examples, 12 min of device time, 0.53 EUR"
        );
        assert_eq!(spending(&Spending::ZERO, ""), "0 examples");
    }
}

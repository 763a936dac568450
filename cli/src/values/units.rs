//! Time and money on the command line.

use std::time::Duration;

/// Longest time that is taken, in seconds: ten years.
const LONGEST_SECONDS: f64 = 10.0 * 365.25 * 86_400.0;
/// Billionths of a unit.
const NANOS: u64 = 1_000_000_000;

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Money {
    /// Three letters, upper case.
    pub currency: String,
    /// Whole units.
    pub units: i64,
    /// Billionths of a unit.
    pub nanos: i32,
}

/// Parses `90`, `90s`, `15m`, `2h`, `1d` or `1h30m` into a positive time; a plain number is seconds.
///
/// # Errors
/// A sentence that says what is expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time such as 90s, 15m, 2h, 1d or 1h30m, not {text:?}");
    let (mut rest, mut seconds) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        seconds += number
            * match unit {
                "ms" => 1e-3,
                "" | "s" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3_600.0,
                "d" => 86_400.0,
                _ => return Err(wrong()),
            };
        rest = after.trim_start();
    }
    if seconds > 0.0 && seconds <= LONGEST_SECONDS {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(wrong())
    }
}

/// Parses `12.50 EUR` or `12.50EUR`.
///
/// # Errors
/// A sentence that says what is expected.
pub fn money(text: &str) -> Result<Money, String> {
    let wrong = || format!("expected an amount with its currency such as \"12.50 EUR\", not {text:?}");
    let text = text.trim();
    let letters = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (amount, currency) = text.split_at(letters);
    if currency.len() != 3 || !currency.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(wrong());
    }
    let (whole, part) = amount.trim().split_once('.').unwrap_or((amount.trim(), ""));
    let is_number = |digits: &str| digits.chars().all(|c| c.is_ascii_digit());
    if whole.is_empty() || part.len() > 9 || !is_number(whole) || !is_number(part) {
        return Err(wrong());
    }
    let units: i64 = whole.parse().map_err(|_| wrong())?;
    let nanos: i32 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    if units == 0 && nanos == 0 {
        return Err(wrong());
    }
    Ok(Money {
        currency: currency.to_ascii_uppercase(),
        units,
        nanos,
    })
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (units, nanos) = (self.units.unsigned_abs(), u64::from(self.nanos.unsigned_abs()));
        let sign = if self.units < 0 || self.nanos < 0 { "-" } else { "" };
        // Cents where they say it all, else as many places as are needed.
        if nanos % (NANOS / 100) == 0 {
            write!(f, "{sign}{units}.{:02} {}", nanos / (NANOS / 100), self.currency)
        } else {
            let places = format!("{nanos:09}");
            write!(f, "{sign}{units}.{} {}", places.trim_end_matches('0'), self.currency)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("90", 90.0),
            ("90s", 90.0),
            ("1.5m", 90.0),
            ("2h", 7_200.0),
            ("1d", 86_400.0),
            ("1h30m", 5_400.0),
            ("1h 30m", 5_400.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "0", "-1h", "h", "2 weeks", "1e9h", "nan", "99999d", "1..2s"] {
            let message = duration(wrong).unwrap_err();
            assert!(message.contains("1h30m"), "{message}");
        }
    }

    #[test]
    fn amounts() {
        let euros = money("12.50 eur").unwrap();
        assert_eq!(
            (euros.currency.as_str(), euros.units, euros.nanos),
            ("EUR", 12, 500_000_000)
        );
        assert_eq!(euros.to_string(), "12.50 EUR");
        assert_eq!(money("0.000000001USD").unwrap().to_string(), "0.000000001 USD");
        assert_eq!(money("3USD").unwrap().to_string(), "3.00 USD");
        for wrong in [
            "",
            "12",
            "EUR",
            "1.2.3 EUR",
            "-1 EUR",
            "0 EUR",
            "1 EURO",
            "1,5 EUR",
            "1.0000000001 EUR",
        ] {
            assert!(money(wrong).is_err(), "{wrong}");
        }
    }
}

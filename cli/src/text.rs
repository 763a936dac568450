//! Numbers as people read them in tables and plots. Machine-readable answers never pass through here.

use crate::output::Interval;

/// A loss in nats per token, 4 places.
#[must_use]
pub fn loss(value: f64) -> String {
    if value != 0.0 && !(1e-3..1e5).contains(&value.abs()) {
        format!("{value:.3e}")
    } else {
        format!("{value:.4}")
    }
}

/// A share as a percentage with two significant digits below 10 %.
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    let magnitude = value.abs();
    if magnitude >= 9.95 || magnitude == 0.0 {
        format!("{value:.0}%")
    } else if magnitude >= 0.095 {
        format!("{value:.1}%")
    } else {
        format!("{value:.2}%")
    }
}

/// An interval, or a dash.
#[must_use]
pub fn interval(interval: Option<&Interval>) -> String {
    interval.map_or("-".to_owned(), |i| format!("{} .. {}", loss(i.lower), loss(i.upper)))
}

/// A number of examples with thousands separators.
#[must_use]
pub fn examples(count: i64) -> String {
    let digits = count.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if count < 0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_can_read_them() {
        assert_eq!(examples(1_638_400), "1,638,400");
        assert_eq!(examples(-200), "-200");
        assert_eq!(examples(0), "0");
        assert_eq!(percent(0.9), "90%");
        assert_eq!(percent(0.031_2), "3.1%");
        assert_eq!(percent(0.000_3), "0.03%");
        assert_eq!(loss(1.512_637), "1.5126");
        assert_eq!(loss(1e-9), "1.000e-9");
    }
}

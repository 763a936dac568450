//! Cells to values: each parser says in a sentence what is wrong.

/// Data sizes and parameter counts stay below 2^53, where a 64-bit float still holds every integer.
pub(super) const INTEGER_LIMIT: u64 = 1 << 53;
/// Losses above this are taken for a mistake.
const MAX_LOSS: f64 = 1e6;
/// Characters of a cell repeated in a message.
const SHOWN_CHARS: usize = 40;

/// `text` as it may be printed on a terminal: control and direction-changing characters escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// [`printable`], shortened for a message.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", printable(text.get(..end).unwrap_or_default())),
        None => printable(text),
    }
}

/// Control characters, line and paragraph separators, and marks that reorder the text around them.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A header that is a data size: plain digits only. `None` when it is not made of digits.
pub(super) fn size_header(header: &str) -> Option<Result<u64, &'static str>> {
    let digits = header.strip_prefix(['-', '+']).unwrap_or(header);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if digits.len() != header.len() {
        return Some(Err("a data size is a plain whole number without a sign"));
    }
    Some(match header.parse::<u64>() {
        Ok(size) if size < INTEGER_LIMIT => Ok(size),
        _ => Err("a data size is below 2^53"),
    })
}

/// Whether a header reads as a number though it is no plain integer, e.g. `1e3` or `1_000`: worth a note.
pub(super) fn looks_like_size(header: &str) -> bool {
    header.starts_with(|c: char| c.is_ascii_digit()) && header.replace(['_', '\'', ' '], "").parse::<f64>().is_ok()
}

/// A held-out loss: finite, `0 < loss <= 1e6`.
pub(super) fn loss(text: &str) -> Result<f64, String> {
    check_loss(number(text, "the loss")?, text)
}

/// [`loss`] for a value that is a number already.
pub(super) fn check_loss(value: f64, text: &str) -> Result<f64, String> {
    if value.is_nan() || value.is_infinite() {
        Err(format!(
            "the loss `{}` is not finite (leave a cell empty where nothing was measured)",
            shown(text)
        ))
    } else if value <= 0.0 {
        Err(format!(
            "the loss `{}` is not above 0 (losses are nats per token)",
            shown(text)
        ))
    } else if value > MAX_LOSS {
        Err(format!(
            "the loss `{}` is above 1e6 nats per token, which cannot be meant",
            shown(text)
        ))
    } else {
        Ok(value)
    }
}

/// A standard error: finite, at least 0.
pub(super) fn check_standard_error(value: f64, text: &str) -> Result<f64, String> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(format!(
            "the standard error `{}` is not a finite number of at least 0",
            shown(text)
        ))
    }
}

/// A weight: finite, above 0.
pub(super) fn check_weight(value: f64, text: &str) -> Result<f64, String> {
    if value.is_finite() && value > 0.0 {
        Ok(value)
    } else {
        Err(format!("the weight `{}` is not a finite number above 0", shown(text)))
    }
}

/// Any floating-point number; `what` names it in the message.
pub(super) fn number(text: &str, what: &str) -> Result<f64, String> {
    text.parse::<f64>().map_err(|_| {
        let decimal_comma = text.contains(',') && text.replace(',', ".").parse::<f64>().is_ok();
        let hint = if decimal_comma {
            " (write a decimal point, no comma)"
        } else {
            ""
        };
        format!("{what} `{}` is not a number{hint}", shown(text))
    })
}

/// A whole number of `what`, written as an integer or as a float without a fraction (`1.24e8`, `1300000000.0`).
pub(super) fn whole(text: &str, what: &str) -> Result<u64, String> {
    let too_large = || format!("the {what} `{}` is not below 2^53", shown(text));
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return text
            .parse::<u64>()
            .ok()
            .filter(|value| *value < INTEGER_LIMIT)
            .ok_or_else(too_large);
    }
    let value = number(text, &format!("the {what}"))?;
    if value.is_sign_negative() && value != 0.0 {
        Err(format!("the {what} `{}` is negative", shown(text)))
    } else if !value.is_finite() || value.fract() != 0.0 {
        Err(format!("the {what} `{}` is not a whole number", shown(text)))
    } else if value >= INTEGER_LIMIT as f64 {
        Err(too_large())
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, 0 <= value < 2^53"
        )]
        Ok(value as u64)
    }
}

/// A number of weights: whole, above 0.
pub(super) fn parameters(text: &str) -> Result<u64, String> {
    match whole(text, "number of parameters")? {
        0 => Err("the number of parameters is 0".to_owned()),
        value => Ok(value),
    }
}

/// A short piece of text that is printed again: a name, a family, an attribute. `what` names it.
pub(super) fn text(value: &str, what: &str, max_bytes: usize) -> Result<String, String> {
    if value.len() > max_bytes {
        return Err(format!("{what} has {} bytes, more than {max_bytes}", value.len()));
    }
    if let Some(c) = value.chars().find(|c| is_unsafe(*c)) {
        return Err(format!(
            "{what} `{}` holds the control character {}",
            shown(value),
            c.escape_default()
        ));
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_integers_are_size_headers() {
        for (header, size) in [
            ("0", 0),
            ("200", 200),
            ("0200", 200),
            ("9007199254740991", (1 << 53) - 1),
        ] {
            assert_eq!(size_header(header), Some(Ok(size)), "{header}");
        }
        for header in ["", "size", "1e3", "1_000", "200.0", "x200", "٢٠٠"] {
            assert_eq!(size_header(header), None, "{header}");
        }
        for header in ["-200", "+200", "9007199254740992", "99999999999999999999999999"] {
            assert!(matches!(size_header(header), Some(Err(_))), "{header}");
        }
        assert!(looks_like_size("1e3") && looks_like_size("1_000") && looks_like_size("200.5"));
        assert!(!looks_like_size("size") && !looks_like_size("7b") && !looks_like_size("inf"));
    }

    #[test]
    fn losses_are_finite_positive_and_sane() {
        assert_eq!(loss("1.25"), Ok(1.25));
        assert_eq!(loss("1e6"), Ok(1e6));
        for (cell, part) in [
            ("NaN", "not finite"),
            ("inf", "not finite"),
            ("-inf", "not finite"),
            ("1e999", "not finite"),
            ("0", "not above 0"),
            ("-1.5", "not above 0"),
            ("1000001", "above 1e6"),
            ("n/a", "not a number"),
            ("1,25", "decimal point"),
        ] {
            let message = loss(cell).unwrap_err();
            assert!(message.contains(part), "{cell}: {message}");
        }
    }

    #[test]
    fn whole_numbers_may_be_written_as_floats() {
        assert_eq!(parameters("124440576"), Ok(124_440_576));
        assert_eq!(parameters("1.24e8"), Ok(124_000_000));
        assert_eq!(parameters("1300000000.0"), Ok(1_300_000_000));
        assert_eq!(whole("-0.0", "data size"), Ok(0));
        for cell in [
            "0",
            "-1",
            "1.5",
            "7b",
            "1e300",
            "NaN",
            "inf",
            "9007199254740992",
            "-9007199254740993",
            "",
        ] {
            assert!(parameters(cell).is_err(), "{cell}");
        }
    }

    #[test]
    fn messages_cannot_carry_terminal_sequences() {
        let message = loss("\u{1b}[31mred").unwrap_err();
        assert!(!message.contains('\u{1b}'), "{message:?}");
        assert!(text("a\u{202e}b", "the name", 256).is_err());
        assert!(text(&"x".repeat(257), "the name", 256).is_err());
        assert_eq!(shown(&"é".repeat(50)).chars().count(), SHOWN_CHARS + 1);
    }
}

//! Canonical JSON: one text for one value, so that its digest means something.
//!
//! In the spirit of RFC 8785 (JCS): no blanks, members sorted by the UTF-16 code units of their names, strings with the shortest
//! escapes, floating-point numbers as ECMAScript writes them (the shortest digits that read back as the same number). One deviation:
//! whole numbers are written in full up to 2⁶⁴ − 1 (seeds need all their digits), where RFC 8785 would round above 2⁵³.

use serde_json::{Number, Value};

/// The canonical text of a value.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Values come from serde, whose reader refuses nesting beyond 128 levels.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (place, (name, member)) in sorted.into_iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => out.extend(["\\u", &format!("{:04x}", u32::from(control))]),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn write_number(number: &Number, out: &mut String) {
    match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(whole), ..) => out.push_str(&whole.to_string()),
        (_, Some(whole), _) => out.push_str(&whole.to_string()),
        (.., Some(value)) => write_float(value, out),
        // serde_json reads no other numbers.
        _ => out.push_str("null"),
    }
}

/// ECMAScript's `Number::toString` (ECMA-262, 6.1.6.1.20), from the shortest digits as `serde_json` finds them.
fn write_float(value: f64, out: &mut String) {
    let (digits, point) = shortest(value.abs());
    if digits.is_empty() {
        // 0, and −0 as well.
        out.push('0');
        return;
    }
    if value < 0.0 {
        out.push('-');
    }
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    let zeros = |many: i32| "0".repeat(usize::try_from(many).unwrap_or(0));
    match point {
        _ if (count..=21).contains(&point) => out.push_str(&(digits + &zeros(point - count))),
        1..=21 => {
            let (whole, rest) = digits.split_at(usize::try_from(point).unwrap_or(0).min(digits.len()));
            out.extend([whole, ".", rest]);
        }
        -5..=0 => out.extend(["0.", &zeros(-point), &digits]),
        _ => {
            let (first, rest) = digits.split_at(1.min(digits.len()));
            out.extend([first, if rest.is_empty() { "" } else { "." }, rest]);
            let sign = if point > 0 { "+" } else { "-" };
            out.extend(["e", sign, &(point - 1).abs().to_string()]);
        }
    }
}

/// Digits without zeros at either end, and where the point is: value = 0.digits · 10^point. Empty for 0.
fn shortest(value: f64) -> (String, i32) {
    let text = serde_json::to_string(&value).unwrap_or_default();
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let leading = all.len() - significant.len();
    let places = i32::try_from(whole.len()).unwrap_or(0) - i32::try_from(leading).unwrap_or(0);
    let point = places + exponent.parse::<i32>().unwrap_or(0);
    (significant.trim_end_matches('0').to_owned(), point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn float(value: f64) -> String {
        let mut out = String::new();
        write_float(value, &mut out);
        out
    }

    #[test]
    fn numbers_are_written_as_ecmascript_does() {
        // RFC 8785, appendix B.
        for (value, wanted) in [
            (0.0, "0"),
            (-0.0, "0"),
            (5e-324, "5e-324"),
            (-5e-324, "-5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (295_147_905_179_352_830_000.0, "295147905179352830000"),
            (9.999_999_999_999_997e22, "9.999999999999997e+22"),
            (1e23, "1e+23"),
            (999_999_999_999_999_700_000.0, "999999999999999700000"),
            (1e21, "1e+21"),
            (333_333_333.333_333_25, "333333333.33333325"),
            (0.000_001, "0.000001"),
            (9.999_999_999_999_997e-7, "9.999999999999997e-7"),
            (-0.000_003_333_333_333_333_333_3, "-0.0000033333333333333333"),
            (1_424_953_923_781_206.2, "1424953923781206.2"),
            (100.0, "100"),
            (0.1, "0.1"),
        ] {
            assert_eq!(float(value), wanted);
        }
    }

    #[test]
    fn members_are_sorted_and_texts_escaped() {
        let value: Value = serde_json::from_str(
            r#"{ "b": [1, 2.50, null], "a": {"€": "\u0007\n\"\\/", "\r": true}, "😀": 0, "ﬀ": 1 }"#,
        )
        .unwrap();
        // U+1F600 is a surrogate pair in UTF-16 (D83D …) and comes before U+FB00.
        assert_eq!(
            text(&value),
            "{\"a\":{\"\\r\":true,\"€\":\"\\u0007\\n\\\"\\\\/\"},\"b\":[1,2.5,null],\"😀\":0,\"ﬀ\":1}"
        );
        let seed: Value = serde_json::from_str("18446744073709551615").unwrap();
        assert_eq!(text(&seed), "18446744073709551615");
        assert_eq!(text(&serde_json::json!(-3)), "-3");
    }

    proptest! {
        #[test]
        fn floats_read_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            let back: f64 = float(value).parse().unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || value.abs() <= 0.0);
        }

        #[test]
        fn the_canonical_text_is_a_fixed_point(text_in in "\\PC*", number in any::<f64>(), whole in any::<i64>()) {
            let value = serde_json::json!({"t": text_in, "n": if number.is_finite() { number } else { 0.5 }, "w": [whole]});
            let once = text(&value);
            let again: Value = serde_json::from_str(&once).unwrap();
            prop_assert_eq!(text(&again), once);
        }
    }
}

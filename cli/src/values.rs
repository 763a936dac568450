//! Values of flags that are more than a number: ratios, byte sizes, conditions.

use std::collections::BTreeMap;

mod units;

pub use units::{Money, duration, money};

/// Parses `1/64`, `0.25` or `25%` into a positive finite number.
///
/// # Errors
/// A sentence that says what is expected.
pub fn ratio(text: &str) -> Result<f64, String> {
    let number = |part: &str| part.trim().parse::<f64>().ok();
    let value = if let Some((numerator, denominator)) = text.split_once('/') {
        number(numerator).zip(number(denominator)).map(|(n, d)| n / d)
    } else if let Some(percent) = text.strip_suffix('%') {
        number(percent).map(|p| p / 100.0)
    } else {
        number(text)
    };
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a positive ratio such as 1/64, 0.25 or 25%".to_owned()),
    }
}

/// Parses `24GiB`, `80GB`, `512MiB` or a plain number of bytes.
///
/// # Errors
/// A sentence that says what is expected.
pub fn bytes(text: &str) -> Result<i64, String> {
    const UNITS: [(&str, f64); 9] = [
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
        ("kB", 1e3),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
    ];
    let text = text.trim();
    let (number, unit) = UNITS
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1.0));
    match number.trim().parse::<f64>().map(|value| value * unit) {
        // Below 2^53 the conversion is exact.
        #[expect(clippy::cast_possible_truncation, reason = "bounded just before")]
        Ok(value) if (1.0..9.0e15).contains(&value) => Ok(value as i64),
        _ => Err(format!(
            "expected a size such as 24GiB, 80GB or a number of bytes, not {text:?}"
        )),
    }
}

/// What `--where` conditions amount to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions {
    /// Families that are admitted; empty: all.
    pub include_families: Vec<String>,
    /// Families that are not.
    pub exclude_families: Vec<String>,
    /// Fewest weights.
    pub min_parameters: Option<i64>,
    /// Most weights.
    pub max_parameters: Option<i64>,
    /// Attributes that must be equal.
    pub attributes: BTreeMap<String, String>,
}

/// Parses `--where` conditions.
///
/// # Errors
/// Names the condition that cannot be understood.
pub fn conditions(texts: &[String]) -> Result<Conditions, String> {
    let mut all = Conditions::default();
    for text in texts {
        condition(text, &mut all).map_err(|problem| format!("--where {text:?}: {problem}"))?;
    }
    Ok(all)
}

fn condition(text: &str, all: &mut Conditions) -> Result<(), String> {
    const FORMS: &str = "expected family=NAME, family!=NAME, parameters<=NUMBER, parameters>=NUMBER or COLUMN=VALUE";
    let split = ["<=", ">=", "!=", "="].iter().find_map(|operator| {
        text.split_once(operator)
            .map(|(key, value)| (key.trim(), *operator, value.trim()))
    });
    let Some((key, operator, value)) = split.filter(|(key, _, value)| !key.is_empty() && !value.is_empty()) else {
        return Err(FORMS.to_owned());
    };
    let is_parameters = matches!(key, "parameters" | "size");
    match (key, operator) {
        ("family", "=") => all.include_families.push(value.to_owned()),
        ("family", "!=") => all.exclude_families.push(value.to_owned()),
        (_, "<=") if is_parameters => all.max_parameters = Some(count(value)?),
        (_, ">=") if is_parameters => all.min_parameters = Some(count(value)?),
        (_, "=") if is_parameters => {
            all.min_parameters = Some(count(value)?);
            all.max_parameters = Some(count(value)?);
        }
        (_, "=") => {
            if all
                .attributes
                .insert(key.to_owned(), value.to_owned())
                .is_some_and(|before| before != value)
            {
                return Err(format!("{key} cannot equal two values"));
            }
        }
        _ => return Err(FORMS.to_owned()),
    }
    Ok(())
}

/// A whole positive number, in plain or scientific notation.
fn count(text: &str) -> Result<i64, String> {
    match text.replace('_', "").parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "bounded and whole, just tested")]
        Ok(value) if (1.0..9.0e15).contains(&value) && value.fract() == 0.0 => Ok(value as i64),
        _ => Err(format!("expected a whole positive number, not {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios() {
        assert_eq!(ratio("1/64"), Ok(0.015_625));
        assert_eq!(ratio("0.25"), Ok(0.25));
        assert_eq!(ratio("25%"), Ok(0.25));
        for wrong in ["", "1/0", "0", "-1", "a", "1/a", "nan", "inf", "0/5", "1//2"] {
            assert!(ratio(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn byte_sizes() {
        assert_eq!(bytes("24GiB"), Ok(24 << 30));
        assert_eq!(bytes("80 GB"), Ok(80_000_000_000));
        assert_eq!(bytes("1024"), Ok(1024));
        for wrong in ["", "GiB", "-1GiB", "0", "nan", "1e99TB", "5 apples"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_are_understood() {
        let texts = [
            "family=OPT",
            "family=GPT2",
            "family!=mT5",
            "parameters<=3e9",
            "size>=1_000",
            "licence=mit",
        ];
        let parsed = conditions(&texts.map(str::to_owned)).unwrap();
        assert_eq!(parsed.include_families, ["OPT", "GPT2"]);
        assert_eq!(parsed.exclude_families, ["mT5"]);
        assert_eq!(
            (parsed.min_parameters, parsed.max_parameters),
            (Some(1000), Some(3_000_000_000))
        );
        assert_eq!(parsed.attributes["licence"], "mit");
        for wrong in [
            "family",
            "=x",
            "family=",
            "parameters<=big",
            "licence<=3",
            "parameters<=1.5",
        ] {
            let message = conditions(&[wrong.to_owned()]).unwrap_err();
            assert!(message.contains(wrong), "{message}");
        }
        assert!(conditions(&["a=1".to_owned(), "a=2".to_owned()]).is_err());
    }
}

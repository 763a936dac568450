//! Values people write by hand: `30s`, `250ms`, `16MiB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration written as number and unit: `250ms`, `30s`, `1.5m`, `2h`, `1d`. A bare `0` is zero; any other number
/// needs its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct HumanDuration(Duration);

/// A number of bytes written as number and unit: `512B`, `64KiB`, `16MiB`, `1GiB` (powers of 1024) or `kB`, `MB`, `GB`
/// (powers of 1000). A bare number is bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ByteSize(u64);

/// The text is not a value of its kind; says what is expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {expected}")]
pub struct ParseValueError {
    text: String,
    expected: &'static str,
}

const DURATION: &str = "a duration such as \"250ms\", \"30s\", \"5m\" or \"2h\"";
const BYTES: &str = "a size such as \"512B\", \"64KiB\" or \"16MiB\"";

/// The longest duration accepted: 100 years. Longer ones overflow clocks.
const MAX_SECONDS: f64 = 100.0 * 365.25 * 86_400.0;

impl HumanDuration {
    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// As the standard library's type; zero is `None`, for keys where `0` switches a limit off.
    #[must_use]
    pub const fn non_zero(self) -> Option<Duration> {
        if self.0.is_zero() { None } else { Some(self.0) }
    }
}

impl ByteSize {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many mebibytes (2^20 bytes).
    #[must_use]
    pub const fn mebibytes(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }

    /// In bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// In bytes, as the machine's size type; what does not fit becomes its maximum.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl From<HumanDuration> for Duration {
    fn from(value: HumanDuration) -> Self {
        value.0
    }
}

impl From<Duration> for HumanDuration {
    fn from(value: Duration) -> Self {
        Self(value)
    }
}

/// Splits `1.5ms` into `1.5` and `ms`.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

impl FromStr for HumanDuration {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseValueError {
            text: text.to_owned(),
            expected: DURATION,
        };
        let (number, unit) = split_unit(text);
        let number: f64 = number.parse().map_err(|_| error())?;
        let scale = match unit {
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            "" if number == 0.0 => 1.0,
            _ => return Err(error()),
        };
        let seconds = number * scale;
        if !(0.0..=MAX_SECONDS).contains(&seconds) {
            return Err(error());
        }
        // Microseconds: fine enough for a timeout, and 0.1 s stays 100 ms.
        let micros = (seconds * 1e6).round();
        Duration::try_from_secs_f64(micros / 1e6)
            .map(|duration| {
                let micros = u64::try_from((duration.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX);
                Self(Duration::from_micros(micros))
            })
            .map_err(|_| error())
    }
}

impl FromStr for ByteSize {
    type Err = ParseValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseValueError {
            text: text.to_owned(),
            expected: BYTES,
        };
        let (number, unit) = split_unit(text);
        let number: u64 = number.parse().map_err(|_| error())?;
        let scale: u64 = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "kB" | "KB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            _ => return Err(error()),
        };
        number.checked_mul(scale).map(Self).ok_or_else(error)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_micros();
        let units = [
            (86_400_000_000, "d"),
            (3_600_000_000, "h"),
            (60_000_000, "m"),
            (1_000_000, "s"),
            (1_000, "ms"),
        ];
        if micros == 0 {
            return f.write_str("0s");
        }
        for (size, unit) in units {
            if micros.is_multiple_of(size) {
                return write!(f, "{}{unit}", micros / size);
            }
        }
        write!(f, "{micros}us")
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.is_multiple_of(1_u64 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Both types are read from text (or a plain integer) and written as text.
macro_rules! as_text {
    ($name:ty, $expected:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$name, E> {
                        number.to_string().parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Text)
            }
        }
    };
}

as_text!(HumanDuration, DURATION);
as_text!(ByteSize, BYTES);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let cases = [
            ("250ms", Duration::from_millis(250)),
            ("30s", Duration::from_secs(30)),
            ("1.5m", Duration::from_secs(90)),
            ("2h", Duration::from_hours(2)),
            ("0.1s", Duration::from_millis(100)),
            (" 5 s ", Duration::from_secs(5)),
            ("0", Duration::ZERO),
        ];
        for (text, expected) in cases {
            assert_eq!(
                text.parse::<HumanDuration>().map(HumanDuration::get),
                Ok(expected),
                "{text}"
            );
        }
        for text in [
            "",
            "5",
            "-1s",
            "s",
            "1e9s",
            "NaNs",
            "1.2.3s",
            "1 fortnight",
            "99999999999999999999d",
        ] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text:?} must not parse");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        let cases = [
            ("16MiB", 16 << 20),
            ("64KiB", 65_536),
            ("1GB", 1_000_000_000),
            ("10", 10),
            ("512B", 512),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<ByteSize>().map(ByteSize::get), Ok(expected), "{text}");
        }
        for text in [
            "",
            "MiB",
            "-1B",
            "1.5MiB",
            "1XB",
            "99999999999GiB",
            "99999999999999999999999",
        ] {
            assert!(text.parse::<ByteSize>().is_err(), "{text:?} must not parse");
        }
    }

    proptest! {
        #[test]
        fn durations_read_back_what_they_write(micros in 0_u64..4_000_000_000_000) {
            let value = HumanDuration::from(Duration::from_micros(micros));
            prop_assert_eq!(value.to_string().parse::<HumanDuration>(), Ok(value));
        }

        #[test]
        fn sizes_read_back_what_they_write(bytes in any::<u64>()) {
            let value = ByteSize::bytes(bytes);
            prop_assert_eq!(value.to_string().parse::<ByteSize>(), Ok(value));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<HumanDuration>();
            let _ = text.parse::<ByteSize>();
        }
    }
}

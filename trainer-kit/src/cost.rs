//! Money: a price table, and amounts that neither fall nor lose a nano on the way.

/// Billionths in a unit.
const NANOS: f64 = 1e9;

/// An amount, as `finepick.types.v1.Money` writes it; never negative here.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Money {
    /// ISO 4217.
    pub currency: String,
    /// Whole units.
    pub units: i64,
    /// Billionths, 0 to 999,999,999.
    pub nanos: i32,
}

/// What a run costs.
#[derive(Debug, Clone, PartialEq)]
pub struct PriceTable {
    /// ISO 4217.
    pub currency: String,
    /// Of a device's second, ≥ 0.
    pub per_device_second: f64,
    /// Of a run, ≥ 0.
    pub per_run: f64,
}

/// What a run has cost so far.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Cost {
    /// Simulated seconds of devices.
    pub device_seconds: f64,
    /// By the price table; absent without one.
    pub money: Option<Money>,
}

impl PriceTable {
    /// The price of so many device-seconds in one run; rounded to the next nano, so that it never falls while the
    /// seconds grow.
    #[must_use]
    pub fn price(&self, device_seconds: f64) -> Money {
        self.money(self.per_run + self.per_device_second * device_seconds)
    }

    /// An amount of this table's currency.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "both parts are bounded just before")]
    pub fn money(&self, amount: f64) -> Money {
        let amount = if amount.is_finite() {
            amount.clamp(0.0, 9e15)
        } else {
            0.0
        };
        let units = amount.trunc();
        let nanos = ((amount - units) * NANOS).round().min(NANOS - 1.0);
        Money {
            currency: self.currency.clone(),
            units: units as i64,
            nanos: nanos as i32,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table() -> PriceTable {
        PriceTable {
            currency: "EUR".to_owned(),
            per_device_second: 0.001,
            per_run: 0.05,
        }
    }

    #[test]
    fn prices_are_exact_to_the_nano() {
        let price = table().price(1_500.0);
        assert_eq!((price.units, price.nanos), (1, 550_000_000));
        assert_eq!(table().money(f64::NAN).units, 0);
    }

    proptest! {
        #[test]
        fn more_seconds_never_cost_less(a in 0.0_f64..1e9, more in 0.0_f64..1e6) {
            let (low, high) = (table().price(a), table().price(a + more));
            prop_assert!((low.units, low.nanos) <= (high.units, high.nanos));
            prop_assert!((0..1_000_000_000).contains(&high.nanos));
        }
    }
}

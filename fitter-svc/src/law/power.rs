//! The power law with and without a floor, L(D) = B / D^β + E.

use super::log_add_exp;

/// B / D^β + E with B > 0, β > 0, E ≥ 0 (β = 0 only for the constant boundary law).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLaw {
    log_reducible_scale: f64,
    data_exponent: f64,
    irreducible_loss: f64,
}

impl PowerLaw {
    /// From ln B, β and E.
    #[must_use]
    pub fn new(log_reducible_scale: f64, data_exponent: f64, irreducible_loss: f64) -> Self {
        Self {
            log_reducible_scale,
            data_exponent,
            irreducible_loss,
        }
    }

    /// ln L at ln D.
    #[must_use]
    pub fn log_loss(&self, log_data_size: f64) -> f64 {
        let log_power = if self.data_exponent == 0.0 {
            0.0
        } else {
            self.data_exponent * log_data_size
        };
        log_add_exp(self.log_reducible_scale - log_power, self.irreducible_loss.ln())
    }

    /// B in nats·examples^β.
    #[must_use]
    pub fn reducible_scale(&self) -> f64 {
        self.log_reducible_scale.exp()
    }

    /// ln B.
    #[must_use]
    pub fn log_reducible_scale(&self) -> f64 {
        self.log_reducible_scale
    }

    /// β.
    #[must_use]
    pub fn data_exponent(&self) -> f64 {
        self.data_exponent
    }

    /// E in nats per token.
    #[must_use]
    pub fn irreducible_loss(&self) -> f64 {
        self.irreducible_loss
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "infinities and zeros are exact")]

    use super::*;

    #[test]
    fn evaluates_the_formula() {
        let law = PowerLaw::new(8_f64.ln(), 0.5, 1.25);
        assert!((law.log_loss(16_f64.ln()).exp() - 3.25).abs() < 1e-13);
        assert!((law.reducible_scale() - 8.0).abs() < 1e-13);
    }

    #[test]
    fn diverges_at_size_zero() {
        assert_eq!(PowerLaw::new(0.0, 0.5, 1.0).log_loss(f64::NEG_INFINITY), f64::INFINITY);
    }
}

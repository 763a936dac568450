//! The four-coefficient "vanilla" law that Lin et al. (2024) compare against, L(D) = (1 / (B · D^β) + E)^α.

use super::log_add_exp;

/// (1 / (B · D^β) + E)^α with B > 0, β > 0, E ≥ 0, α > 0. With α = 1 it is [`super::PowerLaw`] with 1/B as scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VanillaLaw {
    log_inner_scale: f64,
    data_exponent: f64,
    inner_irreducible: f64,
    outer_exponent: f64,
}

impl VanillaLaw {
    /// From ln B, β, E and α.
    #[must_use]
    pub fn new(log_inner_scale: f64, data_exponent: f64, inner_irreducible: f64, outer_exponent: f64) -> Self {
        Self {
            log_inner_scale,
            data_exponent,
            inner_irreducible,
            outer_exponent,
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
        self.outer_exponent * log_add_exp(-self.log_inner_scale - log_power, self.inner_irreducible.ln())
    }

    /// The B inside the outer power, in examples^(−β)·nats^(−1/α).
    #[must_use]
    pub fn inner_scale(&self) -> f64 {
        self.log_inner_scale.exp()
    }

    /// ln of [`VanillaLaw::inner_scale`].
    #[must_use]
    pub fn log_inner_scale(&self) -> f64 {
        self.log_inner_scale
    }

    /// β, the exponent inside; the slope of ln L in ln D far from the floor is −α·β.
    #[must_use]
    pub fn data_exponent(&self) -> f64 {
        self.data_exponent
    }

    /// The E inside the outer power, nats^(1/α).
    #[must_use]
    pub fn inner_irreducible(&self) -> f64 {
        self.inner_irreducible
    }

    /// α.
    #[must_use]
    pub fn outer_exponent(&self) -> f64 {
        self.outer_exponent
    }

    /// E^α, the loss in nats per token for D → ∞.
    #[must_use]
    pub fn irreducible_loss(&self) -> f64 {
        (self.outer_exponent * self.inner_irreducible.ln()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluates_the_formula() {
        let law = VanillaLaw::new(0.5_f64.ln(), 0.5, 1.5, 2.0);
        assert!((law.log_loss(16_f64.ln()).exp() - 4.0).abs() < 1e-13);
        assert!((law.irreducible_loss() - 2.25).abs() < 1e-13);
    }

    #[test]
    fn without_a_floor_it_is_a_power_law() {
        let law = VanillaLaw::new(0.0, 0.25, 0.0, 2.0);
        assert!((law.log_loss(16_f64.ln()).exp() - 0.25).abs() < 1e-14);
        assert!(law.irreducible_loss().abs() < 1e-300);
    }
}

//! The rectified law, L(D) = B / (`D_l` + D^β) + E (Lin et al., ICML 2024, arXiv 2402.02314, eq. 4).

use super::log_add_exp;
use crate::curve::{DataSize, MAX_DATA_SIZE};

/// B / (`D_l` + D^β) + E with B > 0, `D_l` ≥ 0, β > 0, E ≥ 0 (β = 0 only for the constant boundary law).
///
/// While D^β ≪ `D_l` the curve is nearly flat (pre-power phase); beyond, it is a power law. The authors' code writes
/// (A − E) / (1 + e^b · D^β) + E, which is this with `D_l` = e^(−b), B = (A − E) e^(−b).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RectifiedLaw {
    log_reducible_scale: f64,
    log_pre_learned: f64,
    data_exponent: f64,
    irreducible_loss: f64,
}

impl RectifiedLaw {
    /// From ln B, ln `D_l` (−∞ for `D_l` = 0), β and E.
    #[must_use]
    pub fn new(log_reducible_scale: f64, log_pre_learned: f64, data_exponent: f64, irreducible_loss: f64) -> Self {
        Self {
            log_reducible_scale,
            log_pre_learned,
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
        let log_reducible = self.log_reducible_scale - log_add_exp(self.log_pre_learned, log_power);
        log_add_exp(log_reducible, self.irreducible_loss.ln())
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

    /// `D_l` in examples^β.
    #[must_use]
    pub fn pre_learned_data_size(&self) -> f64 {
        self.log_pre_learned.exp()
    }

    /// ln `D_l`, −∞ for `D_l` = 0.
    #[must_use]
    pub fn log_pre_learned(&self) -> f64 {
        self.log_pre_learned
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

    /// ln of `D_l`^(1/β), the data size in ln examples that the pre-training is worth, where the pre-power phase ends;
    /// −∞ for `D_l` = 0.
    #[must_use]
    pub fn log_pre_learned_examples(&self) -> f64 {
        if self.log_pre_learned == f64::NEG_INFINITY || self.data_exponent <= 0.0 {
            f64::NEG_INFINITY
        } else {
            self.log_pre_learned / self.data_exponent
        }
    }

    /// `D_l`^(1/β) rounded to examples: the phase boundary. `None` for `D_l` = 0, below one example, or beyond 2^53.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie in 1 .. 2^53"
    )]
    pub fn pre_learned_examples(&self) -> Option<DataSize> {
        let examples = self.log_pre_learned_examples().exp().round();
        (1.0..MAX_DATA_SIZE as f64)
            .contains(&examples)
            .then_some(examples as DataSize)
    }

    /// L(0) = B / `D_l` + E, the zero-shot loss that the law implies; `None` for `D_l` = 0, where it diverges.
    #[must_use]
    pub fn zero_shot_loss(&self) -> Option<f64> {
        let loss = (self.log_reducible_scale - self.log_pre_learned).exp() + self.irreducible_loss;
        loss.is_finite().then_some(loss)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "infinities and zeros are exact")]

    use super::*;

    #[test]
    fn evaluates_the_formula() {
        let law = RectifiedLaw::new(500_f64.ln(), 150_f64.ln(), 0.45, 1.1);
        let expected = 500.0 / (150.0 + 6400_f64.powf(0.45)) + 1.1;
        assert!((law.log_loss(6400_f64.ln()).exp() - expected).abs() < 1e-12);
        assert!((law.zero_shot_loss().unwrap() - (500.0 / 150.0 + 1.1)).abs() < 1e-12);
        assert!((law.log_loss(f64::NEG_INFINITY).exp() - law.zero_shot_loss().unwrap()).abs() < 1e-12);
        assert_eq!(law.pre_learned_examples(), Some(68_511));
    }

    #[test]
    fn without_pre_learned_data_it_is_a_power_law() {
        let law = RectifiedLaw::new(2_f64.ln(), f64::NEG_INFINITY, 0.5, 0.0);
        assert!((law.log_loss(4_f64.ln()).exp() - 1.0).abs() < 1e-14);
        assert_eq!(law.pre_learned_examples(), None);
        assert_eq!(law.zero_shot_loss(), None);
        assert_eq!(law.log_loss(f64::NEG_INFINITY), f64::INFINITY);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let law = RectifiedLaw::new(600.0, 590.0, 16.0, 1e-12);
        assert!(law.log_loss(((1_u64 << 53) as f64).ln()).is_finite());
        assert_eq!(RectifiedLaw::new(0.0, 590.0, 1.0, 0.0).pre_learned_examples(), None);
    }
}

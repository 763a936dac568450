//! Joint laws over the data size D and one more factor X: model size, pre-training data size or tuned parameters
//! (Zhang et al., ICLR 2024, arXiv 2402.17193; the additive form is Hoffmann et al. 2022).

use super::{Coefficient, CoefficientName, log_add_exp, representable};

/// Which joint law to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JointLawKind {
    /// A / (X^a D^b) + E, a ≥ 0, four coefficients.
    Multiplicative,
    /// A / X^a + B / D^b + E, a ≥ 0, five coefficients.
    Additive,
    /// B·X^(−a) / (`D_l` + D^b) + E, a ≥ 0, five coefficients: one `D_l` for all.
    RectifiedJointCommon,
    /// B·X^(−a) / (`D_l`·X^(−d) + D^b) + E, d of any sign, a too unless bounded, six coefficients.
    RectifiedJoint,
}

impl JointLawKind {
    /// All joint laws, the recommended one first.
    pub const ALL: [Self; 4] = [
        Self::RectifiedJoint,
        Self::RectifiedJointCommon,
        Self::Multiplicative,
        Self::Additive,
    ];

    /// Number of coefficients.
    #[must_use]
    pub fn coefficient_count(self) -> usize {
        self.coefficient_names().len()
    }

    /// Stable lower-case name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Multiplicative => "multiplicative",
            Self::Additive => "additive",
            Self::RectifiedJointCommon => "rectified-joint-common",
            Self::RectifiedJoint => "rectified-joint",
        }
    }

    /// The formula in the papers' symbols.
    #[must_use]
    pub fn formula(self) -> &'static str {
        match self {
            Self::Multiplicative => "L(X, D) = A / (X^a * D^b) + E",
            Self::Additive => "L(X, D) = A / X^a + B / D^b + E",
            Self::RectifiedJointCommon => "L(X, D) = B * X^-a / (D_l + D^b) + E",
            Self::RectifiedJoint => "L(X, D) = B * X^-a / (D_l * X^-d + D^b) + E",
        }
    }

    /// The coefficients in the order of [`JointLaw::coefficients`].
    #[must_use]
    pub fn coefficient_names(self) -> &'static [CoefficientName] {
        use CoefficientName as N;
        match self {
            Self::Multiplicative => &[N::JointScale, N::FactorExponent, N::DataExponent, N::IrreducibleLoss],
            Self::Additive => &[
                N::FactorScale,
                N::FactorExponent,
                N::ReducibleScale,
                N::DataExponent,
                N::IrreducibleLoss,
            ],
            Self::RectifiedJointCommon => &[
                N::ReducibleScale,
                N::FactorExponent,
                N::PreLearnedDataSize,
                N::DataExponent,
                N::IrreducibleLoss,
            ],
            Self::RectifiedJoint => &[
                N::ReducibleScale,
                N::FactorExponent,
                N::PreLearnedDataSize,
                N::PreLearnedFactorExponent,
                N::DataExponent,
                N::IrreducibleLoss,
            ],
        }
    }
}

/// A fitted joint law. Scales are kept as logarithms; −∞ stands for a scale of 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JointLaw {
    pub(crate) kind: JointLawKind,
    /// ln A, additive law only.
    pub(crate) log_factor_scale: f64,
    /// a.
    pub(crate) factor_exponent: f64,
    /// ln B (ln A of the multiplicative law).
    pub(crate) log_reducible_scale: f64,
    /// ln `D_l`, rectified laws only.
    pub(crate) log_pre_learned: f64,
    /// d.
    pub(crate) pre_learned_factor_exponent: f64,
    /// b.
    pub(crate) data_exponent: f64,
    /// E.
    pub(crate) irreducible_loss: f64,
}

impl JointLaw {
    /// Which law this is.
    #[must_use]
    pub fn kind(&self) -> JointLawKind {
        self.kind
    }

    /// ln of the loss in nats per token at factor `factor` > 0 and ln of the data size.
    #[must_use]
    pub fn log_loss(&self, factor: f64, log_data_size: f64) -> f64 {
        let log_factor = factor.ln();
        let log_power = if self.data_exponent == 0.0 {
            0.0
        } else {
            self.data_exponent * log_data_size
        };
        let log_pre = match self.kind {
            JointLawKind::Multiplicative | JointLawKind::Additive => f64::NEG_INFINITY,
            _ => self.log_pre_learned - self.pre_learned_factor_exponent * log_factor,
        };
        let own = match self.kind {
            JointLawKind::Additive => self.log_factor_scale - self.factor_exponent * log_factor,
            _ => f64::NEG_INFINITY,
        };
        let shared = match self.kind {
            JointLawKind::Additive => 0.0,
            _ => -self.factor_exponent * log_factor,
        };
        let reducible = self.log_reducible_scale + shared - log_add_exp(log_pre, log_power);
        log_add_exp(log_add_exp(own, reducible), self.irreducible_loss.ln())
    }

    /// The loss in nats per token at factor `factor` > 0 and `data_size` examples.
    #[must_use]
    pub fn loss(&self, factor: f64, data_size: u64) -> f64 {
        self.log_loss(factor, (data_size as f64).ln()).exp()
    }

    /// a.
    #[must_use]
    pub fn factor_exponent(&self) -> f64 {
        self.factor_exponent
    }

    /// E in nats per token.
    #[must_use]
    pub fn irreducible_loss(&self) -> f64 {
        self.irreducible_loss
    }

    /// The coefficients with their names, in the order of [`JointLawKind::coefficient_names`].
    #[must_use]
    pub fn coefficients(&self) -> Vec<Coefficient> {
        let value = |name: CoefficientName| match name {
            CoefficientName::FactorScale => self.log_factor_scale.exp(),
            CoefficientName::FactorExponent => self.factor_exponent,
            CoefficientName::PreLearnedDataSize => self.log_pre_learned.exp(),
            CoefficientName::PreLearnedFactorExponent => self.pre_learned_factor_exponent,
            CoefficientName::DataExponent => self.data_exponent,
            CoefficientName::IrreducibleLoss => self.irreducible_loss,
            _ => self.log_reducible_scale.exp(),
        };
        self.kind
            .coefficient_names()
            .iter()
            .map(|&name| Coefficient {
                name,
                value: representable(name, value(name)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(kind: JointLawKind) -> JointLaw {
        JointLaw {
            kind,
            log_factor_scale: 3_f64.ln(),
            factor_exponent: 0.5,
            log_reducible_scale: 8_f64.ln(),
            log_pre_learned: 2_f64.ln(),
            pre_learned_factor_exponent: 0.25,
            data_exponent: 0.5,
            irreducible_loss: 1.0,
        }
    }

    #[test]
    fn evaluates_the_formulas() {
        let at = |kind| law(kind).loss(16.0, 4);
        assert!((at(JointLawKind::Multiplicative) - (8.0 / (4.0 * 2.0) + 1.0)).abs() < 1e-13);
        assert!((at(JointLawKind::Additive) - (3.0 / 4.0 + 8.0 / 2.0 + 1.0)).abs() < 1e-13);
        assert!((at(JointLawKind::RectifiedJoint) - (8.0 / 4.0 / (2.0 / 2.0 + 2.0) + 1.0)).abs() < 1e-13);
    }

    #[test]
    fn names_and_values_have_the_same_length() {
        for kind in JointLawKind::ALL {
            assert_eq!(law(kind).coefficients().len(), kind.coefficient_count());
        }
    }
}

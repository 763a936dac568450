//! Scaling laws: fitted curves one can evaluate. How to fit them is [`crate::fit`]'s matter.
//!
//! Laws keep scales as logarithms, so that no data size below 2^53 and no loss in range overflows on the way.
//!
//! | law | formula | source |
//! |---|---|---|
//! | [`RectifiedLaw`] | B / (`D_l` + D^β) + E | Lin et al., ICML 2024, arXiv 2402.02314, eq. 4 |
//! | [`PowerLaw`] | B / D^β + E, and the same with E = 0 | Kaplan et al. 2020; Hoffmann et al. 2022 |
//! | [`VanillaLaw`] | (1 / (B · D^β) + E)^α | Lin et al. 2024, as their comparison fits it |
//! | [`joint::JointLaw`] | over an extra factor X | Zhang et al., ICLR 2024, arXiv 2402.17193 |

pub mod joint;
mod power;
mod rectified;
mod vanilla;

pub use power::PowerLaw;
pub use rectified::RectifiedLaw;
pub use vanilla::VanillaLaw;

use crate::curve::DataSize;

/// Which law in the data size to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LawKind {
    /// B / (`D_l` + D^β) + E, four coefficients.
    Rectified,
    /// B / D^β + E, three coefficients.
    PowerWithFloor,
    /// B / D^β, two coefficients.
    Power,
    /// (1 / (B · D^β) + E)^α, four coefficients.
    Vanilla,
}

impl LawKind {
    /// All laws in the data size, the recommended one first.
    pub const ALL: [Self; 4] = [Self::Rectified, Self::PowerWithFloor, Self::Power, Self::Vanilla];

    /// Number of coefficients.
    #[must_use]
    pub fn coefficient_count(self) -> usize {
        match self {
            Self::Rectified | Self::Vanilla => 4,
            Self::PowerWithFloor => 3,
            Self::Power => 2,
        }
    }

    /// Stable lower-case name, as on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rectified => "rectified",
            Self::PowerWithFloor => "power-with-floor",
            Self::Power => "power",
            Self::Vanilla => "vanilla",
        }
    }

    /// The formula in the papers' symbols.
    #[must_use]
    pub fn formula(self) -> &'static str {
        match self {
            Self::Rectified => "L(D) = B / (D_l + D^beta) + E",
            Self::PowerWithFloor => "L(D) = B / D^beta + E",
            Self::Power => "L(D) = B / D^beta",
            Self::Vanilla => "L(D) = (1 / (B * D^beta) + E)^alpha",
        }
    }

    /// The coefficients in the order of [`Law::coefficients`].
    #[must_use]
    pub fn coefficient_names(self) -> &'static [CoefficientName] {
        use CoefficientName as N;
        match self {
            Self::Rectified => &[
                N::ReducibleScale,
                N::PreLearnedDataSize,
                N::DataExponent,
                N::IrreducibleLoss,
            ],
            Self::PowerWithFloor => &[N::ReducibleScale, N::DataExponent, N::IrreducibleLoss],
            Self::Power => &[N::ReducibleScale, N::DataExponent],
            Self::Vanilla => &[N::VanillaScale, N::DataExponent, N::VanillaFloor, N::OuterExponent],
        }
    }
}

/// What a coefficient is, across all laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CoefficientName {
    /// B, nats·examples^β, > 0; for the rectified joint laws additionally times factor^a.
    ReducibleScale,
    /// `D_l`, in examples^β (it is added to D^β), ≥ 0; for the rectified joint law per unit of factor^(−d).
    PreLearnedDataSize,
    /// β (b in joint laws), > 0.
    DataExponent,
    /// E in nats, ≥ 0, the loss for D → ∞.
    IrreducibleLoss,
    /// The B inside 1 / (B · D^β) of the vanilla law, examples^(−β)·nats^(−1/α), > 0.
    VanillaScale,
    /// The E inside the outer power of the vanilla law, nats^(1/α), ≥ 0; its irreducible loss is E^α.
    VanillaFloor,
    /// α of the vanilla law, > 0.
    OuterExponent,
    /// A of the multiplicative joint law, nats·factor^a·examples^b, > 0.
    JointScale,
    /// A of the additive joint law, nats·factor^a, ≥ 0.
    FactorScale,
    /// a of joint laws, ≥ 0 (see [`crate::fit::FactorSign`]): how fast the loss falls with the factor.
    FactorExponent,
    /// d of the rectified joint law, any sign: `D_l`(X) = `D_l`·X^(−d).
    PreLearnedFactorExponent,
}

impl CoefficientName {
    /// Stable `snake_case` name, the one used in JSON and protobuf.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReducibleScale => "reducible_scale",
            Self::PreLearnedDataSize => "pre_learned_data_size",
            Self::DataExponent => "data_exponent",
            Self::IrreducibleLoss => "irreducible_loss",
            Self::VanillaScale => "vanilla_scale",
            Self::VanillaFloor => "vanilla_floor",
            Self::OuterExponent => "outer_exponent",
            Self::JointScale => "joint_scale",
            Self::FactorScale => "factor_scale",
            Self::FactorExponent => "factor_exponent",
            Self::PreLearnedFactorExponent => "pre_learned_factor_exponent",
        }
    }

    /// The symbol in the paper.
    #[must_use]
    pub fn symbol(self) -> &'static str {
        match self {
            Self::ReducibleScale | Self::VanillaScale => "B",
            Self::PreLearnedDataSize => "D_l",
            Self::DataExponent => "beta",
            Self::IrreducibleLoss | Self::VanillaFloor => "E",
            Self::OuterExponent => "alpha",
            Self::JointScale | Self::FactorScale => "A",
            Self::FactorExponent => "a",
            Self::PreLearnedFactorExponent => "d",
        }
    }

    /// The unit, with the exponents' names where it depends on them.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::ReducibleScale => "nats*examples^data_exponent (joint laws: times factor^factor_exponent)",
            Self::PreLearnedDataSize => "examples^data_exponent (joint laws: times factor^pre_learned_factor_exponent)",
            Self::DataExponent | Self::OuterExponent | Self::FactorExponent | Self::PreLearnedFactorExponent => "1",
            Self::IrreducibleLoss => "nats",
            Self::VanillaScale => "examples^-data_exponent*nats^(-1/outer_exponent)",
            Self::VanillaFloor => "nats^(1/outer_exponent)",
            Self::JointScale => "nats*factor^factor_exponent*examples^data_exponent",
            Self::FactorScale => "nats*factor^factor_exponent",
        }
    }

    /// The bounds that fits keep, as text.
    #[must_use]
    pub fn range(self) -> &'static str {
        match self {
            Self::ReducibleScale | Self::VanillaScale | Self::JointScale | Self::DataExponent | Self::OuterExponent => {
                "> 0"
            }
            Self::PreLearnedDataSize | Self::IrreducibleLoss | Self::VanillaFloor | Self::FactorScale => ">= 0",
            Self::FactorExponent => ">= 0; any sign in the rectified joint law",
            Self::PreLearnedFactorExponent => "any sign",
        }
    }
}

/// A coefficient with its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// Which one.
    pub name: CoefficientName,
    /// Its value in the unit that [`CoefficientName`] states.
    pub value: f64,
}

/// A fitted law in the data size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Law {
    /// See [`RectifiedLaw`].
    Rectified(RectifiedLaw),
    /// See [`PowerLaw`].
    PowerWithFloor(PowerLaw),
    /// See [`PowerLaw`], with E = 0.
    Power(PowerLaw),
    /// See [`VanillaLaw`].
    Vanilla(VanillaLaw),
}

impl Law {
    /// The law that answers `loss` everywhere: the boundary β = 0, `D_l` = 0, E = 0 of every kind.
    #[must_use]
    pub(crate) fn constant(kind: LawKind, log_loss: f64) -> Self {
        let power = PowerLaw::new(log_loss, 0.0, 0.0);
        match kind {
            LawKind::Rectified => Self::Rectified(RectifiedLaw::new(log_loss, f64::NEG_INFINITY, 0.0, 0.0)),
            LawKind::PowerWithFloor => Self::PowerWithFloor(power),
            LawKind::Power => Self::Power(power),
            LawKind::Vanilla => Self::Vanilla(VanillaLaw::new(-log_loss, 0.0, 0.0, 1.0)),
        }
    }

    /// The law of `kind` with the coefficients' values in the order of [`LawKind::coefficient_names`]; `None` when their
    /// number is not that of the law, or one is not finite or out of its bounds.
    #[must_use]
    pub fn from_coefficients(kind: LawKind, values: &[f64]) -> Option<Self> {
        let in_bounds =
            |name: CoefficientName, value: f64| value.is_finite() && value >= 0.0 && (value > 0.0 || !is_scale(name));
        let names = kind.coefficient_names();
        if names.len() != values.len() || !names.iter().zip(values).all(|(&name, &value)| in_bounds(name, value)) {
            return None;
        }
        Some(match (kind, values) {
            (LawKind::Rectified, &[b, d, beta, e]) => Self::Rectified(RectifiedLaw::new(b.ln(), d.ln(), beta, e)),
            (LawKind::PowerWithFloor, &[b, beta, e]) => Self::PowerWithFloor(PowerLaw::new(b.ln(), beta, e)),
            (LawKind::Power, &[b, beta]) => Self::Power(PowerLaw::new(b.ln(), beta, 0.0)),
            (LawKind::Vanilla, &[b, beta, e, alpha]) => Self::Vanilla(VanillaLaw::new(b.ln(), beta, e, alpha)),
            _ => return None,
        })
    }

    /// ln of the coefficients in the order of [`LawKind::coefficient_names`]; −∞ where a coefficient is 0.
    #[must_use]
    pub fn log_coefficients(&self) -> Vec<f64> {
        match self {
            Self::Rectified(law) => vec![
                law.log_reducible_scale(),
                law.log_pre_learned(),
                law.data_exponent().ln(),
                law.irreducible_loss().ln(),
            ],
            Self::PowerWithFloor(law) => {
                vec![
                    law.log_reducible_scale(),
                    law.data_exponent().ln(),
                    law.irreducible_loss().ln(),
                ]
            }
            Self::Power(law) => vec![law.log_reducible_scale(), law.data_exponent().ln()],
            Self::Vanilla(law) => vec![
                law.log_inner_scale(),
                law.data_exponent().ln(),
                law.inner_irreducible().ln(),
                law.outer_exponent().ln(),
            ],
        }
    }

    /// The inverse of [`Law::log_coefficients`]; `None` for a wrong number of values.
    #[must_use]
    pub fn from_log_coefficients(kind: LawKind, logs: &[f64]) -> Option<Self> {
        Some(match (kind, logs) {
            (LawKind::Rectified, &[b, d, beta, e]) => Self::Rectified(RectifiedLaw::new(b, d, beta.exp(), e.exp())),
            (LawKind::PowerWithFloor, &[b, beta, e]) => Self::PowerWithFloor(PowerLaw::new(b, beta.exp(), e.exp())),
            (LawKind::Power, &[b, beta]) => Self::Power(PowerLaw::new(b, beta.exp(), 0.0)),
            (LawKind::Vanilla, &[b, beta, e, alpha]) => {
                Self::Vanilla(VanillaLaw::new(b, beta.exp(), e.exp(), alpha.exp()))
            }
            _ => return None,
        })
    }

    /// Which law this is.
    #[must_use]
    pub fn kind(&self) -> LawKind {
        match self {
            Self::Rectified(_) => LawKind::Rectified,
            Self::PowerWithFloor(_) => LawKind::PowerWithFloor,
            Self::Power(_) => LawKind::Power,
            Self::Vanilla(_) => LawKind::Vanilla,
        }
    }

    /// ln of the loss at ln of the data size; −∞ stands for size 0, where power laws answer +∞.
    #[must_use]
    pub fn log_loss(&self, log_data_size: f64) -> f64 {
        match self {
            Self::Rectified(law) => law.log_loss(log_data_size),
            Self::PowerWithFloor(law) | Self::Power(law) => law.log_loss(log_data_size),
            Self::Vanilla(law) => law.log_loss(log_data_size),
        }
    }

    /// The loss in nats per token at `data_size` examples; +∞ for a power law at size 0.
    #[must_use]
    pub fn loss(&self, data_size: DataSize) -> f64 {
        self.log_loss((data_size as f64).ln()).exp()
    }

    /// E, the loss in nats per token for D → ∞ (for the vanilla law E^α).
    #[must_use]
    pub fn irreducible_loss(&self) -> f64 {
        match self {
            Self::Rectified(law) => law.irreducible_loss(),
            Self::PowerWithFloor(law) | Self::Power(law) => law.irreducible_loss(),
            Self::Vanilla(law) => law.irreducible_loss(),
        }
    }

    /// β.
    #[must_use]
    pub fn data_exponent(&self) -> f64 {
        match self {
            Self::Rectified(law) => law.data_exponent(),
            Self::PowerWithFloor(law) | Self::Power(law) => law.data_exponent(),
            Self::Vanilla(law) => law.data_exponent(),
        }
    }

    /// The coefficients with their names, in the order of [`LawKind::coefficient_names`].
    #[must_use]
    pub fn coefficients(&self) -> Vec<Coefficient> {
        let values = match self {
            Self::Rectified(law) => {
                vec![
                    law.reducible_scale(),
                    law.pre_learned_data_size(),
                    law.data_exponent(),
                    law.irreducible_loss(),
                ]
            }
            Self::PowerWithFloor(law) => vec![law.reducible_scale(), law.data_exponent(), law.irreducible_loss()],
            Self::Power(law) => vec![law.reducible_scale(), law.data_exponent()],
            Self::Vanilla(law) => {
                vec![
                    law.inner_scale(),
                    law.data_exponent(),
                    law.inner_irreducible(),
                    law.outer_exponent(),
                ]
            }
        };
        let names = self.kind().coefficient_names();
        names
            .iter()
            .zip(values)
            .map(|(&name, value)| Coefficient {
                name,
                value: representable(name, value),
            })
            .collect()
    }
}

/// Coefficients that a law cannot do without: 0 is not even a boundary.
fn is_scale(name: CoefficientName) -> bool {
    use CoefficientName as N;
    matches!(
        name,
        N::ReducibleScale | N::VanillaScale | N::JointScale | N::OuterExponent
    )
}

/// The value within the range of 64-bit floats: scales of extreme curves are kept as logarithms and may leave it.
pub(crate) fn representable(name: CoefficientName, value: f64) -> f64 {
    let value = value.min(f64::MAX);
    if is_scale(name) {
        value.max(f64::MIN_POSITIVE)
    } else {
        value
    }
}

/// ln(e^a + e^b) without overflow; −∞ stands for 0.
#[must_use]
pub(crate) fn log_add_exp(a: f64, b: f64) -> f64 {
    let (high, low) = if a >= b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY || high == f64::INFINITY {
        high
    } else {
        high + (low - high).exp().ln_1p()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "infinities and zeros are exact")]

    use super::*;

    #[test]
    fn adds_logarithms_at_the_extremes() {
        assert!((log_add_exp(0.0, 0.0) - std::f64::consts::LN_2).abs() < 1e-15);
        assert!((log_add_exp(1000.0, -1000.0) - 1000.0).abs() < 1e-12);
        assert!((log_add_exp(f64::NEG_INFINITY, 2.0) - 2.0).abs() < 1e-15);
        assert_eq!(log_add_exp(f64::NEG_INFINITY, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert_eq!(log_add_exp(f64::INFINITY, 1.0), f64::INFINITY);
    }

    #[test]
    fn coefficients_round_trip() {
        let law = Law::Rectified(RectifiedLaw::new(5.0, 4.0, 0.4, 1.1));
        let values: Vec<f64> = law.coefficients().iter().map(|c| c.value).collect();
        let back = Law::from_coefficients(LawKind::Rectified, &values).unwrap();
        assert!((back.loss(1000) / law.loss(1000) - 1.0).abs() < 1e-12);
        assert_eq!(
            Law::from_log_coefficients(LawKind::Rectified, &law.log_coefficients())
                .unwrap()
                .kind(),
            law.kind()
        );
        assert!(Law::from_coefficients(LawKind::Rectified, &[1.0, 0.0, 0.5, 0.0]).is_some());
        for bad in [
            [0.0, 1.0, 1.0, 1.0],
            [1.0, -1.0, 1.0, 1.0],
            [1.0, 1.0, f64::NAN, 1.0],
            [1.0, 1.0, 1.0, f64::INFINITY],
        ] {
            assert!(Law::from_coefficients(LawKind::Rectified, &bad).is_none());
        }
        assert!(Law::from_coefficients(LawKind::Power, &[1.0]).is_none());
    }

    #[test]
    fn constants_of_every_kind_are_constant() {
        for kind in LawKind::ALL {
            let law = Law::constant(kind, 2.5_f64.ln());
            for size in [1, 1000, (1 << 53) - 1] {
                assert!((law.loss(size) - 2.5).abs() < 1e-12, "{kind:?}");
            }
            assert_eq!(law.coefficients().len(), kind.coefficient_count());
            assert_eq!(law.kind(), kind);
        }
    }
}

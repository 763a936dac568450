//! Learning curves: one candidate's held-out losses by fine-tuning data size. Parsed once, correct ever after.

use crate::error::CurveError;

/// Fine-tuning examples; 0 is the zero-shot evaluation.
pub type DataSize = u64;

/// Data sizes are below this, so that each is exact as a 64-bit float.
pub const MAX_DATA_SIZE: DataSize = 1 << 53;
/// Smallest loss taken for a measurement, nats per token.
pub const MIN_LOSS: f64 = 1e-12;
/// Largest loss taken for a measurement, nats per token.
pub const MAX_LOSS: f64 = 1e6;
/// Smallest weight of an observation.
pub const MIN_WEIGHT: f64 = 1e-9;
/// Largest weight of an observation.
pub const MAX_WEIGHT: f64 = 1e9;

/// One measured point of a learning curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Fine-tuning examples; 0 is zero-shot, which no law in D is fitted to.
    pub data_size: DataSize,
    /// Held-out loss in nats per token, finite and > 0.
    pub test_loss: f64,
    /// Relative weight in the objective, > 0; 1 is neutral.
    pub weight: f64,
    /// Standard error of `test_loss` in nats per token, if the caller knows it. It widens intervals, never the fit:
    /// weigh points with `weight`.
    pub standard_error: Option<f64>,
}

impl Observation {
    /// A point of weight 1 whose standard error is unknown.
    #[must_use]
    pub fn new(data_size: DataSize, test_loss: f64) -> Self {
        Self {
            data_size,
            test_loss,
            weight: 1.0,
            standard_error: None,
        }
    }
}

/// A candidate's observations with strictly ascending data sizes and losses, weights and errors in range.
#[derive(Debug, Clone, PartialEq)]
pub struct LearningCurve {
    observations: Vec<Observation>,
}

impl LearningCurve {
    /// Checks and takes the observations.
    ///
    /// # Errors
    /// The first violation in input order, see [`CurveError`]. Unsorted input is an error and not sorted silently: it
    /// usually means that columns were mixed up.
    pub fn new(observations: Vec<Observation>) -> Result<Self, CurveError> {
        let first_violation = Self::violations(&observations).next();
        first_violation.map_or(Ok(Self { observations }), Err)
    }

    /// Everything that is wrong with the observations, in input order; empty means that [`LearningCurve::new`] accepts
    /// them. For adapters that report all violations at once.
    pub fn violations(observations: &[Observation]) -> impl Iterator<Item = CurveError> + '_ {
        let empty = observations.is_empty().then_some(CurveError::Empty);
        let mut largest_before: Option<DataSize> = None;
        let faults = observations.iter().enumerate().flat_map(move |(index, observation)| {
            let order = order_fault(index, observation.data_size, largest_before);
            largest_before = largest_before.max(Some(observation.data_size));
            [
                order,
                loss_fault(index, observation.test_loss),
                weight_fault(index, observation.weight),
                error_fault(index, observation.standard_error),
            ]
        });
        empty.into_iter().chain(faults.flatten())
    }

    /// Builds a curve from (size, loss) pairs of weight 1.
    ///
    /// # Errors
    /// As [`LearningCurve::new`].
    pub fn from_pairs(pairs: &[(DataSize, f64)]) -> Result<Self, CurveError> {
        Self::new(pairs.iter().map(|&(size, loss)| Observation::new(size, loss)).collect())
    }

    /// All observations, ascending by data size.
    #[must_use]
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// The observations that laws in D are fitted to: 0 < data size ≤ `max_data_size` (no limit when `None`).
    #[must_use]
    pub fn fit_points(&self, max_data_size: Option<DataSize>) -> &[Observation] {
        let start = self.observations.partition_point(|o| o.data_size == 0);
        let end = self
            .observations
            .partition_point(|o| max_data_size.is_none_or(|max| o.data_size <= max));
        self.observations.get(start..end).unwrap_or(&[])
    }

    /// The measured zero-shot loss in nats per token, if size 0 was observed.
    #[must_use]
    pub fn zero_shot_loss(&self) -> Option<f64> {
        self.observations
            .first()
            .filter(|o| o.data_size == 0)
            .map(|o| o.test_loss)
    }

    /// The curve up to `max_data_size`; `None` when nothing is left.
    #[must_use]
    pub fn truncated(&self, max_data_size: DataSize) -> Option<Self> {
        let end = self.observations.partition_point(|o| o.data_size <= max_data_size);
        let observations = self.observations.get(..end)?.to_vec();
        (!observations.is_empty()).then_some(Self { observations })
    }
}

fn order_fault(index: usize, data_size: DataSize, largest_before: Option<DataSize>) -> Option<CurveError> {
    if data_size >= MAX_DATA_SIZE {
        return Some(CurveError::DataSizeTooLarge { index, data_size });
    }
    match largest_before {
        Some(before) if before == data_size => Some(CurveError::DuplicateDataSize { index, data_size }),
        Some(before) if before > data_size => Some(CurveError::Unsorted { index, data_size }),
        _ => None,
    }
}

fn loss_fault(index: usize, test_loss: f64) -> Option<CurveError> {
    (!(MIN_LOSS..=MAX_LOSS).contains(&test_loss)).then_some(CurveError::LossOutOfRange { index, test_loss })
}

fn weight_fault(index: usize, weight: f64) -> Option<CurveError> {
    (!(MIN_WEIGHT..=MAX_WEIGHT).contains(&weight)).then_some(CurveError::WeightOutOfRange { index, weight })
}

fn error_fault(index: usize, standard_error: Option<f64>) -> Option<CurveError> {
    standard_error
        .filter(|e| !(e.is_finite() && *e >= 0.0))
        .map(|standard_error| CurveError::StandardErrorOutOfRange { index, standard_error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_zero_shot_and_separates_it() {
        let curve = LearningCurve::from_pairs(&[(0, 4.0), (200, 3.0), (400, 2.5), (800, 2.0)]).unwrap();
        assert_eq!(curve.zero_shot_loss(), Some(4.0));
        assert_eq!(curve.fit_points(None).len(), 3);
        assert_eq!(curve.fit_points(Some(400)).len(), 2);
        assert_eq!(curve.fit_points(Some(0)).len(), 0);
        assert_eq!(curve.fit_points(Some(100)).len(), 0);
        assert_eq!(curve.truncated(400).unwrap().observations().len(), 3);
    }

    #[test]
    fn names_the_index_of_each_fault() {
        let fault = |pairs: &[(u64, f64)]| LearningCurve::from_pairs(pairs).unwrap_err();
        assert_eq!(fault(&[]), CurveError::Empty);
        assert_eq!(
            fault(&[(1, 1.0), (1, 1.0)]),
            CurveError::DuplicateDataSize { index: 1, data_size: 1 }
        );
        assert_eq!(
            fault(&[(2, 1.0), (1, 1.0)]),
            CurveError::Unsorted { index: 1, data_size: 1 }
        );
        assert_eq!(
            fault(&[(1, 1.0), (1 << 53, 1.0)]),
            CurveError::DataSizeTooLarge {
                index: 1,
                data_size: 1 << 53
            }
        );
        for loss in [0.0, -1.0, f64::INFINITY, 1e7, 1e-13] {
            assert_eq!(
                fault(&[(1, 1.0), (2, loss)]),
                CurveError::LossOutOfRange {
                    index: 1,
                    test_loss: loss
                }
            );
        }
        assert!(matches!(
            fault(&[(1, f64::NAN)]),
            CurveError::LossOutOfRange { index: 0, .. }
        ));
    }

    #[test]
    fn checks_weights_and_standard_errors() {
        let with = |weight, standard_error| {
            LearningCurve::new(vec![Observation {
                data_size: 1,
                test_loss: 1.0,
                weight,
                standard_error,
            }])
        };
        assert!(with(1.0, Some(0.0)).is_ok());
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e10] {
            assert!(matches!(
                with(weight, None),
                Err(CurveError::WeightOutOfRange { index: 0, .. })
            ));
        }
        for error in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                with(1.0, Some(error)),
                Err(CurveError::StandardErrorOutOfRange { index: 0, .. })
            ));
        }
    }

    #[test]
    fn reports_every_violation_at_once() {
        let bad = [
            Observation::new(5, -1.0),
            Observation::new(5, 1.0),
            Observation::new(1, f64::NAN),
        ];
        assert_eq!(LearningCurve::violations(&bad).count(), 4);
    }
}

//! Data sizes, losses and learning curves: parsed once, valid ever after.

use std::fmt;

use thiserror::Error;

/// Number of fine-tuning examples, in `0..=DataSize::MAX`; 0 means zero-shot (no fine-tuning).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct DataSize(u64);

impl DataSize {
    /// No fine-tuning.
    pub const ZERO: Self = Self(0);

    /// Largest accepted size, 2⁵³ − 1: every size is exact in `f64`. Sums of sizes saturate.
    pub const MAX: u64 = (1 << 53) - 1;

    /// Checks the range.
    ///
    /// # Errors
    /// [`CurveError::DataSizeTooLarge`] above [`DataSize::MAX`].
    pub fn new(examples: u64) -> Result<Self, CurveError> {
        if examples > Self::MAX {
            return Err(CurveError::DataSizeTooLarge { data_size: examples });
        }
        Ok(Self(examples))
    }

    /// The size in examples.
    #[must_use]
    pub const fn examples(self) -> u64 {
        self.0
    }

    /// Whether this is the zero-shot size.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Half of it, rounded down.
    #[must_use]
    pub const fn half(self) -> Self {
        Self(self.0 / 2)
    }

    /// log₂ of the size; −∞ at size 0.
    #[must_use]
    pub fn log2(self) -> f64 {
        (self.0 as f64).log2()
    }
}

impl TryFrom<u64> for DataSize {
    type Error = CurveError;

    fn try_from(examples: u64) -> Result<Self, CurveError> {
        Self::new(examples)
    }
}

impl From<DataSize> for u64 {
    fn from(size: DataSize) -> Self {
        size.0
    }
}

impl fmt::Display for DataSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Held-out loss in nats per token: finite, > 0 and at most [`Loss::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Loss(f64);

impl Loss {
    /// Largest accepted loss; a uniform guess over any vocabulary in use is below 20 nats.
    pub const MAX: f64 = 1e6;

    /// Checks the range.
    ///
    /// # Errors
    /// [`CurveError::LossNotFinite`], [`CurveError::LossNotPositive`] or [`CurveError::LossTooLarge`].
    pub fn new(nats: f64) -> Result<Self, CurveError> {
        if !nats.is_finite() {
            return Err(CurveError::LossNotFinite);
        }
        if nats <= 0.0 {
            return Err(CurveError::LossNotPositive { loss: nats });
        }
        if nats > Self::MAX {
            return Err(CurveError::LossTooLarge { loss: nats });
        }
        Ok(Self(nats))
    }

    /// The loss in nats per token.
    #[must_use]
    pub const fn nats(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Loss {
    type Error = CurveError;

    fn try_from(nats: f64) -> Result<Self, CurveError> {
        Self::new(nats)
    }
}

impl From<Loss> for f64 {
    fn from(loss: Loss) -> Self {
        loss.0
    }
}

/// Why a size, a loss or a curve was refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CurveError {
    /// Above [`DataSize::MAX`].
    #[error("data size {data_size} is above the largest supported size {}", DataSize::MAX)]
    DataSizeTooLarge {
        /// The refused size, examples.
        data_size: u64,
    },
    /// NaN or infinite.
    #[error("loss must be finite")]
    LossNotFinite,
    /// Zero or below.
    #[error("loss must be above 0, is {loss}")]
    LossNotPositive {
        /// The refused loss, nats.
        loss: f64,
    },
    /// Above [`Loss::MAX`].
    #[error("loss {loss} is above {:e} nats", Loss::MAX)]
    LossTooLarge {
        /// The refused loss, nats.
        loss: f64,
    },
    /// The same size twice in one curve.
    #[error("data size {data_size} occurs twice")]
    DuplicateDataSize {
        /// The repeated size.
        data_size: DataSize,
        /// Position of the repetition in the input.
        index: usize,
    },
    /// Negative, NaN or infinite.
    #[error("a standard error must be finite and at least 0")]
    BadStandardError,
    /// Zero, negative, NaN or infinite.
    #[error("a weight must be finite and above 0")]
    BadWeight,
    /// More than [`MAX_OBSERVATIONS`] points.
    #[error("a curve has at most {MAX_OBSERVATIONS} observations, this one has {count}")]
    TooManyObservations {
        /// Number of points in the input.
        count: usize,
    },
}

/// A point noisier than this (in squared ln loss) says nothing more or less.
const MAX_LOG_VARIANCE: f64 = 1e6;

/// Most points of one curve.
pub const MAX_OBSERVATIONS: usize = 1_000;

/// One measured point of a learning curve.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "ObservationRecord", into = "ObservationRecord")]
pub struct Observation {
    data_size: DataSize,
    test_loss: Loss,
    standard_error: Option<f64>,
    weight: f64,
    log2_data_size: f64,
    log_loss: f64,
}

/// An [`Observation`] as it is written down.
#[derive(serde::Serialize, serde::Deserialize)]
struct ObservationRecord {
    data_size: DataSize,
    test_loss: Loss,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standard_error: Option<f64>,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    weight: f64,
}

fn one() -> f64 {
    1.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_one(weight: &f64) -> bool {
    weight.to_bits() == 1.0_f64.to_bits()
}

impl TryFrom<ObservationRecord> for Observation {
    type Error = CurveError;

    fn try_from(record: ObservationRecord) -> Result<Self, CurveError> {
        let point = Self::new(record.data_size, record.test_loss).with_weight(record.weight)?;
        record
            .standard_error
            .map_or(Ok(point), |nats| point.with_standard_error(nats))
    }
}

impl From<Observation> for ObservationRecord {
    fn from(point: Observation) -> Self {
        Self {
            data_size: point.data_size,
            test_loss: point.test_loss,
            standard_error: point.standard_error,
            weight: point.weight,
        }
    }
}

impl Observation {
    /// A point; logarithms are taken here, once.
    #[must_use]
    pub fn new(data_size: DataSize, test_loss: Loss) -> Self {
        Self {
            data_size,
            test_loss,
            standard_error: None,
            weight: 1.0,
            log2_data_size: data_size.log2(),
            log_loss: test_loss.0.ln(),
        }
    }

    /// The same point with the standard error of its loss, nats.
    ///
    /// # Errors
    /// [`CurveError::BadStandardError`] unless finite and ≥ 0.
    pub fn with_standard_error(self, nats: f64) -> Result<Self, CurveError> {
        if !(nats.is_finite() && nats >= 0.0) {
            return Err(CurveError::BadStandardError);
        }
        Ok(Self {
            standard_error: Some(nats),
            ..self
        })
    }

    /// The same point with a relative weight in fits of laws; rankings by trends do not look at it.
    ///
    /// # Errors
    /// [`CurveError::BadWeight`] unless finite and > 0.
    pub fn with_weight(self, weight: f64) -> Result<Self, CurveError> {
        if !(weight.is_finite() && weight > 0.0) {
            return Err(CurveError::BadWeight);
        }
        Ok(Self { weight, ..self })
    }

    /// Fine-tuning examples.
    #[must_use]
    pub const fn data_size(&self) -> DataSize {
        self.data_size
    }

    /// Held-out loss after training on them.
    #[must_use]
    pub const fn test_loss(&self) -> Loss {
        self.test_loss
    }

    /// Standard error of the loss in nats, where known.
    #[must_use]
    pub const fn standard_error(&self) -> Option<f64> {
        self.standard_error
    }

    /// Relative weight in fits of laws, > 0; 1 unless given.
    #[must_use]
    pub const fn weight(&self) -> f64 {
        self.weight
    }

    /// Variance of ln loss: `floor`, or the point's own squared relative standard error where that is larger.
    #[must_use]
    pub fn log_variance(&self, floor: f64) -> f64 {
        self.standard_error.map_or(floor, |error| {
            (error / self.test_loss.0).powi(2).clamp(floor, MAX_LOG_VARIANCE)
        })
    }

    /// Natural logarithm of the size; −∞ for zero-shot.
    #[must_use]
    pub fn log_data_size(&self) -> f64 {
        (self.data_size.0 as f64).ln()
    }

    /// Size in doublings, log₂ examples; −∞ for zero-shot.
    #[must_use]
    pub const fn log2_data_size(&self) -> f64 {
        self.log2_data_size
    }

    /// Natural logarithm of the loss.
    #[must_use]
    pub const fn log_loss(&self) -> f64 {
        self.log_loss
    }
}

/// The measured points of one candidate: unique sizes, ascending; the zero-shot loss is kept apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearningCurve {
    zero_shot: Option<Observation>,
    observations: Vec<Observation>,
}

impl LearningCurve {
    /// Sorts the points by size. An empty curve is valid: its candidate is answered as excluded.
    ///
    /// # Errors
    /// [`CurveError::DuplicateDataSize`] or [`CurveError::TooManyObservations`].
    pub fn new(points: Vec<Observation>) -> Result<Self, CurveError> {
        if points.len() > MAX_OBSERVATIONS {
            return Err(CurveError::TooManyObservations { count: points.len() });
        }
        let mut order: Vec<(usize, Observation)> = points.into_iter().enumerate().collect();
        order.sort_by_key(|(index, point)| (point.data_size, *index));
        for pair in order.windows(2) {
            if let [(_, first), (index, second)] = pair
                && first.data_size == second.data_size
            {
                return Err(CurveError::DuplicateDataSize {
                    data_size: second.data_size,
                    index: *index,
                });
            }
        }
        let mut observations: Vec<Observation> = order.into_iter().map(|(_, point)| point).collect();
        let zero_shot = observations.first().copied().filter(|point| point.data_size.is_zero());
        if zero_shot.is_some() {
            observations.remove(0);
        }
        Ok(Self {
            zero_shot,
            observations,
        })
    }

    /// Loss without fine-tuning, where it was measured.
    #[must_use]
    pub fn zero_shot_loss(&self) -> Option<Loss> {
        self.zero_shot.map(|point| point.test_loss)
    }

    /// All points above size 0, ascending.
    #[must_use]
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// The points with `0 < size ≤ limit`, ascending.
    #[must_use]
    pub fn up_to(&self, limit: DataSize) -> &[Observation] {
        let end = self.observations.partition_point(|point| point.data_size <= limit);
        self.observations.get(..end).unwrap_or_default()
    }

    /// The loss at one size (0 = zero-shot), where it was measured.
    #[must_use]
    pub fn loss_at(&self, size: DataSize) -> Option<Loss> {
        if size.is_zero() {
            return self.zero_shot_loss();
        }
        self.observation_at(size).map(Observation::test_loss)
    }

    /// The point at one size above 0, where it was measured.
    #[must_use]
    pub fn observation_at(&self, size: DataSize) -> Option<&Observation> {
        let index = self
            .observations
            .binary_search_by_key(&size, Observation::data_size)
            .ok()?;
        self.observations.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(examples: u64) -> DataSize {
        DataSize::new(examples).unwrap()
    }

    fn loss(nats: f64) -> Loss {
        Loss::new(nats).unwrap()
    }

    fn point(examples: u64, nats: f64) -> Observation {
        Observation::new(size(examples), loss(nats))
    }

    #[test]
    fn bad_losses_and_sizes_are_refused() {
        assert_eq!(Loss::new(f64::NAN), Err(CurveError::LossNotFinite));
        assert_eq!(Loss::new(f64::INFINITY), Err(CurveError::LossNotFinite));
        assert_eq!(Loss::new(0.0), Err(CurveError::LossNotPositive { loss: 0.0 }));
        assert_eq!(Loss::new(-1.0), Err(CurveError::LossNotPositive { loss: -1.0 }));
        assert_eq!(Loss::new(1e9), Err(CurveError::LossTooLarge { loss: 1e9 }));
        assert_eq!(
            DataSize::new(u64::MAX),
            Err(CurveError::DataSizeTooLarge { data_size: u64::MAX })
        );
    }

    #[test]
    fn unsorted_points_are_sorted_and_zero_is_kept_apart() {
        let curve = LearningCurve::new(vec![point(400, 2.0), point(0, 4.0), point(200, 3.0)]).unwrap();
        assert_eq!(curve.zero_shot_loss(), Some(loss(4.0)));
        let sizes: Vec<u64> = curve.observations().iter().map(|p| p.data_size().examples()).collect();
        assert_eq!(sizes, [200, 400]);
        assert_eq!(curve.up_to(size(399)).len(), 1);
        assert_eq!(curve.loss_at(size(400)), Some(loss(2.0)));
        assert_eq!(curve.loss_at(size(0)), Some(loss(4.0)));
        assert_eq!(curve.loss_at(size(300)), None);
    }

    #[test]
    fn a_repeated_size_is_named_with_its_position() {
        let points = vec![point(200, 3.0), point(100, 3.5), point(200, 2.0)];
        assert_eq!(
            LearningCurve::new(points),
            Err(CurveError::DuplicateDataSize {
                data_size: size(200),
                index: 2
            })
        );
    }

    #[test]
    fn standard_errors_raise_the_log_variance_and_bad_ones_are_refused() {
        assert_eq!(point(200, 2.0).log_variance(1e-4).to_bits(), 1e-4_f64.to_bits());
        let noisy = point(200, 2.0).with_standard_error(0.2).unwrap();
        assert!((noisy.log_variance(1e-4) - 0.01).abs() < 1e-15);
        assert_eq!(
            point(200, 2.0).with_standard_error(f64::NAN),
            Err(CurveError::BadStandardError)
        );
        assert_eq!(point(200, 2.0).with_weight(0.0), Err(CurveError::BadWeight));
    }
}

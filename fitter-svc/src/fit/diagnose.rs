//! Verdicts and warnings: what the points and the fitted law say about each other.

use super::report::{FLOOR_SHARE, JUMP_SDS, MIN_QUOTABLE_POINTS, RISE_SHARE, Verdict, Warning};
use crate::curve::Observation;
use crate::law::{Law, LawKind};
use crate::phase::{median_absolute_deviation, noise_sd_of, second_differences};

/// Relative difference of losses that counts as equal.
const EQUAL: f64 = 1e-12;
/// Fewest second differences whose spread is worth an estimate.
const MIN_SECOND_DIFFERENCES: usize = 4;
/// Rises up to this many standard deviations of a difference are noise.
const RISE_SDS: f64 = 2.0;
/// Noise below this is rounding: no jump is called.
const MIN_JUMP: f64 = 1e-9;
/// Robust standard deviation per median absolute deviation.
const MAD_TO_SD: f64 = 1.48;

/// The verdict on a fit. `flat`: the best law is the constant; `determined`: the information matrix is regular.
pub(crate) fn verdict(
    points: &[Observation],
    kind: LawKind,
    law: Option<&Law>,
    flat: bool,
    determined: bool,
) -> Verdict {
    let (rises, falls) = rises_and_falls(points);
    let coefficients = kind.coefficient_count();
    if points.len() < coefficients {
        Verdict::TooFewPoints
    } else if rises + falls == 0.0 {
        Verdict::NotIdentifiable
    } else if flat || rises >= RISE_SHARE * falls {
        Verdict::NonMonotone
    } else if points.len() == coefficients || !determined {
        Verdict::NotIdentifiable
    } else if knee_beyond_data(points, law) {
        Verdict::PrePowerPhaseOnly
    } else {
        Verdict::Ok
    }
}

/// All warnings that apply.
pub(crate) fn warnings(points: &[Observation], law: Option<&Law>, flat: bool, converged: bool) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if points.len() < MIN_QUOTABLE_POINTS {
        warnings.push(Warning::TooFewPoints);
    }
    if let (Some(law), Some(last)) = (law, points.last()) {
        let floor = law.irreducible_loss();
        if !flat {
            if floor > FLOOR_SHARE * law.loss(last.data_size) {
                warnings.push(Warning::FloorAtData);
            }
            if floor <= 0.0 && law.kind() != LawKind::Power {
                warnings.push(Warning::IrreducibleLossZero);
            }
            if matches!(law, Law::Rectified(law) if law.log_pre_learned() == f64::NEG_INFINITY) {
                warnings.push(Warning::PreLearnedZero);
            }
        }
        if knee_beyond_data(points, Some(law)) {
            warnings.push(Warning::KneeBeyondData);
        }
    }
    if rises_beyond_noise(points) {
        warnings.push(Warning::NonMonotone);
    }
    if !converged {
        warnings.push(Warning::NotConverged);
    }
    warnings.extend(noise_jumps(points));
    warnings
}

fn knee_beyond_data(points: &[Observation], law: Option<&Law>) -> bool {
    let (Some(Law::Rectified(law)), Some(last)) = (law, points.last()) else {
        return false;
    };
    law.log_pre_learned_examples() > (last.data_size as f64).ln()
}

/// Sum of the rises of ln L from point to point, and of its falls.
fn rises_and_falls(points: &[Observation]) -> (f64, f64) {
    points.windows(2).fold((0.0, 0.0), |(rises, falls), pair| match pair {
        [before, after] => {
            let change = (after.test_loss / before.test_loss).ln();
            if change > EQUAL {
                (rises + change, falls)
            } else if change < -EQUAL {
                (rises, falls - change)
            } else {
                (rises, falls)
            }
        }
        _ => (rises, falls),
    })
}

/// Whether some rise of ln L exceeds twice the standard deviation of a difference of two points.
fn rises_beyond_noise(points: &[Observation]) -> bool {
    let noise = noise_sd_of(&second_differences(points)).unwrap_or(0.0);
    let limit = (RISE_SDS * noise * 2.0_f64.sqrt()).max(EQUAL);
    points
        .windows(2)
        .any(|pair| matches!(pair, [before, after] if (after.test_loss / before.test_loss).ln() > limit))
}

/// Points whose second difference stands out from the others'.
fn noise_jumps(points: &[Observation]) -> impl Iterator<Item = Warning> {
    let differences = second_differences(points);
    let enough = differences.len() >= MIN_SECOND_DIFFERENCES;
    let limit = median_absolute_deviation(&differences)
        .filter(|_| enough)
        .map_or(f64::INFINITY, |mad| (JUMP_SDS * MAD_TO_SD * mad).max(MIN_JUMP));
    let inner = points.iter().skip(1);
    differences
        .into_iter()
        .zip(inner)
        .filter(move |(difference, _)| difference.abs() > limit)
        .map(|(_, o)| Warning::NoiseJump { data_size: o.data_size })
        .collect::<Vec<_>>()
        .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(losses: &[f64]) -> Vec<Observation> {
        losses
            .iter()
            .enumerate()
            .map(|(i, &l)| Observation::new(200 << i, l))
            .collect()
    }

    #[test]
    fn a_single_jump_is_found_at_its_size() {
        let noise = |i: i32| 1.0 + 0.001 * (f64::from(i) * 2.4).sin();
        let mut losses: Vec<f64> = (0..10).map(|i| 4.0 * 0.95_f64.powi(i) * noise(i)).collect();
        assert_eq!(noise_jumps(&points(&losses)).count(), 0);
        losses[5] *= 1.1;
        assert!(noise_jumps(&points(&losses)).any(|w| w == Warning::NoiseJump { data_size: 200 << 5 }));
    }

    #[test]
    fn rises_count_against_falls() {
        let judge = |losses: &[f64], flat| verdict(&points(losses), LawKind::Power, None, flat, true);
        assert_eq!(judge(&[3.0, 2.0, 2.9], false), Verdict::NonMonotone);
        assert_eq!(judge(&[3.0, 2.0, 2.1], false), Verdict::Ok);
        assert_eq!(judge(&[3.0, 3.0, 3.0], true), Verdict::NotIdentifiable);
        assert_eq!(judge(&[2.0, 3.0, 4.0], true), Verdict::NonMonotone);
        assert_eq!(judge(&[3.0], true), Verdict::TooFewPoints);
    }

    #[test]
    fn small_rises_are_noise() {
        let noisy = [3.0, 2.8, 2.81, 2.6, 2.62, 2.45, 2.4, 2.42, 2.3];
        assert!(!rises_beyond_noise(&points(&noisy)));
        assert!(rises_beyond_noise(&points(&[3.0, 2.9, 2.8, 2.7, 3.3, 3.2, 3.1])));
        assert!(rises_beyond_noise(&points(&[2.0, 3.0])));
    }
}

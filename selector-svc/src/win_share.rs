//! How often each candidate has the lowest loss when independent normal forecasts are drawn.
//!
//! The share is *not* a calibrated probability of being the best: on the published curves a share of .46
//! came true .22 of the time, since forecasts of related candidates err together. Compare shares, do not bet on them.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Mean and standard deviation of a forecast of ln loss; sd 0 for an observed loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normal {
    /// Mean of ln loss.
    pub mean: f64,
    /// Its standard deviation, ≥ 0.
    pub sd: f64,
}

/// Draws made when an exact integration is asked for but its grid would be too fine.
pub const FALLBACK_DRAWS: u32 = 10_000;
/// Candidates × draws must not exceed this.
pub const MAX_TOTAL_DRAWS: u64 = 100_000_000;
/// How far the tails are followed, in standard deviations.
const REACH: f64 = 6.0;
/// Most nodes of the integration.
const MAX_NODES: usize = 512;

/// Shares in the order of the forecasts; they sum to 1 (to about 1e-6).
///
/// `draws` > 0: seeded simulation (`ChaCha8`, one stream). `draws` = 0: the limit of infinitely many draws by the
/// trapezoidal rule, `∫ φ_i(x)·Π_{j≠i} P(X_j > x) dx`, which needs no seed and about 10 µs for 30 candidates.
#[must_use]
pub fn win_shares(forecasts: &[Normal], draws: u32, seed: u64) -> Vec<f64> {
    let mut shares = vec![0.0; forecasts.len()];
    // A candidate whose optimistic end is above another's pessimistic end wins with probability < 1e-8.
    let bound = forecasts
        .iter()
        .map(|f| f.mean + REACH * f.sd)
        .fold(f64::INFINITY, f64::min);
    let contenders: Vec<(usize, Normal)> = forecasts
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, f)| f.mean - REACH * f.sd <= bound)
        .collect();
    if let [(only, _)] = contenders.as_slice() {
        if let Some(share) = shares.get_mut(*only) {
            *share = 1.0;
        }
        return shares;
    }
    let integrated = if draws == 0 {
        integrate(&contenders, bound, &mut shares)
    } else {
        false
    };
    if !integrated {
        simulate(
            &contenders,
            if draws == 0 { FALLBACK_DRAWS } else { draws },
            seed,
            &mut shares,
        );
    }
    shares
}

fn simulate(contenders: &[(usize, Normal)], draws: u32, seed: u64, shares: &mut [f64]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut wins = vec![0_u32; contenders.len()];
    for _ in 0..draws {
        let (mut best, mut lowest) = (0, f64::INFINITY);
        for (position, (_, forecast)) in contenders.iter().enumerate() {
            let noise: f64 = StandardNormal.sample(&mut rng);
            let value = forecast.mean + forecast.sd * noise;
            if value < lowest {
                (best, lowest) = (position, value);
            }
        }
        if let Some(count) = wins.get_mut(best) {
            *count += 1;
        }
    }
    for ((index, _), count) in contenders.iter().zip(wins) {
        if let Some(share) = shares.get_mut(*index) {
            *share = f64::from(count) / f64::from(draws);
        }
    }
}

/// Trapezoidal rule from the lowest optimistic end to `bound`; false where the narrowest forecast would need too
/// many nodes. The rule converges geometrically for such smooth, vanishing integrands: half a sd is fine enough.
fn integrate(contenders: &[(usize, Normal)], bound: f64, shares: &mut [f64]) -> bool {
    let low = contenders
        .iter()
        .map(|(_, f)| f.mean - REACH * f.sd)
        .fold(f64::INFINITY, f64::min);
    let narrowest = contenders.iter().map(|(_, f)| f.sd).fold(f64::INFINITY, f64::min);
    let nodes = ((bound - low) / (0.5 * narrowest)).ceil();
    if !(nodes.is_finite() && nodes >= 1.0 && nodes <= MAX_NODES as f64) {
        return false;
    }
    let step = (bound - low) / nodes;
    let mut density = vec![0.0; contenders.len()];
    let mut above = vec![0.0; contenders.len()];
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "1 ≤ nodes ≤ MAX_NODES"
    )]
    let last = nodes as usize;
    for node in 0..=last {
        let x = low + step * node as f64;
        for ((_, f), (d, a)) in contenders.iter().zip(density.iter_mut().zip(&mut above)) {
            let (pdf, tail) = density_and_tail((x - f.mean) / f.sd);
            (*d, *a) = (pdf / f.sd, tail);
        }
        // Product of all others: prefix times suffix, no division by a vanishing tail.
        let mut prefix = 1.0;
        let mut suffixes = above.clone();
        let mut suffix = 1.0;
        for value in suffixes.iter_mut().rev() {
            let own = *value;
            *value = suffix;
            suffix *= own;
        }
        for (((index, _), (d, a)), rest) in contenders.iter().zip(density.iter().zip(&above)).zip(&suffixes) {
            if let Some(share) = shares.get_mut(*index) {
                *share += step * d * prefix * rest;
            }
            prefix *= a;
        }
    }
    true
}

/// Standard normal density and upper tail; the tail by Abramowitz & Stegun 26.2.17 (absolute error < 7.5e-8).
fn density_and_tail(z: f64) -> (f64, f64) {
    const B: [f64; 5] = [
        0.319_381_530,
        -0.356_563_782,
        1.781_477_937,
        -1.821_255_978,
        1.330_274_429,
    ];
    let density = (-0.5 * z * z).exp() * 0.398_942_280_401_432_7;
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let tail = density * t * (B[0] + t * (B[1] + t * (B[2] + t * (B[3] + t * B[4]))));
    (density, if z >= 0.0 { tail } else { 1.0 - tail })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Vec<Normal> {
        vec![
            Normal { mean: 0.40, sd: 0.05 },
            Normal { mean: 0.42, sd: 0.08 },
            Normal { mean: 0.45, sd: 0.03 },
            Normal { mean: 3.00, sd: 0.05 },
        ]
    }

    #[test]
    fn integration_is_the_limit_of_simulation() {
        let exact = win_shares(&pool(), 0, 0);
        let drawn = win_shares(&pool(), 200_000, 7);
        assert!((exact.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{exact:?}");
        for (a, b) in exact.iter().zip(&drawn) {
            assert!((a - b).abs() < 0.005, "{exact:?} {drawn:?}");
        }
        assert_eq!((exact[3], drawn[3]), (0.0, 0.0));
    }

    #[test]
    fn two_equal_forecasts_share_evenly() {
        let shares = win_shares(&[Normal { mean: 1.0, sd: 0.1 }; 2], 0, 0);
        assert!((shares[0] - 0.5).abs() < 1e-7 && (shares[1] - 0.5).abs() < 1e-7);
    }

    #[test]
    fn the_same_seed_gives_the_same_shares() {
        assert_eq!(win_shares(&pool(), 1000, 3), win_shares(&pool(), 1000, 3));
        assert_ne!(win_shares(&pool(), 1000, 3), win_shares(&pool(), 1000, 4));
    }

    #[test]
    fn certain_forecasts_are_simulated_and_the_lowest_wins() {
        let certain = [Normal { mean: 0.5, sd: 0.0 }, Normal { mean: 0.4, sd: 0.0 }];
        assert_eq!(win_shares(&certain, 0, 0), [0.0, 1.0]);
        let mixed = [Normal { mean: 0.5, sd: 0.0 }, Normal { mean: 0.5, sd: 0.1 }];
        let shares = win_shares(&mixed, 0, 0);
        assert!((shares[0] - 0.5).abs() < 0.03 && (shares[0] + shares[1] - 1.0).abs() < 1e-9);
        assert_eq!(win_shares(&[], 0, 0), Vec::<f64>::new());
        assert_eq!(win_shares(&certain[..1], 100, 0), [1.0]);
    }
}

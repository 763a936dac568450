//! Measurements that are quoted in the documentation; run with `--ignored --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, outside of any test function"
)]

#[path = "support/data.rs"]
#[expect(dead_code, reason = "shared with the goldens, which use more of it")]
mod data;

use data::models;
use fitter_svc::fit::{FitOptions, Fitter};
use fitter_svc::uncertainty::{Level, bootstrap, predict};

/// Counts of intervals and of those that hold the measured loss, with the mean width.
#[derive(Default)]
struct Tally {
    all: usize,
    inside: usize,
    width: f64,
}

#[test]
#[ignore = "a measurement, not a check"]
fn coverage_of_intervals() {
    for target in ["next", "full"] {
        for points in [5_usize, 7, 9, 11, 13] {
            let (mut by_draws, mut by_delta) = (Tally::default(), Tally::default());
            for file in ["flan.csv", "wmt19.csv"] {
                let Some(models) = models(file) else { return };
                for model in models.values() {
                    let observations = model.curve.fit_points(None);
                    let truth = if target == "next" {
                        observations[points]
                    } else {
                        observations[13]
                    };
                    let max_data_size = Some(observations[points - 1].data_size);
                    let options = FitOptions {
                        max_data_size,
                        ..FitOptions::default()
                    };
                    let mut fitter = Fitter::default();
                    let report = fitter.fit(&model.curve, &options);
                    let draws = bootstrap(&mut fitter, &model.curve, &options, &report, 200, 0);
                    for (tally, draws) in [(&mut by_draws, draws.as_ref()), (&mut by_delta, None)] {
                        let prediction = predict(&report, draws, &[truth.data_size], Level::default())[0];
                        let Some(interval) = prediction.interval else { continue };
                        tally.all += 1;
                        tally.inside += usize::from((interval.lower..=interval.upper).contains(&truth.test_loss));
                        tally.width += (interval.upper / interval.lower).ln();
                    }
                }
            }
            for (name, tally) in [("bootstrap", by_draws), ("delta", by_delta)] {
                println!(
                    "{target} from {points} points, {name}: {} of {} covered ({:.2}), mean ln width {:.3}",
                    tally.inside,
                    tally.all,
                    tally.inside as f64 / tally.all as f64,
                    tally.width / tally.all as f64
                );
            }
        }
    }
}

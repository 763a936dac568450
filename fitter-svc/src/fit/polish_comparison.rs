//! Our polish against argmin's solvers from the same starts: the measurement behind `docs/adr/0001`. Run it with
//! `cargo test --release -p fitter-svc --lib --no-default-features polish_comparison -- --ignored --nocapture`.

use std::time::Instant;

use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::neldermead::NelderMead;
use argmin::solver::quasinewton::LBFGS;

use super::grid::Grid;
use super::newton::{Shape, Theta, derivatives, polish};
use super::points::Points;
use crate::law::RectifiedLaw;
use crate::objective::{Objective, Penalty};

/// The rectified law in (ln b, ln d, ln β, ln E), as one would hand it to a general solver.
struct Problem<'a> {
    points: &'a Points,
    penalty: Penalty,
    scale: f64,
}

fn theta(v: &[f64]) -> Theta {
    Theta {
        log_scale: v[0],
        log_knee: v[1],
        log_exponent: v[2].clamp(-14.0, 3.0),
        floor: v[3].exp(),
    }
}

impl CostFunction for &Problem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, v: &Vec<f64>) -> Result<f64, Error> {
        let cost = derivatives(self.points, self.penalty, &theta(v)).cost * self.scale;
        Ok(if cost.is_finite() { cost } else { 1e30 })
    }
}

impl Gradient for &Problem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, v: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let mut gradient = derivatives(self.points, self.penalty, &theta(v)).gradient;
        gradient[3] *= v[3].exp();
        Ok(gradient.iter().map(|g| g * self.scale).collect())
    }
}

fn lbfgs(problem: &Problem<'_>, start: &[f64]) -> f64 {
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), 7);
    let run = Executor::new(problem, solver)
        .timer(false)
        .configure(|s| s.param(start.to_vec()).max_iters(500))
        .run();
    run.map_or(f64::INFINITY, |r| r.state.best_cost / problem.scale)
}

fn nelder_mead(problem: &Problem<'_>, start: &[f64]) -> f64 {
    let mut corners = vec![start.to_vec(); 5];
    for (i, corner) in corners.iter_mut().skip(1).enumerate() {
        corner[i] += 0.2;
    }
    let solver = NelderMead::new(corners).with_sd_tolerance(1e-9).unwrap();
    let run = Executor::new(problem, solver)
        .timer(false)
        .configure(|s| s.max_iters(3000))
        .run();
    run.map_or(f64::INFINITY, |r| r.state.best_cost / problem.scale)
}

/// 300 curves drawn from rectified laws like the published ones, 0.4 % noise, 6 to 14 doublings from 200.
fn curves() -> Vec<Points> {
    let draw = |k: u32| {
        let phase = f64::from(k) * 0.618_034;
        let beta = 0.2 + 0.4 * phase.fract();
        let floor = if k.is_multiple_of(3) {
            0.0
        } else {
            1.2 * (phase * 7.0).fract()
        };
        let law = RectifiedLaw::new(
            beta * 11.0 + 1.0,
            beta * (9.0 + 3.0 * (phase * 3.0).fract()),
            beta,
            floor,
        );
        let noise = move |i: u32| 0.006 * (f64::from(i * 37 + k * 101) * 1.7).sin();
        let points = 6 + (k % 9) as usize;
        let x: Vec<f64> = (0..6 + k % 9)
            .map(|i| (200.0 * 2_f64.powf(f64::from(i))).ln())
            .collect();
        let y: Vec<f64> = x
            .iter()
            .zip(0_u32..)
            .map(|(x, i)| law.log_loss(*x) + noise(i))
            .collect();
        Points::from_logs(x.into_iter(), y.into_iter(), std::iter::repeat_n(1.0, points))
    };
    (0..300).map(draw).collect()
}

#[test]
#[ignore = "a measurement, not a check"]
fn our_polish_against_argmin() {
    let penalty = Penalty::from(Objective::LogRmse);
    let mut grid = Grid::default();
    let names = [
        "own Newton",
        "L-BFGS, cost as it is",
        "L-BFGS, cost / noise variance",
        "Nelder-Mead, scaled",
    ];
    let mut tallies = [(0, 0, 0.0); 4];
    for points in curves() {
        let starts = grid.starts(&points, Shape::RECTIFIED);
        let mut ends: Vec<[f64; 4]> = Vec::new();
        for start in starts.iter().filter(|s| s.log_knee.is_finite()) {
            let v = [
                start.log_scale,
                start.log_knee,
                start.log_exponent,
                start.floor.max(1e-3).ln(),
            ];
            let variance = derivatives(&points, penalty, &start).cost / points.len() as f64;
            let raw = Problem {
                points: &points,
                penalty,
                scale: 1.0,
            };
            let scaled = Problem {
                points: &points,
                penalty,
                scale: 1.0 / variance,
            };
            let solvers: [&dyn Fn() -> f64; 4] = [
                &|| polish(&points, penalty, Shape::RECTIFIED, start).cost,
                &|| lbfgs(&raw, &v),
                &|| lbfgs(&scaled, &v),
                &|| nelder_mead(&scaled, &v),
            ];
            let mut row = [0.0; 4];
            for ((solver, tally), end) in solvers.iter().zip(&mut tallies).zip(&mut row) {
                let begin = Instant::now();
                *end = solver();
                tally.2 += begin.elapsed().as_secs_f64() * 1e6;
            }
            ends.push(row);
        }
        let best = ends.iter().flatten().copied().fold(f64::INFINITY, f64::min);
        for row in ends {
            for (tally, end) in tallies.iter_mut().zip(row) {
                tally.0 += 1;
                tally.1 += u32::from(end <= best * 1.002);
            }
        }
    }
    for (name, (count, reached, time)) in names.iter().zip(tallies) {
        let share = f64::from(reached) / f64::from(count);
        println!(
            "{name}: {count} starts, {share:.3} reach the optimum, {:.1} us a start",
            time / f64::from(count)
        );
        assert!(count > 300, "the grid gave too few starts to compare");
    }
}

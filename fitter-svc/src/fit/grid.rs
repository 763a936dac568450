//! Where to start: a grid over β and the knee k (ln `D_l` = β·k), with b and E solved for in each cell.
//!
//! For fixed (β, k) the rectified law is linear in (b, E), and log residuals are close to relative residuals, so each
//! cell is a 2×2 non-negative least-squares problem with weights w/L² (variable projection, Golub and Pereyra 1973).

use super::newton::{Shape, Theta};
use super::points::Points;

/// Number of β values.
const EXPONENTS: usize = 12;
/// Number of knees, besides `D_l` = 0.
const KNEES: usize = 12;
/// Smallest and largest β of the grid; the polish may leave this range.
const EXPONENT_RANGE: (f64, f64) = (0.05, 3.0);
/// How many starts a grid hands on.
const MAX_STARTS: usize = 4;

/// A cell's solution.
#[derive(Debug, Clone, Copy)]
struct Cell {
    cost: f64,
    scale: f64,
    floor: f64,
}

const EMPTY: Cell = Cell {
    cost: f64::INFINITY,
    scale: 0.0,
    floor: 0.0,
};

/// Sums over the points that do not depend on the cell.
#[derive(Debug, Clone, Copy)]
struct FixedSums {
    /// Σ w v², v = 1/L.
    vv: f64,
    /// Σ w v.
    v: f64,
    /// Σ w.
    w: f64,
}

/// Buffers of the grid search; one per thread, reused from fit to fit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    powers: Vec<f64>,
}

/// The grid's best starts, lowest cost first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Starts {
    thetas: [(f64, Theta); MAX_STARTS],
    count: usize,
}

impl Starts {
    fn push(&mut self, cost: f64, theta: Theta) {
        let position = self
            .thetas
            .iter()
            .take(self.count)
            .position(|(c, _)| cost < *c)
            .unwrap_or(self.count);
        if position < MAX_STARTS {
            self.count = (self.count + 1).min(MAX_STARTS);
            if let Some(tail) = self.thetas.get_mut(position..self.count) {
                tail.rotate_right(1);
                if let Some(first) = tail.first_mut() {
                    *first = (cost, theta);
                }
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Theta> + '_ {
        self.thetas.iter().take(self.count).map(|(_, theta)| *theta)
    }
}

impl Grid {
    /// The local minima of the grid (cells lower than their neighbours), at most [`MAX_STARTS`].
    pub(crate) fn starts(&mut self, points: &Points, shape: Shape) -> Starts {
        let (z_min, z_max) = points.z_range();
        let span = (z_max - z_min).max(1e-3);
        let columns = if shape.knee { KNEES + 1 } else { 1 };
        let knee = |column: usize| z_min - 0.15 * span + (column as f64 - 1.0) / (KNEES - 1) as f64 * 1.4 * span;
        let fixed = fixed_sums(points);
        let mut cells = [[EMPTY; KNEES + 1]; EXPONENTS];
        for (row, cells) in cells.iter_mut().enumerate() {
            let beta = exponent(row);
            self.powers.clear();
            self.powers.extend(points.z.iter().map(|z| (beta * z).exp()));
            for (column, cell) in cells.iter_mut().take(columns).enumerate() {
                let d = if column == 0 { 0.0 } else { (beta * knee(column)).exp() };
                *cell = solve_cell(points, &self.powers, d, fixed, shape.floor);
            }
        }
        let nowhere = Theta {
            log_scale: 0.0,
            log_knee: f64::NEG_INFINITY,
            log_exponent: 0.0,
            floor: 0.0,
        };
        let mut starts = Starts {
            thetas: [(f64::INFINITY, nowhere); MAX_STARTS],
            count: 0,
        };
        for (row, line) in cells.iter().enumerate() {
            for (column, cell) in line.iter().take(columns).enumerate() {
                if cell.scale > 0.0 && lowest_of_neighbours(&cells, row, column) {
                    let log_exponent = exponent(row).ln();
                    let log_knee = if column == 0 {
                        f64::NEG_INFINITY
                    } else {
                        exponent(row) * knee(column)
                    };
                    let theta = Theta {
                        log_scale: cell.scale.ln(),
                        log_knee,
                        log_exponent,
                        floor: cell.floor,
                    };
                    starts.push(cell.cost, theta);
                }
            }
        }
        starts
    }
}

fn exponent(row: usize) -> f64 {
    let (low, high) = EXPONENT_RANGE;
    low * (high / low).powf(row as f64 / (EXPONENTS - 1) as f64)
}

fn lowest_of_neighbours(cells: &[[Cell; KNEES + 1]; EXPONENTS], row: usize, column: usize) -> bool {
    let own = cells[row][column].cost;
    let rows = row.saturating_sub(1)..=(row + 1).min(EXPONENTS - 1);
    own.is_finite()
        && rows.into_iter().all(|r| {
            let columns = column.saturating_sub(1)..=(column + 1).min(KNEES);
            columns
                .into_iter()
                .all(|c| (r, c) == (row, column) || own <= cells[r][c].cost)
        })
}

fn fixed_sums(points: &Points) -> FixedSums {
    let mut sums = FixedSums {
        vv: 0.0,
        v: 0.0,
        w: 0.0,
    };
    for (_, _, inverse, weight) in points.iter() {
        sums.vv += weight * inverse * inverse;
        sums.v += weight * inverse;
        sums.w += weight;
    }
    sums
}

/// Minimises Σ w (b·u + E·v − 1)² over b ≥ 0, E ≥ 0 with u = f/L, v = 1/L, f = 1/(d + D^β).
fn solve_cell(points: &Points, powers: &[f64], d: f64, fixed: FixedSums, floor: bool) -> Cell {
    let (mut uu, mut uv, mut u1) = (0.0, 0.0, 0.0);
    for ((&power, &inverse), &weight) in powers.iter().zip(&points.inverse).zip(&points.weight) {
        let u = inverse / (d + power);
        let wu = weight * u;
        uu += wu * u;
        uv += wu * inverse;
        u1 += wu;
    }
    let without_floor = Cell {
        cost: fixed.w - u1 * u1 / uu,
        scale: u1 / uu,
        floor: 0.0,
    };
    let determinant = uu * fixed.vv - uv * uv;
    if !floor || determinant.is_nan() || determinant <= 1e-13 * uu * fixed.vv {
        return without_floor;
    }
    let scale = (u1 * fixed.vv - fixed.v * uv) / determinant;
    let level = (uu * fixed.v - uv * u1) / determinant;
    if level <= 0.0 {
        without_floor
    } else if scale <= 0.0 {
        Cell {
            cost: fixed.w - fixed.v * fixed.v / fixed.vv,
            scale: 0.0,
            floor: fixed.v / fixed.vv,
        }
    } else {
        Cell {
            cost: fixed.w - scale * u1 - level * fixed.v,
            scale,
            floor: level,
        }
    }
}

//! Products, normalisations and reductions.

use super::super::node::{Refusal, Site};
use super::super::shape::{along, reduced, softmax_axis};
use super::{Built, Rewriter};
use crate::graph::{Op, ValueId};

impl Rewriter<'_> {
    pub(super) fn algebra(&mut self, site: &Site<'_>) -> Result<Option<ValueId>, Refusal> {
        let value = match site.op() {
            "Gemm" => {
                let inputs: Vec<ValueId> = (0..3).filter_map(|index| self.optional(site, index)).collect();
                let op = Op::Gemm {
                    alpha: site.float("alpha").unwrap_or(1.0),
                    beta: site.float("beta").unwrap_or(1.0),
                    transpose_a: site.int("transA").unwrap_or(0) != 0,
                    transpose_b: site.int("transB").unwrap_or(0) != 0,
                };
                self.graph.one(op, &inputs)?
            }
            "MatMul" => self.product(site)?,
            "Softmax" => {
                let x = self.input(site, 0)?;
                let axis = softmax_axis(site, self.graph.shape(x).len())?;
                self.graph.one(Op::Softmax { axis }, &[x])?
            }
            "LogSoftmax" => {
                // x − max − ln Σ exp(x − max)
                let x = self.input(site, 0)?;
                let axes = [softmax_axis(site, self.graph.shape(x).len())?];
                let largest = self.graph.reduce_max(x, &axes, true)?;
                let below = self.graph.sub(x, largest)?;
                let exponential = self.graph.one(Op::Exp, &[below])?;
                let sum = self.graph.reduce_sum(exponential, &axes, true)?;
                let log = self.graph.one(Op::Log, &[sum])?;
                self.graph.sub(below, log)?
            }
            "LayerNormalization" => self.layer_normalization(site)?,
            "RMSNormalization" => self.rms_normalization(site)?,
            "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceSumSquare" | "ReduceL2" => self.reduction(site)?,
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// Vectors are matrices of one row or column, which is taken off afterwards.
    fn product(&mut self, site: &Site<'_>) -> Built {
        let (mut a, mut b) = (self.input(site, 0)?, self.input(site, 1)?);
        let (row, column) = (self.graph.shape(a).len() == 1, self.graph.shape(b).len() == 1);
        if row {
            let extent = self.graph.shape(a)[0];
            a = self.graph.reshape(a, &[1, extent])?;
        }
        if column {
            let extent = self.graph.shape(b)[0];
            b = self.graph.reshape(b, &[extent, 1])?;
        }
        let product = self.graph.matmul(a, b)?;
        let mut shape = self.graph.shape(product).to_vec();
        if column {
            shape.pop();
        }
        if row {
            shape.remove(shape.len() - 1 - usize::from(!column));
        }
        Ok(self.graph.reshape(product, &shape)?)
    }

    /// Only the first output: mean and deviation are for training.
    fn layer_normalization(&mut self, site: &Site<'_>) -> Built {
        let (x, scale) = (self.input(site, 0)?, self.input(site, 1)?);
        let shape = self.graph.shape(x).to_vec();
        let axis = along(site, -1, shape.len())?;
        let bias = if let Some(bias) = self.optional(site, 2) {
            bias
        } else {
            let zero = self.graph.scalar_like(x, 0.0);
            let shape = shape[axis..].to_vec();
            self.graph.one(Op::Expand { shape }, &[zero])?
        };
        let epsilon = site.float("epsilon").unwrap_or(1e-5);
        Ok(self
            .graph
            .one(Op::LayerNormalization { axis, epsilon }, &[x, scale, bias])?)
    }

    fn rms_normalization(&mut self, site: &Site<'_>) -> Built {
        let (x, scale) = (self.input(site, 0)?, self.input(site, 1)?);
        let rank = self.graph.shape(x).len();
        let axes: Vec<usize> = (along(site, -1, rank)?..rank).collect();
        let square = self.graph.mul(x, x)?;
        let mean = self.graph.reduce_mean(square, &axes, true)?;
        let epsilon = f64::from(site.float("epsilon").unwrap_or(1e-5));
        let epsilon = self.graph.scalar_like(x, epsilon);
        let sum = self.graph.add(mean, epsilon)?;
        let root = self.graph.one(Op::Sqrt, &[sum])?;
        let normal = self.graph.div(x, root)?;
        Ok(self.graph.mul(normal, scale)?)
    }

    fn reduction(&mut self, site: &Site<'_>) -> Built {
        let mut x = self.input(site, 0)?;
        let (axes, keep_dims) = reduced(site, self.graph.shape(x).len())?;
        let squared = matches!(site.op(), "ReduceSumSquare" | "ReduceL2");
        if squared {
            x = self.graph.mul(x, x)?;
        }
        if !axes.is_empty() {
            let op = match site.op() {
                "ReduceMean" => Op::ReduceMean { axes, keep_dims },
                "ReduceMax" => Op::ReduceMax { axes, keep_dims },
                _ => Op::ReduceSum { axes, keep_dims },
            };
            x = self.graph.one(op, &[x])?;
        }
        if site.op() == "ReduceL2" {
            x = self.graph.one(Op::Sqrt, &[x])?;
        }
        Ok(x)
    }
}

//! Operators that move elements.

use super::super::node::{Refusal, Site, malformed, unsupported};
use super::super::shape::{Cut, along, cuts, expanded, permutation, pieces, points, reshaped};
use super::{Built, Rewriter};
use crate::graph::op::Reduction;
use crate::graph::{Op, ValueId};
use crate::tensor::HostTensor;

/// Indices that a Slice with steps may turn into.
const INDICES: usize = 1 << 20;

impl Rewriter<'_> {
    pub(super) fn structure(&mut self, site: &Site<'_>) -> Result<Option<Vec<ValueId>>, Refusal> {
        let x = self.input(site, 0)?;
        let shape = self.graph.shape(x).to_vec();
        let value = match site.op() {
            "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
                let to = reshaped(site, &shape)?;
                self.graph.reshape(x, &to)?
            }
            "Transpose" => {
                let permutation = permutation(site, shape.len())?;
                self.graph.transpose(x, &permutation)?
            }
            "Expand" => {
                let to = expanded(site, &shape)?;
                if to == shape {
                    x
                } else {
                    self.graph.one(Op::Expand { shape: to }, &[x])?
                }
            }
            "Split" => {
                let (axis, sizes) = pieces(site, &shape)?;
                return Ok(Some(self.graph.split(x, axis, &sizes)?));
            }
            "Slice" => self.slice(x, &cuts(site, &shape)?)?,
            "Concat" => {
                let axis = along(site, 0, shape.len())?;
                let inputs = self.all(site)?;
                self.graph.concat(&inputs, axis)?
            }
            "Gather" => {
                let axis = along(site, 0, shape.len())?;
                let indices = self.input(site, 1)?;
                self.graph.gather(x, indices, axis)?
            }
            "GatherND" => {
                let points = points(site, &shape)?;
                let (first, rest) = shape.split_at(points.axes);
                let flat = [&[first.iter().product()], rest].concat();
                let flat = self.graph.reshape(x, &flat)?;
                let places = HostTensor::indices(points.places);
                let places = self.graph.constant(places);
                let gathered = self.graph.gather(flat, places, 0)?;
                self.graph.reshape(gathered, &[&points.shape, rest].concat())?
            }
            "GatherElements" => {
                let axis = along(site, 0, shape.len())?;
                let indices = self.input(site, 1)?;
                self.graph.one(Op::GatherElements { axis }, &[x, indices])?
            }
            "ScatterElements" => {
                let axis = along(site, 0, shape.len())?;
                let reduction = match site.text("reduction") {
                    None | Some("none") => Reduction::None,
                    Some("add") => Reduction::Add,
                    Some(other) => return unsupported(&format!("its reduction is {other:?}")),
                };
                let inputs = [x, self.input(site, 1)?, self.input(site, 2)?];
                self.graph.one(Op::ScatterElements { axis, reduction }, &inputs)?
            }
            _ => return Ok(None),
        };
        Ok(Some(vec![value]))
    }

    /// One axis after the other: the middle one of three pieces, or single elements where it goes in other steps.
    fn slice(&mut self, mut x: ValueId, cuts: &[Cut]) -> Built {
        for (axis, &Cut { start, step, count }) in cuts.iter().enumerate() {
            let extent = self.graph.shape(x)[axis];
            if count == 0 {
                return unsupported("nothing is left");
            }
            if step == 1 {
                if count == extent {
                    continue;
                }
                let rest = extent.checked_sub(start).and_then(|rest| rest.checked_sub(count));
                let Some(rest) = rest else {
                    return malformed("is cut outside of its extents");
                };
                let sizes: Vec<usize> = [start, count, rest].into_iter().filter(|&size| size > 0).collect();
                let parts = self.graph.split(x, axis, &sizes)?;
                let part = parts.get(usize::from(start > 0)).copied();
                x = part.map_or_else(|| malformed("is cut outside of its extents"), Ok)?;
            } else {
                if count > INDICES {
                    return unsupported("it takes too many steps");
                }
                let start = i64::try_from(start).unwrap_or(i64::MAX);
                let place =
                    |index: usize| start.saturating_add(step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)));
                let indices = HostTensor::indices((0..count).map(place).collect());
                let indices = self.graph.constant(indices);
                x = self.graph.gather(x, indices, axis)?;
            }
        }
        Ok(x)
    }
}

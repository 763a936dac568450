//! The same graph without the forms of operators that a provider refuses, and in forms that it runs faster.

mod adamw;
mod gates;

use std::collections::{BTreeMap, BTreeSet};

use super::{Graph, GraphError, Node, Op, ValueId};
use crate::tensor::{ElementType, Elements};

impl Graph {
    /// For `OpenVINO`, whose provider takes neither a layer norm that also gives mean and deviation, nor a sum that leaves a scalar.
    /// It makes one loop of what is computed element by element, so that the way to memory is what such a loop costs: activations are
    /// computed again for their derivatives, squares that are only summed are not written down, and a matrix is updated together with
    /// its moments. In bf16 it keeps in f32 what lies between the last product and an output: for the gradients of biases, which are sums
    /// of columns, that would be the derivatives of all activations. So these sums are products, with ones. The values keep their names
    /// and ids.
    ///
    /// # Errors
    /// None that a well-formed graph causes.
    pub(crate) fn for_openvino(&self) -> Result<Self, GraphError> {
        let mut lowered = self.clone();
        lowered.recompute_gates()?;
        lowered.sum_squares_at_once()?;
        lowered.sum_columns_by_products()?;
        lowered.update_at_once()?;
        for node in std::mem::take(&mut lowered.nodes) {
            match &node.op {
                Op::LayerNormalization { axis, epsilon } => lowered.plain_norm(&node, *axis, *epsilon)?,
                Op::ReduceSum { .. } if node.outputs.iter().all(|&sum| lowered.shape(sum).is_empty()) => {
                    lowered.plain_sum(&node)?;
                }
                _ => lowered.nodes.push(node),
            }
        }
        Ok(lowered)
    }

    /// Σ x² as (√Σ x²)², for which there is an operator that reads x and writes the sum.
    fn sum_squares_at_once(&mut self) -> Result<(), GraphError> {
        let mut uses: BTreeMap<ValueId, usize> = BTreeMap::new();
        for id in self.nodes.iter().flat_map(|node| &node.inputs).chain(&self.outputs) {
            *uses.entry(*id).or_default() += 1;
        }
        let squared = |node: &Node| match (&node.op, node.inputs.as_slice(), node.outputs.as_slice()) {
            (Op::Mul, &[a, b], &[square]) if a == b => Some((square, a)),
            _ => None,
        };
        let squares: BTreeMap<ValueId, ValueId> = self.nodes.iter().filter_map(squared).collect();
        for node in std::mem::take(&mut self.nodes) {
            let found = match (&node.op, node.inputs.as_slice(), node.outputs.as_slice()) {
                (Op::ReduceSum { axes, keep_dims }, [square], &[sum]) if uses.get(square) == Some(&1) => {
                    let root = |&x: &ValueId| (x, axes.clone(), *keep_dims, sum);
                    squares.get(square).map(root)
                }
                _ => None,
            };
            // A sum that is a scalar is taken apart below.
            let Some((x, axes, keep_dims, sum)) = found.filter(|found| !self.shape(found.3).is_empty()) else {
                self.nodes.push(node);
                continue;
            };
            let root = self.one(Op::ReduceL2 { axes, keep_dims }, &[x])?;
            let again = self.mul(root, root)?;
            self.replace(again, sum);
        }
        self.drop_unread();
        Ok(())
    }

    /// Σ over the rows of a matrix as 1ᵀ·x.
    fn sum_columns_by_products(&mut self) -> Result<(), GraphError> {
        let is_f32 = |graph: &Self, id: ValueId| graph.element(id) == ElementType::F32;
        let is_scalar = |graph: &Self, id: ValueId| graph.shape(id).is_empty() && is_f32(graph, id);
        let mut late = self.inputs().iter().copied().find(|&id| is_scalar(self, id));
        let mut ones: BTreeMap<usize, ValueId> = BTreeMap::new();
        for node in std::mem::take(&mut self.nodes) {
            let found = match (&node.op, node.inputs.as_slice(), node.outputs.as_slice()) {
                (Op::ReduceSum { axes, .. }, &[x], &[sum]) if *axes == [0] => match *self.shape(x) {
                    [rows, columns] if rows > 1 && is_f32(self, x) => Some((x, sum, rows, columns)),
                    _ => None,
                },
                _ => None,
            };
            late = node.outputs.iter().copied().find(|&id| is_scalar(self, id)).or(late);
            let (Some((x, sum, rows, columns)), Some(late)) = (found, late) else {
                self.nodes.push(node);
                continue;
            };
            let row = if let Some(&row) = ones.get(&rows) {
                row
            } else {
                let one = self.late_one(late)?;
                *ones
                    .entry(rows)
                    .or_insert(self.one(Op::Expand { shape: vec![1, rows] }, &[one])?)
            };
            let total = self.matmul(row, x)?;
            let total = match self.shape(sum).len() {
                1 => self.reshape(total, &[columns])?,
                _ => total,
            };
            self.replace(total, sum);
        }
        Ok(())
    }

    /// A 1 that is not known before a scalar is: what a compiler knows, it computes with beforehand, and a product with constants it makes
    /// in f32.
    fn late_one(&mut self, scalar: ValueId) -> Result<ValueId, GraphError> {
        let (zero, one) = (self.scalar_like(scalar, 0.0), self.scalar_like(scalar, 1.0));
        let above = self.one(Op::Greater, &[scalar, zero])?;
        self.choose(above, one, one)
    }

    /// y = (x − mean) / √(variance + ε) · scale + bias, one operation after the other.
    fn plain_norm(&mut self, node: &Node, axis: usize, epsilon: f32) -> Result<(), GraphError> {
        let (&[x, scale, bias], &[y, mean, inverse]) = (node.inputs.as_slice(), node.outputs.as_slice()) else {
            self.nodes.push(node.clone());
            return Ok(());
        };
        let axes: Vec<usize> = (axis..self.shape(x).len()).collect();
        let found = self.reduce_mean(x, &axes, true)?;
        let centred = self.sub(x, found)?;
        let square = self.mul(centred, centred)?;
        let variance = self.reduce_mean(square, &axes, true)?;
        let (epsilon, one) = (self.scalar_like(x, f64::from(epsilon)), self.scalar_like(x, 1.0));
        let variance = self.add(variance, epsilon)?;
        let deviation = self.one(Op::Sqrt, &[variance])?;
        let reciprocal = self.div(one, deviation)?;
        let normal = self.mul(centred, reciprocal)?;
        let scaled = self.mul(normal, scale)?;
        let result = self.add(scaled, bias)?;
        for (made, known) in [(found, mean), (reciprocal, inverse), (result, y)] {
            self.replace(made, known);
        }
        Ok(())
    }

    /// As a row, so that an axis is left.
    fn plain_sum(&mut self, node: &Node) -> Result<(), GraphError> {
        let (&[x], &[sum]) = (node.inputs.as_slice(), node.outputs.as_slice()) else {
            self.nodes.push(node.clone());
            return Ok(());
        };
        let row = self.reshape(x, &[1, self.shape(x).iter().product()])?;
        let total = self.reduce_sum(row, &[1], false)?;
        // Nor does it take the empty shape of a reshape to a scalar.
        let first = self.scalar(Elements::I64(vec![0]));
        let scalar = self.gather(total, first, 0)?;
        self.replace(scalar, sum);
        Ok(())
    }

    /// Drops nodes whose values nobody reads.
    fn drop_unread(&mut self) {
        let mut read: BTreeSet<ValueId> = self.outputs.iter().copied().collect();
        let mut kept: Vec<Node> = Vec::with_capacity(self.nodes.len());
        for node in std::mem::take(&mut self.nodes).into_iter().rev() {
            if node.outputs.iter().any(|output| read.contains(output)) {
                read.extend(&node.inputs);
                kept.push(node);
            }
        }
        kept.reverse();
        self.nodes = kept;
    }

    /// Nodes that make or read the one value make or read the other.
    fn replace(&mut self, made: ValueId, known: ValueId) {
        for node in &mut self.nodes {
            for id in node.inputs.iter_mut().chain(&mut node.outputs) {
                if *id == made {
                    *id = known;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::graph::{Graph, Op};
    use crate::session::testing::evaluate;
    use crate::tensor::{ElementType, Elements, HostTensor};

    #[test]
    fn nothing_is_left_that_openvino_refuses_and_the_results_are_the_same() {
        let mut graph = Graph::new();
        let x = graph.input("x", ElementType::F32, [3, 4]).unwrap();
        let scale = graph.input("scale", ElementType::F32, [4]).unwrap();
        let bias = graph.input("bias", ElementType::F32, [4]).unwrap();
        let op = Op::LayerNormalization { axis: 1, epsilon: 1e-5 };
        let normal = graph.apply(op, &[x, scale, bias]).unwrap();
        let sum = graph.reduce_sum(x, &[0, 1], false).unwrap();
        for (value, name) in normal.iter().copied().chain([sum]).zip(["y", "mean", "inverse", "sum"]) {
            graph.rename(value, name).unwrap();
            graph.output(value);
        }
        let lowered = graph.for_openvino().unwrap();
        assert_eq!((lowered.inputs(), lowered.outputs()), (graph.inputs(), graph.outputs()));
        for node in lowered.nodes() {
            assert!(!matches!(node.op, Op::LayerNormalization { .. }));
            let is_sum = matches!(node.op, Op::ReduceSum { .. });
            assert!(!is_sum || !lowered.shape(node.outputs[0]).is_empty());
        }

        let vector = |elements: &[f32]| HostTensor::vector(elements.to_vec());
        let elements = (0..12u8).map(|i| f32::from(i * 7 % 12) / 3.0 - 1.5).collect();
        let inputs = BTreeMap::from([
            (
                "x".to_owned(),
                HostTensor::new([3, 4], Elements::F32(elements)).unwrap(),
            ),
            ("scale".to_owned(), vector(&[1.0, 0.5, -2.0, 1.5])),
            ("bias".to_owned(), vector(&[0.0, 0.25, 1.0, -1.0])),
        ]);
        let values = graph.outputs().to_vec();
        let (wanted, found) = (evaluate(&graph, &inputs, &values), evaluate(&lowered, &inputs, &values));
        for (wanted, found) in wanted.iter().zip(&found) {
            for (a, b) in wanted.as_f32().unwrap().iter().zip(found.as_f32().unwrap()) {
                assert!((a - b).abs() <= 1e-5, "{a} and {b}");
            }
        }
    }

    #[test]
    fn squares_that_are_only_summed_are_not_written_down() {
        let mut graph = Graph::new();
        let x = graph.input("x", ElementType::F32, [3, 4]).unwrap();
        let square = graph.mul(x, x).unwrap();
        let rows = graph.reduce_sum(square, &[1], false).unwrap();
        let read_twice = graph.mul(x, x).unwrap();
        let columns = graph.reduce_sum(read_twice, &[0], true).unwrap();
        for value in [rows, columns, read_twice] {
            graph.output(value);
        }
        let lowered = graph.for_openvino().unwrap();
        let count = |op: &str| lowered.nodes().iter().filter(|node| node.op.name() == op).count();
        assert_eq!((count("ReduceL2"), count("ReduceSum")), (1, 1));

        let elements: Vec<f32> = (0..12u8).map(|i| f32::from(i * 7 % 12) / 3.0 - 1.5).collect();
        let x = HostTensor::new([3, 4], Elements::F32(elements)).unwrap();
        let inputs = BTreeMap::from([("x".to_owned(), x)]);
        let values = graph.outputs().to_vec();
        let (wanted, found) = (evaluate(&graph, &inputs, &values), evaluate(&lowered, &inputs, &values));
        for (wanted, found) in wanted.iter().zip(&found) {
            for (a, b) in wanted.as_f32().unwrap().iter().zip(found.as_f32().unwrap()) {
                assert!((a - b).abs() <= 1e-6 * a.abs(), "{a} and {b}");
            }
        }
    }

    #[test]
    fn columns_are_summed_by_products_where_something_is_known_late() {
        for scalar in [false, true] {
            let mut graph = Graph::new();
            if scalar {
                graph.input("rate", ElementType::F32, []).unwrap();
            }
            let x = graph.input("x", ElementType::F32, [3, 4]).unwrap();
            for keep_dims in [false, true, true] {
                let sum = graph.reduce_sum(x, &[0], keep_dims).unwrap();
                graph.output(sum);
            }
            let lowered = graph.for_openvino().unwrap();
            let count = |op: &str| lowered.nodes().iter().filter(|node| node.op.name() == op).count();
            let ones = usize::from(scalar);
            assert_eq!(
                (count("MatMul"), count("ReduceSum"), count("Expand")),
                (3 * ones, 3 - 3 * ones, ones)
            );

            let x = HostTensor::new([3, 4], Elements::F32((1..13u8).map(f32::from).collect())).unwrap();
            let inputs = BTreeMap::from([
                ("x".to_owned(), x),
                (
                    "rate".to_owned(),
                    HostTensor::new([], Elements::F32(vec![-0.5])).unwrap(),
                ),
            ]);
            let values = graph.outputs().to_vec();
            let (wanted, found) = (evaluate(&graph, &inputs, &values), evaluate(&lowered, &inputs, &values));
            assert_eq!(wanted, found);
            assert_eq!(found[0].as_f32().unwrap(), [15.0, 18.0, 21.0, 24.0]);
        }
    }
}

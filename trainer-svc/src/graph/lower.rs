//! The same graph without the forms of operators that a provider refuses.

use super::{Graph, GraphError, Node, Op, ValueId};
use crate::tensor::Elements;

impl Graph {
    /// For `OpenVINO`, whose provider takes neither a layer norm that also gives mean and deviation, nor a sum that leaves a scalar.
    /// The values keep their names and ids.
    ///
    /// # Errors
    /// None that a well-formed graph causes.
    pub(crate) fn for_openvino(&self) -> Result<Self, GraphError> {
        let mut lowered = self.clone();
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
}

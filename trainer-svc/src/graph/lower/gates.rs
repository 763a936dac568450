//! Activations x · f(x) whose f(x) is computed again where its derivative needs it.
//!
//! Reverse mode reads every step of f(x) again, long after: a compiler that makes one loop of an activation then writes all of them to
//! memory, each as large as the widest layer. From x alone the steps cost a few instructions an element, which is less than the way to
//! memory and back. (The same idea: Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*, arXiv:1604.06174.)

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, GraphError, Node, Op, ValueId};

/// From so many steps on it is worth it: fewer would save nothing.
const LEAST_STEPS: usize = 3;
/// An activation has less; whatever has more is something else.
const MOST_STEPS: usize = 16;

/// An activation x · f(x).
struct Gate {
    x: ValueId,
    /// Position of the product.
    product: usize,
    /// Positions of the nodes of f, ascending.
    steps: Vec<usize>,
}

impl Graph {
    /// The same values, bit for bit: what reads a step of an activation's f(x) behind a matrix product reads one that was computed
    /// again.
    ///
    /// # Errors
    /// None that a well-formed graph causes.
    pub(super) fn recompute_gates(&mut self) -> Result<(), GraphError> {
        let copies = self.worthwhile_gates();
        let nodes = std::mem::take(&mut self.nodes);
        let mut known: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        // The last scalar so far; behind the loss it is of the backward pass.
        let mut scalar = None;
        for (position, node) in nodes.iter().enumerate() {
            if let (Some(gate), Some(late)) = (copies.get(&position), scalar) {
                self.recompute(gate, late, &nodes, &mut known)?;
            }
            let is_scalar = |id: &&ValueId| self.shape(**id).is_empty() && self.element(**id).is_float();
            scalar = node.outputs.iter().find(is_scalar).copied().or(scalar);
            let mut node = node.clone();
            for input in &mut node.inputs {
                *input = known.get(input).copied().unwrap_or(*input);
            }
            self.nodes.push(node);
        }
        Ok(())
    }

    /// By the position of the first node that is to read the copy.
    fn worthwhile_gates(&self) -> BTreeMap<usize, Gate> {
        let outputs =
            |(position, node): (usize, &Node)| node.outputs.iter().map(move |&id| (id, position)).collect::<Vec<_>>();
        let makers: BTreeMap<ValueId, usize> = self.nodes.iter().enumerate().flat_map(outputs).collect();
        let mut readers: BTreeMap<ValueId, Vec<usize>> = BTreeMap::new();
        let mut barriers = Vec::new();
        for (position, node) in self.nodes.iter().enumerate() {
            if matches!(node.op, Op::Gemm { .. } | Op::MatMul) {
                barriers.push(position);
            }
            for &input in &node.inputs {
                readers.entry(input).or_default().push(position);
            }
        }
        let gates = (0..self.nodes.len()).filter_map(|product| self.gate(product, &makers));
        let mut gates: Vec<Gate> = gates.collect();
        // The largest first: x · f(x) can itself be a step of another one.
        gates.sort_by_key(|gate| std::cmp::Reverse(gate.steps.len()));
        let mut taken = BTreeSet::new();
        let mut copies = BTreeMap::new();
        for gate in gates {
            let barrier = barriers.get(barriers.partition_point(|&barrier| barrier < gate.product));
            let steps = gate.steps.iter().filter_map(|&step| self.nodes.get(step));
            let made = steps.flat_map(|node| &node.outputs);
            let late = made.filter_map(|id| readers.get(id)).flatten().copied();
            let late = late
                .filter(|&reader| barrier.is_some_and(|&barrier| reader > barrier))
                .min();
            if let Some(late) = late.filter(|_| gate.steps.iter().all(|step| !taken.contains(step))) {
                taken.extend(gate.steps.iter().copied());
                copies.insert(late, gate);
            }
        }
        copies
    }

    /// The activation of which this node is the product.
    fn gate(&self, product: usize, makers: &BTreeMap<ValueId, usize>) -> Option<Gate> {
        let node = self.nodes.get(product).filter(|node| node.op == Op::Mul)?;
        let &[a, b] = node.inputs.as_slice() else { return None };
        [(a, b), (b, a)].into_iter().find_map(|(x, f)| {
            let steps = self.steps(x, f, makers)?;
            (LEAST_STEPS..=MOST_STEPS)
                .contains(&steps.len())
                .then_some(Gate { x, product, steps })
        })
    }

    /// The nodes that make f of x and constants alone, element by element; `None`: it is made otherwise.
    fn steps(&self, x: ValueId, f: ValueId, makers: &BTreeMap<ValueId, usize>) -> Option<Vec<usize>> {
        let mut steps = BTreeSet::new();
        let mut open = vec![f];
        while let Some(value) = open.pop() {
            if value == x || self.constants.contains_key(&value) {
                continue;
            }
            let &position = makers.get(&value)?;
            let node = self.nodes.get(position)?;
            let fits = matches!(
                node.op,
                Op::Mul | Op::Add | Op::Sub | Op::Div | Op::Sigmoid | Op::Tanh | Op::Erf | Op::Exp
            );
            if !fits || self.shape(value) != self.shape(x) || steps.len() > MOST_STEPS {
                return None;
            }
            if steps.insert(position) {
                open.extend(&node.inputs);
            }
        }
        Some(steps.into_iter().collect())
    }

    /// The steps once more, of x · 1 instead of x, where the 1 is not known before the late scalar is: a compiler that does not see that
    /// both are the same makes neither one of both nor the second together with the
    /// first. What follows reads that x, too, and goes into the same loop.
    fn recompute(
        &mut self,
        gate: &Gate,
        late: ValueId,
        nodes: &[Node],
        known: &mut BTreeMap<ValueId, ValueId>,
    ) -> Result<(), GraphError> {
        let one = self.late_one(late)?;
        let again = self.mul(gate.x, one)?;
        let mut copies = BTreeMap::from([(gate.x, again)]);
        for node in gate.steps.iter().filter_map(|&step| nodes.get(step)) {
            let inputs: Vec<ValueId> = node
                .inputs
                .iter()
                .map(|id| copies.get(id).copied().unwrap_or(*id))
                .collect();
            let made = self.apply(node.op.clone(), &inputs)?;
            copies.extend(node.outputs.iter().copied().zip(made));
        }
        known.extend(copies);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::autodiff;
    use crate::graph::{Graph, Op, ValueId};
    use crate::session::testing::evaluate;
    use crate::tensor::{ElementType, Elements, HostTensor};

    /// x · σ(x · (c + k · x²)): five steps.
    fn gelu(graph: &mut Graph, x: ValueId) -> ValueId {
        let square = graph.mul(x, x).unwrap();
        let cubic = graph.scale(square, 0.07).unwrap();
        let linear = graph.scalar_like(x, 1.6);
        let factor = graph.add(cubic, linear).unwrap();
        let argument = graph.mul(x, factor).unwrap();
        let gate = graph.one(Op::Sigmoid, &[argument]).unwrap();
        graph.mul(x, gate).unwrap()
    }

    /// Two layers with the activation and one without, the sum of the result, and the gradients of both weights.
    fn layers(activation: fn(&mut Graph, ValueId) -> ValueId) -> (Graph, Vec<ValueId>) {
        let mut graph = Graph::new();
        let x = graph.input("x", ElementType::F32, [3, 4]).unwrap();
        let weights = ["a", "b"].map(|name| graph.input(name, ElementType::F32, [4, 4]).unwrap());
        let mut value = x;
        for weight in weights {
            value = graph.gemm(value, weight, None, false, false).unwrap();
            value = activation(&mut graph, value);
        }
        value = graph.gemm(value, weights[0], None, false, false).unwrap();
        let loss = graph.reduce_sum(value, &[0, 1], false).unwrap();
        let one = graph.scalar_like(loss, 1.0);
        let mut values = autodiff::gradients(&mut graph, &[(loss, one)], &weights).unwrap();
        values.push(Some(loss));
        let values: Vec<ValueId> = values.into_iter().map(Option::unwrap).collect();
        for &value in &values {
            graph.output(value);
        }
        (graph, values)
    }

    fn inputs() -> BTreeMap<String, HostTensor> {
        let tensor = |rows: usize, seed: u8| {
            let elements = (0..4 * u8::try_from(rows).unwrap())
                .map(|i| f32::from(i.wrapping_mul(37).wrapping_add(seed)) / 160.0 - 0.8);
            let elements = elements.collect();
            HostTensor::new([rows, 4], Elements::F32(elements)).unwrap()
        };
        [("x", 3, 11), ("a", 4, 90), ("b", 4, 170)]
            .map(|(name, rows, seed)| (name.to_owned(), tensor(rows, seed)))
            .into()
    }

    fn sigmoids(graph: &Graph) -> usize {
        graph.nodes().iter().filter(|node| node.op == Op::Sigmoid).count()
    }

    #[test]
    fn what_derivatives_read_is_computed_again_and_the_same() {
        let (graph, values) = layers(gelu);
        let mut other = graph.clone();
        other.recompute_gates().unwrap();
        assert_eq!((sigmoids(&graph), sigmoids(&other)), (2, 4));
        // No step of the first pass is read behind the loss.
        let loss = values.last().copied().unwrap();
        let behind = |node: &crate::graph::Node| node.outputs.contains(&loss);
        let (nodes, end) = (other.nodes(), other.nodes().iter().position(behind).unwrap());
        for node in nodes.iter().take(end).filter(|node| node.op == Op::Sigmoid) {
            assert!(
                nodes
                    .iter()
                    .skip(end)
                    .all(|late| !late.inputs.contains(&node.outputs[0]))
            );
        }
        let (wanted, found) = (
            evaluate(&graph, &inputs(), &values),
            evaluate(&other, &inputs(), &values),
        );
        for (wanted, found) in wanted.iter().zip(&found) {
            assert_eq!(wanted, found);
        }
    }

    #[test]
    fn activations_of_few_steps_and_graphs_without_derivatives_stay() {
        let silu = |graph: &mut Graph, x: ValueId| {
            let gate = graph.one(Op::Sigmoid, &[x]).unwrap();
            graph.mul(x, gate).unwrap()
        };
        let (graph, _) = layers(silu);
        let mut other = graph.clone();
        other.recompute_gates().unwrap();
        assert_eq!(other, graph);

        let mut graph = Graph::new();
        let x = graph.input("x", ElementType::F32, [3, 4]).unwrap();
        let y = gelu(&mut graph, x);
        graph.output(y);
        let mut other = graph.clone();
        other.recompute_gates().unwrap();
        assert_eq!(other, graph);
    }
}

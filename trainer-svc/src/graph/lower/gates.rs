//! Activations x · f(x) whose f(x) is computed again where its derivative needs it.
//!
//! Reverse mode reads every step of f(x) again, long after: a compiler that makes one loop of an activation then writes all of them to
//! memory, each as large as the widest layer. From x alone the steps cost a few instructions an element, which is less than the way to
//! memory and back. (The same idea: Chen et al. 2016, *Training Deep Nets with Sublinear Memory Cost*, arXiv:1604.06174.)

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Graph, GraphError, Node, Op, ValueId};
use crate::tensor::{Elements, HostTensor};

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
        for (position, node) in nodes.iter().enumerate() {
            if let Some(gate) = copies.get(&position) {
                self.recompute(gate, &nodes, &mut known)?;
            }
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
        let outputs = |(position, node): (usize, &Node)| node.outputs.iter().map(move |&id| (id, position)).collect::<Vec<_>>();
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
            let late = late.filter(|&reader| barrier.is_some_and(|&barrier| reader > barrier)).min();
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

    /// The steps once more, of −x instead of x where that gives the same: a compiler does not see then that they are the same, and does
    /// not make one of both.
    fn recompute(
        &mut self,
        gate: &Gate,
        nodes: &[Node],
        known: &mut BTreeMap<ValueId, ValueId>,
    ) -> Result<(), GraphError> {
        let negative = self.scale(gate.x, -1.0)?;
        for node in gate.steps.iter().filter_map(|&step| nodes.get(step)) {
            let turned = match (&node.op, node.inputs.as_slice()) {
                (Op::Mul, &[a, b]) if a == gate.x && b == gate.x => Some(vec![negative, negative]),
                (Op::Mul, &[a, b]) if a == gate.x => self.opposite(b).map(|b| vec![negative, b]),
                _ => None,
            };
            let as_it_was = || node.inputs.iter().map(|id| known.get(id).copied().unwrap_or(*id)).collect();
            let inputs = turned.unwrap_or_else(as_it_was);
            let made = self.apply(node.op.clone(), &inputs)?;
            known.extend(node.outputs.iter().copied().zip(made));
        }
        Ok(())
    }

    /// A constant with the other sign; `None`: it is none, or not of floats.
    fn opposite(&mut self, constant: ValueId) -> Option<ValueId> {
        let tensor = self.constants.get(&constant)?;
        let elements = match tensor.elements() {
            Elements::F32(elements) => Elements::F32(elements.iter().map(|x| -x).collect()),
            Elements::F64(elements) => Elements::F64(elements.iter().map(|x| -x).collect()),
            _ => return None,
        };
        let negated = HostTensor::new(tensor.shape(), elements).ok()?;
        Some(self.constant(negated))
    }
}

//! What a rule works with: the node, the cotangents of its outputs, and where those of its inputs go.

use std::collections::BTreeMap;

use crate::graph::{Graph, GraphError, Node, Op, ValueId};
use crate::tensor::{ElementType, Elements, HostTensor};

/// A new value, or the graph's refusal.
pub(super) type Built = Result<ValueId, GraphError>;

/// The graph being extended, and what is known of its cotangents.
pub(super) struct Cotangents<'a> {
    graph: &'a mut Graph,
    /// By value. The rank is the value's; where an extent is 1 and the value's is not, the cotangent is the same all along the axis.
    known: BTreeMap<ValueId, ValueId>,
    /// The node that makes a value, for the first `indexed` nodes.
    producers: BTreeMap<ValueId, usize>,
    indexed: usize,
}

impl<'a> Cotangents<'a> {
    pub(super) fn new(graph: &'a mut Graph) -> Self {
        Self {
            graph,
            known: BTreeMap::new(),
            producers: BTreeMap::new(),
            indexed: 0,
        }
    }

    /// The cotangent so far, with extent 1 where it is constant along an axis.
    pub(super) fn of(&self, value: ValueId) -> Option<ValueId> {
        self.known.get(&value).copied()
    }

    /// The cotangent so far, of its value's shape.
    pub(super) fn full(&mut self, value: ValueId) -> Result<Option<ValueId>, GraphError> {
        let Some(cotangent) = self.of(value) else {
            return Ok(None);
        };
        let shape = self.graph.shape(value).to_vec();
        if self.graph.shape(cotangent) == shape {
            return Ok(Some(cotangent));
        }
        let expanded = self.graph.one(Op::Expand { shape }, &[cotangent])?;
        self.known.insert(value, expanded);
        Ok(Some(expanded))
    }

    /// Adds to a value's cotangent.
    pub(super) fn add(&mut self, value: ValueId, cotangent: ValueId) -> Result<(), GraphError> {
        let sum = match self.of(value) {
            Some(so_far) => self.graph.add(so_far, cotangent)?,
            None => cotangent,
        };
        self.known.insert(value, sum);
        Ok(())
    }

    /// The node that makes a value.
    fn producer(&mut self, value: ValueId) -> Option<&Node> {
        for (index, node) in self.graph.nodes().iter().enumerate().skip(self.indexed) {
            for &output in &node.outputs {
                self.producers.insert(output, index);
            }
        }
        self.indexed = self.graph.nodes().len();
        self.producers
            .get(&value)
            .and_then(|&index| self.graph.nodes().get(index))
    }
}

/// A node whose outputs' cotangents are known.
pub(super) struct Site<'s, 'a> {
    cotangents: &'s mut Cotangents<'a>,
    node: Node,
    wanted: &'s [bool],
}

impl<'s, 'a> Site<'s, 'a> {
    pub(super) fn new(cotangents: &'s mut Cotangents<'a>, node: Node, wanted: &'s [bool]) -> Self {
        Self {
            cotangents,
            node,
            wanted,
        }
    }

    /// The graph.
    pub(super) fn graph(&mut self) -> &mut Graph {
        self.cotangents.graph
    }

    /// The operator.
    pub(super) fn op(&self) -> &Op {
        &self.node.op
    }

    /// How many inputs the node has.
    pub(super) fn input_count(&self) -> usize {
        self.node.inputs.len()
    }

    /// An input. The graph has checked the operator's number of inputs when the node was added.
    pub(super) fn input(&self, index: usize) -> ValueId {
        self.node.inputs[index]
    }

    /// Extents of an input.
    pub(super) fn input_shape(&self, index: usize) -> Vec<usize> {
        self.cotangents.graph.shape(self.node.inputs[index]).to_vec()
    }

    /// An output.
    pub(super) fn output(&self, index: usize) -> ValueId {
        self.node.outputs[index]
    }

    /// All outputs.
    pub(super) fn outputs(&self) -> Vec<ValueId> {
        self.node.outputs.clone()
    }

    /// Extents of the first output.
    pub(super) fn output_shape(&self) -> Vec<usize> {
        self.shape(self.node.outputs[0])
    }

    /// Extents of any value.
    pub(super) fn shape(&self, value: ValueId) -> Vec<usize> {
        self.cotangents.graph.shape(value).to_vec()
    }

    /// Is the cotangent of this input wanted? There may be no such input.
    pub(super) fn wants(&self, index: usize) -> bool {
        self.node.inputs.get(index).is_some_and(|input| self.wanted[input.0])
    }

    /// The first output's cotangent; extent 1 where it is constant along an axis.
    pub(super) fn cotangent(&mut self) -> Built {
        self.either(false)
    }

    /// The first output's cotangent, of the output's shape.
    pub(super) fn full_cotangent(&mut self) -> Built {
        self.either(true)
    }

    fn either(&mut self, full: bool) -> Built {
        let output = self.output(0);
        let cotangent = if full {
            self.cotangents.full(output)?
        } else {
            self.cotangents.of(output)
        };
        match cotangent {
            Some(cotangent) => Ok(cotangent),
            // Only other outputs have one.
            None => self.zeros_like(output),
        }
    }

    /// The cotangent of any output, of its shape; zeros if there is none.
    pub(super) fn full_cotangent_of(&mut self, output: ValueId) -> Built {
        match self.cotangents.full(output)? {
            Some(cotangent) => Ok(cotangent),
            None => self.zeros_like(output),
        }
    }

    /// Zeros in the shape of a value, without a constant of that size.
    pub(super) fn zeros_like(&mut self, value: ValueId) -> Built {
        let shape = self.shape(value);
        self.zeros(value, &shape)
    }

    /// Zeros in a shape, of the element type of `like`.
    pub(super) fn zeros(&mut self, like: ValueId, shape: &[usize]) -> Built {
        let zero = self.graph().scalar_like(like, 0.0);
        let shape = shape.to_vec();
        self.graph().one(Op::Expand { shape }, &[zero])
    }

    /// Zeros in a shape that nothing can compute beforehand: made from an index, so that a session holds no constant of that size.
    pub(super) fn late_zeros(&mut self, indices: ValueId, like: ValueId, shape: &[usize]) -> Built {
        let count: usize = self.shape(indices).iter().product();
        if count == 0 {
            return self.zeros(like, shape);
        }
        let to = self.cotangents.graph.element(like);
        let flat = self.reshape(indices, &[count])?;
        let graph = self.graph();
        let first = graph.constant(HostTensor::indices(vec![0]));
        let index = graph.gather(flat, first, 0)?;
        let index = graph.one(Op::Cast { to }, &[index])?;
        let never = graph.one(Op::Greater, &[index, index])?;
        let zero = graph.one(Op::Cast { to }, &[never])?;
        let zero = graph.reshape(zero, &[])?;
        let shape = shape.to_vec();
        graph.one(Op::Expand { shape }, &[zero])
    }

    /// Adds to the cotangent of an input.
    pub(super) fn give(&mut self, index: usize, cotangent: ValueId) -> Result<(), GraphError> {
        self.cotangents.add(self.node.inputs[index], cotangent)
    }

    /// Takes what is known of an input's cotangent so far: the rule must give it back in its sum.
    pub(super) fn take_accumulated(&mut self, index: usize) -> Result<Option<ValueId>, GraphError> {
        let input = self.node.inputs[index];
        let so_far = self.cotangents.full(input)?;
        self.cotangents.known.remove(&input);
        Ok(so_far)
    }

    /// Gives the cotangent of an input that was broadcast to the output: summed over the axes along which it was.
    pub(super) fn give_summed(&mut self, index: usize, cotangent: ValueId) -> Result<(), GraphError> {
        let (from, to) = (self.output_shape(), self.input_shape(index));
        let summed = self.sum_broadcast(cotangent, &from, &to)?;
        self.give(index, summed)
    }

    /// The cotangent of what was broadcast from shape `to` to shape `from`, given that of the result (extents 1 where constant).
    pub(super) fn sum_broadcast(&mut self, cotangent: ValueId, from: &[usize], to: &[usize]) -> Built {
        let shape = self.shape(cotangent);
        let added = from.len() - to.len();
        let was_broadcast = |axis: usize| from[axis] != 1 && (axis < added || to[axis - added] == 1);
        let (sum, constant): (Vec<usize>, Vec<usize>) = (0..from.len())
            .filter(|&axis| was_broadcast(axis))
            .partition(|&axis| shape[axis] != 1);
        // Constant along an axis: the sum is that often the same.
        let repeats: usize = constant.iter().map(|&axis| from[axis]).product();
        let mut result = cotangent;
        if !sum.is_empty() {
            let leading_only = sum.iter().copied().eq(0..added);
            result = self.graph().reduce_sum(result, &sum, !leading_only)?;
        }
        let shape = self.shape(result);
        if shape.len() > to.len() {
            result = self.graph().reshape(result, &shape[added..])?;
        }
        if repeats == 1 {
            Ok(result)
        } else {
            self.scale(result, repeats as f64)
        }
    }

    /// x · factor. A product with a constant scalar is not multiplied twice.
    pub(super) fn scale(&mut self, x: ValueId, factor: f64) -> Built {
        let (x, factor) = match self.constant_factor(x) {
            Some((inner, known)) => (inner, known * factor),
            None => (x, factor),
        };
        if factor.to_bits() == 1.0_f64.to_bits() {
            return Ok(x);
        }
        self.graph().scale(x, factor)
    }

    /// x = inner · factor, if that is how it was made.
    fn constant_factor(&mut self, x: ValueId) -> Option<(ValueId, f64)> {
        let node = self.cotangents.producer(x).filter(|node| node.op == Op::Mul)?;
        let &[inner, factor] = node.inputs.as_slice() else {
            return None;
        };
        let same = self.shape(inner) == self.shape(x);
        self.scalar(factor).filter(|_| same).map(|factor| (inner, factor))
    }

    /// The number that a constant scalar holds.
    pub(super) fn scalar(&self, value: ValueId) -> Option<f64> {
        let tensor = self.cotangents.graph.constant_value(value)?;
        match tensor.elements() {
            Elements::F32(elements) if tensor.shape().is_empty() => elements.first().map(|&x| f64::from(x)),
            Elements::F64(elements) if tensor.shape().is_empty() => elements.first().copied(),
            _ => None,
        }
    }

    /// Transposes; a transposition of a transposition is made in one step, or none.
    pub(super) fn transpose(&mut self, x: ValueId, permutation: &[usize]) -> Built {
        let (x, permutation) = match self.transposed_from(x) {
            Some((inner, first)) => (inner, permutation.iter().map(|&axis| first[axis]).collect()),
            None => (x, permutation.to_vec()),
        };
        self.graph().transpose(x, &permutation)
    }

    /// x = Transpose(inner), if that is how it was made.
    pub(super) fn transposed_from(&mut self, x: ValueId) -> Option<(ValueId, Vec<usize>)> {
        let node = self.cotangents.producer(x)?;
        match (&node.op, node.inputs.as_slice()) {
            (Op::Transpose { permutation }, &[inner]) => Some((inner, permutation.clone())),
            _ => None,
        }
    }

    /// The last two axes exchanged.
    pub(super) fn swap_last(&mut self, x: ValueId) -> Built {
        let rank = self.shape(x).len();
        let mut permutation: Vec<usize> = (0..rank).collect();
        permutation.swap(rank - 1, rank - 2);
        self.transpose(x, &permutation)
    }

    /// Another shape; a reshaping of a reshaping is made in one step, or none.
    pub(super) fn reshape(&mut self, x: ValueId, shape: &[usize]) -> Built {
        let inner = self
            .cotangents
            .producer(x)
            .and_then(|node| match (&node.op, node.inputs.as_slice()) {
                (Op::Reshape { .. }, &[inner]) => Some(inner),
                _ => None,
            });
        self.graph().reshape(inner.unwrap_or(x), shape)
    }

    /// Element type of the first output.
    pub(super) fn element(&self) -> ElementType {
        self.cotangents.graph.element(self.node.outputs[0])
    }
}

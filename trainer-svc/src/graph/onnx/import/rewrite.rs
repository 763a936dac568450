//! Nodes that run, in operators of the core.

mod algebra;
mod elementwise;
mod structure;

use std::collections::BTreeMap;
use std::rc::Rc;

use super::node::{Refusal, Site, Symbol, malformed, unsupported};
use crate::graph::{Graph, ValueId};
use crate::tensor::HostTensor;

/// Operators of ONNX that have a translation.
const TRANSLATED: &str = "
    Abs Add And Cast Clip Concat Cos Div Dropout Equal Erf Exp Expand Flatten Gather GatherElements GatherND Gelu
    Gemm Greater GreaterOrEqual HardSigmoid HardSwish Identity IsNaN LayerNormalization LeakyRelu Less LessOrEqual
    Log LogSoftmax MatMul Max Min Mul Neg Not Or Pow RMSNormalization Reciprocal ReduceL2 ReduceMax ReduceMean
    ReduceSum ReduceSumSquare Relu Reshape ScatterElements Sigmoid Sin Slice Softmax Softplus Split Sqrt Squeeze Sub
    Sum Swish Tanh Transpose Unsqueeze Where
";

/// Is there a translation?
pub(super) fn knows(op: &str) -> bool {
    TRANSLATED.split_whitespace().any(|known| known == op)
}

type Built = Result<ValueId, Refusal>;

/// The graph being made.
pub(super) struct Rewriter<'a> {
    pub(super) graph: &'a mut Graph,
    /// Constants that are in the graph already, by their address, which they are held for.
    constants: BTreeMap<usize, (Rc<HostTensor>, ValueId)>,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(graph: &'a mut Graph) -> Self {
        Self {
            graph,
            constants: BTreeMap::new(),
        }
    }

    /// The graph's constant for a tensor.
    pub(super) fn constant(&mut self, tensor: &Rc<HostTensor>) -> ValueId {
        let address = Rc::as_ptr(tensor).addr();
        let graph = &mut *self.graph;
        let entry = self.constants.entry(address);
        entry
            .or_insert_with(|| (Rc::clone(tensor), graph.constant((**tensor).clone())))
            .1
    }

    /// An input that may be left out.
    fn optional(&mut self, site: &Site<'_>, index: usize) -> Option<ValueId> {
        match site.symbol(index)? {
            Symbol::Value(value) => Some(*value),
            Symbol::Constant(tensor) => Some(self.constant(tensor)),
            Symbol::Unknown => None,
        }
    }

    /// An input.
    fn input(&mut self, site: &Site<'_>, index: usize) -> Built {
        self.optional(site, index)
            .map_or_else(|| malformed(format!("has no input {index}")), Ok)
    }

    /// All inputs, none left out.
    fn all(&mut self, site: &Site<'_>) -> Result<Vec<ValueId>, Refusal> {
        (0..site.inputs.len()).map(|index| self.input(site, index)).collect()
    }

    /// A node's outputs.
    pub(super) fn rewrite(&mut self, site: &Site<'_>) -> Result<Vec<Symbol>, Refusal> {
        if let Some(value) = self.elementwise(site)? {
            return Ok(vec![Symbol::Value(value)]);
        }
        if let Some(value) = self.algebra(site)? {
            return Ok(vec![Symbol::Value(value)]);
        }
        match self.structure(site)? {
            Some(values) => Ok(values.into_iter().map(Symbol::Value).collect()),
            None => unsupported("there is no translation"),
        }
    }
}

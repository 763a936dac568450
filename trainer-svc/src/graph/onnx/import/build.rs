//! Goes through a model's nodes in their order: each is evaluated, if all it reads is known, or else translated.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::node::{Refusal, Site, Symbol};
use super::rewrite::Rewriter;
use super::{Bindings, Built, Extent, ImportError, InputInfo, Model, fold, rewrite, tensor};
use crate::graph::onnx::proto::NodeProto;
use crate::graph::{Graph, GraphError, ValueId};
use crate::tensor::{ElementType, HostTensor};

pub(super) fn build(model: &Model, graph: &mut Graph, bindings: &Bindings) -> Result<Built, ImportError> {
    let mut builder = Builder {
        rewriter: Rewriter::new(graph),
        symbols: BTreeMap::new(),
        unsupported: Vec::new(),
        budget: fold::Budget::default(),
    };
    let inputs = builder.inputs(model, bindings)?;
    let weights = builder.weights(model, bindings)?;
    for (name, tensor) in &model.constants {
        builder.define(name, Symbol::Constant(Rc::new(tensor.clone())))?;
    }
    for node in &model.graph.node {
        builder.node(node, model.opset)?;
    }
    if !builder.unsupported.is_empty() {
        let nodes = builder.unsupported;
        return Err(ImportError::Unsupported { nodes });
    }
    let mut outputs = BTreeMap::new();
    for name in model.outputs() {
        let value = match builder.symbols.get(name) {
            Some(Symbol::Value(value)) => *value,
            Some(Symbol::Constant(tensor)) => builder.rewriter.constant(tensor),
            _ => {
                return Err(ImportError::Undefined {
                    node: "the graph's output".into(),
                    value: name.to_owned(),
                });
            }
        };
        outputs.insert(name.to_owned(), value);
    }
    Ok(Built {
        inputs,
        weights,
        outputs,
    })
}

struct Builder<'a> {
    rewriter: Rewriter<'a>,
    symbols: BTreeMap<String, Symbol>,
    unsupported: Vec<String>,
    budget: fold::Budget,
}

impl Builder<'_> {
    fn define(&mut self, name: &str, symbol: Symbol) -> Result<(), ImportError> {
        match self.symbols.insert(name.to_owned(), symbol) {
            None if !name.is_empty() => Ok(()),
            _ => Err(ImportError::Duplicate(name.to_owned())),
        }
    }

    fn inputs(&mut self, model: &Model, bindings: &Bindings) -> Result<BTreeMap<String, ValueId>, ImportError> {
        let mut inputs = BTreeMap::new();
        for info in &model.inputs {
            let wrong = |message: String| ImportError::Input {
                name: info.name.clone(),
                message,
            };
            if let Some(tensor) = bindings.constants.get(&info.name) {
                agree(info, tensor).map_err(wrong)?;
                self.define(&info.name, Symbol::Constant(Rc::new(tensor.clone())))?;
                continue;
            }
            let value = match bindings.values.get(&info.name) {
                Some(&value) if self.rewriter.graph.element(value) == info.element => value,
                Some(_) => return Err(wrong(format!("takes {:?}", info.element))),
                None => {
                    let shape = input_shape(info, bindings).map_err(wrong)?;
                    bounded(&shape).map_err(|()| too_large(&info.name))?;
                    self.input(&info.name, info.element, shape)?
                }
            };
            inputs.insert(info.name.clone(), value);
            self.define(&info.name, Symbol::Value(value))?;
        }
        Ok(inputs)
    }

    /// Weights that some node reads become inputs.
    fn weights(&mut self, model: &Model, bindings: &Bindings) -> Result<BTreeMap<String, ValueId>, ImportError> {
        let read: BTreeSet<&String> = model.graph.node.iter().flat_map(|node| &node.input).collect();
        let mut weights = BTreeMap::new();
        for (name, weight) in model.weights.iter().filter(|(name, _)| read.contains(name)) {
            let value = match bindings.values.get(name) {
                Some(&value) if self.rewriter.graph.shape(value) == weight.shape() => value,
                Some(_) => {
                    return Err(ImportError::Tensor {
                        name: name.clone(),
                        message: format!("has the shape {:?}, it is bound to another", weight.shape()),
                    });
                }
                None => self.input(name, weight.element_type(), weight.shape().to_vec())?,
            };
            weights.insert(name.clone(), value);
            self.define(name, Symbol::Value(value))?;
        }
        Ok(weights)
    }

    fn input(&mut self, name: &str, element: ElementType, shape: Vec<usize>) -> Result<ValueId, ImportError> {
        self.rewriter
            .graph
            .input(name, element, shape)
            .map_err(|_: GraphError| ImportError::Duplicate(name.to_owned()))
    }

    fn node(&mut self, proto: &NodeProto, opset: i64) -> Result<(), ImportError> {
        let mut inputs = Vec::new();
        for name in &proto.input {
            let symbol = if name.is_empty() {
                None
            } else {
                Some(self.symbols.get(name))
            };
            match symbol {
                Some(None) => {
                    return Err(ImportError::Undefined {
                        node: describe(proto),
                        value: name.clone(),
                    });
                }
                found => inputs.push(found.flatten().cloned()),
            }
        }
        let site = Site { proto, opset, inputs };
        let known = matches!(proto.domain(), "" | "ai.onnx") && (fold::knows(site.op()) || rewrite::knows(site.op()));
        let blind = site
            .inputs
            .iter()
            .flatten()
            .any(|symbol| matches!(symbol, Symbol::Unknown));
        let outcome = match (known, blind) {
            (false, _) => Err(Refusal::Unsupported(String::new())),
            // What it reads is missing already, which is listed where it is made.
            (true, true) => Ok(vec![Symbol::Unknown; proto.output.len()]),
            (true, false) => self.translate(&site),
        };
        let results = match outcome {
            Ok(results) => results,
            Err(Refusal::Unsupported(reason)) => {
                let node = describe(proto);
                self.unsupported.push(if reason.is_empty() {
                    node
                } else {
                    format!("{node}: {reason}")
                });
                vec![Symbol::Unknown; proto.output.len()]
            }
            Err(Refusal::Malformed(message)) => {
                return Err(ImportError::Node {
                    node: describe(proto),
                    message,
                });
            }
            Err(Refusal::Failed(error)) => return Err(error),
        };
        let mut results = results.into_iter();
        for name in &proto.output {
            let result = results.next();
            if name.is_empty() {
                continue;
            }
            let result = result.ok_or_else(|| ImportError::Node {
                node: describe(proto),
                message: format!("makes no {name:?}"),
            })?;
            if let Symbol::Value(value) = &result {
                bounded(self.rewriter.graph.shape(*value)).map_err(|()| too_large(name))?;
            }
            self.define(name, result)?;
        }
        Ok(())
    }

    fn translate(&mut self, site: &Site<'_>) -> Result<Vec<Symbol>, Refusal> {
        let shape = |value: ValueId| self.rewriter.graph.shape(value).to_vec();
        if let Some(folded) = fold::fold(site, &shape, &mut self.budget)? {
            return Ok(folded
                .into_iter()
                .map(|tensor| Symbol::Constant(Rc::new(tensor)))
                .collect());
        }
        self.rewriter.rewrite(site)
    }
}

fn bounded(shape: &[usize]) -> Result<(), ()> {
    match tensor::volume(shape) {
        Some(volume) if volume <= tensor::VOLUME => Ok(()),
        _ => Err(()),
    }
}

fn too_large(name: &str) -> ImportError {
    ImportError::TooLarge {
        what: format!("elements of {name:?}"),
        limit: tensor::VOLUME,
    }
}

/// Operator and name.
fn describe(proto: &NodeProto) -> String {
    let operator = match proto.domain() {
        "" | "ai.onnx" => proto.op_type().to_owned(),
        domain => format!("{domain}.{}", proto.op_type()),
    };
    let name = if proto.name().is_empty() {
        proto.output.first().map_or("", String::as_str)
    } else {
        proto.name()
    };
    format!("{operator} {name:?}")
}

/// A constant must be what the input takes.
fn agree(info: &InputInfo, tensor: &HostTensor) -> Result<(), String> {
    if tensor.element_type() != info.element {
        return Err(format!(
            "takes {:?}, it is bound to {:?}",
            info.element,
            tensor.element_type()
        ));
    }
    let fits = info.shape.as_ref().is_none_or(|extents| {
        extents.len() == tensor.shape().len()
            && extents.iter().zip(tensor.shape()).all(|(extent, &bound)| match extent {
                Extent::Fixed(fixed) => *fixed == bound,
                _ => true,
            })
    });
    if fits {
        Ok(())
    } else {
        Err(format!(
            "takes {:?}, it is bound to the shape {:?}",
            info.shape,
            tensor.shape()
        ))
    }
}

fn input_shape(info: &InputInfo, bindings: &Bindings) -> Result<Vec<usize>, String> {
    let bound = bindings.shapes.get(&info.name);
    let Some(extents) = &info.shape else {
        return bound
            .cloned()
            .ok_or_else(|| "has no shape, and is bound to none".into());
    };
    if bound.is_some_and(|bound| bound.len() != extents.len()) {
        return Err(format!(
            "has {} axes, it is bound to the shape {bound:?}",
            extents.len()
        ));
    }
    let resolve = |(index, extent): (usize, &Extent)| {
        let bound = bound.and_then(|bound| bound.get(index)).copied();
        match extent {
            Extent::Fixed(fixed) if bound.is_none_or(|bound| bound == *fixed) => Ok(*fixed),
            Extent::Fixed(fixed) => Err(format!("has the extent {fixed}, it is bound to the shape {bound:?}")),
            Extent::Named(name) => bound
                .or_else(|| bindings.extents.get(name).copied())
                .ok_or_else(|| format!("has the extent {name:?}, which is bound to no number")),
            Extent::Open => bound.ok_or_else(|| format!("leaves its extent {index} open, and is bound to no shape")),
        }
    };
    extents.iter().enumerate().map(resolve).collect()
}

//! A graph as an ONNX model (operator set 21).
//!
//! Only what the outputs need is written, in the graph's order, so that the same graph always gives the same bytes. Lists that the
//! operator set wants as inputs (axes, shapes, sizes) become constants, one for each different list.

use std::collections::BTreeMap;

use prost::Message as _;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::{IR_VERSION, OPSET, data_type};
use crate::graph::op::Reduction;
use crate::graph::{Graph, Node, Op, ValueId};
use crate::tensor::{ElementType, Elements, HostTensor};

/// The graph as the bytes of an ONNX model: its inputs and outputs under their names; nodes and constants that no output depends on
/// are left out. Inputs are written all, read or not, so that what can be bound does not depend on what is computed. An
/// output must be made by a node: ONNX Runtime copies nothing into a buffer bound to an output that is an input as it stands.
#[must_use]
pub fn export(graph: &Graph) -> Vec<u8> {
    let live = live_values(graph);
    let mut writer = Writer {
        graph,
        live: &live,
        lists: BTreeMap::new(),
        initializers: Vec::new(),
    };
    for (id, tensor) in graph.constants().filter(|(id, _)| live[id.0]) {
        let name = graph.value(id).name.clone();
        writer.initializers.push(tensor_proto(name, tensor));
    }
    let nodes = graph
        .nodes()
        .iter()
        .enumerate()
        .filter(|(_, node)| node.outputs.iter().any(|output| live[output.0]))
        .map(|(index, node)| writer.node(index, node))
        .collect();
    let initializer = writer.initializers;
    let value_infos = |ids: &[ValueId]| ids.iter().map(|&id| value_info(graph, id)).collect();
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("finepick".into()),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        graph: Some(GraphProto {
            node: nodes,
            name: Some("finepick".into()),
            initializer,
            input: value_infos(graph.inputs()),
            output: value_infos(graph.outputs()),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

/// Which values the outputs depend on, by id.
fn live_values(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.value_count()];
    for output in graph.outputs() {
        live[output.0] = true;
    }
    for node in graph.nodes().iter().rev() {
        if node.outputs.iter().any(|output| live[output.0]) {
            for input in &node.inputs {
                live[input.0] = true;
            }
        }
    }
    live
}

struct Writer<'a> {
    graph: &'a Graph,
    live: &'a [bool],
    /// Names of the constants that hold lists of numbers.
    lists: BTreeMap<Vec<i64>, String>,
    initializers: Vec<TensorProto>,
}

impl Writer<'_> {
    fn node(&mut self, index: usize, node: &Node) -> NodeProto {
        let name = |id: &ValueId| self.graph.value(*id).name.clone();
        let mut input: Vec<String> = node.inputs.iter().map(name).collect();
        let mut output: Vec<String> = node.outputs.iter().map(name).collect();
        if matches!(node.op, Op::LayerNormalization { .. }) {
            self.leave_out(node, &mut output);
        }
        if let Some(list) = list_input(&node.op) {
            input.push(self.list(list));
        }
        NodeProto {
            input,
            output,
            name: Some(format!("{}_{index}", node.op.name())),
            op_type: Some(node.op.name().into()),
            attribute: attributes(&node.op, self.graph, node),
            ..NodeProto::default()
        }
    }

    /// Mean and deviation are optional outputs: what nobody reads need not be computed.
    fn leave_out(&self, node: &Node, names: &mut Vec<String>) {
        for (name, id) in names.iter_mut().zip(&node.outputs).skip(1) {
            if !self.live[id.0] {
                name.clear();
            }
        }
        while names.last().is_some_and(String::is_empty) {
            names.pop();
        }
    }

    /// Name of the constant that holds this list.
    fn list(&mut self, list: Vec<i64>) -> String {
        if let Some(name) = self.lists.get(&list) {
            return name.clone();
        }
        let joined: Vec<String> = list.iter().map(ToString::to_string).collect();
        let mut name = format!("/list_{}", joined.join("_"));
        while self.graph.find(&name).is_some() {
            name.push('_');
        }
        self.initializers
            .push(tensor_proto(name.clone(), &HostTensor::indices(list.clone())));
        self.lists.insert(list, name.clone());
        name
    }
}

/// The list that an operator takes as its last input.
fn list_input(op: &Op) -> Option<Vec<i64>> {
    match op {
        Op::ReduceSum { axes: list, .. }
        | Op::ReduceMean { axes: list, .. }
        | Op::ReduceMax { axes: list, .. }
        | Op::ReduceL2 { axes: list, .. }
        | Op::Reshape { shape: list }
        | Op::Expand { shape: list }
        | Op::Split { sizes: list, .. } => Some(list.iter().map(|&item| int(item)).collect()),
        _ => None,
    }
}

fn attributes(op: &Op, graph: &Graph, node: &Node) -> Vec<AttributeProto> {
    match op {
        Op::Softmax { axis }
        | Op::Split { axis, .. }
        | Op::Concat { axis }
        | Op::Gather { axis }
        | Op::GatherElements { axis } => vec![int_attribute("axis", int(*axis))],
        Op::LayerNormalization { axis, epsilon } => {
            let mut attributes = vec![int_attribute("axis", int(*axis)), float_attribute("epsilon", *epsilon)];
            if node
                .inputs
                .first()
                .is_some_and(|&x| graph.element(x) == ElementType::F64)
            {
                attributes.push(int_attribute("stash_type", i64::from(data_type::DOUBLE)));
            }
            attributes
        }
        Op::Gemm {
            alpha,
            beta,
            transpose_a,
            transpose_b,
        } => vec![
            float_attribute("alpha", *alpha),
            float_attribute("beta", *beta),
            int_attribute("transA", i64::from(*transpose_a)),
            int_attribute("transB", i64::from(*transpose_b)),
        ],
        Op::ReduceSum { keep_dims, .. }
        | Op::ReduceMean { keep_dims, .. }
        | Op::ReduceMax { keep_dims, .. }
        | Op::ReduceL2 { keep_dims, .. } => {
            vec![int_attribute("keepdims", i64::from(*keep_dims))]
        }
        Op::Transpose { permutation } => vec![AttributeProto {
            name: Some("perm".into()),
            ints: permutation.iter().map(|&axis| int(axis)).collect(),
            r#type: Some(7),
            ..AttributeProto::default()
        }],
        Op::Cast { to } => vec![int_attribute("to", i64::from(element_number(*to)))],
        Op::ScatterElements { axis, reduction } => {
            let reduction: &str = match reduction {
                Reduction::None => "none",
                Reduction::Add => "add",
            };
            vec![
                int_attribute("axis", int(*axis)),
                AttributeProto {
                    name: Some("reduction".into()),
                    s: Some(reduction.into()),
                    r#type: Some(3),
                    ..AttributeProto::default()
                },
            ]
        }
        _ => Vec::new(),
    }
}

fn int_attribute(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(value),
        r#type: Some(2),
        ..AttributeProto::default()
    }
}

fn float_attribute(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        f: Some(value),
        r#type: Some(1),
        ..AttributeProto::default()
    }
}

fn value_info(graph: &Graph, id: ValueId) -> ValueInfoProto {
    let value = graph.value(id);
    let dimension = |&extent: &usize| DimensionProto {
        dim_value: Some(int(extent)),
        ..DimensionProto::default()
    };
    ValueInfoProto {
        name: Some(value.name.clone()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(element_number(value.element)),
                shape: Some(TensorShapeProto {
                    dim: value.shape.iter().map(dimension).collect(),
                }),
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn tensor_proto(name: String, tensor: &HostTensor) -> TensorProto {
    let raw_data = match tensor.elements() {
        Elements::F32(elements) => elements.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Elements::F64(elements) => elements.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Elements::I64(elements) => elements.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Elements::I32(elements) => elements.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Elements::Bool(elements) => elements.iter().map(|&x| u8::from(x)).collect(),
    };
    TensorProto {
        dims: tensor.shape().iter().map(|&extent| int(extent)).collect(),
        data_type: Some(element_number(tensor.element_type())),
        name: Some(name),
        raw_data: Some(raw_data),
        ..TensorProto::default()
    }
}

pub(super) fn element_number(element: ElementType) -> i32 {
    match element {
        ElementType::F32 => data_type::FLOAT,
        ElementType::F64 => data_type::DOUBLE,
        ElementType::I64 => data_type::INT64,
        ElementType::I32 => data_type::INT32,
        ElementType::Bool => data_type::BOOL,
    }
}

/// Extents and axes of tensors that exist in memory are far below 2⁶³.
fn int(extent: usize) -> i64 {
    i64::try_from(extent).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Graph {
        let mut graph = Graph::new();
        let x = graph.input("x", ElementType::F32, [2, 3]).unwrap();
        let scale = graph.constant(HostTensor::vector(vec![1.0; 3]));
        let unused = graph.constant(HostTensor::vector(vec![7.0; 3]));
        let op = Op::LayerNormalization { axis: 1, epsilon: 1e-5 };
        let normal = graph.apply(op, &[x, scale, scale]).unwrap();
        let _dead = graph.add(normal[0], unused).unwrap();
        let deviation = graph.reduce_sum(normal[2], &[0, 1], false).unwrap();
        let total = graph.reduce_sum(normal[0], &[0, 1], false).unwrap();
        let sum = graph.add(deviation, total).unwrap();
        graph.rename(sum, "sum").unwrap();
        graph.output(sum);
        graph
    }

    #[test]
    fn the_same_graph_gives_the_same_bytes() {
        assert_eq!(export(&small()), export(&small()));
    }

    #[test]
    fn only_what_the_outputs_need_is_written() {
        let model = ModelProto::decode(export(&small()).as_slice()).unwrap();
        let graph = model.graph.unwrap();
        let types: Vec<&str> = graph.node.iter().map(NodeProto::op_type).collect();
        assert_eq!(types, ["LayerNormalization", "ReduceSum", "ReduceSum", "Add"]);
        // The mean is not read: its name is empty. The scale is one constant, and both sums share their axes.
        assert_eq!(graph.node[0].output[1], "");
        assert_ne!(graph.node[0].output[2], "");
        assert_eq!(graph.initializer.len(), 2);
        assert_eq!(graph.node[1].input[1], graph.node[2].input[1]);
        assert_eq!(graph.output[0].name(), "sum");
    }
}

mod exporters;
mod fixtures;
mod hostile;

use std::collections::BTreeMap;

use prost::Message as _;

use super::*;
use crate::graph::onnx::proto::{
    AttributeProto, DimensionProto, NodeProto, TensorShapeProto, TensorTypeProto, TypeProto,
};
use crate::session::testing::evaluate;
use crate::tensor::Elements;

/// A model of these nodes, with one input `x` f32 and one output `y`.
fn model(shape: &[i64], nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> ModelProto {
    let dimension = |&extent: &i64| DimensionProto {
        dim_value: Some(extent),
        ..DimensionProto::default()
    };
    let info = |name: &str| ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(1),
                shape: Some(TensorShapeProto {
                    dim: shape.iter().map(dimension).collect(),
                }),
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto {
            domain: None,
            version: Some(21),
        }],
        graph: Some(GraphProto {
            node: nodes,
            initializer: initializers,
            input: vec![info("x")],
            output: vec![info("y")],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(ToString::to_string).collect(),
        output: outputs.iter().map(ToString::to_string).collect(),
        name: Some(format!("{op} of {}", outputs[0])),
        op_type: Some(op.into()),
        attribute: attributes,
        ..NodeProto::default()
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(i),
        ..AttributeProto::default()
    }
}

fn ints(name: &str, shape: &[i64], list: &[i64]) -> TensorProto {
    TensorProto {
        dims: shape.to_vec(),
        data_type: Some(7),
        int64_data: list.to_vec(),
        name: Some(name.into()),
        ..TensorProto::default()
    }
}

fn floats(name: &str, shape: &[i64], list: &[f32]) -> TensorProto {
    TensorProto {
        dims: shape.to_vec(),
        data_type: Some(1),
        float_data: list.to_vec(),
        name: Some(name.into()),
        ..TensorProto::default()
    }
}

fn imported(model: &ModelProto) -> Result<Imported, ImportError> {
    import(&model.encode_to_vec(), &Bindings::default())
}

/// y for an x, weights included.
fn run(model: &ModelProto, x: &[f32], shape: &[usize]) -> HostTensor {
    let imported = imported(model).unwrap();
    let mut inputs: BTreeMap<String, HostTensor> = BTreeMap::new();
    for (name, weight) in &imported.weights {
        inputs.insert(name.clone(), weight.tensor(std::path::Path::new(".")).unwrap());
    }
    inputs.insert("x".into(), HostTensor::new(shape, Elements::F32(x.to_vec())).unwrap());
    evaluate(&imported.graph, &inputs, &[imported.outputs["y"]]).remove(0)
}

/// An operator, its inputs and attributes, and what it computes.
type Case<'a> = (&'a str, &'a [&'a str], Vec<AttributeProto>, Box<dyn Fn(f64) -> f64>);

#[test]
fn operators_outside_the_core_are_rewritten() {
    let x = [-2.5, -0.5, 0.25, 3.0];
    let gelu = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_802_865_4 * (x + 0.044_715 * x * x * x)).tanh());
    let text = |name: &str, text: &str| AttributeProto {
        name: Some(name.into()),
        s: Some(text.into()),
        ..AttributeProto::default()
    };
    let cases: Vec<Case<'_>> = vec![
        ("Neg", &["x"], vec![], Box::new(|x| -x)),
        ("Abs", &["x"], vec![], Box::new(f64::abs)),
        ("Reciprocal", &["x"], vec![], Box::new(|x| 1.0 / x)),
        ("Pow", &["x", "two"], vec![], Box::new(|x| x * x)),
        ("Clip", &["x", "minus", "two"], vec![], Box::new(|x| x.clamp(-1.0, 2.0))),
        ("Max", &["x", "minus", "two"], vec![], Box::new(|x| x.max(2.0))),
        ("Min", &["x", "minus"], vec![], Box::new(|x| x.min(-1.0))),
        ("Sum", &["x", "x", "two"], vec![], Box::new(|x| 2.0 * x + 2.0)),
        ("Identity", &["x"], vec![], Box::new(|x| x)),
        ("Dropout", &["x"], vec![], Box::new(|x| x)),
        ("Gelu", &["x"], vec![text("approximate", "tanh")], Box::new(gelu)),
        ("Swish", &["x"], vec![], Box::new(|x| x / (1.0 + (-x).exp()))),
        (
            "LeakyRelu",
            &["x"],
            vec![],
            Box::new(|x| if x > 0.0 { x } else { 0.01 * x }),
        ),
        ("Softplus", &["x"], vec![], Box::new(|x| x.exp().ln_1p())),
        (
            "HardSwish",
            &["x"],
            vec![],
            Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        ),
        (
            "HardSigmoid",
            &["x"],
            vec![],
            Box::new(|x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
        ),
    ];
    for (op, inputs, attributes, wanted) in cases {
        let constants = vec![floats("two", &[], &[2.0]), floats("minus", &[1], &[-1.0])];
        // A product with one, so that the output is made by a node even if the operator is left out.
        let one = floats("one", &[], &[1.0]);
        let nodes = vec![
            node(op, inputs, &["z"], attributes),
            node("Mul", &["z", "one"], &["y"], vec![]),
        ];
        let model = model(&[4], nodes, [constants, vec![one]].concat());
        let y = run(&model, &x, &[4]);
        for (&x, &y) in x.iter().zip(y.as_f32().unwrap()) {
            let wanted = wanted(f64::from(x));
            assert!((f64::from(y) - wanted).abs() <= 1e-5, "{op}({x}) = {y}, not {wanted}");
        }
    }
}

#[test]
fn slices_take_pieces_or_single_elements() {
    let x: Vec<f32> = (0..12_u8).map(f32::from).collect();
    let lists = |starts, ends, axes, steps| {
        vec![
            ints("starts", &[2], starts),
            ints("ends", &[2], ends),
            ints("axes", &[2], axes),
            ints("steps", &[2], steps),
        ]
    };
    let slice = |lists| {
        let nodes = vec![node("Slice", &["x", "starts", "ends", "axes", "steps"], &["y"], vec![])];
        run(&model(&[3, 4], nodes, lists), &x, &[3, 4])
    };
    let y = slice(lists(&[1, -3], &[i64::MAX, -1], &[0, 1], &[1, 1]));
    assert_eq!(
        (y.shape(), y.as_f32().unwrap()),
        (&[2, 2][..], &[5.0, 6.0, 9.0, 10.0][..])
    );
    let y = slice(lists(&[-1, 0], &[i64::MIN, 9], &[-2, -1], &[-2, 3]));
    assert_eq!(
        (y.shape(), y.as_f32().unwrap()),
        (&[2, 2][..], &[8.0, 11.0, 0.0, 3.0][..])
    );
}

#[test]
fn vectors_are_multiplied_as_rows_and_columns() {
    let nodes = vec![node("MatMul", &["x", "w"], &["y"], vec![])];
    let weight = || floats("w", &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let y = run(&model(&[2], nodes.clone(), vec![weight()]), &[1.0, -1.0], &[2]);
    assert_eq!((y.shape(), y.as_f32().unwrap()), (&[3][..], &[-3.0, -3.0, -3.0][..]));
    let column = floats("w", &[2], &[10.0, 1.0]);
    let y = run(&model(&[2, 2], nodes, vec![column]), &[1.0, 2.0, 3.0, 4.0], &[2, 2]);
    assert_eq!((y.shape(), y.as_f32().unwrap()), (&[2][..], &[12.0, 34.0][..]));
}

#[test]
fn shape_arithmetic_is_evaluated() {
    // [batch, sequence · 2] from Shape, as exporters write it.
    let nodes = vec![
        node("Shape", &["x"], &["shape"], vec![]),
        node("Gather", &["shape", "zero"], &["batch"], vec![int("axis", 0)]),
        node("Unsqueeze", &["batch", "axes"], &["batch1"], vec![]),
        node("Concat", &["batch1", "open"], &["target"], vec![int("axis", 0)]),
        node("Reshape", &["x", "target"], &["flat"], vec![]),
        node("Range", &["zero", "six", "one"], &["range"], vec![]),
        node("Cast", &["range"], &["ramp"], vec![int("to", 1)]),
        node("Mul", &["flat", "ramp"], &["y"], vec![]),
    ];
    let constants = vec![
        ints("zero", &[], &[0]),
        ints("one", &[], &[1]),
        ints("six", &[], &[6]),
        ints("axes", &[1], &[0]),
        ints("open", &[1], &[-1]),
    ];
    let model = model(&[2, 3, 2], nodes, constants);
    let imported = imported(&model).unwrap();
    let left: Vec<&str> = imported.graph.nodes().iter().map(|node| node.op.name()).collect();
    assert_eq!(left, ["Reshape", "Mul"]);
    let y = run(&model, &[1.0; 12], &[2, 3, 2]);
    assert_eq!(
        (y.shape(), &y.as_f32().unwrap()[..6]),
        (&[2, 6][..], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0][..])
    );
}

#[test]
fn all_operators_outside_the_core_are_listed_at_once() {
    let mut foreign = node("FusedMatMul", &["x", "x"], &["b"], vec![]);
    foreign.domain = Some("com.microsoft".into());
    let nodes = vec![
        node("LSTM", &["x"], &["a"], vec![]),
        foreign,
        node("Add", &["a", "b"], &["c"], vec![]),
        node("Einsum", &["c"], &["d"], vec![]),
        node("Pow", &["x", "x"], &["e"], vec![]),
        node("Add", &["d", "e"], &["y"], vec![]),
    ];
    let error = imported(&model(&[2], nodes, vec![])).unwrap_err();
    let ImportError::Unsupported { nodes } = error else {
        panic!("{error}");
    };
    assert_eq!(
        nodes,
        [
            "LSTM \"LSTM of a\"",
            "com.microsoft.FusedMatMul \"FusedMatMul of b\"",
            "Einsum \"Einsum of d\"",
            "Pow \"Pow of e\": its exponent is no constant number"
        ]
    );
}

#[test]
fn extents_and_constants_are_bound() {
    let mut model = model(&[2, 3], vec![node("Add", &["x", "x"], &["y"], vec![])], vec![]);
    let graph = model.graph.as_mut().unwrap();
    let shape = graph.input[0]
        .r#type
        .as_mut()
        .unwrap()
        .tensor_type
        .as_mut()
        .unwrap()
        .shape
        .as_mut()
        .unwrap();
    shape.dim[0].dim_value = None;
    shape.dim[0].dim_param = Some("batch".into());
    let bytes = model.encode_to_vec();
    let error = import(&bytes, &Bindings::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "input \"x\" has the extent \"batch\", which is bound to no number"
    );
    let mut bindings = Bindings::default();
    bindings.extents.insert("batch".into(), 5);
    let imported = import(&bytes, &bindings).unwrap();
    assert_eq!(imported.graph.shape(imported.outputs["y"]), [5, 3]);
    bindings.constants.insert(
        "x".into(),
        HostTensor::new([4, 3], Elements::F32(vec![1.5; 12])).unwrap(),
    );
    let imported = import(&bytes, &bindings).unwrap();
    assert!(imported.inputs.is_empty());
    let y = imported.graph.constant_value(imported.outputs["y"]).unwrap();
    assert_eq!(y.as_f32().unwrap(), [3.0; 12]);
}

#[test]
fn what_was_exported_comes_back() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [2, 6]).unwrap();
    let ids = graph.input("ids", ElementType::I64, [3]).unwrap();
    let w = graph.input("w", ElementType::F32, [6]).unwrap();
    let normal = graph
        .one(
            crate::graph::Op::LayerNormalization { axis: 1, epsilon: 1e-3 },
            &[x, w, w],
        )
        .unwrap();
    let parts = graph.split(normal, 1, &[2, 4]).unwrap();
    let joined = graph.concat(&[parts[1], parts[0]], 1).unwrap();
    let rows = graph.gather(joined, ids, 0).unwrap();
    let y = graph.gemm(rows, x, None, false, true).unwrap();
    let y = graph.one(crate::graph::Op::Softmax { axis: 1 }, &[y]).unwrap();
    let y = graph.reduce_max(y, &[1], true).unwrap();
    let y = graph.one(crate::graph::Op::Expand { shape: vec![3, 4] }, &[y]).unwrap();
    let y = graph.transpose(y, &[1, 0]).unwrap();
    graph.rename(y, "y").unwrap();
    graph.output(y);
    let bytes = crate::graph::onnx::export(&graph);
    let imported = import(&bytes, &Bindings::default()).unwrap();
    let ops = |graph: &Graph| graph.nodes().iter().map(|node| node.op.clone()).collect::<Vec<_>>();
    assert_eq!(ops(&imported.graph), ops(&graph));
    let inputs = BTreeMap::from([
        (
            "x".to_owned(),
            HostTensor::new([2, 6], Elements::F32((0..12_u8).map(f32::from).collect())).unwrap(),
        ),
        ("ids".to_owned(), HostTensor::indices(vec![1, 0, 1])),
        (
            "w".to_owned(),
            HostTensor::vector(vec![0.5, 1.0, -1.0, 2.0, 0.25, 0.75]),
        ),
    ]);
    assert_eq!(
        evaluate(&imported.graph, &inputs, &[imported.outputs["y"]]),
        evaluate(&graph, &inputs, &[y])
    );
}

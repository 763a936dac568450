//! Files that lie. Every answer must be a typed error, soon, and without taking much memory.

use proptest::prelude::*;
use proptest::sample::Index;

use super::fixtures::{EXPORTED, exported};
use super::*;

fn refused(model: &ModelProto) -> String {
    imported(model).unwrap_err().to_string()
}

fn passing(nodes: Vec<NodeProto>, initializers: Vec<TensorProto>) -> ModelProto {
    model(&[2, 3], nodes, initializers)
}

#[test]
fn cycles_and_missing_values() {
    let cycle = vec![
        node("Add", &["x", "b"], &["a"], vec![]),
        node("Add", &["a", "x"], &["b"], vec![]),
    ];
    assert_eq!(
        refused(&passing(cycle, vec![])),
        "Add \"Add of a\" reads \"b\", which nothing before it makes"
    );
    let empty = passing(vec![], vec![]);
    assert_eq!(
        refused(&empty),
        "the graph's output reads \"y\", which nothing before it makes"
    );
    let twice = vec![
        node("Add", &["x", "x"], &["y"], vec![]),
        node("Add", &["x", "x"], &["y"], vec![]),
    ];
    assert_eq!(
        refused(&passing(twice, vec![])),
        "the name \"y\" is empty or given twice"
    );
}

#[test]
fn tensors_that_are_not_what_they_say() {
    let with = |tensor: TensorProto| refused(&passing(vec![node("Add", &["x", "w"], &["y"], vec![])], vec![tensor]));
    assert_eq!(
        with(floats("w", &[1 << 40, 1 << 40], &[1.0])),
        format!(
            "tensor \"w\" has the extents {:?}, the limit is {} elements",
            [1_u64 << 40; 2],
            1_u64 << 40
        )
    );
    assert_eq!(
        with(floats("w", &[1 << 39], &[1.0])),
        "tensor \"w\" a tensor of shape [549755813888] cannot have 1 elements"
    );
    assert_eq!(with(floats("w", &[-3], &[1.0])), "tensor \"w\" has the extent -3");
    let short = TensorProto {
        raw_data: Some(vec![0; 11]),
        ..floats("w", &[3], &[])
    };
    assert_eq!(with(short), "tensor \"w\" has the shape [3] and 11 bytes, not 12");
    let strange = TensorProto {
        data_type: Some(8),
        ..floats("w", &[3], &[])
    };
    assert_eq!(
        with(strange),
        "tensor \"w\" has elements of type 8, which are not known"
    );
    assert!(with(floats("w", &[0, 1 << 38], &[])).contains("has no elements"));
}

#[test]
fn absurd_extents() {
    let expand = |list: &[i64]| {
        let nodes = vec![node("Expand", &["x", "to"], &["y"], vec![])];
        let to = ints("to", &[i64::try_from(list.len()).unwrap()], list);
        refused(&model(&[1, 1], nodes, vec![to]))
    };
    assert!(expand(&[1 << 50, 1]).starts_with("elements of \"y\": the limit is"));
    assert!(expand(&[-1, 1]).contains("there is no extent -1"));
    let nodes = vec![node("ConstantOfShape", &["to"], &["y"], vec![])];
    let error = refused(&passing(nodes, vec![ints("to", &[2], &[1 << 30, 1 << 30])]));
    assert!(error.contains("the limit is 8388608"), "{error}");
    let range = vec![node("Range", &["from", "to", "by"], &["y"], vec![])];
    let numbers = vec![
        ints("from", &[], &[i64::MIN]),
        ints("to", &[], &[i64::MAX]),
        ints("by", &[], &[1]),
    ];
    assert!(refused(&passing(range, numbers)).contains("the limit is 8388608"));
}

#[test]
fn small_files_that_would_become_large() {
    // A million empty nodes in two bytes each, in a graph in a model.
    let mut nodes = [0x0a, 0x00].repeat(1_000_001);
    let mut bytes = vec![0x3a];
    prost::encoding::encode_varint(nodes.len() as u64, &mut bytes);
    bytes.append(&mut nodes);
    let error = Model::decode(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        "too many messages in the model: the limit is 1000000"
    );
    // Graphs in nodes in graphs.
    let mut nested = Vec::new();
    for _ in 0..200 {
        for key in [0x32, 0x2a, 0x0a] {
            let mut outer = vec![key];
            prost::encoding::encode_varint(nested.len() as u64, &mut outer);
            outer.append(&mut nested);
            nested = outer;
        }
    }
    let mut bytes = vec![0x3a];
    prost::encoding::encode_varint(nested.len() as u64, &mut bytes);
    bytes.append(&mut nested);
    assert!(
        Model::decode(&bytes)
            .unwrap_err()
            .to_string()
            .contains("nested too deeply")
    );
}

#[test]
fn files_beside_the_model_stay_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("model");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(
        inside.join("weights.bin"),
        [1.5_f32, -2.0, 0.25, 8.0].map(f32::to_le_bytes).concat(),
    )
    .unwrap();
    std::fs::write(folder.path().join("secret"), [0; 64]).unwrap();
    let read = |location: &str, offset: &str, length: &str| {
        let entry = |key: &str, value: &str| crate::graph::onnx::proto::StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        let weight = TensorProto {
            external_data: vec![
                entry("location", location),
                entry("offset", offset),
                entry("length", length),
            ],
            data_location: Some(1),
            ..floats("w", &[3], &[])
        };
        let imported = imported(&passing(vec![node("Add", &["x", "w"], &["y"], vec![])], vec![weight]))?;
        imported.weights["w"].tensor(&inside)
    };
    assert_eq!(
        read("weights.bin", "4", "12").unwrap().as_f32().unwrap(),
        [-2.0, 0.25, 8.0]
    );
    for location in ["../secret", "/etc/passwd", "a/../../secret", "", "C:\\x", "sub\\x"] {
        let error = read(location, "0", "12").unwrap_err().to_string();
        assert!(error.contains("not below the model's folder"), "{location}: {error}");
    }
    let error = read("weights.bin", "8", "12").unwrap_err().to_string();
    assert_eq!(error, "tensor \"w\" needs 12 bytes from 8 on, weights.bin has 16");
    assert!(read("weights.bin", "18446744073709551615", "12").is_err());
    assert!(
        read("weights.bin", "0", "16")
            .unwrap_err()
            .to_string()
            .contains("needs 12 bytes")
    );
    assert!(
        read("absent.bin", "0", "12")
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("secret"), inside.join("link")).unwrap();
        let error = read("link", "0", "12").unwrap_err().to_string();
        assert!(error.contains("leads out of the model's folder"), "{error}");
    }
}

/// Builds whatever comes; only a panic, or taking forever, is a failure.
fn survive(bytes: &[u8]) {
    if let Ok(model) = Model::decode(bytes) {
        let bindings = Bindings {
            extents: BTreeMap::from([("batch".to_owned(), 2), ("sequence".to_owned(), 3)]),
            ..Bindings::default()
        };
        if let Err(error) = model.build(&mut Graph::new(), &bindings) {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Operators that work with lists of numbers, given small and strange ones.
const OPERATORS: [&str; 30] = [
    "Reshape",
    "Expand",
    "Slice",
    "Gather",
    "GatherND",
    "Tile",
    "Squeeze",
    "Unsqueeze",
    "Split",
    "Concat",
    "Transpose",
    "Range",
    "ConstantOfShape",
    "Trilu",
    "CumSum",
    "ReduceSum",
    "ReduceMax",
    "ReduceMean",
    "Mod",
    "Div",
    "Pow",
    "Where",
    "Flatten",
    "MatMul",
    "Softmax",
    "LayerNormalization",
    "ScatterElements",
    "GatherElements",
    "Gemm",
    "Shape",
];

fn strange() -> impl Strategy<Value = i64> {
    prop_oneof![
        -4..5_i64,
        Just(i64::MIN),
        Just(i64::MAX),
        Just(1 << 33),
        Just(-(1 << 33))
    ]
}

fn list() -> impl Strategy<Value = (Vec<i64>, Vec<i64>)> {
    let shape = prop::collection::vec(0..3_i64, 0..3);
    shape.prop_flat_map(|shape| {
        let count = usize::try_from(shape.iter().product::<i64>()).unwrap();
        (Just(shape), prop::collection::vec(strange(), count))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        survive(&bytes);
    }

    #[test]
    fn damaged_models(which in 0..EXPORTED.len(), at in any::<Index>(), new in any::<[u8; 3]>(), cut in any::<Option<Index>>()) {
        let mut bytes = exported(EXPORTED[which]);
        for (offset, byte) in new.into_iter().enumerate() {
            let place = (at.index(bytes.len()) + offset) % bytes.len();
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        survive(&bytes);
    }

    #[test]
    fn strange_nodes(
        op in prop::sample::select(OPERATORS.to_vec()),
        lists in prop::collection::vec(list(), 1..5),
        use_x in any::<bool>(),
        attribute in prop::sample::select(vec!["axis", "axes", "perm", "split", "to", "start", "batch_dims", "num_outputs"]),
        number in strange(),
        numbers in prop::collection::vec(strange(), 0..4),
        outputs in 1..4_usize,
    ) {
        let initializers: Vec<TensorProto> =
            lists.iter().enumerate().map(|(index, (shape, list))| ints(&format!("list {index}"), shape, list)).collect();
        let mut inputs: Vec<&str> = initializers.iter().map(TensorProto::name).collect();
        if use_x {
            inputs.insert(0, "x");
        }
        let outputs: Vec<String> = (0..outputs).map(|index| if index == 0 { "y".into() } else { format!("y{index}") }).collect();
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let attribute = AttributeProto { ints: numbers, ..int(attribute, number) };
        survive(&passing(vec![node(op, &inputs, &outputs, vec![attribute])], initializers.clone()).encode_to_vec());
    }
}

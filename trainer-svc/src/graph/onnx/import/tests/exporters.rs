//! Models as PyTorch's exporters write them (`tools/fixtures/onnx_models.py` made them), and one from the registry.

use std::collections::BTreeMap;

use prost::Message as _;

use super::fixtures::{EXPORTED, exported, folder, real};
use super::*;
use crate::autodiff::gradients;
use crate::autodiff::reference::{distance, tensors};
use crate::session::testing::Compiled;

fn reference(prefix: &str) -> BTreeMap<String, HostTensor> {
    tensors(&folder().join("reference.safetensors"), prefix)
}

#[test]
fn decoding_and_encoding_gives_the_same_bytes() {
    let files = EXPORTED.map(|name| Some(exported(name)));
    for bytes in files.into_iter().chain([real()]).flatten() {
        let model = ModelProto::decode(bytes.as_slice()).unwrap();
        assert!(model.encode_to_vec() == bytes, "a field of the file is not known");
    }
}

#[test]
fn exported_decoders_give_their_logits_and_gradients() {
    for name in EXPORTED {
        let (model, _) = name.split_once('-').unwrap();
        let wanted = reference(model);
        let bindings = Bindings {
            extents: BTreeMap::from([("batch".to_owned(), 2), ("sequence".to_owned(), 7)]),
            ..Bindings::default()
        };
        let mut imported = import(&exported(name), &bindings).unwrap_or_else(|error| panic!("{name}: {error}"));
        let logits = imported.outputs["logits"];
        let seed = imported
            .graph
            .input("seed", ElementType::F32, imported.graph.shape(logits).to_vec())
            .unwrap();
        let gradients_wanted = reference(&format!("{model}/grad"));
        // A head that is tied in PyTorch is a weight of its own in some exports, transposed.
        let tied = model == "gpt2";
        let named: Vec<&String> = imported
            .weights
            .keys()
            .filter(|name| gradients_wanted.contains_key(*name) && !(tied && name.contains("wte")))
            .collect();
        assert!(named.len() >= 4, "{name}: {:?}", imported.weights.keys());
        let wrt: Vec<ValueId> = named.iter().map(|name| imported.graph.find(name).unwrap()).collect();
        let found = gradients(&mut imported.graph, &[(logits, seed)], &wrt).unwrap();
        let mut values = vec![logits];
        values.extend(found.into_iter().map(Option::unwrap));

        let mut inputs: BTreeMap<String, HostTensor> = BTreeMap::new();
        for (name, weight) in &imported.weights {
            inputs.insert(name.clone(), weight.tensor(&folder()).unwrap());
        }
        inputs.insert("input_ids".into(), wanted["ids"].clone());
        inputs.insert("attention_mask".into(), wanted["mask"].clone());
        inputs.insert("seed".into(), wanted["seed"].clone());
        let got = Compiled::new(&imported.graph, &values).run(&inputs);
        let off = distance(&got[0], &wanted["logits"]);
        assert!(off <= 1e-6, "{name}: logits are off by {off:e}");
        for (parameter, found) in named.iter().zip(&got[1..]) {
            let off = distance(found, &gradients_wanted[*parameter]);
            eprintln!("{name} {parameter}: {off:.1e}");
            assert!(off <= 5e-6, "{name}: the gradient of {parameter} is off by {off:e}");
        }
    }
}

#[test]
fn a_mask_that_is_always_the_same_is_folded_away() {
    for name in EXPORTED {
        let ones = HostTensor::new([3, 4], Elements::I64(vec![1; 12])).unwrap();
        let bindings = Bindings {
            shapes: BTreeMap::from([("input_ids".to_owned(), vec![3, 4])]),
            constants: BTreeMap::from([("attention_mask".to_owned(), ones)]),
            ..Bindings::default()
        };
        let imported = import(&exported(name), &bindings).unwrap();
        assert_eq!(imported.inputs.keys().collect::<Vec<_>>(), ["input_ids"]);
        let logits = imported.graph.shape(imported.outputs["logits"]);
        assert_eq!(logits, [3, 4, 23]);
        let small = imported
            .graph
            .constants()
            .all(|(_, tensor)| tensor.elements().len() <= 3 * 4 * 4 * 2);
        assert!(small, "{name}: a weight has become a constant");
    }
}

/// A sentence encoder of 17 million parameters: BERT's operators, and gradients of all of them.
#[test]
fn a_real_encoder_has_gradients() {
    let Some(bytes) = real() else {
        return;
    };
    let model = Model::decode(&bytes).unwrap();
    let shapes = model
        .inputs()
        .iter()
        .map(|input| (input.name.clone(), vec![2, 8]))
        .collect();
    let bindings = Bindings {
        shapes,
        ..Bindings::default()
    };
    let mut imported = import(&bytes, &bindings).unwrap();
    let (_, &output) = imported.outputs.first_key_value().unwrap();
    let seed = imported
        .graph
        .input("seed", ElementType::F32, imported.graph.shape(output).to_vec())
        .unwrap();
    let wrt: Vec<ValueId> = imported
        .weights
        .keys()
        .map(|name| imported.graph.find(name).unwrap())
        .collect();
    let found = gradients(&mut imported.graph, &[(output, seed)], &wrt).unwrap();
    let parameters: usize = imported
        .weights
        .values()
        .map(|weight| weight.shape().iter().product::<usize>())
        .sum();
    eprintln!("{parameters} parameters in {} weights", imported.weights.len());
    assert!(parameters > 17_000_000);
    let missing: Vec<&String> = imported
        .weights
        .keys()
        .zip(&found)
        .filter(|(_, gradient)| gradient.is_none())
        .map(|(name, _)| name)
        .collect();
    assert!(missing.iter().all(|name| name.contains("pooler")), "{missing:?}");
}

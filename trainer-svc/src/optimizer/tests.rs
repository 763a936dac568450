use std::collections::BTreeMap;

use super::*;
use crate::autodiff::reference::{distance, fixture};
use crate::session::testing::Compiled;
use crate::tensor::{ElementType, Elements, HostTensor};

const NAMES: [&str; 2] = ["bias", "matrix"];

/// A graph that takes gradients as inputs.
fn graph(clip: bool) -> (Graph, Updated) {
    let mut graph = Graph::new();
    let slots: Vec<Slot> = [("bias", vec![5]), ("matrix", vec![7, 5])]
        .into_iter()
        .map(|(name, shape)| Slot {
            name: name.to_owned(),
            parameter: graph.input(name, ElementType::F32, shape.clone()).unwrap(),
            gradient: graph
                .input(format!("gradient/{name}"), ElementType::F32, shape)
                .unwrap(),
            decays: name == "matrix",
        })
        .collect();
    let updated = update(&mut graph, &slots, &AdamW::default(), clip).unwrap();
    (graph, updated)
}

/// Step t of a tensor [steps, …].
fn row(tensor: &HostTensor, t: usize) -> HostTensor {
    let count: usize = tensor.shape()[1..].iter().product();
    let elements = tensor.as_f32().unwrap()[t * count..(t + 1) * count].to_vec();
    HostTensor::new(&tensor.shape()[1..], Elements::F32(elements)).unwrap()
}

#[expect(clippy::cast_possible_truncation, reason = "scalars of the graph are f32")]
fn scalars(step: i32, rate: f64, decay: f64, clip: f64) -> BTreeMap<String, HostTensor> {
    let settings = AdamW::default();
    [
        (LEARNING_RATE, rate),
        (WEIGHT_DECAY, decay),
        (BIAS_CORRECTION_1, 1.0 - settings.beta1.powi(step)),
        (BIAS_CORRECTION_2, 1.0 - settings.beta2.powi(step)),
        (CLIP_NORM, clip),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), HostTensor::scalar(value as f32)))
    .collect()
}

#[test]
fn ten_steps_agree_with_the_algorithm_in_f64() {
    let (graph, updated) = graph(true);
    let (start, gradients) = (fixture("adamw/in"), fixture("adamw/gradients"));
    let mut outputs: Vec<ValueId> = updated
        .next
        .iter()
        .flat_map(|next| [next.parameter, next.mean, next.square])
        .collect();
    outputs.push(updated.gradient_norm);
    let mut program = Compiled::new(&graph, &outputs);

    let mut state = start.clone();
    for name in NAMES {
        let zeros = HostTensor::zeros(start[name].shape());
        state.insert(format!("m/{name}"), zeros.clone());
        state.insert(format!("v/{name}"), zeros);
    }
    let norms = fixture("adamw")["norms"].as_f32().unwrap().to_vec();
    for (t, norm) in norms.iter().enumerate() {
        let mut inputs = scalars(i32::try_from(t).unwrap() + 1, 0.01, 0.1, 1.0);
        inputs.extend(state.clone());
        for name in NAMES {
            inputs.insert(format!("gradient/{name}"), row(&gradients[name], t));
        }
        let mut got = program.run(&inputs);
        let found = got.pop().unwrap().as_f32().unwrap()[0];
        assert!(
            (found - norm).abs() <= 1e-6 * norm,
            "step {t}: norm {found}, wanted {norm}"
        );
        let mut got = got.into_iter();
        for name in NAMES {
            for stem in ["", "m/", "v/"] {
                state.insert(format!("{stem}{name}"), got.next().unwrap());
            }
        }
    }
    for name in NAMES {
        for (kind, stem) in [("value", ""), ("m", "m/"), ("v", "v/")] {
            let off = distance(
                &state[&format!("{stem}{name}")],
                &fixture(&format!("adamw/{kind}"))[name],
            );
            assert!(off <= 1e-6, "{kind} of {name} is off by {off:e}");
        }
    }
}

#[test]
fn every_update_waits_for_every_gradient() {
    for clip in [false, true] {
        let (graph, updated) = graph(clip);
        let mut depends: Vec<Vec<ValueId>> = vec![Vec::new(); graph.value_count()];
        for node in graph.nodes() {
            let mut all: Vec<ValueId> = node.inputs.clone();
            all.extend(node.inputs.iter().flat_map(|input| depends[input.0].clone()));
            for output in &node.outputs {
                depends[output.0].clone_from(&all);
            }
        }
        for next in &updated.next {
            for name in NAMES {
                let gradient = graph.find(&format!("gradient/{name}")).unwrap();
                assert!(depends[next.parameter.0].contains(&gradient));
            }
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_spoils_all_parameters_alike() {
    let (graph, updated) = graph(true);
    let mut inputs = scalars(1, 0.1, 0.0, 1.0);
    for (name, value) in [("bias", f32::NAN), ("matrix", 1.0)] {
        let shape: &[usize] = if name == "bias" { &[5] } else { &[7, 5] };
        inputs.insert(
            format!("gradient/{name}"),
            HostTensor::new(shape, Elements::F32(vec![value; shape.iter().product()])).unwrap(),
        );
        for stem in ["", "m/", "v/"] {
            inputs.insert(format!("{stem}{name}"), HostTensor::zeros(shape));
        }
    }
    let got = Compiled::new(&graph, &[updated.gradient_norm, updated.next[1].parameter]).run(&inputs);
    assert!(got[0].as_f32().unwrap()[0].is_nan());
    assert!(got[1].as_f32().unwrap().iter().all(|x| x.is_nan()));
}

#[test]
fn sums_of_gradients_go_from_output_to_input() {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [2]).unwrap();
    let gradient = graph.scale(x, 2.0).unwrap();
    let next = accumulate(&mut graph, &[("x".to_owned(), gradient)]).unwrap();
    assert_eq!(graph.value(next[0]).name, "next/sum/x");
    let mut program = Compiled::new(&graph, &next);
    let mut inputs: BTreeMap<String, HostTensor> = BTreeMap::new();
    inputs.insert("x".into(), HostTensor::vector(vec![1.0, -3.0]));
    inputs.insert("sum/x".into(), HostTensor::zeros([2]));
    for _ in 0..3 {
        let sum = program.run(&inputs).remove(0);
        inputs.insert("sum/x".into(), sum);
    }
    assert_eq!(inputs["sum/x"].as_f32().unwrap(), [6.0, -18.0]);
}

#[test]
fn a_gradient_of_another_shape_and_no_slots_at_all_are_refused() {
    let mut graph = Graph::new();
    let parameter = graph.input("p", ElementType::F32, [2]).unwrap();
    let gradient = graph.input("g", ElementType::F32, [3]).unwrap();
    let slot = Slot {
        name: "p".into(),
        parameter,
        gradient,
        decays: false,
    };
    let error = update(&mut graph, &[slot], &AdamW::default(), true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("p F32 [2], gradient F32 [3]"), "{error}");
    let error = update(&mut graph, &[], &AdamW::default(), true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("nothing to update"), "{error}");
}

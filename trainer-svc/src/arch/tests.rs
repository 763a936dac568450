//! Layers by themselves, and limits. Whole models are compared with transformers in tests/architectures.rs.

use serde_json::{Value, json};

use super::layers::{Activation, causal_mask};
use super::{ArchError, Decoder, Forward, Unadapted, decoder};
use crate::graph::{Graph, ValueId};
use crate::session::{DeviceOptions, Runtime, StopToken};
use crate::tensor::{ElementType, HostTensor};

fn built(config: &Value) -> Box<dyn Decoder> {
    decoder(config.as_object().unwrap()).unwrap()
}

fn gpt2() -> Box<dyn Decoder> {
    built(&json!({"model_type": "gpt2", "vocab_size": 10, "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 2}))
}

/// Builds a forward graph for ids of this shape behind a prompt of this shape.
fn forward(
    decoder: &dyn Decoder,
    ids: (ElementType, &[usize]),
    prompt: Option<&[usize]>,
) -> Result<Vec<usize>, ArchError> {
    let mut graph = Graph::new();
    let ids = graph.input("ids", ids.0, ids.1).unwrap();
    let prompt = prompt.map(|shape| graph.input("prompt", ElementType::F32, shape).unwrap());
    let mut unadapted = Unadapted;
    let logits = decoder.forward(&mut Forward::new(&mut graph, &mut unadapted), ids, prompt)?;
    Ok(graph.shape(logits).to_vec())
}

#[test]
fn a_prompt_takes_positions_but_gives_no_logits() {
    let ids: (ElementType, &[usize]) = (ElementType::I64, &[3, 6]);
    assert_eq!(forward(gpt2().as_ref(), ids, Some(&[2, 4])), Ok(vec![18, 10]));
    let too_long = ArchError::TooManyPositions { positions: 9, limit: 8 };
    assert_eq!(forward(gpt2().as_ref(), ids, Some(&[3, 4])), Err(too_long));
}

#[test]
fn ids_and_prompts_of_other_shapes_are_refused() {
    let decoder = gpt2();
    let refused =
        |element, ids: &[usize], prompt: Option<&[usize]>| forward(decoder.as_ref(), (element, ids), prompt).is_err();
    assert!(refused(ElementType::I64, &[6], None));
    assert!(refused(ElementType::F32, &[1, 6], None));
    assert!(refused(ElementType::I64, &[1, 6], Some(&[2, 5])));
    assert!(refused(ElementType::I64, &[1, 6], Some(&[8])));
    assert!(refused(ElementType::I64, &[1, usize::MAX], Some(&[2, 4])));
}

#[test]
fn a_window_hides_what_lies_further_back() {
    let mut graph = Graph::new();
    let rows = |graph: &Graph, mask: ValueId| -> Vec<String> {
        let elements = graph.constant_value(mask).unwrap().as_f32().unwrap();
        let seen = |&x: &f32| if x < 0.0 { '.' } else { 'x' };
        elements.chunks(4).map(|row| row.iter().map(seen).collect()).collect()
    };
    let whole = causal_mask(&mut graph, 4, None).unwrap();
    assert_eq!(rows(&graph, whole), ["x...", "xx..", "xxx.", "xxxx"]);
    let band = causal_mask(&mut graph, 4, Some(2)).unwrap();
    assert_eq!(rows(&graph, band), ["x...", "xx..", ".xx.", "..xx"]);
    let wide = causal_mask(&mut graph, 4, Some(4)).unwrap();
    assert_eq!(rows(&graph, wide), rows(&graph, whole));
}

#[test]
fn activations_are_their_formulas() {
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let device = runtime.open("cpu", &DeviceOptions::default()).unwrap();
    let inputs = [-6.0_f32, -1.7, -0.3, 0.0, 0.2, 1.1, 5.0];
    let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
    let cases: [(Activation, &dyn Fn(f64) -> f64); 4] = [
        (Activation::QuickGelu, &|x| x * logistic(1.702 * x)),
        (Activation::Silu, &|x| x * logistic(x)),
        (Activation::Tanh, &f64::tanh),
        (Activation::GeluTanh, &|x| {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }),
    ];
    for (activation, formula) in cases {
        let mut graph = Graph::new();
        let x = graph.input("x", ElementType::F32, [inputs.len()]).unwrap();
        let y = activation.apply(&mut graph, x).unwrap();
        graph.rename(y, "y").unwrap();
        graph.output(y);
        let x = device.upload(&HostTensor::vector(inputs.to_vec())).unwrap();
        let y = device.zeros(ElementType::F32, &[inputs.len()]).unwrap();
        let mut program = device.compile(&graph).unwrap();
        program.run(&[("x", &x)], &[("y", &y)], &StopToken::new()).unwrap();
        let found = device.download(&y).unwrap();
        for (x, y) in inputs.iter().zip(found.as_f32().unwrap()) {
            let wanted = formula(f64::from(*x));
            assert!(
                (f64::from(*y) - wanted).abs() < 1e-6,
                "{activation:?}({x}) = {y}, not {wanted}"
            );
        }
    }
}

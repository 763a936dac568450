//! Training steps of tiny models on a device, for comparing devices.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use trainer_svc::arch;
use trainer_svc::autodiff;
use trainer_svc::graph::Graph;
use trainer_svc::method::{GraphShape, INPUT_IDS, Lora, Method};
use trainer_svc::optimizer::{self, AdamW, Slot};
use trainer_svc::session::{Buffer, Device, StopToken};
use trainer_svc::tensor::{ElementType, Elements, HostTensor};

pub(crate) fn tensor(shape: &[usize], seed: usize) -> HostTensor {
    let count: usize = shape.iter().product();
    let element = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    HostTensor::new(shape, Elements::F32((0..count).map(element).collect())).unwrap()
}

/// Weights: those of norms near 1, the others small.
fn start(shape: &[usize], seed: usize) -> HostTensor {
    let noise = tensor(shape, seed);
    let offset = if shape.len() == 1 { 1.0 } else { 0.0 };
    let elements = noise.as_f32().unwrap().iter().map(|x| 0.2 * x + offset).collect();
    HostTensor::new(shape, Elements::F32(elements)).unwrap()
}

/// A training step as the trainer has it: forward, loss, backward, clipping, `AdamW`.
pub(crate) struct Step {
    graph: Graph,
    frozen: Vec<(String, Vec<usize>)>,
    trainable: Vec<(String, Vec<usize>)>,
}

const ROWS: usize = 2;
const LENGTH: usize = 12;
const VOCABULARY: usize = 50;

pub(crate) fn step(config: &Value, method: &Method) -> Step {
    let decoder = arch::decoder(config.as_object().unwrap()).unwrap();
    let shape = GraphShape {
        rows: ROWS,
        length: LENGTH,
        training: true,
    };
    let mut tuned = method.build(decoder.as_ref(), shape).unwrap();
    let graph = &mut tuned.graph;
    let targets = graph.input("targets", ElementType::I64, [ROWS * LENGTH]).unwrap();
    let weights = graph.input("weights", ElementType::F32, [ROWS * LENGTH]).unwrap();
    let loss = autodiff::cross_entropy(graph, tuned.logits, targets, weights).unwrap();
    let wrt: Vec<_> = tuned.trainable.iter().map(|parameter| parameter.value).collect();
    let gradients = autodiff::gradients(graph, &[(tuned.logits, loss.logits_cotangent)], &wrt).unwrap();
    let pairs = tuned.trainable.iter().zip(gradients);
    let slots: Vec<Slot> = pairs
        .map(|(parameter, gradient)| Slot {
            name: parameter.name.clone(),
            parameter: parameter.value,
            gradient: gradient.unwrap(),
            decays: parameter.decays,
        })
        .collect();
    // The bias of the keys has no gradient but rounding errors. A small ε would divide them by themselves.
    let settings = AdamW {
        epsilon: 1e-4,
        ..AdamW::default()
    };
    optimizer::update(graph, &slots, &settings, true).unwrap();
    graph.rename(loss.loss, "loss").unwrap();
    graph.output(loss.loss);
    Step {
        graph: tuned.graph,
        frozen: tuned.frozen.into_iter().map(|p| (p.name, p.shape)).collect(),
        trainable: tuned.trainable.into_iter().map(|p| (p.name, p.shape)).collect(),
    }
}

/// What a step takes that stays the same over the steps.
fn fixed(device: &Device, step: &Step) -> Vec<(String, Buffer)> {
    let ids = |seed: i64| (0..24).map(|i| (i * 17 + seed) * 7 % 50).collect();
    let input = HostTensor::new([ROWS, LENGTH], Elements::I64(ids(1))).unwrap();
    let weights = HostTensor::vector(vec![1.0 / 24.0; ROWS * LENGTH]);
    let mut all = vec![
        (INPUT_IDS.to_owned(), input),
        ("targets".to_owned(), HostTensor::indices(ids(2))),
        ("weights".to_owned(), weights),
        (optimizer::LEARNING_RATE.to_owned(), HostTensor::scalar(1e-2)),
        (optimizer::WEIGHT_DECAY.to_owned(), HostTensor::scalar(0.1)),
        (optimizer::BIAS_CORRECTION_1.to_owned(), HostTensor::scalar(0.5)),
        (optimizer::BIAS_CORRECTION_2.to_owned(), HostTensor::scalar(0.01)),
        (optimizer::CLIP_NORM.to_owned(), HostTensor::scalar(1.0)),
    ];
    for (seed, (name, shape)) in (100..).zip(&step.frozen) {
        all.push((name.clone(), start(shape, seed)));
    }
    let upload = |(name, tensor): (String, HostTensor)| (name, device.upload(&tensor).unwrap());
    all.into_iter().map(upload).collect()
}

/// Losses, and trained weights by name, of some steps; the state stays on the device.
pub(crate) fn train(device: &Device, step: &Step, steps: usize) -> (Vec<f32>, Vec<(String, HostTensor)>) {
    let mut program = device.compile(&step.graph).unwrap();
    let fixed = fixed(device, step);
    let mut state = Vec::new();
    for (seed, (name, shape)) in (1000..).zip(&step.trainable) {
        state.push((name.clone(), device.upload(&start(shape, seed)).unwrap()));
        for stem in ["m", "v"] {
            state.push((format!("{stem}/{name}"), device.zeros(ElementType::F32, shape).unwrap()));
        }
    }
    let other = |(name, buffer): &(String, Buffer)| {
        let zeros = device.zeros(ElementType::F32, buffer.shape()).unwrap();
        (name.clone(), zeros)
    };
    let mut next: Vec<_> = state.iter().map(other).collect();
    let names: Vec<String> = state.iter().map(|(name, _)| format!("next/{name}")).collect();
    let loss = device.zeros(ElementType::F32, &[]).unwrap();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let inputs: Vec<_> = fixed
            .iter()
            .chain(&state)
            .map(|(name, buffer)| (name.as_str(), buffer))
            .collect();
        let mut outputs: Vec<_> = names
            .iter()
            .map(String::as_str)
            .zip(next.iter().map(|(_, buffer)| buffer))
            .collect();
        outputs.push(("loss", &loss));
        program.run(&inputs, &outputs, &StopToken::new()).unwrap();
        losses.push(device.download(&loss).unwrap().as_f32().unwrap()[0]);
        std::mem::swap(&mut state, &mut next);
    }
    let trained = state.into_iter().step_by(3);
    (
        losses,
        trained
            .map(|(name, buffer)| (name, device.download(&buffer).unwrap()))
            .collect(),
    )
}

fn gpt2() -> Value {
    json!({"model_type": "gpt2", "vocab_size": VOCABULARY, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 4})
}

fn llama() -> Value {
    json!({
        "model_type": "llama", "vocab_size": VOCABULARY, "max_position_embeddings": 16, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    })
}

/// ‖a − b‖ / ‖b‖
fn distance(a: &HostTensor, b: &HostTensor) -> f64 {
    let pairs = || a.as_f32().unwrap().iter().zip(b.as_f32().unwrap());
    let apart: f64 = pairs().map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = pairs().map(|(_, b)| f64::from(*b).powi(2)).sum();
    (apart / size).sqrt()
}

/// Models and methods that are compared.
pub(crate) fn cases() -> [(Value, Method); 2] {
    let lora = Method::Lora(Lora {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        targets: Vec::new(),
    });
    [(gpt2(), Method::Full), (llama(), lora)]
}

/// How far the weights that two devices trained are apart, at most.
pub(crate) fn apart(found: &[(String, HostTensor)], wanted: &[(String, HostTensor)]) -> f64 {
    let pairs = found.iter().zip(wanted);
    pairs.map(|((_, a), (_, b))| distance(a, b)).fold(0.0, f64::max)
}

//! Devices other than the CPU: `make test-devices` fetches what they need and runs these tests, WebGPU over a software GPU.
//!
//! Without a device, or without its library, they skip and say so.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, and why they skip"
)]

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use trainer_svc::arch;
use trainer_svc::autodiff;
use trainer_svc::graph::{Graph, Op};
use trainer_svc::method::{GraphShape, INPUT_IDS, Lora, Method};
use trainer_svc::optimizer::{self, AdamW, Slot};
use trainer_svc::session::{Buffer, Device, DeviceOptions, Precision, Runtime, SessionError, StopToken};
use trainer_svc::tensor::{ElementType, Elements, HostTensor};

/// Set by `make test-devices`: then the devices must be there.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, not a setting of the product"
)]
fn must_run() -> bool {
    std::env::var_os("FINEPICK_TEST_DEVICES").is_some()
}

/// A WebGPU device serves one at a time.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn device(name: &str, precision: Precision) -> Option<Device> {
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let options = DeviceOptions {
        threads: Some(2),
        precision,
        ..DeviceOptions::default()
    };
    match runtime.open(name, &options) {
        Ok(device) => Some(device),
        Err(error) if must_run() && name == "webgpu" => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn tensor(shape: &[usize], seed: usize) -> HostTensor {
    let count: usize = shape.iter().product();
    let element = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    HostTensor::new(shape, Elements::F32((0..count).map(element).collect())).unwrap()
}

#[test]
fn tensors_go_to_the_device_and_come_back() {
    let _turn = turn();
    let Some(device) = device("webgpu", Precision::F32) else {
        return;
    };
    assert_eq!(device.info().provider, "WebGpuExecutionProvider");
    for tensor in [
        tensor(&[33, 65], 1),
        HostTensor::scalar(-2.5),
        HostTensor::indices(vec![1, -2, 1 << 31, 7, 0]),
    ] {
        let buffer = device.upload(&tensor).unwrap();
        assert_eq!(device.download(&buffer).unwrap(), tensor);
        let zeros = device.zeros(tensor.element_type(), tensor.shape()).unwrap();
        assert_ne!(device.download(&zeros).unwrap(), tensor);
        device.write(&zeros, &tensor).unwrap();
        assert_eq!(device.download(&zeros).unwrap(), tensor);
    }
}

#[test]
fn a_running_program_stops() {
    let _turn = turn();
    let Some(device) = device("webgpu", Precision::F32) else {
        return;
    };
    let width = 256;
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [width, width]).unwrap();
    let mut value = x;
    for _ in 0..2000 {
        let product = graph.matmul(value, x).unwrap();
        value = graph.one(Op::Tanh, &[product]).unwrap();
    }
    graph.rename(value, "y").unwrap();
    graph.output(value);
    let mut program = device.compile(&graph).unwrap();
    let x = device.upload(&tensor(&[width, width], 1)).unwrap();
    let y = device.zeros(ElementType::F32, &[width, width]).unwrap();
    let stop = StopToken::new();
    let stopper = thread::spawn({
        let stop = stop.clone();
        move || {
            thread::sleep(Duration::from_millis(100));
            stop.stop();
        }
    });
    let outcome = program.run(&[("x", &x)], &[("y", &y)], &stop);
    stopper.join().unwrap();
    assert_eq!(outcome, Err(SessionError::Stopped));
}

/// Weights: those of norms near 1, the others small.
fn start(shape: &[usize], seed: usize) -> HostTensor {
    let noise = tensor(shape, seed);
    let offset = if shape.len() == 1 { 1.0 } else { 0.0 };
    let elements = noise.as_f32().unwrap().iter().map(|x| 0.2 * x + offset).collect();
    HostTensor::new(shape, Elements::F32(elements)).unwrap()
}

/// A training step as the trainer has it: forward, loss, backward, clipping, `AdamW`.
struct Step {
    graph: Graph,
    frozen: Vec<(String, Vec<usize>)>,
    trainable: Vec<(String, Vec<usize>)>,
}

const ROWS: usize = 2;
const LENGTH: usize = 12;
const VOCABULARY: usize = 50;

fn step(config: &Value, method: &Method) -> Step {
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
fn train(device: &Device, step: &Step, steps: usize) -> (Vec<f32>, Vec<(String, HostTensor)>) {
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

#[test]
fn eight_training_steps_whole_on_the_device_agree_with_the_cpu() {
    let _turn = turn();
    let cpu = device("cpu", Precision::F32).unwrap();
    let lora = Method::Lora(Lora {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        targets: Vec::new(),
    });
    for (config, method) in [(gpt2(), Method::Full), (llama(), lora)] {
        let step = step(&config, &method);
        let (losses, wanted) = train(&cpu, &step, 8);
        assert!(losses[7] < losses[0], "{losses:?}");
        for (name, precision, bound) in [
            ("webgpu", Precision::F32, 7e-6),
            ("openvino", Precision::F32, 7e-6),
            ("openvino", Precision::Bf16, 3e-2),
        ] {
            let Some(device) = device(name, precision) else {
                continue;
            };
            let (_, found) = train(&device, &step, 8);
            let apart = found.iter().zip(&wanted).map(|((_, a), (_, b))| distance(a, b));
            let apart = apart.fold(0.0, f64::max);
            let method = method.name();
            eprintln!(
                "{name} {precision:?} {}, {method}: weights at most {apart:.1e} from those of the CPU",
                config["model_type"]
            );
            assert!(apart <= bound, "{name} {precision:?}: {apart}");
        }
    }
}

#[test]
fn only_one_can_have_a_webgpu_device() {
    let _turn = turn();
    let Some(first) = device("webgpu", Precision::F32) else {
        return;
    };
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let open = || runtime.open("webgpu", &DeviceOptions::default());
    let buffer = first.upload(&tensor(&[4], 1)).unwrap();
    let refused = open().unwrap_err();
    assert!(matches!(refused, SessionError::Unavailable { .. }), "{refused}");
    // What lies in its memory keeps it open.
    drop(first);
    assert_eq!(open().unwrap_err(), refused);
    drop(buffer);
    open().unwrap();
}

//! Speed and memory of whole training steps: forward, loss, backward, clipping, `AdamW`.
//!
//! `cargo bench -p trainer-svc --bench step -- [--arch gpt2|llama] [--method full|lora] [--device cpu] [--bf16] [--threads 2] [--steps 20]
//! [--layers 6] [--width 384] [--vocabulary 8192] [--batch 8] [--length 128] [--in-place] [--profile PREFIX] [--save FILE]`
//! prints one line of JSON. The defaults are the model that `bench/trainer/pytorch_step.py` runs. `--save` writes the step as ONNX.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark: it prints, and stops where something is wrong"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use trainer_svc::arch;
use trainer_svc::autodiff;
use trainer_svc::graph::{Graph, onnx};
use trainer_svc::method::{GraphShape, INPUT_IDS, Lora, Method, Tuned};
use trainer_svc::optimizer::{self, AdamW, Slot};
use trainer_svc::session::{Buffer, Device, DeviceOptions, Precision, Program, Runtime, StopToken};
use trainer_svc::tensor::{ElementType, Elements, HostTensor};

/// What is measured.
#[derive(Debug)]
struct Options {
    values: BTreeMap<String, String>,
}

impl Options {
    fn parse() -> Self {
        let mut values = BTreeMap::new();
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            if let Some(name) = word.strip_prefix("--") {
                let value = words.next_if(|next| !next.starts_with("--")).unwrap_or_default();
                values.insert(name.to_owned(), value);
            }
        }
        Self { values }
    }

    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.values.get(name).map_or(default, String::as_str)
    }

    fn count(&self, name: &str, default: usize) -> usize {
        self.values.get(name).map_or(default, |value| value.parse().unwrap())
    }

    fn flag(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    fn decoder(&self) -> Box<dyn arch::Decoder> {
        let (width, layers) = (self.count("width", 384), self.count("layers", 6));
        let (vocabulary, length) = (self.count("vocabulary", 8192), self.count("length", 128));
        let heads = width / 64;
        let config = match self.text("arch", "gpt2") {
            "llama" => json!({
                "model_type": "llama", "vocab_size": vocabulary, "max_position_embeddings": length, "hidden_size": width,
                "intermediate_size": 8 * width / 3, "num_hidden_layers": layers, "num_attention_heads": heads,
                "tie_word_embeddings": true,
            }),
            _ => json!({
                "model_type": "gpt2", "vocab_size": vocabulary, "n_positions": length, "n_embd": width,
                "n_layer": layers, "n_head": heads,
            }),
        };
        arch::decoder(config.as_object().unwrap()).unwrap()
    }

    fn method(&self) -> Method {
        match self.text("method", "full") {
            "lora" => Method::Lora(Lora {
                rank: 8,
                alpha: 16.0,
                dropout: 0.0,
                targets: Vec::new(),
            }),
            _ => Method::Full,
        }
    }
}

/// A training step as a graph.
struct Step {
    graph: Graph,
    frozen: Vec<(String, Vec<usize>)>,
    trainable: Vec<(String, Vec<usize>)>,
    rows: usize,
}

fn build(options: &Options) -> Step {
    let shape = GraphShape {
        rows: options.count("batch", 8),
        length: options.count("length", 128),
        training: true,
    };
    let rows = shape.rows * shape.length;
    let Tuned {
        mut graph,
        logits,
        frozen,
        trainable,
        ..
    } = options.method().build(options.decoder().as_ref(), shape).unwrap();
    let targets = graph.input("targets", ElementType::I64, [rows]).unwrap();
    let weights = graph.input("weights", ElementType::F32, [rows]).unwrap();
    let loss = autodiff::cross_entropy(&mut graph, logits, targets, weights).unwrap();
    let wrt: Vec<_> = trainable.iter().map(|parameter| parameter.value).collect();
    let gradients = autodiff::gradients(&mut graph, &[(logits, loss.logits_cotangent)], &wrt).unwrap();
    let slots: Vec<Slot> = trainable
        .iter()
        .zip(&gradients)
        .map(|(parameter, gradient)| Slot {
            name: parameter.name.clone(),
            parameter: parameter.value,
            gradient: gradient.unwrap(),
            decays: parameter.decays,
        })
        .collect();
    optimizer::update(&mut graph, &slots, &AdamW::default(), true).unwrap();
    graph.rename(loss.loss, "loss").unwrap();
    graph.output(loss.loss);
    Step {
        graph,
        frozen: frozen
            .into_iter()
            .map(|parameter| (parameter.name, parameter.shape))
            .collect(),
        trainable: trainable
            .into_iter()
            .map(|parameter| (parameter.name, parameter.shape))
            .collect(),
        rows,
    }
}

/// Numbers that look random, in [−1, 1).
fn noise(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

fn start(name: &str, shape: &[usize], seed: u64) -> HostTensor {
    let count = shape.iter().product();
    let (scale, offset) = match (shape.len(), name.ends_with("weight")) {
        (1, true) => (0.0, 1.0),
        (1, false) => (0.0, 0.0),
        _ => (0.035, 0.0),
    };
    let elements = noise(count, seed).map(|x| x * scale + offset).collect();
    HostTensor::new(shape, Elements::F32(elements)).unwrap()
}

/// Everything a step reads and writes, on the device.
struct Bound {
    fixed: Vec<(String, Buffer)>,
    /// Two sets of state, in turns; in place they are the same.
    state: [Vec<(String, Buffer)>; 2],
    loss: Buffer,
    norm: Buffer,
}

fn upload(device: &Device, step: &Step, options: &Options) -> Bound {
    let scalar = |value| device.upload(&HostTensor::scalar(value)).unwrap();
    let vocabulary = options.count("vocabulary", 8192);
    let ids = |seed| -> Vec<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "token ids")]
        let id = |x: f32| ((x + 1.0) * 0.5 * vocabulary as f32) as i64;
        noise(step.rows, seed).map(id).collect()
    };
    let (batch, length) = (options.count("batch", 8), options.count("length", 128));
    let input = HostTensor::new([batch, length], Elements::I64(ids(1))).unwrap();
    let weights = HostTensor::vector(vec![1.0 / step.rows as f32; step.rows]);
    let mut fixed = vec![
        (INPUT_IDS.to_owned(), device.upload(&input).unwrap()),
        (
            "targets".to_owned(),
            device.upload(&HostTensor::indices(ids(2))).unwrap(),
        ),
        ("weights".to_owned(), device.upload(&weights).unwrap()),
        (optimizer::LEARNING_RATE.to_owned(), scalar(1e-4)),
        (optimizer::WEIGHT_DECAY.to_owned(), scalar(0.1)),
        (optimizer::BIAS_CORRECTION_1.to_owned(), scalar(0.5)),
        (optimizer::BIAS_CORRECTION_2.to_owned(), scalar(0.5)),
        (optimizer::CLIP_NORM.to_owned(), scalar(1.0)),
    ];
    for (seed, (name, shape)) in (100..).zip(&step.frozen) {
        fixed.push((name.clone(), device.upload(&start(name, shape, seed)).unwrap()));
    }
    let (mut state, mut next) = (Vec::new(), Vec::new());
    for (seed, (name, shape)) in (1000..).zip(&step.trainable) {
        let zeros = || device.zeros(ElementType::F32, shape).unwrap();
        state.push((name.clone(), device.upload(&start(name, shape, seed)).unwrap()));
        state.push((format!("m/{name}"), zeros()));
        state.push((format!("v/{name}"), zeros()));
    }
    for (name, buffer) in &state {
        let other = if options.flag("in-place") {
            buffer.clone()
        } else {
            device.zeros(ElementType::F32, buffer.shape()).unwrap()
        };
        next.push((name.clone(), other));
    }
    Bound {
        fixed,
        state: [state, next],
        loss: device.zeros(ElementType::F32, &[]).unwrap(),
        norm: device.zeros(ElementType::F32, &[]).unwrap(),
    }
}

fn run(program: &mut Program, bound: &Bound, turn: usize) {
    let [from, to] = [&bound.state[turn % 2], &bound.state[(turn + 1) % 2]];
    let inputs: Vec<(&str, &Buffer)> = bound
        .fixed
        .iter()
        .chain(from)
        .map(|(name, buffer)| (name.as_str(), buffer))
        .collect();
    let names: Vec<String> = to.iter().map(|(name, _)| format!("next/{name}")).collect();
    let mut outputs: Vec<(&str, &Buffer)> = names
        .iter()
        .map(String::as_str)
        .zip(to.iter().map(|(_, b)| b))
        .collect();
    outputs.push(("loss", &bound.loss));
    outputs.push((optimizer::GRADIENT_NORM, &bound.norm));
    program.run(&inputs, &outputs, &StopToken::new()).unwrap();
}

/// Present and highest resident memory in MiB, where Linux tells.
fn memory() -> (usize, usize) {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let read = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|line| line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<usize>().ok())
            .unwrap_or(0)
            / 1024
    };
    (read("VmRSS:"), read("VmHWM:"))
}

/// Seconds of processor time that all threads have had, where Linux tells; in steps of 10 ms. Other work on the machine matters little.
fn processor() -> f64 {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

fn main() {
    let options = Options::parse();
    let wanted = options.text("device", "cpu");
    let runtime = Runtime::load(&Runtime::locate_for(None, [wanted]).unwrap()).unwrap();
    let profile = options.values.get("profile").map(PathBuf::from);
    let device_options = DeviceOptions {
        threads: Some(options.count("threads", 2)),
        precision: if options.flag("bf16") {
            Precision::Bf16
        } else {
            Precision::F32
        },
        allow_cpu_fallback: false,
        spinning: options.flag("spinning"),
        profile: profile.clone(),
    };
    let device = runtime.open(wanted, &device_options).unwrap();

    let begin = Instant::now();
    let step = build(&options);
    let built = begin.elapsed();
    if let Some(path) = options.values.get("save") {
        fs::write(path, onnx::export(&step.graph)).unwrap();
    }
    let pairs: Vec<(String, String)> = step
        .trainable
        .iter()
        .flat_map(|(name, _)| ["", "m/", "v/"].map(|stem| (format!("{stem}{name}"), format!("next/{stem}{name}"))))
        .collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let mut program = if options.flag("in-place") {
        device.compile_in_place(&step.graph, &pairs).unwrap()
    } else {
        device.compile(&step.graph).unwrap()
    };
    let loaded = begin.elapsed();
    let bound = upload(&device, &step, &options);

    let steps = options.count("steps", 20);
    let (mut seconds, mut losses, mut resident) = (Vec::new(), Vec::new(), Vec::new());
    let mut used = 0.0;
    for turn in 0..steps + 2 {
        if turn == 2 {
            used = processor();
        }
        let begin = Instant::now();
        run(&mut program, &bound, turn);
        // The first ones allocate.
        if turn >= 2 {
            seconds.push(begin.elapsed().as_secs_f64());
        }
        losses.push(device.download(&bound.loss).unwrap().as_f32().unwrap()[0]);
        resident.push(memory().0);
    }
    let used = (processor() - used) / steps as f64;
    if profile.is_some() {
        program.end_profile().unwrap();
    }
    seconds.sort_by(f64::total_cmp);
    let per_second = |time: f64| (step.rows as f64 / time).round();
    let weights = |list: &[(String, Vec<usize>)]| -> usize {
        list.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
    };
    println!(
        "{}",
        json!({
            "device": device.info().name, "provider": device.info().provider,
            "trainable": weights(&step.trainable), "frozen": weights(&step.frozen), "nodes": step.graph.nodes().len(),
            "tokens_per_second": {"median": per_second(seconds[seconds.len() / 2]), "best": per_second(seconds[0])},
            "seconds": {"build": built.as_secs_f64(), "load": loaded.saturating_sub(built).as_secs_f64(), "step": seconds[seconds.len() / 2], "processor": used},
            "memory_mib": {"first": resident[1], "last": resident.last(), "peak": memory().1},
            "loss": {"first": losses[0], "last": losses.last()},
        })
    );
}

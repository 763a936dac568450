//! Resident memory over many steps. A file of its own: what other tests take would count.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;

use serde_json::json;
use trainer_svc::graph::Graph;
use trainer_svc::session::{Buffer, Device, DeviceOptions, Program, Runtime, StopToken};
use trainer_svc::tensor::{ElementType, HostTensor};
use trainer_svc::{arch, autodiff, method, optimizer};

const ROWS: usize = 4;
const LENGTH: usize = 32;

/// A training step of a small decoder; its inputs and outputs are found by name.
fn step() -> Graph {
    let config = json!({
        "model_type": "gpt2", "vocab_size": 512, "n_positions": 32, "n_embd": 64, "n_layer": 2, "n_head": 2,
    });
    let decoder = arch::decoder(config.as_object().unwrap()).unwrap();
    let shape = method::GraphShape {
        rows: ROWS,
        length: LENGTH,
        training: true,
    };
    let mut tuned = method::Method::Full.build(decoder.as_ref(), shape).unwrap();
    let graph = &mut tuned.graph;
    let targets = graph.input("targets", ElementType::I64, [ROWS * LENGTH]).unwrap();
    let weights = graph.input("weights", ElementType::F32, [ROWS * LENGTH]).unwrap();
    let loss = autodiff::cross_entropy(graph, tuned.logits, targets, weights).unwrap();
    let wrt: Vec<_> = tuned.trainable.iter().map(|parameter| parameter.value).collect();
    let gradients = autodiff::gradients(graph, &[(tuned.logits, loss.logits_cotangent)], &wrt).unwrap();
    let pairs = tuned.trainable.iter().zip(gradients);
    let slots: Vec<_> = pairs
        .map(|(parameter, gradient)| optimizer::Slot {
            name: parameter.name.clone(),
            parameter: parameter.value,
            gradient: gradient.unwrap(),
            decays: parameter.decays,
        })
        .collect();
    optimizer::update(graph, &slots, &optimizer::AdamW::default(), true).unwrap();
    tuned.graph
}

/// Buffers with the names they are bound to.
type Named = Vec<(String, Buffer)>;

fn buffers(device: &Device, program: &Program) -> (Named, Named) {
    let zeros = |signature: &trainer_svc::session::Signature| {
        let shape: Vec<usize> = signature.shape.iter().map(|extent| extent.unwrap()).collect();
        (signature.name.clone(), device.zeros(signature.element, &shape).unwrap())
    };
    (
        program.inputs().iter().map(zeros).collect(),
        program.outputs().iter().map(zeros).collect(),
    )
}

/// Resident bytes of this process, where Linux tells.
fn resident() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[test]
fn memory_stays_flat_over_steps_uploads_and_changing_buffers() {
    let Some(_) = resident() else {
        eprintln!("skipped: the resident memory is not known here");
        return;
    };
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    let options = DeviceOptions {
        threads: Some(2),
        ..DeviceOptions::default()
    };
    let device = runtime.open("cpu", &options).unwrap();
    let mut program = device.compile(&step()).unwrap();
    let (inputs, outputs) = buffers(&device, &program);
    let mut run = |steps: usize| {
        for step in 0..steps {
            // Token ids come anew with every step; now and then all outputs do.
            let ids: Vec<i64> = (0..128).map(|i| (i * 31 + 7) % 512).collect();
            let ids = device.upload(&HostTensor::new([ROWS, LENGTH], trainer_svc::tensor::Elements::I64(ids)).unwrap());
            let ids = ids.unwrap();
            let fresh = (step % 8 == 7).then(|| buffers(&device, &program).1);
            let outputs = fresh.as_ref().unwrap_or(&outputs);
            let given: Vec<_> = inputs
                .iter()
                .map(|(name, buffer)| (name.as_str(), if name == method::INPUT_IDS { &ids } else { buffer }))
                .collect();
            let wanted: Vec<_> = outputs.iter().map(|(name, buffer)| (name.as_str(), buffer)).collect();
            program.run(&given, &wanted, &StopToken::new()).unwrap();
        }
    };
    run(40);
    let before = resident().unwrap();
    run(200);
    let grown = resident().unwrap().saturating_sub(before);
    // The state alone has 3.6 MB.
    assert!(grown < 3 << 20, "200 steps took {grown} bytes");
}

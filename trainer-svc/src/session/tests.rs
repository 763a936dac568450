//! Programs on the CPU device: binding, stopping, in-place updates, determinism.

use std::fs;
use std::thread;
use std::time::Duration;

use super::{Device, DeviceOptions, Runtime, SessionError, StopToken};
use crate::graph::{Graph, ValueId};
use crate::tensor::{ElementType, Elements, HostTensor};

fn runtime() -> Runtime {
    Runtime::load(&Runtime::locate(None).unwrap()).unwrap()
}

fn cpu() -> Device {
    let options = DeviceOptions {
        threads: Some(2),
        ..DeviceOptions::default()
    };
    runtime().open("cpu", &options).unwrap()
}

fn matrix(rows: usize, columns: usize, seed: usize) -> HostTensor {
    let count = rows * columns;
    let element = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0;
    HostTensor::new([rows, columns], Elements::F32((0..count).map(element).collect())).unwrap()
}

/// One step of gradient descent on ½‖xW − y‖², with a scale that depends on the whole gradient, as a clipped step has it.
fn descent(rows: usize, width: usize) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [rows, width]).unwrap();
    let y = graph.input("y", ElementType::F32, [rows, width]).unwrap();
    let w = graph.input("w", ElementType::F32, [width, width]).unwrap();
    let rate = graph.input("rate", ElementType::F32, []).unwrap();
    let predicted = graph.gemm(x, w, None, false, false).unwrap();
    let error = graph.sub(predicted, y).unwrap();
    let square = graph.mul(error, error).unwrap();
    let loss = graph.reduce_mean(square, &[0, 1], false).unwrap();
    let gradient = graph.gemm(x, error, None, true, false).unwrap();
    let square = graph.mul(gradient, gradient).unwrap();
    let norm = graph.reduce_sum(square, &[0, 1], false).unwrap();
    let one = graph.scalar_like(norm, 1.0);
    let norm = graph.add(norm, one).unwrap();
    let scale = graph.div(rate, norm).unwrap();
    let change = graph.mul(gradient, scale).unwrap();
    let next = graph.sub(w, change).unwrap();
    outputs(&mut graph, &[(loss, "loss"), (next, "next/w")]);
    graph
}

fn outputs(graph: &mut Graph, named: &[(ValueId, &str)]) {
    for (value, name) in named {
        graph.rename(*value, *name).unwrap();
        graph.output(*value);
    }
}

/// A graph that takes seconds: a chain of matrix products.
fn long(width: usize, products: usize) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [width, width]).unwrap();
    let mut value = x;
    for _ in 0..products {
        let product = graph.matmul(value, x).unwrap();
        value = graph.one(crate::graph::Op::Tanh, &[product]).unwrap();
    }
    outputs(&mut graph, &[(value, "y")]);
    graph
}

/// Losses and weights of some steps. `in_place`: one buffer for the weights, else two in turns.
fn descend(device: &Device, steps: usize, in_place: bool) -> (Vec<f32>, HostTensor) {
    let (rows, width) = (48, 96);
    let graph = descent(rows, width);
    let mut program = if in_place {
        device.compile_in_place(&graph, &[("w", "next/w")]).unwrap()
    } else {
        device.compile(&graph).unwrap()
    };
    let x = device.upload(&matrix(rows, width, 1)).unwrap();
    let y = device.upload(&matrix(rows, width, 2)).unwrap();
    let mut w = device.upload(&matrix(width, width, 3)).unwrap();
    let mut next = if in_place {
        w.clone()
    } else {
        device.zeros(ElementType::F32, &[width, width]).unwrap()
    };
    let rate = device.upload(&HostTensor::scalar(0.0)).unwrap();
    let loss = device.zeros(ElementType::F32, &[]).unwrap();
    let mut losses = Vec::new();
    for step in 0..steps {
        device
            .write(&rate, &HostTensor::scalar(300.0 / (1.0 + step as f32)))
            .unwrap();
        program
            .run(
                &[("x", &x), ("y", &y), ("w", &w), ("rate", &rate)],
                &[("loss", &loss), ("next/w", &next)],
                &StopToken::new(),
            )
            .unwrap();
        losses.push(device.download(&loss).unwrap().as_f32().unwrap()[0]);
        std::mem::swap(&mut w, &mut next);
    }
    (losses, device.download(&w).unwrap())
}

#[test]
fn two_buffers_in_turns_or_one_in_place_give_the_same_bits_every_time() {
    let device = cpu();
    let (losses, weights) = descend(&device, 12, false);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    for _ in 0..5 {
        assert_eq!(descend(&device, 12, true), (losses.clone(), weights.clone()));
        assert_eq!(descend(&device, 12, false), (losses.clone(), weights.clone()));
    }
}

#[test]
fn tensors_come_back_as_they_went() {
    let device = cpu();
    let tensors = [
        HostTensor::scalar(-1.5),
        HostTensor::new([2, 0, 3], Elements::F32(Vec::new())).unwrap(),
        HostTensor::new([2, 2], Elements::F64(vec![1.0, f64::MIN_POSITIVE, -0.0, 4.0])).unwrap(),
        HostTensor::indices(vec![i64::MIN, 0, i64::MAX]),
        HostTensor::new([1, 3], Elements::I32(vec![1, -2, 3])).unwrap(),
        HostTensor::new([3], Elements::Bool(vec![true, false, true])).unwrap(),
    ];
    for tensor in tensors {
        let buffer = device.upload(&tensor).unwrap();
        assert_eq!(buffer.bytes(), tensor.elements().len() * tensor.element_type().size());
        assert_eq!(device.download(&buffer).unwrap(), tensor);
        let zeros = device.zeros(tensor.element_type(), tensor.shape()).unwrap();
        assert!(!zeros.is_same(&buffer) && buffer.is_same(&buffer.clone()));
        device.write(&zeros, &tensor).unwrap();
        assert_eq!(device.download(&zeros).unwrap(), tensor);
    }
    let buffer = device.zeros(ElementType::F32, &[2]).unwrap();
    let error = device.write(&buffer, &HostTensor::indices(vec![1, 2])).unwrap_err();
    assert!(matches!(error, SessionError::Binding { .. }), "{error}");
}

#[test]
fn what_is_bound_wrongly_is_named() {
    let device = cpu();
    let mut program = device.compile(&descent(4, 4)).unwrap();
    let square = device.zeros(ElementType::F32, &[4, 4]).unwrap();
    let other = device.zeros(ElementType::F32, &[4, 4]).unwrap();
    let scalar = device.zeros(ElementType::F32, &[]).unwrap();
    let integers = device.zeros(ElementType::I64, &[4, 4]).unwrap();
    let all = [("x", &square), ("y", &square), ("w", &square), ("rate", &scalar)];
    let with = |name: &'static str, buffer| {
        all.map(|(known, given)| if known == name { (known, buffer) } else { (known, given) })
    };
    let stop = StopToken::new();
    for (inputs, outputs, name, words) in [
        (all.to_vec(), vec![], "", "no output"),
        (all[..3].to_vec(), vec![("next/w", &other)], "rate", "not given"),
        ([&all[..], &[("z", &square)]].concat(), vec![], "z", "unknown"),
        ([&all[..], &all[..1]].concat(), vec![], "x", "twice"),
        (
            with("y", &scalar).to_vec(),
            vec![],
            "y",
            "F32 [] is given for F32 [4, 4]",
        ),
        (with("y", &integers).to_vec(), vec![], "y", "I64"),
        (all.to_vec(), vec![("loss", &other)], "loss", "is given for F32 []"),
        (all.to_vec(), vec![("next/w", &square)], "next/w", "overwrite"),
    ] {
        let error = program.run(&inputs, &outputs, &stop).unwrap_err();
        assert!(
            matches!(&error, SessionError::Binding { name: found, .. } if found == name),
            "{error}"
        );
        assert!(error.to_string().contains(words), "{error}");
    }
    // Outputs may be left out, also one that was asked for before.
    program.run(&all, &[("next/w", &other)], &stop).unwrap();
    program
        .run(&all, &[("loss", &device.zeros(ElementType::F32, &[]).unwrap())], &stop)
        .unwrap();
}

#[test]
fn a_reader_that_may_come_after_the_writer_forbids_writing_in_place() {
    let mut graph = Graph::new();
    let w = graph.input("w", ElementType::F32, [4, 4]).unwrap();
    let next = graph.scale(w, 0.5).unwrap();
    let flat = graph.reshape(w, &[16]).unwrap();
    let view = graph.reduce_sum(flat, &[0], false).unwrap();
    let turned = graph.transpose(w, &[1, 0]).unwrap();
    let product = graph.matmul(w, w).unwrap();
    outputs(
        &mut graph,
        &[
            (next, "next/w"),
            (view, "sum"),
            (turned, "turned"),
            (product, "product"),
        ],
    );
    let device = cpu();
    for (output, words) in [
        ("next/w", "may read later"),
        ("product", "may read later"),
        ("nothing", "no such"),
        ("sum", "type"),
    ] {
        let error = device.compile_in_place(&graph, &[("w", output)]).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }

    // Alone, it can be scaled in place but not transposed.
    for (op, allowed) in [("scale", true), ("transpose", false)] {
        let mut graph = Graph::new();
        let w = graph.input("w", ElementType::F32, [4, 4]).unwrap();
        let next = if op == "scale" {
            graph.scale(w, 0.5)
        } else {
            graph.transpose(w, &[1, 0])
        }
        .unwrap();
        outputs(&mut graph, &[(next, "next/w")]);
        assert_eq!(
            device.compile_in_place(&graph, &[("w", "next/w")]).is_ok(),
            allowed,
            "{op}"
        );
    }
}

#[test]
fn a_running_program_stops_and_can_run_again() {
    let device = cpu();
    let (width, products) = (512, 3000);
    let mut program = device.compile(&long(width, products)).unwrap();
    let x = device.upload(&matrix(width, width, 1)).unwrap();
    let y = device.zeros(ElementType::F32, &[width, width]).unwrap();
    let stop = StopToken::new();
    let stopper = thread::spawn({
        let stop = stop.clone();
        move || {
            thread::sleep(Duration::from_millis(200));
            stop.stop();
        }
    });
    let error = program.run(&[("x", &x)], &[("y", &y)], &stop).unwrap_err();
    stopper.join().unwrap();
    assert_eq!(error, SessionError::Stopped);
    let again = program.run(&[("x", &x)], &[("y", &y)], &stop).unwrap_err();
    assert_eq!(again, SessionError::Stopped);

    let mut short = device.compile(&descent(4, 4)).unwrap();
    let square = device.zeros(ElementType::F32, &[4, 4]).unwrap();
    let scalar = device.zeros(ElementType::F32, &[]).unwrap();
    let inputs = [("x", &square), ("y", &square), ("w", &square), ("rate", &scalar)];
    let loss = device.zeros(ElementType::F32, &[]).unwrap();
    let outputs = [("loss", &loss)];
    assert_eq!(short.run(&inputs, &outputs, &stop).unwrap_err(), SessionError::Stopped);
    short.run(&inputs, &outputs, &StopToken::new()).unwrap();
}

#[test]
fn devices_are_listed_and_unknown_names_refused() {
    let runtime = runtime();
    let devices = runtime.devices();
    assert_eq!(devices[0].name, "cpu");
    assert_eq!(devices[0].provider, "CPUExecutionProvider");
    let auto = runtime.open("auto", &DeviceOptions::default()).unwrap();
    assert!(devices.contains(auto.info()), "{:?}", auto.info());
    for device in devices {
        eprintln!("{device:?}");
    }
    let error = runtime.open("tpu", &DeviceOptions::default()).unwrap_err();
    assert!(
        matches!(&error, SessionError::UnknownDevice { known, .. } if known.contains("cpu")),
        "{error}"
    );
}

#[test]
fn a_device_that_is_not_there_is_refused_with_what_is_missing() {
    let runtime = runtime();
    if runtime.devices().iter().any(|device| device.name == "cuda:9") {
        eprintln!("skipped: there are ten CUDA devices");
        return;
    }
    let error = runtime.open("cuda:9", &DeviceOptions::default()).unwrap_err();
    assert!(
        matches!(&error, SessionError::Unavailable { device, .. } if device == "cuda:9"),
        "{error:?}"
    );
    assert!(error.to_string().to_lowercase().contains("cuda"), "{error}");
}

#[test]
fn what_is_no_library_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    fs::write(&text, "no library").unwrap();
    // The right one may have been loaded by another test: then this is another one.
    let error = Runtime::load(&text).unwrap_err();
    assert!(
        matches!(error, SessionError::Load { .. } | SessionError::AnotherLibrary { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("libonnxruntime.so"), "{error}");
    let error = Runtime::load(&folder.path().join("missing.so")).unwrap_err();
    assert!(matches!(error, SessionError::Load { .. }), "{error}");
    let again = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    assert_eq!(again.origin(), runtime().origin());
}

#[test]
fn bytes_that_are_no_model_are_refused() {
    let device = cpu();
    for bytes in [&b""[..], b"no model", &[0x08, 0x0a, 0xff, 0xff, 0xff, 0xff]] {
        let error = device.compile_bytes(bytes).unwrap_err();
        assert!(matches!(error, SessionError::Compile { .. }), "{error}");
    }
}

#[test]
fn more_memory_than_there_is_is_an_error() {
    let device = cpu();
    for shape in [&[1 << 50][..], &[usize::MAX, usize::MAX]] {
        let error = device.zeros(ElementType::F32, shape).unwrap_err();
        assert!(matches!(error, SessionError::OutOfMemory { .. }), "{error:?}");
    }
}

#[test]
fn messages_lose_the_place_in_foreign_sources() {
    for (message, wanted) in [
        (
            "/src/bridge.cc:2043 Get() [ONNXRuntimeError] : 1 : FAIL : Failed to load x : y",
            "Failed to load x : y",
        ),
        (" Load model from bytes failed ", "Load model from bytes failed"),
        ("[ONNXRuntimeError] : odd", "[ONNXRuntimeError] : odd"),
    ] {
        assert_eq!(super::plain(message), wanted);
    }
}

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

use trainer_svc::graph::{Graph, Op};
use trainer_svc::session::{Device, DeviceOptions, Precision, Runtime, SessionError, StopToken};
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

/// One step of gradient descent on ½‖tanh(x·w)·u − y‖², in both matrices.
fn descent(rows: usize, width: usize) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", ElementType::F32, [rows, width]).unwrap();
    let y = graph.input("y", ElementType::F32, [rows, width]).unwrap();
    let w = graph.input("w", ElementType::F32, [width, width]).unwrap();
    let u = graph.input("u", ElementType::F32, [width, width]).unwrap();
    let rate = graph.input("rate", ElementType::F32, []).unwrap();
    let hidden = graph.gemm(x, w, None, false, false).unwrap();
    let hidden = graph.one(Op::Tanh, &[hidden]).unwrap();
    let predicted = graph.gemm(hidden, u, None, false, false).unwrap();
    let error = graph.sub(predicted, y).unwrap();
    let square = graph.mul(error, error).unwrap();
    let loss = graph.reduce_mean(square, &[0, 1], false).unwrap();
    let u_gradient = graph.gemm(hidden, error, None, true, false).unwrap();
    let back = graph.gemm(error, u, None, false, true).unwrap();
    let square = graph.mul(hidden, hidden).unwrap();
    let one = graph.scalar_like(square, 1.0);
    let slope = graph.sub(one, square).unwrap();
    let back = graph.mul(back, slope).unwrap();
    let w_gradient = graph.gemm(x, back, None, true, false).unwrap();
    for (name, parameter, gradient) in [("next/w", w, w_gradient), ("next/u", u, u_gradient)] {
        let change = graph.mul(gradient, rate).unwrap();
        let next = graph.sub(parameter, change).unwrap();
        graph.rename(next, name).unwrap();
        graph.output(next);
    }
    graph.rename(loss, "loss").unwrap();
    graph.output(loss);
    graph
}

/// Losses and parameters of some steps, the state staying on the device.
fn descend(device: &Device, steps: usize) -> (Vec<f32>, [HostTensor; 2]) {
    let (rows, width) = (32, 64);
    let mut program = device.compile(&descent(rows, width)).unwrap();
    let upload = |shape: &[usize], seed| device.upload(&tensor(shape, seed)).unwrap();
    let (x, y) = (upload(&[rows, width], 1), upload(&[rows, width], 2));
    let mut state = [upload(&[width, width], 3), upload(&[width, width], 4)];
    let mut next = state
        .each_ref()
        .map(|buffer| device.zeros(ElementType::F32, buffer.shape()).unwrap());
    let rate = device.upload(&HostTensor::scalar(3e-4)).unwrap();
    let loss = device.zeros(ElementType::F32, &[]).unwrap();
    let mut losses = Vec::new();
    for _ in 0..steps {
        program
            .run(
                &[
                    ("x", &x),
                    ("y", &y),
                    ("w", &state[0]),
                    ("u", &state[1]),
                    ("rate", &rate),
                ],
                &[("loss", &loss), ("next/w", &next[0]), ("next/u", &next[1])],
                &StopToken::new(),
            )
            .unwrap();
        losses.push(device.download(&loss).unwrap().as_f32().unwrap()[0]);
        std::mem::swap(&mut state, &mut next);
    }
    (losses, state.each_ref().map(|buffer| device.download(buffer).unwrap()))
}

/// ‖a − b‖ / ‖b‖
fn distance(a: &HostTensor, b: &HostTensor) -> f64 {
    let pairs = || a.as_f32().unwrap().iter().zip(b.as_f32().unwrap());
    let apart: f64 = pairs().map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let size: f64 = pairs().map(|(_, b)| f64::from(*b).powi(2)).sum();
    (apart / size).sqrt()
}

#[test]
fn eight_steps_whole_on_the_device_agree_with_the_cpu() {
    let _turn = turn();
    let cpu = device("cpu", Precision::F32).unwrap();
    let (losses, wanted) = descend(&cpu, 8);
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    for (name, precision, bound) in [
        ("webgpu", Precision::F32, 7e-6),
        ("openvino", Precision::F32, 7e-6),
        ("openvino", Precision::Bf16, 3e-3),
    ] {
        let Some(device) = device(name, precision) else {
            continue;
        };
        let (_, found) = descend(&device, 8);
        for (found, wanted) in found.iter().zip(&wanted) {
            let distance = distance(found, wanted);
            eprintln!("{name} {precision:?}: parameters {distance:.1e} from those of the CPU");
            assert!(distance <= bound, "{name} {precision:?}: {distance}");
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

//! Devices other than the CPU: `make test-devices` fetches what they need and runs these tests, WebGPU over a software GPU.
//!
//! Without a device, or without its library, they skip and say so.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, and why they skip"
)]

#[path = "common/steps.rs"]
mod steps;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use steps::tensor;
use trainer_svc::graph::{Graph, Op};
use trainer_svc::session::{Device, DeviceOptions, Precision, Runtime, SessionError, StopToken};
use trainer_svc::tensor::{ElementType, HostTensor};

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

#[test]
fn eight_training_steps_whole_on_the_device_agree_with_the_cpu() {
    let _turn = turn();
    let cpu = device("cpu", Precision::F32).unwrap();
    for (config, method) in steps::cases() {
        let step = steps::step(&config, &method);
        let (losses, wanted) = steps::train(&cpu, &step, 8);
        assert!(losses[7] < losses[0], "{losses:?}");
        let Some(device) = device("webgpu", Precision::F32) else {
            continue;
        };
        let (_, found) = steps::train(&device, &step, 8);
        let apart = steps::apart(&found, &wanted);
        let (model, method) = (&config["model_type"], method.name());
        eprintln!("webgpu {model}, {method}: weights at most {apart:.1e} from those of the CPU");
        assert!(apart <= 7e-6, "{apart}");
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

//! The device `openvino`, by the library that has the provider: `make test-devices` fetches it.
//!
//! In a process of its own, because a process loads one library. Without it the tests skip and say so.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests, and why they skip"
)]

#[path = "common/steps.rs"]
mod steps;

use trainer_svc::session::{Device, DeviceOptions, Precision, Runtime, SessionError};

/// Set by `make test-devices`: then the device must be there. There are libraries for Linux on x86-64.
#[expect(
    clippy::disallowed_methods,
    reason = "a switch of this test, not a setting of the product"
)]
fn must_run() -> bool {
    std::env::var_os("FINEPICK_TEST_DEVICES").is_some() && cfg!(all(target_os = "linux", target_arch = "x86_64"))
}

fn runtime() -> Runtime {
    Runtime::load(&Runtime::locate_for(None, ["openvino"]).unwrap()).unwrap()
}

fn device(name: &str, precision: Precision) -> Option<Device> {
    let options = DeviceOptions {
        threads: Some(2),
        precision,
        ..DeviceOptions::default()
    };
    match runtime().open(name, &options) {
        Ok(device) => Some(device),
        Err(error) if must_run() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

#[test]
fn eight_training_steps_whole_on_openvino_agree_with_the_cpu() {
    let cpu = device("cpu", Precision::F32).unwrap();
    for (config, method) in steps::cases() {
        let step = steps::step(&config, &method);
        let (losses, wanted) = steps::train(&cpu, &step, 8);
        assert!(losses[7] < losses[0], "{losses:?}");
        for (precision, bound) in [(Precision::F32, 7e-6), (Precision::Bf16, 5e-2)] {
            let Some(device) = device("openvino", precision) else {
                return;
            };
            assert_eq!(device.info().provider, "OpenVINOExecutionProvider");
            let (_, found) = steps::train(&device, &step, 8);
            let apart = steps::apart(&found, &wanted);
            let (model, method) = (&config["model_type"], method.name());
            eprintln!("{precision:?} {model}, {method}: weights at most {apart:.1e} from those of the CPU");
            assert!(apart <= bound, "{precision:?}: {apart}");
        }
    }
}

#[test]
fn it_is_listed_where_the_library_has_it_and_else_the_error_says_what_to_fetch() {
    let runtime = runtime();
    let is_listed = runtime.devices().iter().any(|device| device.name == "openvino");
    match runtime.open("openvino", &DeviceOptions::default()) {
        Ok(_) => assert!(is_listed),
        Err(SessionError::Unavailable { message, .. }) => {
            assert!(!is_listed, "{message}");
            assert!(message.contains("make setup ORT=openvino"), "{message}");
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_cpu_does_not_pretend_to_another_precision() {
    let options = DeviceOptions {
        precision: Precision::Bf16,
        ..DeviceOptions::default()
    };
    let refused = runtime().open("cpu", &options).unwrap_err();
    assert!(refused.to_string().contains("f32 only"), "{refused}");
}

//! An exported model: `model.onnx`, as a folder is opened, with graphs of two shapes.

#![no_main]

use finepick_fuzz::{halves, with_files};
use libfuzzer_sys::fuzz_target;
use trainer_svc::arch;
use trainer_svc::graph::onnx::{Bindings, import};
use trainer_svc::method::{GraphShape, Method};

fuzz_target!(|data: &[u8]| {
    let _ = import(data, &Bindings::default());
    let (model, weights) = halves(data);
    let mut files = vec![("model.onnx", model)];
    files.extend(weights.map(|weights| ("weights.bin", weights)));
    with_files(&files, |folder| {
        let Ok(model) = arch::open(folder) else { return };
        for parameter in &model.parameters {
            let _ = model.checkpoint.read(&parameter.name, &parameter.shape);
        }
        let shape = GraphShape {
            rows: 2,
            length: 3,
            training: true,
        };
        let _ = Method::Full.build(model.decoder.as_ref(), shape);
    });
});

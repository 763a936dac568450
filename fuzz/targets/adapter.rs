//! An adapter as PEFT writes it: its configuration and its weights.

#![no_main]

use finepick_fuzz::{halves, with_files};
use libfuzzer_sys::fuzz_target;
use trainer_svc::artifact::read_adapter;

fuzz_target!(|data: &[u8]| {
    let (config, weights) = halves(data);
    let mut files = vec![("adapter_config.json", config)];
    files.extend(weights.map(|weights| ("adapter_model.safetensors", weights)));
    with_files(&files, |folder| {
        let _ = read_adapter(folder);
    });
});

//! A folder's weights: one file of safetensors, or an index and a shard.

#![no_main]

use finepick_fuzz::{halves, with_files};
use libfuzzer_sys::fuzz_target;
use trainer_svc::arch;
use trainer_svc::checkpoint::Checkpoint;

const CONFIG: &[u8] = include_bytes!("../../trainer-svc/tests/fixtures/models/gpt2/config.json");

fuzz_target!(|data: &[u8]| {
    let files: Vec<(&str, &[u8])> = match halves(data) {
        (whole, None) => vec![("config.json", CONFIG), ("model.safetensors", whole)],
        (index, Some(shard)) => vec![
            ("config.json", CONFIG),
            ("model.safetensors.index.json", index),
            ("model-00001-of-00001.safetensors", shard),
        ],
    };
    with_files(&files, |folder| {
        let _ = arch::open(folder);
        let Ok(checkpoint) = Checkpoint::open(folder) else { return };
        for (name, stored) in checkpoint.tensors() {
            let _ = checkpoint.read(name, &stored.shape);
        }
    });
});

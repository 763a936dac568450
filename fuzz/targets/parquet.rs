//! A Parquet file.

#![no_main]

use finepick_fuzz::{let_caught_panics_be, with_files};
use libfuzzer_sys::fuzz_target;
use trainer_svc::dataset::{Examples, ReadOptions};

fuzz_target!(init: let_caught_panics_be(), |data: &[u8]| {
    with_files(&[("data.parquet", data)], |folder| {
        let options = ReadOptions {
            text_bytes: 1 << 20,
            examples: 10_000,
            ..ReadOptions::default()
        };
        if let Ok(examples) = Examples::read(&folder.join("data.parquet"), &options) {
            assert!(examples.len() <= 10_000);
        }
    });
});

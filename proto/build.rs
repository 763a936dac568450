//! Compiles the contracts with protox: no protoc is needed.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo tells a build script its paths in the environment"
)]

use std::path::PathBuf;

use prost::Message as _;

const PROTOS: [&str; 13] = [
    "finepick/types/v1/curve.proto",
    "finepick/types/v1/error.proto",
    "finepick/types/v1/money.proto",
    "finepick/types/v1/warning.proto",
    "finepick/fitter/v1/law.proto",
    "finepick/fitter/v1/fit.proto",
    "finepick/fitter/v1/fitter_service.proto",
    "finepick/selector/v1/constraints.proto",
    "finepick/selector/v1/policy.proto",
    "finepick/selector/v1/selection.proto",
    "finepick/selector/v1/selector_service.proto",
    "finepick/trainer/v1/run.proto",
    "finepick/trainer/v1/trainer_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=finepick");
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let descriptors = protox::Compiler::new([root])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(PROTOS)?
        .file_descriptor_set();

    tonic_prost_build::configure().compile_fds(descriptors.clone())?;

    // Reflection needs no comments: without them the set is a third of the size.
    let mut served = descriptors;
    for file in &mut served.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join("finepick.descriptors.bin"), served.encode_to_vec())?;
    Ok(())
}

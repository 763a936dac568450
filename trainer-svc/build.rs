//! Compiles the ONNX messages; no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=onnx/onnx.proto");
    let files = protox::compile(["onnx/onnx.proto"], ["onnx"])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}

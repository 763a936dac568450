//! What a model is, in 32 bytes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::HubError;
use super::files::{INDEX, SINGLE, SMALL_FILES, indexed, no_weights};
use crate::dataset::digest_text;

/// Bytes of an index.
const INDEX_LIMIT: u64 = 64 << 20;

/// `sha256:…` over names and SHA-256 of the files of a model that count: configuration, tokenizer, and the weights (the single
/// file, or those that the index names, with the index; or ONNX files). Other files, and the folder's place, do not count.
///
/// # Errors
/// A file cannot be read, the index is malformed, or there are no weights.
pub fn digest_model(dir: &Path) -> Result<String, HubError> {
    let mut hash = Sha256::new();
    for name in names(dir)? {
        let path = dir.join(&name);
        let metadata = std::fs::metadata(&path).map_err(|error| io_error(&path, &error))?;
        if !metadata.is_file() {
            // Opening a pipe would wait for a writer.
            return Err(io_error(&path, &io::Error::other("not a regular file")));
        }
        let mut file = File::open(&path).map_err(|error| io_error(&path, &error))?;
        let mut content = Hasher(Sha256::new());
        io::copy(&mut file, &mut content).map_err(|error| io_error(&path, &error))?;
        hash.update(name.as_bytes());
        hash.update(b"\0");
        hash.update(digest_text(content.0).as_bytes());
        hash.update(b"\n");
    }
    Ok(digest_text(hash))
}

/// The files that count, sorted.
fn names(dir: &Path) -> Result<BTreeSet<String>, HubError> {
    let what = dir.display().to_string();
    let mut present = BTreeSet::new();
    for entry in std::fs::read_dir(dir).map_err(|error| io_error(dir, &error))? {
        let entry = entry.map_err(|error| io_error(dir, &error))?;
        if entry.path().is_file() {
            present.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    let mut names: BTreeSet<String> = SMALL_FILES
        .iter()
        .filter(|name| present.contains(**name))
        .map(|name| (*name).to_owned())
        .collect();
    let onnx = |name: &&String| {
        [".onnx", ".onnx_data", ".onnx.data"]
            .iter()
            .any(|ending| name.ends_with(ending))
    };
    if present.contains(SINGLE) {
        names.insert(SINGLE.to_owned());
    } else if present.contains(INDEX) {
        let path = dir.join(INDEX);
        let mut index = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(INDEX_LIMIT).read_to_end(&mut index))
            .map_err(|error| io_error(&path, &error))?;
        names.extend(indexed(&index, &what)?);
        names.insert(INDEX.to_owned());
    } else if present.iter().any(|name| onnx(&name)) {
        names.extend(present.iter().filter(onnx).cloned());
    } else {
        return Err(no_weights(present.iter().map(String::as_str), &what));
    }
    Ok(names)
}

struct Hasher(Sha256);

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> HubError {
    HubError::Io {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn what_counts_and_what_does_not() {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("config.json", "{}");
        write("pytorch_model.bin", "x");
        let error = digest_model(dir.path()).unwrap_err();
        assert!(error.to_string().contains("pytorch_model.bin is not read"), "{error}");
        write("model.safetensors", "weights");
        let digest = digest_model(dir.path()).unwrap();
        write("README.md", "text");
        write("other.safetensors", "more");
        assert_eq!(digest_model(dir.path()).unwrap(), digest);
        for (name, text) in [
            ("config.json", "{ }"),
            ("tokenizer.json", ""),
            ("model.safetensors", "other"),
        ] {
            let before = digest_model(dir.path()).unwrap();
            write(name, text);
            assert_ne!(digest_model(dir.path()).unwrap(), before, "{name}");
        }
    }

    #[test]
    fn shards_count_as_the_index_names_them() {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write(
            "model.safetensors.index.json",
            r#"{"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}"#,
        );
        write("a.safetensors", "a");
        let missing = digest_model(dir.path()).unwrap_err();
        assert!(
            matches!(&missing, HubError::Io { path, .. } if path.ends_with("b.safetensors")),
            "{missing}"
        );
        write("b.safetensors", "b");
        let digest = digest_model(dir.path()).unwrap();
        write("b.safetensors", "c");
        assert_ne!(digest_model(dir.path()).unwrap(), digest);
    }

    #[test]
    fn the_digest_is_the_published_one() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        std::fs::write(dir.path().join("model.safetensors"), "weights").unwrap();
        assert_eq!(digest_model(dir.path()).unwrap(), DIGEST);
    }

    /// From a shell: names and `sha256sum` of the two files, in this order, through `sha256sum`.
    const DIGEST: &str = "sha256:620f8a79fcc4816a415495877dbfd17d712cf61ca2f9202f12a8fea8b070beb2";
}

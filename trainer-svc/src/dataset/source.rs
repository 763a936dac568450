//! Reading a file once: bytes are counted, bounded and hashed on the way.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::DataError;

/// A reader that hashes what passes and refuses to pass more than a limit.
pub(super) struct Source {
    file: File,
    hash: Sha256,
    bytes: u64,
    limit: u64,
}

impl Source {
    /// Opens a regular file. Pipes and devices are refused: they may never end.
    pub(super) fn open(path: &Path, limit: u64) -> Result<BufReader<Self>, DataError> {
        // Asked before opening: opening a pipe waits for a writer.
        let metadata = std::fs::metadata(path).map_err(|error| io_error(path, &error))?;
        if !metadata.is_file() {
            return Err(DataError::Format {
                path: path.to_owned(),
                found: "not a regular file".to_owned(),
            });
        }
        if metadata.len() > limit {
            return Err(DataError::TooLarge {
                path: path.to_owned(),
                what: "size in bytes",
                found: metadata.len(),
                limit,
            });
        }
        let file = File::open(path).map_err(|error| io_error(path, &error))?;
        Ok(BufReader::with_capacity(
            1 << 16,
            Self {
                file,
                hash: Sha256::new(),
                bytes: 0,
                limit,
            },
        ))
    }

    /// Reads what is left, so that the digest covers the whole file; `sha256:…` and the number of bytes.
    pub(super) fn finish(mut reader: BufReader<Self>, path: &Path) -> Result<(String, u64), DataError> {
        io::copy(&mut reader, &mut io::sink()).map_err(|error| io_error(path, &error))?;
        let source = reader.into_inner();
        Ok((digest_text(source.hash), source.bytes))
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes > self.limit {
            return Err(io::Error::other(format!(
                "grew beyond {} bytes while it was read",
                self.limit
            )));
        }
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// `sha256:` and 64 lower-case digits.
pub(crate) fn digest_text(hash: Sha256) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in hash.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// An error of the system, with its file.
pub(super) fn io_error(path: &Path, error: &io::Error) -> DataError {
    DataError::Io {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

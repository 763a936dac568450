//! What the fuzz targets share: a folder to put the fuzzer's bytes in, and a panic hook that lets caught panics be.

use std::cell::OnceCell;
use std::path::Path;

use tempfile::TempDir;

/// Stands between two files in one input.
const BORDER: &[u8] = b"\n\xff----\xff\n";

/// Takes the fuzzer's hook away, which ends the process on every panic. Some libraries panic on what they read, and the importers
/// catch that; a panic that leaves a target still counts.
pub fn let_caught_panics_be() {
    std::panic::set_hook(Box::new(|_| ()));
}

/// Files in a folder that is the same for all inputs of this process.
pub fn with_files<R>(files: &[(&str, &[u8])], body: impl FnOnce(&Path) -> R) -> R {
    thread_local! {
        static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| TempDir::new().expect("a folder for temporary files")).path();
        for (name, bytes) in files {
            std::fs::write(folder.join(name), bytes).expect("room for temporary files");
        }
        let result = body(folder);
        for (name, _) in files {
            // One that is left would be read with the next input.
            std::fs::remove_file(folder.join(name)).expect("a file that was just written");
        }
        result
    })
}

/// The two files of an input; the second is absent where the border is.
pub fn halves(input: &[u8]) -> (&[u8], Option<&[u8]>) {
    match input.windows(BORDER.len()).position(|window| window == BORDER) {
        Some(at) => (&input[..at], Some(&input[at + BORDER.len()..])),
        None => (input, None),
    }
}

//! Files that are whole or not there, whenever a process or a machine stops.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

/// Writes a file and makes its content last; not its name.
pub(crate) fn write_lasting(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes what happened in a folder (files made, renamed, removed) last, where the system opens folders.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    // The folder of a bare name.
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    match File::open(folder) {
        Ok(folder) => folder.sync_all(),
        Err(_) if cfg!(not(unix)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a file so that its place holds the old or the new content, whatever happens. `write` writes it, lastingly, under the
/// name that it is given; nothing is left of an attempt that fails.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let beside = path.with_added_extension("partial");
    let replaced = write(&beside)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| path.parent().map_or(Ok(()), sync_folder));
    if replaced.is_err() {
        // The attempt may not exist, or its disk is gone: there is nothing more to do about it.
        let _ = fs::remove_file(&beside);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_or_stays_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        replace(&path, |beside| write_lasting(beside, b"old")).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let half_written = |beside: &Path| write_lasting(beside, b"ne").and_then(|()| Err(full()));
        assert_eq!(
            replace(&path, half_written).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        replace(&path, |beside| write_lasting(beside, b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing is left beside it"
        );
    }
}

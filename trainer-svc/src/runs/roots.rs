//! Folders that references of callers may lie in.

use std::path::{Component, Path, PathBuf};

use trainer_kit::capability::scheme;
use trainer_kit::spec::{Reference, Spec, Violation};

/// Where models and data may lie. Empty: anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots {
    /// Checkpoints and adapters.
    pub model: Vec<PathBuf>,
    /// Data of every kind.
    pub data: Vec<PathBuf>,
}

impl Roots {
    /// The references of a spec that lie elsewhere.
    #[must_use]
    pub fn check(&self, spec: &Spec) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut look = |field: String, reference: &Reference, roots: &[PathBuf]| {
            if scheme(reference).is_none() && !allows(roots, &local_path(&reference.uri)) {
                let description = "lies outside of the folders that this trainer reads from";
                found.push(Violation::new(format!("{field}.uri"), description));
            }
        };
        look("spec.model".to_owned(), &spec.model, &self.model);
        look("spec.data".to_owned(), &spec.data, &self.data);
        if let Some(held_out) = &spec.held_out {
            look("spec.held_out".to_owned(), held_out, &self.data);
        }
        for (index, set) in spec.retention_sets.iter().enumerate() {
            look(format!("spec.retention_sets[{index}].data"), &set.data, &self.data);
        }
        if let Some(adapter) = &spec.initial_adapter {
            look("spec.initial_adapter".to_owned(), adapter, &self.model);
        }
        found
    }
}

/// The path of a reference without a scheme, or with `file:`.
#[must_use]
pub fn local_path(uri: &str) -> PathBuf {
    PathBuf::from(uri.strip_prefix("file://").unwrap_or(uri))
}

/// Does a path lie in one of these folders, links followed? What does not exist is judged by its name alone.
fn allows(roots: &[PathBuf], path: &Path) -> bool {
    if roots.is_empty() {
        return true;
    }
    let real = real(path);
    roots.iter().any(|root| real.starts_with(self::real(root)))
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| {
        let mut plain = PathBuf::new();
        for part in std::path::absolute(path).unwrap_or_default().components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                other => plain.push(other),
            }
        }
        plain
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_roots() {
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("models"), folder.path().join("outside"));
        std::fs::create_dir_all(root.join("tiny")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let roots = [root.clone()];
        for inside in ["tiny", "", "not-there", "a/../b", "tiny/../tiny"] {
            assert!(allows(&roots, &root.join(inside)), "{inside}");
        }
        for out in ["..", "../outside", "tiny/../../outside", "link", "not-there/../../x"] {
            assert!(!allows(&roots, &root.join(out)), "{out}");
        }
        assert!(!allows(&roots, &folder.path().join("models-too")));
        assert!(allows(&[], &outside));
        assert_eq!(local_path("file:///a/b"), Path::new("/a/b"));
    }
}

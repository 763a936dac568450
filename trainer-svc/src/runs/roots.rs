//! Folders that references of callers may lie in.

use std::path::{Component, Path, PathBuf};

use trainer_kit::spec::{Reference, Spec, Violation};

use crate::hub;

/// Where models and data may lie. Absent: anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roots {
    /// Checkpoints and adapters.
    pub model: Option<Vec<PathBuf>>,
    /// Data of every kind.
    pub data: Option<Vec<PathBuf>>,
}

impl Roots {
    /// The references of a spec that lie elsewhere.
    #[must_use]
    pub fn check(&self, spec: &Spec) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut look = |field: String, reference: &Reference, roots: &Option<Vec<PathBuf>>| {
            // What cannot be parsed here cannot be opened later either: it is the same parser.
            if let Ok(hub::Reference::Path(path)) = hub::Reference::parse(&reference.uri)
                && !allows(roots.as_deref(), &path)
            {
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

    /// May a model or an adapter be read from here? To be asked again when it is opened: links may have changed.
    #[must_use]
    pub fn allows_model(&self, path: &Path) -> bool {
        allows(self.model.as_deref(), path)
    }

    /// May data be read from here?
    #[must_use]
    pub fn allows_data(&self, path: &Path) -> bool {
        allows(self.data.as_deref(), path)
    }
}

/// Does a path lie in one of these folders, links followed? What does not exist is judged by its name alone.
fn allows(roots: Option<&[PathBuf]>, path: &Path) -> bool {
    let Some(roots) = roots else { return true };
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
        let allows = |path: &Path| allows(Some(&roots), path);
        for inside in ["tiny", "", "not-there", "a/../b", "tiny/../tiny"] {
            assert!(allows(&root.join(inside)), "{inside}");
        }
        for out in ["..", "../outside", "tiny/../../outside", "link", "not-there/../../x"] {
            assert!(!allows(&root.join(out)), "{out}");
        }
        assert!(!allows(&folder.path().join("models-too")));
        assert!(super::allows(None, &outside) && !super::allows(Some(&[]), &outside));
    }

    #[test]
    fn escapes_and_schemes_are_read_as_they_are_when_the_reference_is_opened() {
        let roots = Roots {
            model: Some(vec!["/models".into()]),
            data: Some(vec!["/data".into()]),
        };
        let reference = |uri: &str| Reference {
            uri: uri.to_owned(),
            digest: String::new(),
        };
        let fields = |model: &str, data: &str| {
            let spec = Spec {
                candidate_id: "c".to_owned(),
                model: reference(model),
                data: reference(data),
                held_out: Some(reference(data)),
                data_sizes: vec![1],
                method: trainer_kit::spec::Method::Full,
                hyperparameters: trainer_kit::spec::Hyperparameters::default(),
                seed: 0,
                subset_seed: 0,
                retention_sets: Vec::new(),
                device: String::new(),
                max_duration: None,
                labels: std::collections::BTreeMap::new(),
                initial_adapter: Some(reference(model)),
            };
            roots
                .check(&spec)
                .into_iter()
                .map(|found| found.field)
                .collect::<Vec<_>>()
        };
        assert_eq!(fields("/models/a", "file:///data/b"), Vec::<String>::new());
        assert_eq!(
            fields("hf://org/name", "hf://datasets/org/name/file"),
            Vec::<String>::new()
        );
        let all = [
            "spec.model.uri",
            "spec.data.uri",
            "spec.held_out.uri",
            "spec.initial_adapter.uri",
        ];
        assert_eq!(fields("file:///models/%2e%2e/x", "file:///data/%2E%2e/x"), all);
        assert_eq!(fields("file://localhost/etc", "relative"), all);
    }
}

//! The candidates, from `--model` and `--models`.

use std::collections::HashMap;
use std::path::Path;

use finepick_proto::selector::v1 as selector;
use finepick_proto::types::v1 as types;

use crate::args::SelectArgs;
use crate::command::train::reference;
use crate::error::CliError;

/// Bytes of a candidate's name, by the contract.
const MAX_NAME_BYTES: usize = 256;
/// What makes a folder a checkpoint.
const CONFIG: &str = "config.json";
/// Attribute by which licences can be asked for: `--where license=mit`.
const LICENSE: &str = "license";

/// The candidates in the order of the flags; those of a folder by name. `here`: paths are of this machine, and are looked at.
pub(super) fn candidates(args: &SelectArgs, here: bool) -> Result<Vec<selector::SelectionCandidate>, CliError> {
    let mut found = Vec::new();
    for text in &args.models {
        found.push(one(text, here)?);
    }
    for folder in &args.model_folders {
        found.extend(in_folder(folder)?);
    }
    if found.is_empty() {
        return Err(CliError::Usage(
            "no candidates: name each by --model [NAME=]URI, or a folder of them by --models DIR".to_owned(),
        ));
    }
    let mut names: HashMap<String, String> = HashMap::new();
    for candidate in &found {
        let name = candidate
            .candidate
            .as_ref()
            .map(|c| c.candidate_id.clone())
            .unwrap_or_default();
        let uri = candidate.model.as_ref().map(|m| m.uri.clone()).unwrap_or_default();
        if let Some(other) = names.insert(name.clone(), uri.clone()) {
            return Err(CliError::Usage(format!(
                "--model: {other} and {uri} have the same name, {name:?}: give one another by --model NAME=URI"
            )));
        }
    }
    Ok(found)
}

/// `[NAME=]URI`.
fn one(text: &str, here: bool) -> Result<selector::SelectionCandidate, CliError> {
    // A name has no slash; what stands before '=' in a URL or a path is none.
    let (name, uri) = match text.split_once('=') {
        Some((name, uri)) if !name.is_empty() && !name.contains(['/', ':']) => (Some(name), uri),
        _ => (None, text),
    };
    if uri.is_empty() {
        return Err(CliError::Usage(format!("--model {text:?} names no checkpoint")));
    }
    let name = name.map_or_else(|| tail(uri).to_owned(), str::to_owned);
    let uri = if here {
        local_path(uri, "--model")?
    } else {
        uri.to_owned()
    };
    Ok(candidate(name, &uri))
}

/// Every checkpoint that lies in a folder.
fn in_folder(folder: &Path) -> Result<Vec<selector::SelectionCandidate>, CliError> {
    let wrong = |error: std::io::Error| CliError::Usage(format!("--models {}: {error}", folder.display()));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.join(CONFIG).is_file() {
            let path = path.canonicalize().map_err(wrong)?.display().to_string();
            found.push(candidate(tail(&path).to_owned(), &path));
        }
    }
    if found.is_empty() {
        return Err(CliError::Usage(format!(
            "--models {}: no folder in it holds a {CONFIG}",
            folder.display()
        )));
    }
    found.sort_by(|a, b| name_of(a).cmp(name_of(b)));
    Ok(found)
}

fn name_of(candidate: &selector::SelectionCandidate) -> &str {
    candidate.candidate.as_ref().map_or("", |c| c.candidate_id.as_str())
}

/// A path of this machine as it is from anywhere; URLs stay as they are.
pub(super) fn local_path(uri: &str, flag: &str) -> Result<String, CliError> {
    if uri.contains("://") {
        return Ok(uri.to_owned());
    }
    let path = Path::new(uri).canonicalize();
    path.map(|path| path.display().to_string())
        .map_err(|error| CliError::Usage(format!("{flag} {uri}: {error}")))
}

fn candidate(name: String, uri: &str) -> selector::SelectionCandidate {
    let folder = Path::new(uri.strip_prefix("file://").unwrap_or(uri));
    selector::SelectionCandidate {
        candidate: Some(types::Candidate {
            candidate_id: name,
            family: family(folder).unwrap_or_default(),
            // The trainer reads the weights and tells.
            parameters: None,
            attributes: license(folder)
                .map(|license| (LICENSE.to_owned(), license))
                .into_iter()
                .collect(),
        }),
        model: Some(reference(uri)),
    }
}

/// The end of a path or URL, where checkpoints differ, as far as a name may be long.
fn tail(uri: &str) -> &str {
    let whole = uri.trim_end_matches('/');
    let name = whole.rsplit('/').next().filter(|name| !name.is_empty()).unwrap_or(uri);
    let cut = name.len().saturating_sub(MAX_NAME_BYTES);
    (cut..=name.len()).find_map(|from| name.get(from..)).unwrap_or_default()
}

/// The architecture by a checkpoint's configuration: what `--where family=...` compares with.
fn family(folder: &Path) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(CONFIG)).ok()?;
    let config: serde_json::Value = serde_json::from_str(&text).ok()?;
    config.get("model_type")?.as_str().map(str::to_owned)
}

/// The licence by a checkpoint's model card.
fn license(folder: &Path) -> Option<String> {
    let card = std::fs::read_to_string(folder.join("README.md")).ok()?;
    let mut lines = card.lines();
    (lines.next()?.trim() == "---").then_some(())?;
    let line = lines
        .take_while(|line| line.trim() != "---")
        .find_map(|line| line.strip_prefix("license:"))?;
    let name = line.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_flag_or_the_path() {
        let plain = one("hf://org/model-a", false).unwrap();
        assert_eq!(
            (name_of(&plain), plain.model.as_ref().unwrap().uri.as_str()),
            ("model-a", "hf://org/model-a")
        );
        let named = one("a=models/a=b", false).unwrap();
        assert_eq!(
            (name_of(&named), named.model.as_ref().unwrap().uri.as_str()),
            ("a", "models/a=b")
        );
        let in_a_url = one("s3://bucket/x?y=z", false).unwrap();
        assert_eq!(name_of(&in_a_url), "x?y=z");
        assert_eq!(tail("models/a/"), "a");
        assert!(one("a=", false).unwrap_err().to_string().contains("--model"));
        let missing = one("/nowhere/at/all", true).unwrap_err().to_string();
        assert!(missing.starts_with("--model /nowhere/at/all: "), "{missing}");
    }

    #[test]
    fn folders_tell_family_and_licence() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a", "none"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("a/config.json"), r#"{"model_type": "llama"}"#).unwrap();
        std::fs::write(folder.path().join("b/config.json"), "no JSON").unwrap();
        std::fs::write(
            folder.path().join("a/README.md"),
            "---\ntags: x\nlicense: \"mit\"\n---\n",
        )
        .unwrap();
        let found = in_folder(folder.path()).unwrap();
        let [a, b] = &found[..] else { panic!("{found:?}") };
        let (a, b) = (a.candidate.clone().unwrap(), b.candidate.clone().unwrap());
        assert_eq!((a.candidate_id.as_str(), a.family.as_str()), ("a", "llama"));
        assert_eq!(a.attributes["license"], "mit");
        assert_eq!(
            (b.candidate_id.as_str(), b.family.as_str(), b.attributes.len()),
            ("b", "", 0)
        );
        let error = in_folder(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.starts_with("--models "), "{error}");
    }
}

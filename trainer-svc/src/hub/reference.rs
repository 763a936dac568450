//! What a reference names.

use std::fmt;
use std::path::PathBuf;

use super::HubError;
use super::files::safe_name;

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepoKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// Something on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubReference {
    kind: RepoKind,
    repo: String,
    revision: String,
    file: Option<String>,
}

/// Something here or on the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// Here.
    Path(PathBuf),
    /// There.
    Hub(HubReference),
}

impl Reference {
    /// Reads a reference of a model or of data.
    ///
    /// # Errors
    /// [`HubError::Reference`]
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let refuse = |message: &str| HubError::Reference {
            reference: text.chars().take(200).collect(),
            message: message.to_owned(),
        };
        if let Some(rest) = text.strip_prefix("hf://") {
            return hub(rest).map(Self::Hub).map_err(refuse);
        }
        if let Some(rest) = text.strip_prefix("file://") {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            if !path.starts_with('/') {
                return Err(refuse("file:// wants a whole path: file:///folder/file"));
            }
            return decoded(path)
                .map(|path| Self::Path(path.into()))
                .ok_or_else(|| refuse("%-escapes that are no text"));
        }
        if text.is_empty() {
            return Err(refuse("empty"));
        }
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        if !scheme.is_empty()
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        {
            return Err(refuse(
                "a path, file:///path, hf://org/name@revision or hf://datasets/org/name@revision/file is wanted",
            ));
        }
        Ok(Self::Path(text.into()))
    }
}

impl HubReference {
    /// Model or data set.
    #[must_use]
    pub fn kind(&self) -> RepoKind {
        self.kind
    }

    /// `org/name`, or `name` for the few old ones.
    #[must_use]
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// Branch, tag or commit.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The file of a data set.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl fmt::Display for HubReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.kind {
            RepoKind::Model => "",
            RepoKind::Dataset => "datasets/",
        };
        write!(f, "hf://{prefix}{}@{}", self.repo, self.revision)?;
        match &self.file {
            Some(file) => write!(f, "/{file}"),
            None => Ok(()),
        }
    }
}

fn hub(rest: &str) -> Result<HubReference, &'static str> {
    match rest.strip_prefix("datasets/") {
        Some(rest) => dataset(rest),
        None => model(rest),
    }
}

fn model(rest: &str) -> Result<HubReference, &'static str> {
    let (repo, revision) = match rest.split_once('@') {
        Some((repo, revision)) => (repo, decoded(revision).ok_or("%-escapes that are no text")?),
        None => (rest, "main".to_owned()),
    };
    if repo.split('/').count() > 2 {
        return Err("a model is hf://org/name@revision");
    }
    checked(RepoKind::Model, repo.to_owned(), revision, None)
}

fn dataset(rest: &str) -> Result<HubReference, &'static str> {
    const WANTED: &str = "data is hf://datasets/org/name@revision/path/file";
    let (first, after) = rest.split_once('/').ok_or(WANTED)?;
    let (second, after) = after.split_once('/').ok_or(WANTED)?;
    let (name, revision, file) = match second.split_once('@') {
        None => (second, "main".to_owned(), after),
        // The hub's own branches have slashes in their names.
        Some((name, "refs")) => {
            let end = after.match_indices('/').nth(1).ok_or(WANTED)?.0;
            (name, format!("refs/{}", &after[..end]), &after[end + 1..])
        }
        Some((name, revision)) => (name, decoded(revision).ok_or("%-escapes that are no text")?, after),
    };
    checked(
        RepoKind::Dataset,
        format!("{first}/{name}"),
        revision,
        Some(file.to_owned()),
    )
}

/// All parts end up in paths and addresses.
fn checked(kind: RepoKind, repo: String, revision: String, file: Option<String>) -> Result<HubReference, &'static str> {
    let word = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !text.is_empty()
            && text.len() <= 96
            && !text.starts_with(['.', '-'])
            && !text.contains("..")
            && text.bytes().all(plain)
    };
    if !repo.split('/').all(word) {
        return Err("a repository's name has letters, digits, '.', '_' and '-'");
    }
    if revision.len() > 200 || !revision.split('/').all(word) {
        return Err("a revision is a branch, a tag or a commit");
    }
    if file.as_deref().is_some_and(|file| !safe_name(file)) {
        return Err("the file's name is empty or leads out of the repository");
    }
    Ok(HubReference {
        kind,
        repo,
        revision,
        file,
    })
}

/// The text with its %-escapes resolved.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(
                u8::from_str_radix(digits, 16)
                    .ok()
                    .filter(|_| !digits.starts_with('+'))?,
            );
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> String {
        match Reference::parse(text) {
            Ok(Reference::Path(path)) => format!("path {}", path.display()),
            Ok(Reference::Hub(reference)) => reference.to_string(),
            Err(error) => format!("refused {error}"),
        }
    }

    #[test]
    fn all_forms() {
        for (text, wanted) in [
            ("models/small", "path models/small"),
            ("C:/x", "path C:/x"),
            ("file:///a%20b/c", "path /a b/c"),
            ("file://localhost/a", "path /a"),
            ("hf://gpt2", "hf://gpt2@main"),
            ("hf://org/name", "hf://org/name@main"),
            ("hf://org/na.me-1@v1.0", "hf://org/na.me-1@v1.0"),
            ("hf://org/name@refs/pr/3", "hf://org/name@refs/pr/3"),
            ("hf://org/name@refs%2Fpr%2F3", "hf://org/name@refs/pr/3"),
            ("hf://datasets/org/name/a.jsonl", "hf://datasets/org/name@main/a.jsonl"),
            (
                "hf://datasets/org/name@0123abc/data/a b.parquet",
                "hf://datasets/org/name@0123abc/data/a b.parquet",
            ),
            (
                "hf://datasets/o/n@refs/convert/parquet/d/0.parquet",
                "hf://datasets/o/n@refs/convert/parquet/d/0.parquet",
            ),
        ] {
            assert_eq!(parse(text), wanted);
        }
    }

    #[test]
    fn refusals() {
        for text in [
            "",
            "s3://bucket/x",
            "file://host/x",
            "file:///%zz",
            "hf://",
            "hf://a/b/c",
            "hf://../x",
            "hf://org/..",
            "hf://org/name@",
            "hf://org/name@a/../b",
            "hf://org/na me",
            "hf://datasets/org/name",
            "hf://datasets/org/name@main/",
            "hf://datasets/org/name@main/a/../../b",
            "hf://datasets/org/name@main//etc/passwd",
            "hf://datasets/org/name@refs/pr/a.jsonl",
            "hf://datasets/org/name@main/a\\b",
        ] {
            assert!(parse(text).starts_with("refused"), "{text}: {}", parse(text));
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_safe_as_a_path(text in "(hf://(datasets/)?|file://)?[a-z./@%2F\\\\-]{0,40}") {
            if let Ok(Reference::Hub(reference)) = Reference::parse(&text) {
                for part in [reference.repo(), reference.revision(), reference.file().unwrap_or("x")] {
                    prop_assert!(part.split('/').all(|word| !word.is_empty() && word != ".." && word != "."));
                    prop_assert!(!part.contains('\\'));
                }
            }
        }
    }
}

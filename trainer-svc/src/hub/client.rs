//! The hub's interface: which commit a revision is, which files it has, and those that are needed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use ureq::config::RedirectAuthHeaders;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Proxy};

use super::cache::{Cache, is_commit};
use super::download::{self, Remote};
use super::files::{INDEX, SINGLE, SMALL_FILES, indexed, no_weights, safe_name};
use super::{HubError, HubReference, Reference, RepoKind};

/// Bytes of the list of a repository's files.
const LIST_LIMIT: u64 = 64 << 20;

/// Which hub, and how to talk to it.
#[derive(Clone)]
pub struct HubConfig {
    /// E.g. `https://huggingface.co`.
    pub endpoint: String,
    /// For what is not open to all.
    pub token: Option<String>,
    /// Where what was fetched lies.
    pub cache_dir: PathBuf,
    /// How long to wait for a connection, an answer, or the next bytes of one.
    pub patience: Duration,
    /// How often to try again when the connection breaks or the hub is busy; the n-th time after 2ⁿ⁻¹ × `pause`.
    pub retries: u32,
    /// The first pause.
    pub pause: Duration,
}

impl HubConfig {
    /// The public hub without a token.
    #[must_use]
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            token: None,
            cache_dir: cache_dir.into(),
            patience: Duration::from_mins(1),
            retries: 4,
            pause: Duration::from_millis(500),
        }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("cache_dir", &self.cache_dir)
            .finish_non_exhaustive()
    }
}

/// How far a fetch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The file that is being fetched.
    pub file: String,
    /// Its bytes that are here.
    pub bytes: u64,
    /// All its bytes, where the hub says.
    pub total: Option<u64>,
}

/// What a reference became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// A folder (model) or a file (data).
    pub path: PathBuf,
    /// The commit, of something from the hub.
    pub commit: Option<String>,
    /// Could the hub be asked what the revision is now? If not, `path` is what it was last.
    pub fresh: bool,
}

/// A file of a repository, as the hub lists it.
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<String>,
}

/// A client of a hub.
#[derive(Debug)]
pub struct Hub {
    pub(super) agent: Agent,
    pub(super) config: HubConfig,
}

impl Hub {
    /// A client. Nothing is asked yet.
    ///
    /// # Errors
    /// The endpoint is no address, or the token cannot stand in a header.
    pub fn new(mut config: HubConfig) -> Result<Self, HubError> {
        config.endpoint.truncate(config.endpoint.trim_end_matches('/').len());
        let host = ["https://", "http://"]
            .iter()
            .find_map(|scheme| config.endpoint.strip_prefix(scheme));
        if host.is_none_or(|host| host.is_empty() || host.contains(['@', '?', '#', ' '])) {
            return Err(HubError::Config(
                "the endpoint must be http://host or https://host".to_owned(),
            ));
        }
        config.token = config.token.filter(|token| !token.is_empty());
        if config
            .token
            .as_ref()
            .is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(HubError::Config(
                "the token holds characters that no token has".to_owned(),
            ));
        }
        // A proxy is for what lies outside.
        let inside = host.is_some_and(|host| ["127.", "localhost", "[::1]"].iter().any(|name| host.starts_with(name)));
        let proxy = if inside { None } else { Proxy::try_from_env() };
        let agent = Agent::config_builder()
            .proxy(proxy)
            .http_status_as_error(false)
            // Files lie on other hosts, with addresses that carry their own permission.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("finepick/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(config.patience))
            .timeout_recv_response(Some(config.patience))
            .timeout_per_read(Some(config.patience))
            .build()
            .new_agent();
        Ok(Self { agent, config })
    }

    /// The folder of a model, here or fetched. `on_progress` is told often, and stops the fetch with `false`.
    ///
    /// # Errors
    /// See [`HubError`]. A path is not looked at.
    pub fn model(&self, reference: &str, on_progress: &mut dyn FnMut(&Progress) -> bool) -> Result<Fetched, HubError> {
        self.resolve(reference, RepoKind::Model, on_progress)
    }

    /// A file (or folder) of data, here or fetched.
    ///
    /// # Errors
    /// See [`HubError`]. A path is not looked at.
    pub fn data(&self, reference: &str, on_progress: &mut dyn FnMut(&Progress) -> bool) -> Result<Fetched, HubError> {
        self.resolve(reference, RepoKind::Dataset, on_progress)
    }

    fn resolve(
        &self,
        text: &str,
        kind: RepoKind,
        on_progress: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<Fetched, HubError> {
        let reference = match Reference::parse(text)? {
            Reference::Path(path) => {
                return Ok(Fetched {
                    path,
                    commit: None,
                    fresh: true,
                });
            }
            Reference::Hub(reference) => reference,
        };
        if reference.kind() != kind {
            return Err(HubError::Reference {
                reference: text.to_owned(),
                message: match kind {
                    RepoKind::Model => "a data set where a model is wanted: hf://org/name@revision",
                    RepoKind::Dataset => "a model where data is wanted: hf://datasets/org/name@revision/path/file",
                }
                .to_owned(),
            });
        }
        self.fetch(&reference, on_progress)
    }

    fn fetch(
        &self,
        reference: &HubReference,
        on_progress: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<Fetched, HubError> {
        let cache = Cache::new(&self.config.cache_dir, reference);
        let here = |commit: &str, fresh: bool| {
            let snapshot = cache.snapshot(commit);
            let path = match reference.file() {
                Some(file) => snapshot.join(file),
                None => snapshot,
            };
            let complete = if reference.kind() == RepoKind::Model {
                path.join("config.json").is_file()
            } else {
                path.is_file()
            };
            complete.then(|| Fetched {
                path,
                commit: Some(commit.to_owned()),
                fresh,
            })
        };
        let known = cache.commit(reference.revision());
        // A commit never changes.
        if let Some(commit) = known.as_ref().filter(|commit| *commit == reference.revision())
            && let Some(fetched) = here(commit, true)
        {
            return Ok(fetched);
        }
        let (commit, files) = match self.list(reference) {
            Ok(list) => list,
            Err(error @ HubError::Network { .. }) => {
                return known.and_then(|commit| here(&commit, false)).ok_or(error);
            }
            Err(error) => return Err(error),
        };
        let _lock = cache.lock()?;
        match reference.file() {
            Some(name) => {
                let file = files
                    .iter()
                    .find(|file| file.name == name)
                    .ok_or_else(|| HubError::NotFound {
                        what: reference.to_string(),
                        hint: String::new(),
                    })?;
                self.file(reference, &commit, file, &cache, on_progress)?;
            }
            None => self.model_files(reference, &commit, &files, &cache, on_progress)?,
        }
        cache.note(&commit, &commit)?;
        cache.note(reference.revision(), &commit)?;
        here(&commit, true).ok_or_else(|| HubError::NotFound {
            what: reference.to_string(),
            hint: ": it vanished from the cache".to_owned(),
        })
    }

    fn model_files(
        &self,
        reference: &HubReference,
        commit: &str,
        files: &[Listed],
        cache: &Cache,
        on_progress: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<(), HubError> {
        let what = reference.to_string();
        let listed = |name: &str| files.iter().find(|file| file.name == name);
        let wanted = |name: &str| {
            listed(name).ok_or_else(|| HubError::NotFound {
                what: format!("{what}: {name}"),
                hint: String::new(),
            })
        };
        wanted("config.json")?;
        // Asked first: what cannot be used need not be fetched.
        if listed(SINGLE).is_none() && listed(INDEX).is_none() {
            return Err(no_weights(files.iter().map(|file| file.name.as_str()), &what));
        }
        for name in SMALL_FILES {
            if let Some(file) = listed(name) {
                self.file(reference, commit, file, cache, on_progress)?;
            }
        }
        if let Some(file) = listed(SINGLE) {
            return self.file(reference, commit, file, cache, on_progress).map(|_| ());
        }
        let index = self.file(reference, commit, wanted(INDEX)?, cache, on_progress)?;
        let index = std::fs::read(&index).map_err(|error| super::digest::io_error(&index, &error))?;
        for name in indexed(&index, &what)? {
            self.file(reference, commit, wanted(&name)?, cache, on_progress)?;
        }
        Ok(())
    }

    fn file(
        &self,
        reference: &HubReference,
        commit: &str,
        file: &Listed,
        cache: &Cache,
        on_progress: &mut dyn FnMut(&Progress) -> bool,
    ) -> Result<PathBuf, HubError> {
        let prefix = prefix(reference.kind());
        let remote = Remote {
            address: format!(
                "{}/{prefix}{}/resolve/{commit}/{}",
                self.config.endpoint,
                reference.repo(),
                escaped(&file.name, true)
            ),
            what: format!("{reference}: {}", file.name),
            file,
        };
        download::fetch(self, &remote, &cache.snapshot(commit).join(&file.name), on_progress)
    }

    /// The commit of a revision, and its files. Names that lead out of the repository are an error.
    fn list(&self, reference: &HubReference) -> Result<(String, Vec<Listed>), HubError> {
        let what = reference.to_string();
        let kind = match reference.kind() {
            RepoKind::Model => "models",
            RepoKind::Dataset => "datasets",
        };
        let address = format!(
            "{}/api/{kind}/{}/revision/{}?blobs=true",
            self.config.endpoint,
            reference.repo(),
            escaped(reference.revision(), false)
        );
        let bytes = download::small(self, &address, &what, LIST_LIMIT)?;
        let malformed = |message: &str| HubError::Answer {
            what: what.clone(),
            message: message.to_owned(),
        };
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(&error.to_string()))?;
        let commit = answer.get("sha").and_then(Value::as_str).filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| malformed("no commit"))?;
        let siblings = answer.get("siblings").and_then(Value::as_array);
        let files = siblings
            .ok_or_else(|| malformed("no list of files"))?
            .iter()
            .map(|file| listed(file).ok_or_else(|| malformed("a file without a name")))
            .collect::<Result<Vec<Listed>, HubError>>()?;
        match files.iter().find(|file| !safe_name(&file.name)) {
            Some(file) => Err(HubError::Path {
                what,
                name: file.name.chars().take(200).collect(),
            }),
            None => Ok((commit.to_owned(), files)),
        }
    }
}

fn listed(file: &Value) -> Option<Listed> {
    let lfs = file.get("lfs");
    let sha256 = lfs.and_then(|lfs| lfs.get("sha256")).and_then(Value::as_str);
    let size = lfs.and_then(|lfs| lfs.get("size")).or_else(|| file.get("size"));
    Some(Listed {
        name: file.get("rfilename")?.as_str()?.to_owned(),
        size: size.and_then(Value::as_u64),
        sha256: sha256.map(str::to_lowercase),
    })
}

fn prefix(kind: RepoKind) -> &'static str {
    match kind {
        RepoKind::Model => "",
        RepoKind::Dataset => "datasets/",
    }
}

/// For the path of an address. Slashes stay in files' names and are escaped in revisions'.
fn escaped(text: &str, slashes: bool) -> String {
    use std::fmt::Write as _;
    let mut address = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (slashes && byte == b'/') {
            address.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(address, "%{byte:02X}");
        }
    }
    address
}

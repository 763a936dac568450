//! Against a hub of our own: a few lines of HTTP on a free port of this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::dataset::digest_text;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Flaw {
    #[default]
    None,
    /// The first answer with weights breaks off in the middle, its length announced.
    BreaksOff,
    /// The same, without an announced length: only the list of files tells.
    BreaksOffSilently,
    /// Files end at once after an announced length.
    AlwaysBreaksOff,
    /// Ranges are not known: all is sent.
    NoRanges,
    /// One byte is another one.
    Spoilt,
    /// More comes than was announced.
    TooMuch,
    /// The first two answers are 503.
    Busy,
    /// The connection is taken, and nothing is said.
    Silent,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    flaw: Flaw,
    token: Option<String>,
    list: Option<String>,
    requests: Vec<String>,
}

struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (state, stopped) = (Arc::new(Mutex::new(state)), Arc::new(AtomicBool::new(false)));
        let (shared, stop) = (Arc::clone(&state), Arc::clone(&stopped));
        let thread = std::thread::spawn(move || {
            let mut silent = Vec::new();
            for connection in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let connection = connection.unwrap();
                if shared.lock().unwrap().flaw == Flaw::Silent {
                    silent.push(connection);
                } else {
                    // What a client makes of it is what the tests look at.
                    let _ = answer(&connection, &shared);
                }
            }
        });
        Self {
            address,
            state,
            stopped,
            thread: Some(thread),
        }
    }

    fn hub(&self, cache: &TempDir) -> Hub {
        self.hub_with(cache, None)
    }

    fn hub_with(&self, cache: &TempDir, token: Option<&str>) -> Hub {
        Hub::new(HubConfig {
            endpoint: format!("http://{}/", self.address),
            token: token.map(str::to_owned),
            patience: Duration::from_millis(400),
            retries: 2,
            pause: Duration::ZERO,
            ..HubConfig::new(cache.path())
        })
        .unwrap()
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().requests)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// One request per connection.
fn answer(mut connection: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next().unwrap()?;
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let mut state = state.lock().unwrap();
    state.requests.push(
        format!("{path} {}", headers.get("range").cloned().unwrap_or_default())
            .trim()
            .to_owned(),
    );
    let mut say = |status: &str, extra: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{extra}\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes())?;
        connection.write_all(body)
    };
    if state.flaw == Flaw::Busy && state.requests.len() <= 2 {
        return say("503 Service Unavailable", "", b"");
    }
    let wanted = state.token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && headers.get("authorization") != wanted.as_ref() {
        return say(
            "401 Unauthorized",
            "x-error-message: Access to this model is restricted.\r\n",
            b"",
        );
    }
    if path.starts_with("/api/") {
        let known = ["models/org/name", "datasets/org/name", "models/org/slash"];
        return match known
            .iter()
            .find(|repo| path.starts_with(&format!("/api/{repo}/revision/")))
        {
            Some(_) => say("200 OK", "", list(&state).as_bytes()),
            None => say("404 Not Found", "x-error-message: Repository not found\r\n", b""),
        };
    }
    let Some((_, name)) = path.split_once(&format!("/resolve/{COMMIT}/")) else {
        return say("404 Not Found", "", b"");
    };
    let Some(file) = state.files.get(&name.replace("%20", " ")).cloned() else {
        return say("404 Not Found", "", b"");
    };
    let flaw = if name.ends_with("safetensors") {
        state.flaw
    } else {
        Flaw::None
    };
    file_answer(connection, &file, headers.get("range"), flaw, &mut state)
}

fn file_answer(
    mut connection: &TcpStream,
    file: &[u8],
    range: Option<&String>,
    flaw: Flaw,
    state: &mut State,
) -> std::io::Result<()> {
    let from = range.filter(|_| flaw != Flaw::NoRanges);
    let from: usize = from.map_or(0, |range| {
        range
            .strip_prefix("bytes=")
            .unwrap()
            .trim_end_matches('-')
            .parse()
            .unwrap()
    });
    let mut body = file[from..].to_vec();
    let mut length = Some(body.len());
    match flaw {
        Flaw::BreaksOff | Flaw::BreaksOffSilently | Flaw::AlwaysBreaksOff => {
            body.truncate(body.len() / 2);
            if flaw == Flaw::BreaksOffSilently {
                length = None;
            }
            if flaw != Flaw::AlwaysBreaksOff {
                state.flaw = Flaw::None;
            }
        }
        Flaw::Spoilt => body[0] ^= 1,
        Flaw::TooMuch => {
            body.extend(b"more");
            length = Some(body.len());
        }
        _ => {}
    }
    let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
    let mut head = vec![format!("HTTP/1.1 {status}"), "connection: close".to_owned()];
    head.extend(length.map(|length| format!("content-length: {length}")));
    if from > 0 {
        head.push(format!("content-range: bytes {from}-{}/{}", file.len() - 1, file.len()));
    }
    connection.write_all(head.join("\r\n").as_bytes())?;
    connection.write_all(b"\r\n\r\n")?;
    connection.write_all(&body)
}

fn list(state: &State) -> String {
    if let Some(list) = &state.list {
        return list.clone();
    }
    let files: Vec<serde_json::Value> = state
        .files
        .iter()
        .map(|(name, content)| {
            let digest = digest_text(Sha256::new_with_prefix(content)).replace("sha256:", "");
            let mut file = serde_json::json!({"rfilename": name, "size": content.len()});
            if name.ends_with("safetensors") {
                file["lfs"] = serde_json::json!({"sha256": digest, "size": content.len(), "pointerSize": 130});
            }
            file
        })
        .collect();
    serde_json::json!({"sha": COMMIT, "siblings": files}).to_string()
}

fn files(names: &[&str]) -> BTreeMap<String, Vec<u8>> {
    names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                format!("content of {name} ").repeat(50).into_bytes(),
            )
        })
        .collect()
}

fn model() -> StandIn {
    model_with(Flaw::None)
}

fn model_with(flaw: Flaw) -> StandIn {
    StandIn::start(State {
        files: files(&[
            "config.json",
            "tokenizer.json",
            "model.safetensors",
            "pytorch_model.bin",
            "README.md",
            "a/b.txt",
        ]),
        flaw,
        ..State::default()
    })
}

fn go_on(_: &Progress) -> bool {
    true
}

#[test]
fn a_model_is_what_is_needed_of_it() {
    let (stand_in, cache) = (model(), TempDir::new().unwrap());
    let hub = stand_in.hub(&cache);
    let mut seen = Vec::new();
    let fetched = hub
        .model("hf://org/name@v1", &mut |progress: &Progress| {
            seen.push(progress.clone());
            true
        })
        .unwrap();
    assert_eq!((fetched.commit.as_deref(), fetched.fresh), (Some(COMMIT), true));
    let mut names: Vec<String> = std::fs::read_dir(&fetched.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    for name in names {
        assert_eq!(
            std::fs::read(fetched.path.join(&name)).unwrap(),
            stand_in.state.lock().unwrap().files[&name]
        );
    }
    assert!(
        seen.iter()
            .any(|progress| progress.file == "model.safetensors" && Some(progress.bytes) == progress.total)
    );
    assert!(digest_model(&fetched.path).unwrap().starts_with("sha256:"));
    assert_eq!(stand_in.requests()[0], "/api/models/org/name/revision/v1?blobs=true");
    // Again: only the revision is asked for. By its commit: nothing.
    assert_eq!(hub.model("hf://org/name@v1", &mut go_on).unwrap(), fetched);
    assert_eq!(stand_in.requests().len(), 1);
    assert_eq!(
        hub.model(&format!("hf://org/name@{COMMIT}"), &mut go_on).unwrap(),
        fetched
    );
    assert_eq!(stand_in.requests().len(), 0);
    // The hub is gone: what was fetched last serves, and says so.
    drop(stand_in);
    let last = hub.model("hf://org/name@v1", &mut go_on).unwrap();
    assert_eq!((last.path, last.fresh), (fetched.path, false));
    assert!(matches!(
        hub.model("hf://org/name@v2", &mut go_on),
        Err(HubError::Network { .. })
    ));
}

#[test]
fn shards_follow_the_index() {
    let mut all = files(&[
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model-3.safetensors",
    ]);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    all.insert("model.safetensors.index.json".into(), index.into());
    let stand_in = StandIn::start(State {
        files: all,
        ..State::default()
    });
    let cache = TempDir::new().unwrap();
    let fetched = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap();
    assert!(fetched.path.join("model-2.safetensors").is_file());
    assert!(!fetched.path.join("model-3.safetensors").exists());
    let index = br#"{"weight_map": {"a": "../../../evil.safetensors"}}"#.to_vec();
    stand_in
        .state
        .lock()
        .unwrap()
        .files
        .insert("model.safetensors.index.json".into(), index);
    let cache = TempDir::new().unwrap();
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(matches!(error, HubError::Path { name, .. } if name == "../../../evil.safetensors"));
}

#[test]
fn data_is_one_file() {
    let stand_in = StandIn::start(State {
        files: files(&["data/a b.jsonl", "other.txt"]),
        ..State::default()
    });
    let cache = TempDir::new().unwrap();
    let hub = stand_in.hub(&cache);
    let fetched = hub
        .data("hf://datasets/org/name@main/data/a b.jsonl", &mut go_on)
        .unwrap();
    assert!(
        fetched
            .path
            .ends_with(format!("datasets--org--name/snapshots/{COMMIT}/data/a b.jsonl"))
    );
    assert!(
        std::fs::read_to_string(&fetched.path)
            .unwrap()
            .starts_with("content of data/a b.jsonl")
    );
    let asked = stand_in.requests();
    assert_eq!(
        asked[1],
        format!("/datasets/org/name/resolve/{COMMIT}/data/a%20b.jsonl")
    );
    let missing = hub.data("hf://datasets/org/name@main/none.txt", &mut go_on);
    assert!(matches!(missing, Err(HubError::NotFound { what, .. }) if what.ends_with("none.txt")));
    assert!(matches!(
        hub.model("hf://datasets/org/name@main/x", &mut go_on),
        Err(HubError::Reference { .. })
    ));
    assert!(matches!(
        hub.data("hf://org/name", &mut go_on),
        Err(HubError::Reference { .. })
    ));
    // A second file of a known commit is fetched, too.
    let other = hub
        .data(&format!("hf://datasets/org/name@{COMMIT}/other.txt"), &mut go_on)
        .unwrap();
    assert!(other.path.is_file());
}

#[test]
fn paths_are_left_alone() {
    let cache = TempDir::new().unwrap();
    let hub = Hub::new(HubConfig::new(cache.path())).unwrap();
    for (reference, path) in [("models/x", "models/x"), ("file:///a%20b", "/a b")] {
        let fetched = hub.model(reference, &mut go_on).unwrap();
        assert_eq!((fetched.path, fetched.commit), (PathBuf::from(path), None));
    }
}

#[test]
fn the_token_opens_and_its_absence_is_told() {
    let stand_in = model();
    stand_in.state.lock().unwrap().token = Some("hf_secret".into());
    let cache = TempDir::new().unwrap();
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hf://org/name@main: the hub refuses access without a token: Access to this model is restricted."
    );
    let error = stand_in
        .hub_with(&cache, Some("wrong"))
        .model("hf://org/name", &mut go_on)
        .unwrap_err();
    assert!(matches!(error, HubError::Unauthorised { token: true, .. }));
    let hub = stand_in.hub_with(&cache, Some("hf_secret"));
    assert!(hub.model("hf://org/name", &mut go_on).is_ok());
    assert!(!format!("{hub:?}").contains("hf_secret"));
}

#[test]
fn what_is_not_there() {
    let (stand_in, cache) = (model(), TempDir::new().unwrap());
    let error = stand_in.hub(&cache).model("hf://org/other@v9", &mut go_on).unwrap_err();
    assert_eq!(
        error.to_string(),
        "hf://org/other@v9: the hub has no such repository, revision or file: Repository not found"
    );
    stand_in.state.lock().unwrap().files.remove("model.safetensors");
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(
        matches!(&error, HubError::NoWeights { pickles, .. } if pickles == "pytorch_model.bin"),
        "{error}"
    );
    stand_in.state.lock().unwrap().files.remove("config.json");
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(
        matches!(&error, HubError::NotFound { what, .. } if what.ends_with("config.json")),
        "{error}"
    );
}

#[test]
fn broken_connections_are_gone_on_with() {
    for flaw in [Flaw::BreaksOff, Flaw::BreaksOffSilently] {
        let (stand_in, cache) = (model_with(flaw), TempDir::new().unwrap());
        let fetched = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap();
        let content = stand_in.state.lock().unwrap().files["model.safetensors"].clone();
        assert_eq!(
            std::fs::read(fetched.path.join("model.safetensors")).unwrap(),
            content,
            "{flaw:?}"
        );
        let asked = stand_in.requests();
        let half = content.len() / 2;
        assert_eq!(
            *asked.last().unwrap(),
            format!("/org/name/resolve/{COMMIT}/model.safetensors bytes={half}-")
        );
    }
}

#[test]
fn a_hub_without_ranges_sends_all_again() {
    let (stand_in, cache) = (model_with(Flaw::AlwaysBreaksOff), TempDir::new().unwrap());
    let hub = stand_in.hub(&cache);
    let error = hub.model("hf://org/name", &mut go_on).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    stand_in.state.lock().unwrap().flaw = Flaw::NoRanges;
    stand_in.requests();
    let fetched = hub.model("hf://org/name", &mut go_on).unwrap();
    let content = stand_in.state.lock().unwrap().files["model.safetensors"].clone();
    assert_eq!(std::fs::read(fetched.path.join("model.safetensors")).unwrap(), content);
    assert!(
        stand_in.requests().last().unwrap().contains("bytes="),
        "it was asked to go on"
    );
}

#[test]
fn what_is_not_as_announced_is_refused_and_thrown_away() {
    for flaw in [Flaw::Spoilt, Flaw::TooMuch] {
        let (stand_in, cache) = (model_with(flaw), TempDir::new().unwrap());
        let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
        assert!(
            matches!(&error, HubError::Corrupt { what, .. } if what.ends_with("model.safetensors")),
            "{error}"
        );
        let place = cache
            .path()
            .join(format!("models--org--name/snapshots/{COMMIT}/model.safetensors"));
        assert!(!place.exists(), "{flaw:?}");
        // Nothing of it hinders the next time.
        stand_in.state.lock().unwrap().flaw = Flaw::None;
        stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap();
        assert_eq!(
            std::fs::read(place).unwrap(),
            stand_in.state.lock().unwrap().files["model.safetensors"]
        );
    }
}

#[test]
fn busy_and_silent_hubs() {
    let (stand_in, cache) = (model_with(Flaw::Busy), TempDir::new().unwrap());
    assert!(stand_in.hub(&cache).model("hf://org/name", &mut go_on).is_ok());
    let (stand_in, cache) = (model_with(Flaw::Silent), TempDir::new().unwrap());
    let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
    assert!(matches!(error, HubError::Network { .. }), "{error}");
}

#[test]
fn names_that_leave_the_folder_are_refused_before_anything_is_fetched() {
    for name in ["../evil.json", "/etc/evil", "a/../../b", "a\\b", "C:evil"] {
        let (stand_in, cache) = (model(), TempDir::new().unwrap());
        let list = serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": "config.json"}, {"rfilename": name}]});
        stand_in.state.lock().unwrap().list = Some(list.to_string());
        let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
        assert!(matches!(error, HubError::Path { name: refused, .. } if refused == name));
        assert_eq!(stand_in.requests().len(), 1);
    }
}

#[test]
fn answers_that_are_none() {
    for list in [
        "",
        "[]",
        r#"{"sha": "../x", "siblings": []}"#,
        &format!(r#"{{"sha": "{COMMIT}"}}"#),
    ] {
        let (stand_in, cache) = (model(), TempDir::new().unwrap());
        stand_in.state.lock().unwrap().list = Some(list.to_owned());
        let error = stand_in.hub(&cache).model("hf://org/name", &mut go_on).unwrap_err();
        assert!(matches!(error, HubError::Answer { .. }), "{list}: {error}");
    }
}

#[test]
fn a_fetch_can_be_stopped_and_gone_on_with() {
    let (stand_in, cache) = (model(), TempDir::new().unwrap());
    let hub = stand_in.hub(&cache);
    let mut stop = |progress: &Progress| progress.file != "model.safetensors" || progress.bytes == 0;
    let error = hub.model("hf://org/name", &mut stop).unwrap_err();
    assert!(
        matches!(&error, HubError::Stopped { what } if what.ends_with("model.safetensors")),
        "{error}"
    );
    assert!(hub.model("hf://org/name", &mut go_on).is_ok());
}

#[test]
fn bad_configurations() {
    let config = |endpoint: &str, token: Option<&str>| {
        Hub::new(HubConfig {
            endpoint: endpoint.to_owned(),
            token: token.map(str::to_owned),
            ..HubConfig::new("cache")
        })
    };
    for endpoint in [
        "",
        "hub",
        "ftp://hub",
        "https://",
        "https://user:password@hub",
        "https://hub?x",
    ] {
        assert!(matches!(config(endpoint, None), Err(HubError::Config(_))), "{endpoint}");
    }
    assert!(matches!(
        config("https://hub", Some("a\r\nb")),
        Err(HubError::Config(_))
    ));
    assert!(config("https://hub/", Some("")).is_ok());
}

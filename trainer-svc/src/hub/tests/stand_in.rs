//! A hub of our own: a few lines of HTTP on a free port of this machine.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::dataset::digest_text;
use crate::hub::{Hub, HubConfig};

pub(super) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Flaw {
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
pub(super) struct State {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) flaw: Flaw,
    pub(super) token: Option<String>,
    pub(super) list: Option<String>,
    pub(super) requests: Vec<String>,
}

pub(super) struct StandIn {
    address: SocketAddr,
    pub(super) state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    pub(super) fn start(state: State) -> Self {
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

    pub(super) fn hub(&self, cache: &TempDir) -> Hub {
        self.hub_with(cache, None)
    }

    pub(super) fn hub_with(&self, cache: &TempDir, token: Option<&str>) -> Hub {
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

    pub(super) fn requests(&self) -> Vec<String> {
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

pub(super) fn files(names: &[&str]) -> BTreeMap<String, Vec<u8>> {
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

pub(super) fn model() -> StandIn {
    model_with(Flaw::None)
}

pub(super) fn model_with(flaw: Flaw) -> StandIn {
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

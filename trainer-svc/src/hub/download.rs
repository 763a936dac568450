//! One file: gone on with where it broke off, checked against what was announced, and put in its place when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};
use ureq::{Body, Error};

use super::HubError;
use super::client::{Hub, Listed, Progress};
use super::digest::io_error;
use crate::dataset::digest_text;

/// Bytes of a file whose size the hub does not announce.
const UNANNOUNCED_LIMIT: u64 = 64 << 30;
/// Between two words on progress.
const STEP: usize = 1 << 20;

/// A file on the hub.
pub(super) struct Remote<'a> {
    pub(super) address: String,
    pub(super) what: String,
    pub(super) file: &'a Listed,
}

/// A fault, and whether trying again may help.
enum Fault {
    Passing(HubError),
    Final(HubError),
}

/// A small answer, whole.
pub(super) fn small(hub: &Hub, address: &str, what: &str, limit: u64) -> Result<Vec<u8>, HubError> {
    retried(hub, || {
        let mut answer = ask(hub, address, what, 0)?;
        if answer.status() != StatusCode::OK {
            return Err(refusal(hub, &answer, what));
        }
        answer
            .body_mut()
            .with_config()
            .limit(limit)
            .read_to_vec()
            .map_err(|error| Fault::Passing(network(what, &error.to_string())))
    })
}

/// Puts a file into its place, unless it is there.
pub(super) fn fetch(
    hub: &Hub,
    remote: &Remote<'_>,
    place: &Path,
    on_progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<PathBuf, HubError> {
    let there = fs::metadata(place).ok().filter(fs::Metadata::is_file);
    if there.is_some_and(|there| remote.file.size.is_none_or(|size| size == there.len())) {
        return Ok(place.to_owned());
    }
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
    }
    let part = part_of(place);
    retried(hub, || attempt(hub, remote, &part, on_progress))?;
    fs::rename(&part, place).map_err(|error| io_error(place, &error))?;
    Ok(place.to_owned())
}

/// `folder/.name.part`
fn part_of(place: &Path) -> PathBuf {
    let name = place.file_name().map(|name| name.to_string_lossy().into_owned());
    place.with_file_name(format!(".{}.part", name.unwrap_or_default()))
}

fn attempt(
    hub: &Hub,
    remote: &Remote<'_>,
    part: &Path,
    on_progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<(), Fault> {
    let disk = |error: &io::Error| Fault::Final(io_error(part, error));
    let size = remote.file.size;
    let mut have = fs::metadata(part).map_or(0, |metadata| metadata.len());
    if size.is_none_or(|size| have > size) {
        have = 0;
    }
    if Some(have) != size || have == 0 {
        let answer = ask(hub, &remote.address, &remote.what, have)?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT if begins_at(&answer, have) => {}
            StatusCode::OK => have = 0,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                // It has become another file, or the hub counts otherwise: from the beginning.
                discard(part)?;
                return Err(Fault::Passing(network(
                    &remote.what,
                    "the hub does not go on where it was asked to",
                )));
            }
            _ => return Err(refusal(hub, &answer, &remote.what)),
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .append(have > 0)
            .truncate(have == 0)
            .open(part);
        let mut file = file.map_err(|error| disk(&error))?;
        copy(answer, &mut file, have, remote, part, on_progress)?;
        file.sync_all().map_err(|error| disk(&error))?;
    }
    check(remote, part)
}

/// Does a partial answer begin at this byte?
fn begins_at(answer: &Response<Body>, have: u64) -> bool {
    let range = answer
        .headers()
        .get("content-range")
        .and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {have}-")))
}

fn copy(
    answer: Response<Body>,
    file: &mut File,
    have: u64,
    remote: &Remote<'_>,
    part: &Path,
    on_progress: &mut dyn FnMut(&Progress) -> bool,
) -> Result<(), Fault> {
    let limit = remote.file.size.unwrap_or(UNANNOUNCED_LIMIT);
    let mut progress = Progress {
        file: remote.file.name.clone(),
        bytes: have,
        total: remote.file.size,
    };
    let mut body = answer.into_body().into_with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0; STEP];
    loop {
        if !on_progress(&progress) {
            return Err(Fault::Final(HubError::Stopped {
                what: remote.what.clone(),
            }));
        }
        let count = match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Passing(network(&remote.what, &error.to_string()))),
        };
        progress.bytes += count as u64;
        if progress.bytes > limit {
            return Err(Fault::Final(HubError::Corrupt {
                what: remote.what.clone(),
                wanted: format!("{limit} bytes at most"),
                found: "more came".to_owned(),
            }));
        }
        let written = file.write_all(&buffer[..count]);
        written.map_err(|error| Fault::Final(io_error(part, &error)))?;
    }
}

/// Size and digest, as far as they were announced. What is wrong is thrown away.
fn check(remote: &Remote<'_>, part: &Path) -> Result<(), Fault> {
    let disk = |error: &io::Error| Fault::Final(io_error(part, error));
    let have = fs::metadata(part).map_err(|error| disk(&error))?.len();
    if let Some(size) = remote.file.size.filter(|size| *size != have) {
        // Too short, as more was refused: the connection was closed early.
        return Err(Fault::Passing(HubError::Corrupt {
            what: remote.what.clone(),
            wanted: format!("{size} bytes"),
            found: format!("{have} bytes came"),
        }));
    }
    let Some(wanted) = &remote.file.sha256 else {
        return Ok(());
    };
    let mut hash = Sha256::new();
    let mut file = File::open(part).map_err(|error| disk(&error))?;
    let mut buffer = vec![0; STEP];
    loop {
        match file.read(&mut buffer).map_err(|error| disk(&error))? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let found = digest_text(hash);
    if found.strip_prefix("sha256:") == Some(wanted) {
        return Ok(());
    }
    discard(part)?;
    Err(Fault::Passing(HubError::Corrupt {
        what: remote.what.clone(),
        wanted: format!("sha256:{wanted}"),
        found: format!("{found} came"),
    }))
}

fn discard(part: &Path) -> Result<(), Fault> {
    match fs::remove_file(part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::Final(io_error(part, &error))),
        _ => Ok(()),
    }
}

fn ask(hub: &Hub, address: &str, what: &str, from: u64) -> Result<Response<Body>, Fault> {
    let mut request = hub.agent.get(address);
    if let Some(token) = &hub.config.token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if from > 0 {
        request = request.header("range", format!("bytes={from}-"));
    }
    request.call().map_err(|error| {
        let fault = network(what, &error.to_string());
        match error {
            Error::Io(_) | Error::Timeout(_) | Error::ConnectionFailed | Error::HostNotFound | Error::Protocol(_) => {
                Fault::Passing(fault)
            }
            _ => Fault::Final(fault),
        }
    })
}

/// An answer that is none, as an error.
fn refusal(hub: &Hub, answer: &Response<Body>, what: &str) -> Fault {
    let said = answer
        .headers()
        .get("x-error-message")
        .and_then(|message| message.to_str().ok());
    let hint = said.map(|said| format!(": {}", said.chars().take(300).collect::<String>()));
    let (what, hint) = (what.to_owned(), hint.unwrap_or_default());
    match answer.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Fault::Final(HubError::Unauthorised {
            what,
            token: hub.config.token.is_some(),
            hint,
        }),
        StatusCode::NOT_FOUND | StatusCode::GONE => Fault::Final(HubError::NotFound { what, hint }),
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            Fault::Passing(network(&what, &format!("the hub is busy: {status}{hint}")))
        }
        status => Fault::Final(HubError::Answer {
            what,
            message: format!("{status}{hint}"),
        }),
    }
}

fn network(what: &str, message: &str) -> HubError {
    HubError::Network {
        what: what.to_owned(),
        message: message.to_owned(),
    }
}

fn retried<T>(hub: &Hub, mut attempt: impl FnMut() -> Result<T, Fault>) -> Result<T, HubError> {
    let mut pause = hub.config.pause;
    let mut left = hub.config.retries;
    loop {
        match attempt() {
            Ok(result) => return Ok(result),
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Passing(error)) if left == 0 => return Err(error),
            Err(Fault::Passing(_)) => {}
        }
        left -= 1;
        std::thread::sleep(pause);
        pause = pause.saturating_mul(2);
    }
}

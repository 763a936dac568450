//! A process that is killed in the middle of its writes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use selector_svc::selection::Event;
use selector_svc::store::sqlite::{SqliteOptions, SqliteStore};
use selector_svc::store::{Append, KnownLoss, LossKey, Store, Writer};

use crate::samples;

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).await.unwrap()
}

fn key(sequence: u64) -> LossKey {
    LossKey(format!("loss-{sequence}"))
}

/// Two events whose summary and loss tell the number of the second.
fn pair(after: u64) -> Append {
    let mut summary = samples::summary(&[]);
    summary.spent.examples = after + 2;
    let loss = KnownLoss {
        key: key(after + 2),
        observation: samples::point(after + 2, 2.0),
        selection: "s".to_owned(),
    };
    Append {
        after,
        events: vec![Event::Paused, Event::Resumed],
        summary,
        losses: vec![loss],
        forecasts: Vec::new(),
    }
}

/// The child of the test below: it writes until it is killed, and tells what it was told.
#[tokio::test]
#[ignore = "started by the test that kills it"]
async fn child() {
    let mut path = String::new();
    std::io::stdin().read_line(&mut path).unwrap();
    let store = open(Path::new(path.trim())).await;
    store.create(samples::new("s", &[])).await.unwrap();
    let mut after = store.get("s").await.unwrap().sequence;
    let mut told = std::io::stderr();
    loop {
        store.append("s", Writer::Caller, pair(after)).await.unwrap();
        after += 2;
        writeln!(told, "wrote {after}").unwrap();
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut last = 1;
    for kill in 1..=4_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "crash::child"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", path.display()).unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut wrote = lines
            .by_ref()
            .filter_map(|line| line.strip_prefix("wrote ")?.parse::<u64>().ok());
        // Killed at once after an acknowledgement: what follows it is in hand.
        let mut acknowledged = wrote.nth(usize::try_from(kill).unwrap() * 3).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = wrote.last().unwrap_or(acknowledged);
        assert!(acknowledged > last, "start {kill}");

        last = runtime.block_on(async {
            let store = open(&path).await;
            let stored = store.get("s").await.unwrap();
            assert!(stored.sequence == acknowledged || stored.sequence == acknowledged + 2);
            assert_eq!(stored.summary.spent.examples, stored.sequence);
            let events = store.events("s", 0, u32::MAX).await.unwrap();
            assert_eq!(events.len() as u64, stored.sequence);
            let keys: Vec<LossKey> = (3..=stored.sequence + 2).step_by(2).map(key).collect();
            assert_eq!(store.known_losses(&keys).await.unwrap().len(), keys.len() - 1);
            store.close().await;
            stored.sequence
        });
    }
}

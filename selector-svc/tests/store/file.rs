//! What only a file can suffer: other processes, other versions, damage, a full disk.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use selector_svc::selection::Event;
use selector_svc::store::record::{RecordError, RecordProblem};
use selector_svc::store::sqlite::{SqliteOptions, SqliteStore};
use selector_svc::store::{Creation, ListQuery, Store, StoreError, Writer};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::contract::end;
use crate::samples;
use crate::world::{LEASE, append};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    (folder, path)
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, SqliteOptions::default()).await.unwrap()
}

/// A statement of somebody else.
async fn meddle(path: &Path, statement: &'static str) {
    let mut connection = raw(path).await;
    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

async fn write(store: &SqliteStore, id: &str, events: &[Event]) -> Result<i64, StoreError> {
    let after = store.get(id).await.unwrap().sequence;
    store.append(id, Writer::Caller, append(after, events)).await
}

#[tokio::test]
async fn a_file_that_is_opened_again_has_everything() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    store.create(samples::new("s", &[("team", "red")])).await.unwrap();
    write(&store, "s", &samples::history()[1..]).await.unwrap();
    let claims = store.claim("a", LEASE, 9).await.unwrap();
    let (stored, events) = (store.get("s").await.unwrap(), store.events("s", 0, 99).await.unwrap());
    store.close().await;
    assert!(matches!(store.get("s").await, Err(StoreError::Unavailable { .. })));
    let again = open(&path).await;
    assert_eq!(again.path(), path);
    assert_eq!(again.get("s").await.unwrap(), stored);
    assert_eq!(again.events("s", 0, 99).await.unwrap(), events);
    assert_eq!(again.renew(&claims, LEASE).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_file() {
    let (_folder, path) = folder();
    // All of them meet an absent file at once.
    let mut opening = JoinSet::new();
    for _ in 0..6 {
        let path = path.clone();
        opening.spawn(async move { open(&path).await });
    }
    let mut stores = opening.join_all().await.into_iter().map(Arc::new);
    let (one, two) = (stores.next().unwrap(), stores.next().unwrap());
    one.create(samples::new("s", &[])).await.unwrap();
    let id = "s".to_owned();
    assert_eq!(
        two.create(samples::new("s", &[])).await,
        Ok(Creation::Existing { id: id.clone() })
    );

    let first = one.claim("one", Duration::from_millis(50), 9).await.unwrap();
    let mut second = Vec::new();
    while second.is_empty() {
        second = two.claim("two", LEASE, 9).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let late = one
        .append("s", Writer::Owner(first[0].clone()), append(1, &[Event::Paused]))
        .await;
    assert_eq!(late, Err(StoreError::Fenced { id }));
    let mine = two
        .append("s", Writer::Owner(second[0].clone()), append(1, &[Event::Paused]))
        .await;
    assert!(mine.is_ok());

    let mut writing = JoinSet::new();
    for store in [one.clone(), two] {
        writing.spawn(async move {
            for _ in 0..20 {
                while let Err(error) = write(&store, "s", &[Event::Paused]).await {
                    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
                }
            }
        });
    }
    writing.join_all().await;
    let events = one.events("s", 0, 99).await.unwrap();
    assert_eq!(events.len(), 42);
    assert!(events.is_sorted_by_key(|event| event.at));
}

#[tokio::test]
async fn a_write_that_is_locked_out_can_be_made_later() {
    let (_folder, path) = folder();
    let options = SqliteOptions {
        busy_timeout: Duration::from_millis(50),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&path, options).await.unwrap();
    store.create(samples::new("s", &[])).await.unwrap();
    let mut other = raw(&path).await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let locked = store.append("s", Writer::Caller, append(1, &[Event::Paused])).await;
    assert!(matches!(locked, Err(StoreError::Unavailable { .. })), "{locked:?}");
    let locked = store.claim("a", LEASE, 1).await;
    assert!(matches!(locked, Err(StoreError::Unavailable { .. })), "{locked:?}");
    assert_eq!(store.get("s").await.unwrap().sequence, 1);
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    store
        .append("s", Writer::Caller, append(1, &[Event::Paused]))
        .await
        .unwrap();
}

#[tokio::test]
async fn newer_files_are_left_alone() {
    let (_folder, path) = folder();
    open(&path).await.close().await;
    meddle(&path, "UPDATE schema_version SET version = 7").await;
    let opened = SqliteStore::open(&path, SqliteOptions::default()).await.map(drop);
    assert_eq!(opened, Err(StoreError::Newer { found: 7, known: 1 }));
    for damage in ["UPDATE schema_version SET version = -1", "DELETE FROM schema_version"] {
        meddle(&path, damage).await;
        let opened = SqliteStore::open(&path, SqliteOptions::default()).await;
        assert!(
            matches!(opened, Err(StoreError::Corrupt { .. })),
            "{damage}: {opened:?}"
        );
    }
}

#[tokio::test]
async fn files_of_something_else_are_named_and_left_as_they_are() {
    let (folder, path) = folder();
    fs::write(&path, "The quick brown fox. ".repeat(1_000)).unwrap();
    let before = fs::read(&path).unwrap();
    match SqliteStore::open(&path, SqliteOptions::default()).await {
        Err(StoreError::Corrupt { detail }) => assert!(detail.contains("store.db"), "{detail}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);

    let foreign = folder.path().join("foreign.db");
    meddle(
        &foreign,
        "CREATE TABLE birds (name TEXT); INSERT INTO birds VALUES ('wren')",
    )
    .await;
    let before = fs::read(&foreign).unwrap();
    let opened = SqliteStore::open(&foreign, SqliteOptions::default()).await;
    assert!(matches!(opened, Err(StoreError::Corrupt { .. })), "{opened:?}");
    assert_eq!(fs::read(&foreign).unwrap(), before);

    for place in [folder.path().to_owned(), path.join("below-a-file.db")] {
        let opened = SqliteStore::open(&place, SqliteOptions::default()).await;
        assert!(matches!(opened, Err(StoreError::Unavailable { .. })), "{opened:?}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_no_panic() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    for index in 0..40 {
        store
            .create(samples::new(&format!("s{index}"), &[("team", "red")]))
            .await
            .unwrap();
    }
    store.close().await;
    let length = fs::metadata(&path).unwrap().len();
    let mut corrupt = 0;
    // Page after page, all of them but the first: the file is still one of SQLite's.
    for page in (4_096..length).step_by(4_096) {
        let whole = fs::read(&path).unwrap();
        let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(page)).unwrap();
        file.write_all(&[0xa5; 4_096]).unwrap();
        drop(file);
        let mut answers = Vec::new();
        match SqliteStore::open(&path, SqliteOptions::default()).await {
            Err(error) => answers.push(error),
            Ok(store) => {
                let all = ListQuery {
                    limit: 100,
                    ..ListQuery::default()
                };
                answers.extend(store.list(all).await.err());
                for index in 0..40 {
                    answers.extend(store.events(&format!("s{index}"), 0, 9).await.err());
                }
                answers.extend(store.claim("a", LEASE, 9).await.err());
                store.close().await;
            }
        }
        for error in &answers {
            let typed = matches!(
                error,
                StoreError::Corrupt { .. } | StoreError::Record(_) | StoreError::NotFound { .. }
            );
            assert!(typed, "page at {page}: {error:?}");
        }
        corrupt += usize::from(answers.iter().any(|error| matches!(error, StoreError::Corrupt { .. })));
        fs::write(&path, whole).unwrap();
        for side in ["store.db-wal", "store.db-shm"] {
            drop(fs::remove_file(path.with_file_name(side)));
        }
    }
    assert!(corrupt > 10, "{corrupt}");
}

#[tokio::test]
async fn one_bad_record_spoils_one_selection() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    for id in ["newer", "damaged", "gap", "well"] {
        store.create(samples::new(id, &[])).await.unwrap();
        write(&store, id, &[Event::Paused, Event::Resumed]).await.unwrap();
    }
    meddle(
        &path,
        "UPDATE events SET record = '{\"version\":2,\"kind\":\"paused\"}' WHERE sequence = 2 AND selection = 1; \
         UPDATE events SET record = 'damaged' WHERE sequence = 3 AND selection = 2; \
         DELETE FROM events WHERE sequence = 2 AND selection = 3; \
         UPDATE selections SET summary = '{}' WHERE key = 2",
    )
    .await;
    match store.events("newer", 0, 9).await {
        Err(StoreError::Record(error)) => assert_eq!(
            error,
            RecordError {
                selection: "newer".to_owned(),
                sequence: 2,
                problem: RecordProblem::Newer { found: 2 },
            }
        ),
        other => panic!("{other:?}"),
    }
    match store.events("damaged", 0, 9).await {
        Err(StoreError::Record(error)) => assert_eq!((error.selection.as_str(), error.sequence), ("damaged", 3)),
        other => panic!("{other:?}"),
    }
    match store.get("damaged").await {
        Err(StoreError::Record(error)) => assert_eq!((error.selection.as_str(), error.sequence), ("damaged", 0)),
        other => panic!("{other:?}"),
    }
    let gap = store.events("gap", 0, 9).await;
    assert!(matches!(gap, Err(StoreError::Corrupt { .. })), "{gap:?}");
    assert_eq!(store.events("damaged", 0, 2).await.unwrap().len(), 2);
    assert_eq!(store.events("well", 0, 9).await.unwrap().len(), 3);
    write(&store, "well", &end()).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_passes() {
    let (_folder, path) = folder();
    let options = SqliteOptions {
        max_pages: Some(60),
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(&path, options).await.unwrap();
    store.create(samples::new("s", &[])).await.unwrap();
    let many = vec![samples::created(); 3];
    let mut acknowledged = 1;
    let full = loop {
        match store.append("s", Writer::Caller, append(acknowledged, &many)).await {
            Ok(_) => acknowledged += 3,
            Err(error) => break error,
        }
        assert!(acknowledged < 10_000);
    };
    assert!(matches!(full, StoreError::Full { .. }), "{full:?}");
    let new = store.create(samples::new("t", &[("a", &"b".repeat(10_000))])).await;
    assert!(matches!(new, Err(StoreError::Full { .. })), "{new:?}");
    // Reading goes on, and nothing half is there.
    assert_eq!(store.get("s").await.unwrap().sequence, acknowledged);
    assert_eq!(store.events("s", 0, u32::MAX).await.unwrap().len() as u64, acknowledged);
    assert!(matches!(store.get("t").await, Err(StoreError::NotFound { .. })));
    store.close().await;
    let store = open(&path).await;
    store
        .append("s", Writer::Caller, append(acknowledged, &many))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_dropped_leave_nothing_half() {
    let (_folder, path) = folder();
    let store = open(&path).await;
    store.create(samples::new("s", &[])).await.unwrap();
    let mut after = 1;
    for round in 0..60_u64 {
        let patience = Duration::from_micros(round * 25);
        let call = store.append("s", Writer::Caller, append(after, &[Event::Paused, Event::Resumed]));
        if let Ok(answer) = tokio::time::timeout(patience, call).await {
            answer.unwrap();
        }
        // Dropped, it has happened or not.
        let sequence = store.get("s").await.unwrap().sequence;
        let events = store.events("s", 0, u32::MAX).await.unwrap();
        assert!(events.len() as u64 % 2 == 1, "{}", events.len());
        after = sequence.max(events.len() as u64);
        // A commit in hand when its call was dropped may be seen a little later.
        match store
            .append("s", Writer::Caller, append(after, &[Event::Paused, Event::Resumed]))
            .await
        {
            Ok(_) => after += 2,
            Err(StoreError::Conflict { sequence, .. }) => after = sequence,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(store.events("s", 0, u32::MAX).await.unwrap().len() as u64, after);
}

//! The tables, and how a file comes to have them.

use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnection, SqlitePool};

use super::error::store_error;
use crate::store::StoreError;

/// Step n takes a file from version n to n + 1. What is here stays as it is for ever; changes are new steps.
const MIGRATIONS: [&str; KNOWN as usize] = [include_str!("schema/1.sql")];

/// The newest version that is known.
const KNOWN: u32 = 1;

/// How long to wait before asking once more for a lock that `SQLite` does not wait for.
const PAUSE: Duration = Duration::from_millis(10);

/// Makes the file a store of the newest version. A file of something else is left as it is.
pub(super) async fn prepare(writer: &SqlitePool, patience: Duration) -> Result<(), StoreError> {
    let mut connection = writer.acquire().await.map_err(store_error)?;
    let found = version(&mut connection).await?;
    use_write_ahead_log(&mut connection, patience).await?;
    if found == KNOWN {
        return Ok(());
    }
    drop(connection);
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)?;
    // Another process may have been faster.
    let found = version(&mut transaction).await?;
    for step in MIGRATIONS.iter().copied().skip(found as usize) {
        let applied = sqlx::raw_sql(step).execute(&mut *transaction).await;
        applied.map_err(store_error)?;
    }
    let noted = sqlx::query("UPDATE schema_version SET version = ?1").bind(KNOWN);
    noted.execute(&mut *transaction).await.map_err(store_error)?;
    transaction.commit().await.map_err(store_error)
}

/// The file's version; 0: it is empty.
async fn version(connection: &mut SqliteConnection) -> Result<u32, StoreError> {
    let own =
        "SELECT count(*), count(*) FILTER (WHERE name = 'schema_version') FROM sqlite_master WHERE type = 'table'";
    let (tables, own): (i64, i64) = sqlx::query_as(own)
        .fetch_one(&mut *connection)
        .await
        .map_err(store_error)?;
    if tables == 0 {
        return Ok(0);
    }
    let corrupt = |detail: &str| StoreError::Corrupt {
        detail: detail.to_owned(),
    };
    if own == 0 {
        return Err(corrupt("it is a SQLite file, but not of finepick"));
    }
    let read = sqlx::query_scalar::<_, i64>("SELECT version FROM schema_version");
    let found = read.fetch_optional(connection).await.map_err(store_error)?;
    let found = found
        .and_then(|found| u32::try_from(found).ok())
        .filter(|found| *found > 0);
    match found {
        None => Err(corrupt("its version is missing or no number")),
        Some(found) if found > KNOWN => Err(StoreError::Newer { found, known: KNOWN }),
        Some(found) => Ok(found),
    }
}

/// The switch is for good, and needs a lock that `SQLite` does not wait for.
async fn use_write_ahead_log(connection: &mut SqliteConnection, patience: Duration) -> Result<(), StoreError> {
    let begun = Instant::now();
    loop {
        let asked = sqlx::query_scalar::<_, String>("PRAGMA journal_mode = WAL");
        match asked.fetch_one(&mut *connection).await.map_err(store_error) {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                let detail = format!("its file system cannot hold a write-ahead log, only {mode:?}");
                return Err(StoreError::Unavailable { detail });
            }
            Err(StoreError::Unavailable { .. }) if begun.elapsed() < patience => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
}

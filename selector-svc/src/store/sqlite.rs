//! A store in one `SQLite` file.
//!
//! Writes go through one connection, one after another; reads through a few others, each on its own snapshot (write-ahead log). Every
//! write is on the disk before it is answered (`synchronous=FULL`). Another process may work on the same file: writers wait for each
//! other, and fences tell owners apart. The clock is `SQLite`'s, which is the machine's: selectors that share a file share it.

mod error;
mod read;
mod schema;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use self::error::store_error;
use crate::ports::BoxFuture;
use crate::selection::Millis;
use crate::store::{
    Append, Claim, Creation, KnownForecast, KnownLoss, ListQuery, LossKey, NewSelection, Store, StoreError,
    StoredEvent, StoredSelection, Writer, lease,
};

/// The store's time in a statement whose first parameter is the clock's offset: milliseconds, rounded because of the binary fraction.
macro_rules! now {
    () => {
        "(CAST(round(unixepoch('subsec') * 1000) AS INTEGER) + ?1)"
    };
}
use now;

/// How a file is used.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// How long a call waits for other processes' writes; then it is [`StoreError::Unavailable`].
    pub busy_timeout: Duration,
    /// Connections that read, ≥ 1.
    pub readers: u32,
    /// The file grows to so many pages of 4,096 bytes; then it is [`StoreError::Full`]. Absent: as far as the disk.
    pub max_pages: Option<u32>,
    /// Added to `SQLite`'s clock, milliseconds: for tests of clocks that jump.
    pub clock_offset: Arc<AtomicI64>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            busy_timeout: Duration::from_secs(5),
            readers: 4,
            max_pages: None,
            clock_offset: Arc::default(),
        }
    }
}

/// Selections in a file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    clock_offset: Arc<AtomicI64>,
}

impl SqliteStore {
    /// Opens a file; creates it, with the folders above it, where it is absent.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for the file of a newer program, [`StoreError::Corrupt`] for one that is damaged or something else,
    /// [`StoreError::Unavailable`] and [`StoreError::Full`] where it cannot be reached or written.
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| StoreError::Unavailable {
                detail: format!("cannot create the folder {}: {error}", folder.display()),
            })?;
        }
        let mut connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .busy_timeout(options.busy_timeout)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .disable_statement_logging();
        if let Some(pages) = options.max_pages {
            connect = connect.pragma("max_page_count", pages.to_string());
        }
        // Connections of this process do not go stale: they are neither tested nor exchanged. Who waits for one waits for other
        // writes of this process, each of which may wait for another process.
        let pool = || {
            SqlitePoolOptions::new()
                .test_before_acquire(false)
                .idle_timeout(None)
                .max_lifetime(None)
                .acquire_timeout(options.busy_timeout.saturating_mul(4))
                // SQLite itself rolls back where the disk is full or fails; the driver does not learn of that and would think for ever
                // that the connection is in a transaction. Others that are given back have none.
                .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        };
        let writer = pool().max_connections(1).connect_lazy_with(connect.clone());
        if let Err(error) = schema::prepare(&writer, options.busy_timeout).await {
            writer.close().await;
            return Err(error::of_file(error, &path));
        }
        let readers = pool().max_connections(options.readers.max(1));
        let readers = readers.connect_lazy_with(connect.create_if_missing(false).pragma("query_only", "ON"));
        Ok(Self {
            path,
            writer,
            readers,
            clock_offset: options.clock_offset,
        })
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for calls in hand and closes the file; later calls are [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    fn offset(&self) -> i64 {
        self.clock_offset.load(Ordering::SeqCst)
    }
}

impl Store for SqliteStore {
    fn now(&self) -> BoxFuture<'_, Result<Millis, StoreError>> {
        Box::pin(async {
            let now = sqlx::query_scalar(concat!("SELECT ", now!())).bind(self.offset());
            now.fetch_one(&self.readers).await.map_err(store_error)
        })
    }

    fn create(&self, new: NewSelection) -> BoxFuture<'_, Result<Creation, StoreError>> {
        Box::pin(write::create(self, new))
    }

    fn existing<'a>(
        &'a self,
        id: &'a str,
        request_id: &'a str,
        spec_digest: &'a str,
    ) -> BoxFuture<'a, Result<Option<Creation>, StoreError>> {
        Box::pin(read::existing(&self.readers, id, request_id, spec_digest))
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<StoredSelection, StoreError>> {
        Box::pin(read::get(self, id))
    }

    fn events<'a>(
        &'a self,
        id: &'a str,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(read::events(self, id, after, limit))
    }

    fn append<'a>(&'a self, id: &'a str, writer: Writer, append: Append) -> BoxFuture<'a, Result<Millis, StoreError>> {
        Box::pin(write::append(self, id, writer, append))
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<StoredSelection>, StoreError>> {
        Box::pin(read::list(self, query))
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(write::delete(self, id))
    }

    fn claim<'a>(
        &'a self,
        owner: &'a str,
        lease: Duration,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        Box::pin(write::claim(self, owner, lease::millis(lease), limit))
    }

    fn renew<'a>(&'a self, claims: &'a [Claim], lease: Duration) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        Box::pin(write::renew(self, claims, lease::millis(lease)))
    }

    fn release<'a>(&'a self, claims: &'a [Claim]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(write::release(self, claims))
    }

    fn known_losses<'a>(&'a self, keys: &'a [LossKey]) -> BoxFuture<'a, Result<Vec<KnownLoss>, StoreError>> {
        Box::pin(read::known_losses(self, keys))
    }

    fn known_forecasts<'a>(
        &'a self,
        model_keys: &'a [String],
        not_on: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<KnownForecast>, StoreError>> {
        Box::pin(read::known_forecasts(self, model_keys, not_on, limit))
    }
}

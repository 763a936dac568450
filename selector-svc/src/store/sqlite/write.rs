//! Everything that changes the file.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Row as _, Sqlite, Transaction};

use super::error::store_error;
use super::read::existing;
use super::{SqliteStore, now};
use crate::selection::{Millis, Phase};
use crate::store::lease::Lease;
use crate::store::record::{check_forecast, encode_event, encode_observation, encode_summary};
use crate::store::{
    Append, Claim, Creation, KnownForecast, KnownLoss, NewSelection, StoreError, Summary, Writer, phase_name,
};

/// A lease in force, as [`Lease::in_force`] has it, in a statement whose first parameter is the clock's offset.
macro_rules! in_force {
    () => {
        concat!(
            "(owner <> '' AND lease_until > ",
            now!(),
            " AND lease_until - ",
            now!(),
            " <= 2 * lease_length)"
        )
    };
}

/// A transaction that has the write lock from its beginning: what it reads cannot be changed under it.
async fn begin(store: &SqliteStore) -> Result<Transaction<'static, Sqlite>, StoreError> {
    store.writer.begin_with("BEGIN IMMEDIATE").await.map_err(store_error)
}

fn unsigned(number: i64, what: &str) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt {
        detail: format!("{what} is {number}"),
    })
}

/// Numbers of events and fences count up from 0 and stay far below this.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Numbers of the events after one, whatever number a caller gives.
pub(super) fn numbers_after(after: u64) -> impl Iterator<Item = u64> {
    (1..u64::MAX).map(move |step| after.saturating_add(step))
}

fn has_ended(summary: &Summary) -> bool {
    matches!(summary.phase, Phase::Ended(_))
}

pub(super) async fn create(store: &SqliteStore, new: NewSelection) -> Result<Creation, StoreError> {
    let summary = encode_summary(&new.summary).map_err(|problem| problem.at(&new.id, 0))?;
    let record = encode_event(&new.event).map_err(|problem| problem.at(&new.id, 1))?;
    let mut transaction = begin(store).await?;
    let there = existing(&mut *transaction, &new.id, &new.request_id, &new.spec_digest).await?;
    if let Some(there) = there {
        return Ok(there);
    }
    insert(&mut transaction, &new, &summary, store.offset(), &record)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(Creation::Created { id: new.id })
}

fn request_id(new: &NewSelection) -> Option<&str> {
    Some(new.request_id.as_str()).filter(|id| !id.is_empty())
}

async fn insert(
    connection: &mut SqliteConnection,
    new: &NewSelection,
    summary: &str,
    offset: i64,
    record: &str,
) -> Result<(), sqlx::Error> {
    let phase = phase_name(&new.summary.phase, new.summary.paused);
    let statement = concat!(
        "INSERT INTO selections (id, spec_digest, request_id, created, updated, sequence, phase, ended, summary) ",
        "SELECT ?2, ?3, ?4, now, now, 1, ?5, ?6, ?7 FROM (SELECT ",
        now!(),
        " AS now) RETURNING key, created"
    );
    let (selection, created) = sqlx::query_as::<_, (i64, Millis)>(statement)
        .bind(offset)
        .bind(&new.id)
        .bind(&new.spec_digest)
        .bind(request_id(new))
        .bind(phase)
        .bind(has_ended(&new.summary))
        .bind(summary)
        .fetch_one(&mut *connection)
        .await?;
    for (name, value) in &new.summary.labels {
        sqlx::query("INSERT INTO labels (name, value, created, id, phase, selection) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
            .bind(name)
            .bind(value)
            .bind(created)
            .bind(&new.id)
            .bind(phase)
            .bind(selection)
            .execute(&mut *connection)
            .await?;
    }
    insert_event(connection, selection, 1, created, record).await
}

async fn insert_event(
    connection: &mut SqliteConnection,
    selection: i64,
    sequence: u64,
    at: Millis,
    record: &str,
) -> Result<(), sqlx::Error> {
    let statement = sqlx::query("INSERT INTO events (selection, sequence, at, record) VALUES (?1, ?2, ?3, ?4)");
    let statement = statement.bind(selection).bind(signed(sequence)).bind(at).bind(record);
    statement.execute(connection).await.map(drop)
}

/// What an append needs to know of its selection.
struct Head {
    key: i64,
    sequence: u64,
    updated: Millis,
    phase: String,
    lease: Lease,
    now: Millis,
}

impl Head {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let fence = row.try_get("fence").map_err(store_error)?;
        let sequence = row.try_get("sequence").map_err(store_error)?;
        Ok(Self {
            key: row.try_get("key").map_err(store_error)?,
            sequence: unsigned(sequence, "the number of an event")?,
            updated: row.try_get("updated").map_err(store_error)?,
            phase: row.try_get("phase").map_err(store_error)?,
            lease: Lease {
                owner: row.try_get("owner").map_err(store_error)?,
                fence: unsigned(fence, "a fence")?,
                until: row.try_get("lease_until").map_err(store_error)?,
                length: row.try_get("lease_length").map_err(store_error)?,
            },
            now: row.try_get("now").map_err(store_error)?,
        })
    }
}

/// What an append writes, as text.
struct Texts {
    events: Vec<String>,
    summary: String,
    observations: Vec<String>,
}

impl Texts {
    fn of(id: &str, append: &Append) -> Result<Self, StoreError> {
        let events = numbers_after(append.after).zip(&append.events);
        let events = events.map(|(sequence, event)| encode_event(event).map_err(|problem| problem.at(id, sequence)));
        let losses = append.losses.iter().map(|loss| encode_observation(&loss.observation));
        for forecast in &append.forecasts {
            check_forecast(forecast).map_err(|problem| problem.at(id, 0))?;
        }
        let of_summary = |problem: crate::store::record::RecordProblem| problem.at(id, 0);
        Ok(Self {
            events: events.collect::<Result<_, _>>()?,
            summary: encode_summary(&append.summary).map_err(of_summary)?,
            observations: losses.collect::<Result<_, _>>().map_err(of_summary)?,
        })
    }
}

pub(super) async fn append(
    store: &SqliteStore,
    id: &str,
    writer: Writer,
    append: Append,
) -> Result<Millis, StoreError> {
    // Before the lock: others write meanwhile.
    let texts = Texts::of(id, &append)?;
    let mut transaction = begin(store).await?;
    let statement = concat!(
        "SELECT key, sequence, updated, phase, owner, fence, lease_until, lease_length, ",
        now!(),
        " AS now FROM selections WHERE id = ?2"
    );
    let found = sqlx::query(statement).bind(store.offset()).bind(id);
    let found = found.fetch_optional(&mut *transaction).await.map_err(store_error)?;
    let found = found.ok_or_else(|| StoreError::NotFound { id: id.to_owned() })?;
    let head = Head::read(&found)?;
    if let Writer::Owner(claim) = &writer
        && !(claim.id == id && head.lease.is_held_by(claim, head.now))
    {
        return Err(StoreError::Fenced { id: id.to_owned() });
    }
    if append.after != head.sequence {
        let (id, sequence) = (id.to_owned(), head.sequence);
        return Err(StoreError::Conflict { id, sequence });
    }
    let at = head.now.max(head.updated);
    write(&mut transaction, &head, at, &append, &texts)
        .await
        .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(at)
}

async fn write(
    connection: &mut SqliteConnection,
    head: &Head,
    at: Millis,
    append: &Append,
    texts: &Texts,
) -> Result<(), sqlx::Error> {
    let mut sequence = head.sequence;
    for record in &texts.events {
        sequence += 1;
        insert_event(connection, head.key, sequence, at, record).await?;
    }
    let phase = phase_name(&append.summary.phase, append.summary.paused);
    let update =
        "UPDATE selections SET updated = ?2, sequence = ?3, phase = ?4, ended = ?5, summary = ?6 WHERE key = ?1";
    sqlx::query(update)
        .bind(head.key)
        .bind(at)
        .bind(signed(sequence))
        .bind(phase)
        .bind(has_ended(&append.summary))
        .bind(&texts.summary)
        .execute(&mut *connection)
        .await?;
    if phase != head.phase {
        let labels = sqlx::query("UPDATE labels SET phase = ?2 WHERE selection = ?1");
        labels.bind(head.key).bind(phase).execute(&mut *connection).await?;
    }
    for (loss, observation) in append.losses.iter().zip(&texts.observations) {
        insert_loss(connection, loss, observation).await?;
    }
    for forecast in &append.forecasts {
        insert_forecast(connection, forecast).await?;
    }
    Ok(())
}

async fn insert_loss(
    connection: &mut SqliteConnection,
    loss: &KnownLoss,
    observation: &str,
) -> Result<(), sqlx::Error> {
    let insert = "INSERT INTO losses (key, observation, selection) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO NOTHING";
    let insert = sqlx::query(insert)
        .bind(&loss.key.0)
        .bind(observation)
        .bind(&loss.selection);
    insert.execute(connection).await.map(drop)
}

async fn insert_forecast(connection: &mut SqliteConnection, forecast: &KnownForecast) -> Result<(), sqlx::Error> {
    // Replacing gives it a new place: the newest.
    let insert = "INSERT OR REPLACE INTO forecasts (model_key, data_digest, loss, selection) VALUES (?1, ?2, ?3, ?4)";
    let insert = sqlx::query(insert)
        .bind(&forecast.model_key)
        .bind(&forecast.data_digest)
        .bind(forecast.loss)
        .bind(&forecast.selection);
    insert.execute(connection).await.map(drop)
}

pub(super) async fn delete(store: &SqliteStore, id: &str) -> Result<(), StoreError> {
    let mut transaction = begin(store).await?;
    let found = sqlx::query_as::<_, (i64, bool)>("SELECT key, ended FROM selections WHERE id = ?1").bind(id);
    let found = found.fetch_optional(&mut *transaction).await.map_err(store_error)?;
    let id = id.to_owned();
    match found {
        None => Err(StoreError::NotFound { id }),
        Some((_, false)) => Err(StoreError::NotEnded { id }),
        Some((key, true)) => {
            // Its events and labels go with it.
            let delete = sqlx::query("DELETE FROM selections WHERE key = ?1").bind(key);
            delete.execute(&mut *transaction).await.map_err(store_error)?;
            transaction.commit().await.map_err(store_error)
        }
    }
}

pub(super) async fn claim(
    store: &SqliteStore,
    owner: &str,
    length: Millis,
    limit: u32,
) -> Result<Vec<Claim>, StoreError> {
    // Selectors ask often and mostly in vain: that must not take the write lock.
    let free = concat!(
        "SELECT EXISTS (SELECT 1 FROM selections WHERE ended = 0 AND NOT ",
        in_force!(),
        ")"
    );
    let free = sqlx::query_scalar::<_, bool>(free).bind(store.offset());
    if !free.fetch_one(&store.readers).await.map_err(store_error)? {
        return Ok(Vec::new());
    }
    let update = concat!(
        "UPDATE selections SET owner = ?2, fence = fence + 1, lease_until = ",
        now!(),
        " + ?3, lease_length = ?3 WHERE key IN (SELECT key FROM selections WHERE ended = 0 AND NOT ",
        in_force!(),
        " ORDER BY updated, id LIMIT ?4) RETURNING id, fence, updated"
    );
    let update = sqlx::query_as::<_, (String, i64, Millis)>(update)
        .bind(store.offset())
        .bind(owner)
        .bind(length)
        .bind(limit);
    let mut claimed = update.fetch_all(&store.writer).await.map_err(store_error)?;
    claimed.sort_by(|(a, _, left), (b, _, right)| (left, a).cmp(&(right, b)));
    let claims = claimed.into_iter().map(|(id, fence, _)| {
        Ok(Claim {
            id,
            owner: owner.to_owned(),
            fence: unsigned(fence, "a fence")?,
        })
    });
    claims.collect()
}

/// Ids, owners and fences as one parameter.
fn as_json(claims: &[Claim]) -> String {
    let claims = claims
        .iter()
        .map(|claim| serde_json::json!([claim.id, claim.owner, signed(claim.fence)]));
    serde_json::Value::Array(claims.collect()).to_string()
}

/// Claims of the second parameter that stand.
macro_rules! held {
    () => {
        concat!(
            " FROM json_each(?2) AS claim WHERE selections.id = claim.value ->> 0 AND selections.owner = claim.value ->> 1 ",
            "AND selections.fence = claim.value ->> 2 AND ",
            in_force!()
        )
    };
}

pub(super) async fn renew(store: &SqliteStore, claims: &[Claim], length: Millis) -> Result<Vec<Claim>, StoreError> {
    if claims.is_empty() {
        return Ok(Vec::new());
    }
    let update = concat!(
        "UPDATE selections SET lease_until = ",
        now!(),
        " + ?3, lease_length = ?3",
        held!(),
        " RETURNING selections.id, selections.fence"
    );
    let update = sqlx::query_as::<_, (String, i64)>(update)
        .bind(store.offset())
        .bind(as_json(claims))
        .bind(length);
    let held = update.fetch_all(&store.writer).await.map_err(store_error)?;
    let is_held = |claim: &Claim| {
        let mut held = held.iter();
        held.any(|(id, fence)| *id == claim.id && *fence == signed(claim.fence))
    };
    // Claims of one selection by several owners cannot share a fence.
    Ok(claims.iter().filter(|claim| !is_held(claim)).cloned().collect())
}

pub(super) async fn release(store: &SqliteStore, claims: &[Claim]) -> Result<(), StoreError> {
    if claims.is_empty() {
        return Ok(());
    }
    let update = concat!("UPDATE selections SET owner = ''", held!());
    let update = sqlx::query(update).bind(store.offset()).bind(as_json(claims));
    update.execute(&store.writer).await.map(drop).map_err(store_error)
}

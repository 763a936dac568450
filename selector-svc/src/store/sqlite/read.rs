//! Everything that changes nothing.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteExecutor, SqliteRow};

use super::error::store_error;
use super::write::{numbers_after, signed};
use super::{SqliteStore, now};
use crate::selection::Millis;
use crate::store::lease::Lease;
use crate::store::record::{decode_event, decode_observation, decode_summary};
use crate::store::{
    Creation, KnownForecast, KnownLoss, ListKey, ListQuery, LossKey, StoreError, StoredEvent, StoredSelection,
};

/// What [`stored`] reads.
macro_rules! columns {
    () => {
        concat!(
            "selections.id AS id, selections.created AS created, updated, sequence, owner, fence, lease_until, lease_length, ",
            "summary, ",
            now!(),
            " AS now"
        )
    };
}

fn count(number: i64, what: &str) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt {
        detail: format!("{what} is {number}"),
    })
}

fn stored(row: &SqliteRow) -> Result<StoredSelection, StoreError> {
    let id: String = row.try_get("id").map_err(store_error)?;
    let text: &str = row.try_get("summary").map_err(store_error)?;
    let summary = decode_summary(text).map_err(|problem| problem.at(&id, 0))?;
    let lease = Lease {
        owner: row.try_get("owner").map_err(store_error)?,
        fence: count(row.try_get("fence").map_err(store_error)?, "a fence")?,
        until: row.try_get("lease_until").map_err(store_error)?,
        length: row.try_get("lease_length").map_err(store_error)?,
    };
    let now = row.try_get("now").map_err(store_error)?;
    Ok(StoredSelection {
        id,
        created: row.try_get("created").map_err(store_error)?,
        updated: row.try_get("updated").map_err(store_error)?,
        sequence: count(row.try_get("sequence").map_err(store_error)?, "the number of an event")?,
        owner: lease.holder(now).to_owned(),
        summary,
    })
}

/// What a creation would find there already.
pub(super) async fn existing(
    connection: impl SqliteExecutor<'_>,
    id: &str,
    request_id: &str,
    spec_digest: &str,
) -> Result<Option<Creation>, StoreError> {
    // A request's id decides before the selection's: it was chosen by the store's side.
    let found = sqlx::query_as::<_, (String, String)>(
        "SELECT id, spec_digest FROM selections WHERE id = ?1 OR request_id = ?2 \
         ORDER BY coalesce(request_id = ?2, 0) DESC LIMIT 1",
    )
    .bind(id)
    .bind(Some(request_id).filter(|id| !id.is_empty()))
    .fetch_optional(connection)
    .await
    .map_err(store_error)?;
    Ok(found.map(|(id, digest)| {
        if digest == spec_digest {
            Creation::Existing { id }
        } else {
            Creation::Taken
        }
    }))
}

pub(super) async fn get(store: &SqliteStore, id: &str) -> Result<StoredSelection, StoreError> {
    let select = concat!("SELECT ", columns!(), " FROM selections WHERE id = ?2");
    let select = sqlx::query(select).bind(store.offset()).bind(id);
    let found = select.fetch_optional(&store.readers).await.map_err(store_error)?;
    let found = found.ok_or_else(|| StoreError::NotFound { id: id.to_owned() })?;
    stored(&found)
}

pub(super) async fn events(
    store: &SqliteStore,
    id: &str,
    after: u64,
    limit: u32,
) -> Result<Vec<StoredEvent>, StoreError> {
    // One statement, one snapshot: a selection without such events is one row of nothing, no selection is no row.
    let select = "SELECT events.sequence, events.at, events.record FROM selections LEFT JOIN events \
                  ON events.selection = selections.key AND events.sequence > ?2 WHERE selections.id = ?1 \
                  ORDER BY events.sequence LIMIT ?3";
    let rows = sqlx::query_as::<_, (Option<i64>, Option<Millis>, Option<String>)>(select)
        .bind(id)
        .bind(signed(after))
        .bind(limit.max(1))
        .fetch_all(&store.readers)
        .await
        .map_err(store_error)?;
    if rows.is_empty() {
        return Err(StoreError::NotFound { id: id.to_owned() });
    }
    let mut events = Vec::with_capacity(rows.len());
    let present = rows
        .into_iter()
        .filter_map(|(sequence, at, record)| Some((sequence?, at?, record?)));
    for (wanted, (sequence, at, record)) in numbers_after(after).zip(present.take(limit as usize)) {
        let sequence = count(sequence, "the number of an event")?;
        if sequence != wanted {
            let detail = format!("selection {id:?} has no event {wanted}, but event {sequence}");
            return Err(StoreError::Corrupt { detail });
        }
        let event = decode_event(&record).map_err(|problem| problem.at(id, sequence))?;
        events.push(StoredEvent { sequence, at, event });
    }
    Ok(events)
}

/// A page in three ways, each from an index in the list's order. `?2`, `?3`: the place before which it begins; `?4`: how many.
mod page {
    use super::now;

    pub(super) const ALL: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM selections WHERE (created, id) < (?2, ?3) ORDER BY created DESC, id DESC LIMIT ?4"
    );
    pub(super) const BY_PHASE: &str = concat!(
        "SELECT ",
        columns!(),
        " FROM selections WHERE phase = ?5 AND (created, id) < (?2, ?3) ORDER BY created DESC, id DESC LIMIT ?4"
    );
    /// `?5`, `?6`: a label; `?7`: the others as an object; `?8`: phases as an array.
    pub(super) const BY_LABELS: &str = concat!(
        // Read from its text once, not once a row.
        "WITH other (name, value) AS MATERIALIZED (SELECT value ->> 0, value ->> 1 FROM json_each(?7)) SELECT ",
        columns!(),
        " FROM (SELECT label.created, label.id, label.selection FROM labels AS label WHERE label.name = ?5 ",
        "AND label.value = ?6 AND (label.created, label.id) < (?2, ?3) ",
        "AND (?8 = '[]' OR label.phase IN (SELECT value FROM json_each(?8))) ",
        "AND NOT EXISTS (SELECT 1 FROM other WHERE NOT EXISTS (SELECT 1 FROM labels WHERE ",
        "labels.name = other.name AND labels.value = other.value AND labels.created = label.created ",
        "AND labels.id = label.id)) ORDER BY label.created DESC, label.id DESC LIMIT ?4) AS page ",
        "JOIN selections ON selections.key = page.selection ORDER BY page.created DESC, page.id DESC"
    );
}

pub(super) async fn list(store: &SqliteStore, query: ListQuery) -> Result<Vec<StoredSelection>, StoreError> {
    let (created, id) = query.before.unwrap_or((Millis::MAX, String::new()));
    let page = |statement: &'static str| {
        let page = sqlx::query(statement).bind(store.offset()).bind(created);
        page.bind(&id).bind(query.limit)
    };
    let mut found = Vec::new();
    if let Some((name, value)) = query.labels.first_key_value() {
        let others: BTreeMap<&String, &String> = query.labels.iter().skip(1).collect();
        let others = json(&others.into_iter().collect::<Vec<_>>());
        let page = page(page::BY_LABELS)
            .bind(name)
            .bind(value)
            .bind(others)
            .bind(json(&query.phases));
        found = page.fetch_all(&store.readers).await.map_err(store_error)?;
    } else if query.phases.is_empty() {
        found = page(page::ALL).fetch_all(&store.readers).await.map_err(store_error)?;
    } else {
        // One phase after another and merged below: each stays a walk along its index.
        for phase in &query.phases {
            let page = page(page::BY_PHASE).bind(phase);
            found.extend(page.fetch_all(&store.readers).await.map_err(store_error)?);
        }
    }
    let mut found = found.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
    let key = |selection: &StoredSelection| -> ListKey { (selection.created, selection.id.clone()) };
    found.sort_by_cached_key(|selection| std::cmp::Reverse(key(selection)));
    // A phase may be asked for twice, and a selection may change its phase between two of the walks.
    found.dedup_by(|a, b| a.id == b.id);
    found.truncate(query.limit as usize);
    Ok(found)
}

fn json<T: serde::Serialize>(value: &T) -> String {
    // Texts and lists of texts can always be written.
    serde_json::to_string(value).unwrap_or_else(|_| "[]".to_owned())
}

pub(super) async fn known_losses(store: &SqliteStore, keys: &[LossKey]) -> Result<Vec<KnownLoss>, StoreError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&str> = keys.iter().map(|key| key.0.as_str()).collect();
    let select = "SELECT losses.key, observation, selection FROM json_each(?1) AS asked \
                  JOIN losses ON losses.key = asked.value ORDER BY asked.key";
    let rows = sqlx::query_as::<_, (String, String, String)>(select)
        .bind(json(&keys))
        .fetch_all(&store.readers)
        .await
        .map_err(store_error)?;
    let known = rows.into_iter().map(|(key, observation, selection)| {
        let observation = decode_observation(&observation).map_err(|problem| StoreError::Corrupt {
            detail: format!("loss {key:?}: {problem}"),
        })?;
        Ok(KnownLoss {
            key: LossKey(key),
            observation,
            selection,
        })
    });
    known.collect()
}

pub(super) async fn known_forecasts(
    store: &SqliteStore,
    model_keys: &[String],
    not_on: &str,
    limit: u32,
) -> Result<Vec<KnownForecast>, StoreError> {
    let select = "SELECT data_digest, model_key, loss, selection FROM forecasts \
                  WHERE model_key IN (SELECT value FROM json_each(?1)) AND data_digest <> ?2 ORDER BY key DESC LIMIT ?3";
    let rows = sqlx::query_as::<_, (String, String, f64, String)>(select)
        .bind(json(&model_keys))
        .bind(not_on)
        .bind(limit)
        .fetch_all(&store.readers)
        .await
        .map_err(store_error)?;
    let known = rows
        .into_iter()
        .map(|(data_digest, model_key, loss, selection)| KnownForecast {
            data_digest,
            model_key,
            loss,
            selection,
        });
    Ok(known.collect())
}

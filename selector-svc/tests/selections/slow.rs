//! A watcher that opens its stream and does not read, while thousands of things happen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use finepick_proto::selector::v1 as wire;
use selector_svc::ports::BoxFuture;
use selector_svc::selection::{Event, Millis};
use selector_svc::store::{
    Append, Claim, Creation, KnownForecast, KnownLoss, ListQuery, LossKey, NewSelection, Store, StoreError,
    StoredEvent, StoredSelection, Writer,
};

use crate::crowd;
use crate::support::{Client, PATIENCE, created, ended_one, memory, selector};

/// Changes of the selection that are made while nobody reads.
const CHANGES: usize = 2_000;
/// Events that may be read ahead of a client that does not read: a few batches of 64, and what its connection holds (128 KiB).
const AHEAD: u64 = 1_024;

/// A store of which nothing is claimed, and that counts the events which are read from it.
#[derive(Debug)]
struct Counting {
    inner: Arc<dyn Store>,
    read: Arc<AtomicU64>,
}

impl Store for Counting {
    fn now(&self) -> BoxFuture<'_, Result<Millis, StoreError>> {
        self.inner.now()
    }

    fn create(&self, new: NewSelection) -> BoxFuture<'_, Result<Creation, StoreError>> {
        self.inner.create(new)
    }

    fn existing<'a>(
        &'a self,
        id: &'a str,
        request_id: &'a str,
        spec_digest: &'a str,
    ) -> BoxFuture<'a, Result<Option<Creation>, StoreError>> {
        self.inner.existing(id, request_id, spec_digest)
    }

    fn get<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<StoredSelection, StoreError>> {
        self.inner.get(id)
    }

    fn events<'a>(
        &'a self,
        id: &'a str,
        after: u64,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<StoredEvent>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.events(id, after, limit).await?;
            self.read.fetch_add(found.len() as u64, Ordering::SeqCst);
            Ok(found)
        })
    }

    fn append<'a>(&'a self, id: &'a str, writer: Writer, append: Append) -> BoxFuture<'a, Result<Millis, StoreError>> {
        self.inner.append(id, writer, append)
    }

    fn list(&self, query: ListQuery) -> BoxFuture<'_, Result<Vec<StoredSelection>, StoreError>> {
        self.inner.list(query)
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.delete(id)
    }

    fn claim<'a>(&'a self, _: &'a str, _: Duration, _: u32) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn renew<'a>(&'a self, claims: &'a [Claim], lease: Duration) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        self.inner.renew(claims, lease)
    }

    fn release<'a>(&'a self, claims: &'a [Claim]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.release(claims)
    }

    fn known_losses<'a>(&'a self, keys: &'a [LossKey]) -> BoxFuture<'a, Result<Vec<KnownLoss>, StoreError>> {
        self.inner.known_losses(keys)
    }

    fn known_forecasts<'a>(
        &'a self,
        model_keys: &'a [String],
        other_than: &'a str,
        limit: u32,
    ) -> BoxFuture<'a, Result<Vec<KnownForecast>, StoreError>> {
        self.inner.known_forecasts(model_keys, other_than, limit)
    }
}

async fn watch(client: &mut Client) -> tonic::Streaming<wire::WatchSelectionResponse> {
    let request = wire::WatchSelectionRequest {
        selection_id: "crowd".to_owned(),
        ..wire::WatchSelectionRequest::default()
    };
    client.watch_selection(request).await.unwrap().into_inner()
}

/// Reads to the end: every event once, in order.
async fn read(mut events: tonic::Streaming<wire::WatchSelectionResponse>) -> i64 {
    let mut cursor = 0;
    while let Some(message) = tokio::time::timeout(PATIENCE, events.message())
        .await
        .expect("a message")
        .unwrap()
    {
        let sequence = message.event.unwrap().sequence;
        assert!(
            sequence == cursor || sequence == cursor + 1,
            "{cursor}, then {sequence}"
        );
        cursor = sequence;
    }
    cursor
}

#[tokio::test]
async fn who_does_not_read_holds_nobody_up_and_misses_nothing() {
    let (store, read_by_slow) = (memory(), Arc::new(AtomicU64::new(0)));
    let fast = selector(Arc::clone(&store) as Arc<dyn Store>, None).await;
    let counting = Counting {
        inner: Arc::clone(&store) as Arc<dyn Store>,
        read: Arc::clone(&read_by_slow),
    };
    let slow = selector(Arc::new(counting), None).await;
    // A change is told with the whole question: 40 KiB each.
    created(&mut fast.client(), "crowd", crowd::spec(60, 300, 10)).await;
    let unread = watch(&mut slow.client()).await;
    let others = [
        tokio::spawn(read(watch(&mut fast.client()).await)),
        // On the same process as the one that does not read.
        tokio::spawn(read(watch(&mut slow.client()).await)),
    ];
    for _ in 0..CHANGES / 100 {
        let changes = |_: &_| [Event::Paused, Event::Resumed].into_iter().cycle().take(100).collect();
        crowd::write(store.as_ref(), "crowd", None, changes).await;
    }
    crowd::work(&store, "crowd").await;
    let found = ended_one(&mut fast.client(), "crowd").await;
    assert!(found.choice.is_some(), "{}", found.detail);
    for other in others {
        let seen = tokio::time::timeout(PATIENCE, other)
            .await
            .expect("it is not held up")
            .unwrap();
        assert_eq!(seen, found.last_sequence);
    }
    // The other one's events, and a few for the one that does not read.
    let all = u64::try_from(found.last_sequence).unwrap();
    let ahead = read_by_slow.load(Ordering::SeqCst).saturating_sub(all);
    assert!(all > 2_000 && ahead < AHEAD, "{ahead} of {all} events were read ahead");
    assert_eq!(read(unread).await, found.last_sequence);
    assert!(read_by_slow.load(Ordering::SeqCst) >= 2 * all);
    fast.stop().await;
    slow.stop().await;
}

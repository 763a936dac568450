//! Watches: replayed from a cursor, then live; broken and resumed; across restarts and owners.

use std::sync::Arc;
use std::time::Duration;

use finepick_proto::selector::v1 as wire;
use finepick_proto::selector::v1::selection_event::Kind;
use selector_svc::store::Store;
use tonic::{Code, Status, Streaming};

use crate::support::{
    Client, Folder, PATIENCE, World, created, ended_one, fields, get, selector, spec, told, trainer, until,
};

type Events = Streaming<wire::WatchSelectionResponse>;

async fn watch(client: &mut Client, id: &str, after: i64) -> Result<Events, Status> {
    let request = wire::WatchSelectionRequest {
        selection_id: id.to_owned(),
        after_sequence: after,
        heartbeat_interval: Some(prost_types::Duration {
            seconds: 0,
            nanos: 300_000_000,
        }),
    };
    Ok(client.watch_selection(request).await?.into_inner())
}

/// The next message; `None` at the end.
async fn next(events: &mut Events) -> Option<Result<wire::SelectionEvent, Status>> {
    let message = tokio::time::timeout(PATIENCE, events.message())
        .await
        .expect("a message");
    match message {
        Ok(found) => found.map(|message| Ok(message.event.unwrap())),
        Err(status) => Some(Err(status)),
    }
}

/// All messages to the end, checked to be in order and without gaps after this cursor.
async fn all(mut events: Events, after: i64) -> Vec<wire::SelectionEvent> {
    let mut found = Vec::new();
    let mut cursor = after;
    while let Some(event) = next(&mut events).await {
        let event = event.unwrap();
        assert!(
            event.sequence == cursor || event.sequence == cursor + 1,
            "{cursor} then {}",
            event.sequence
        );
        assert!(event.time.is_some());
        cursor = event.sequence;
        found.push(event);
    }
    found
}

fn last_change(events: &[wire::SelectionEvent]) -> wire::Selection {
    let changes = events.iter().rev().filter_map(|event| match &event.kind {
        Some(Kind::Changed(changed)) => changed.selection.clone(),
        _ => None,
    });
    changes.into_iter().next().unwrap()
}

fn stored(events: &[wire::SelectionEvent]) -> Vec<wire::SelectionEvent> {
    let is_stored = |event: &&wire::SelectionEvent| match &event.kind {
        Some(Kind::Heartbeat(_)) => false,
        Some(Kind::Trial(trial)) => trial.progress.is_none(),
        _ => true,
    };
    events.iter().filter(is_stored).cloned().collect()
}

#[tokio::test]
async fn a_watch_tells_everything_once_and_ends_with_the_selection() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let live = all(watch(client, "one", 0).await.unwrap(), 0).await;
    let found = get(client, "one").await.unwrap();
    assert_eq!(live.last().unwrap().sequence, found.last_sequence);
    let last = last_change(&live);
    assert_eq!(
        (last.state(), last.choice),
        (wire::SelectionState::Succeeded, found.choice.clone())
    );
    let decisions = live
        .iter()
        .filter(|event| matches!(event.kind, Some(Kind::Decision(_))))
        .count();
    assert_eq!(decisions, usize::try_from(found.rounds).unwrap());
    assert_eq!(
        live.iter()
            .filter(|event| matches!(event.kind, Some(Kind::Prepared(_))))
            .count(),
        1
    );

    // Read again, the past is the same, and so is any part of it.
    let again = all(watch(client, "one", 0).await.unwrap(), 0).await;
    let kinds = |events: &[wire::SelectionEvent]| -> Vec<(i64, Option<std::mem::Discriminant<Kind>>)> {
        let kind = |event: &wire::SelectionEvent| event.kind.as_ref().map(std::mem::discriminant);
        stored(events)
            .iter()
            .map(|event| (event.sequence, kind(event)))
            .collect()
    };
    assert_eq!(kinds(&again), kinds(&live));
    for after in [1, 3, found.last_sequence - 1, found.last_sequence] {
        let part = all(watch(client, "one", after).await.unwrap(), after).await;
        let expected: Vec<_> = again.iter().filter(|event| event.sequence > after).cloned().collect();
        let expected_last = expected.last().map(|event| event.sequence);
        assert_eq!(part.last().map(|event| event.sequence), expected_last, "after {after}");
    }
    let status = watch(client, "one", found.last_sequence + 1).await.unwrap_err();
    assert_eq!(
        (status.code(), fields(&status)),
        (Code::InvalidArgument, vec!["after_sequence".to_owned()])
    );
    let status = watch(client, "one", -1).await.unwrap_err();
    assert_eq!(fields(&status), ["after_sequence"]);
    let status = watch(client, "none", 0).await.unwrap_err();
    assert_eq!(told(&status), (Code::NotFound, "SELECTION_NOT_FOUND".to_owned()));
    world.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_after_every_message_loses_nothing() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let (mut cursor, mut seen) = (0, Vec::new());
    loop {
        let mut events = watch(client, "one", cursor).await.unwrap();
        let Some(event) = next(&mut events).await else { break };
        let event = event.unwrap();
        assert!(event.sequence == cursor || event.sequence == cursor + 1);
        // One of several messages about the same event leaves the cursor before it: it is told again, so it is read on.
        if event.sequence == cursor {
            while let Some(more) = next(&mut events).await {
                let more = more.unwrap();
                if more.sequence > cursor {
                    cursor = more.sequence;
                    seen.push(cursor);
                    break;
                }
            }
        } else {
            cursor = event.sequence;
            seen.push(cursor);
        }
    }
    let found = get(client, "one").await.unwrap();
    let expected: Vec<i64> = (1..=found.last_sequence).collect();
    assert_eq!(seen, expected);
    world.stop().await;
}

#[tokio::test]
async fn silence_is_filled_with_heartbeats() {
    let mut world = World::slow().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let selection_id = "one".to_owned();
    client
        .pause_selection(wire::PauseSelectionRequest { selection_id })
        .await
        .unwrap();
    let mut events = watch(client, "one", 0).await.unwrap();
    let mut heartbeats = 0;
    let mut cursor = 0;
    while heartbeats < 2 {
        let event = next(&mut events).await.expect("it goes on").unwrap();
        if matches!(event.kind, Some(Kind::Heartbeat(_))) {
            assert_eq!(
                event.sequence, cursor,
                "a heartbeat carries the number of the newest event"
            );
            heartbeats += 1;
        }
        cursor = event.sequence;
    }
    world.stop().await;
}

#[tokio::test]
async fn progress_of_runs_is_told_in_between() {
    // Slow enough that a run is watched, fast enough that it gets on.
    let mut world = World::new(30.0).await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    let mut events = watch(client, "one", 0).await.unwrap();
    let mut cursor = 0;
    loop {
        let event = next(&mut events).await.expect("it goes on").unwrap();
        if let Some(Kind::Trial(trial)) = &event.kind
            && let Some(progress) = &trial.progress
        {
            assert_eq!((trial.state(), event.sequence), (wire::TrialState::Running, cursor));
            // Before its first step a run waits for a slot, and is prepared.
            if progress.step > 0 {
                break;
            }
        }
        cursor = event.sequence;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_watch_goes_on_after_a_restart_with_the_same_choice() {
    let (folder, trainer) = (Folder::new("restart"), trainer(20_000.0).await);
    let first = selector(folder.store().await, Some(&trainer)).await;
    let mut client = first.client();
    created(&mut client, "one", spec()).await;
    let mut events = watch(&mut client, "one", 0).await.unwrap();
    let mut cursor = 0;
    while cursor < 4 {
        cursor = next(&mut events).await.unwrap().unwrap().sequence;
    }
    first.stop().await;
    // What was on its way still comes; then the stream says why it ends, unless the selection has ended before.
    while let Some(event) = next(&mut events).await {
        match event {
            Ok(event) => cursor = event.sequence,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                break;
            }
        }
    }
    let second = selector(folder.store().await, Some(&trainer)).await;
    let mut client = second.client();
    let rest = all(watch(&mut client, "one", cursor).await.unwrap(), cursor).await;
    let found = get(&mut client, "one").await.unwrap();
    assert_eq!(found.state(), wire::SelectionState::Succeeded);
    assert_eq!(found.choice.as_ref().unwrap().candidate_id, "steep");
    assert!(rest.is_empty() || rest.last().unwrap().sequence == found.last_sequence);
    second.stop().await;
    trainer.stop().await;
}

#[tokio::test]
async fn a_watch_at_one_selector_follows_what_another_drives_and_survives_it() {
    let (folder, trainer) = (Folder::new("two"), trainer(20_000.0).await);
    let (one, other) = (
        selector(folder.store().await, Some(&trainer)).await,
        selector(folder.store().await, Some(&trainer)).await,
    );
    let mut created_at = one.client();
    created(&mut created_at, "one", spec()).await;
    let owned = until(&mut created_at, "one", |selection| {
        !selection.owner.is_empty() || selection.end_time.is_some()
    });
    owned.await;
    let mut watcher = other.client();
    let events = watch(&mut watcher, "one", 0).await.unwrap();
    let following = tokio::spawn(all(events, 0));
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Its owner goes; the other takes over.
    one.stop().await;
    let seen = following.await.unwrap();
    let found = ended_one(&mut watcher, "one").await;
    assert_eq!(seen.last().unwrap().sequence, found.last_sequence);
    assert_eq!(found.choice.unwrap().candidate_id, "steep");
    other.stop().await;
    trainer.stop().await;
}

#[tokio::test]
async fn a_deleted_selection_has_no_watch() {
    let mut world = World::fast().await;
    let client = &mut world.client;
    created(client, "one", spec()).await;
    ended_one(client, "one").await;
    let store: Arc<dyn Store> = world.store.clone();
    store.delete("one").await.unwrap();
    // Also where the state was read before.
    let status = watch(client, "one", 1).await.unwrap_err();
    assert_eq!(told(&status), (Code::NotFound, "SELECTION_NOT_FOUND".to_owned()));
    world.stop().await;
}

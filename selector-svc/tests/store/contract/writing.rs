//! Creation, events, deletion.

use std::sync::Arc;

use selector_svc::selection::{Event, Wait, WaitReason};
use selector_svc::store::record::{RecordError, RecordProblem};
use selector_svc::store::{Creation, KnownForecast, KnownLoss, LossKey, StoreError, Writer};
use tokio::task::JoinSet;

use super::end;
use crate::samples;
use crate::world::{World, append};

pub async fn a_selection_is_created_once(world: World) {
    let new = samples::new("autumn", &[("team", "red")]);
    let before = world.store.now().await.unwrap();
    world.create_as(new.clone()).await;
    let stored = world.store.get("autumn").await.unwrap();
    assert_eq!((stored.sequence, stored.owner.as_str()), (1, ""));
    assert_eq!(stored.summary, new.summary);
    assert_eq!(stored.created, stored.updated);
    assert!((before..before + 60_000).contains(&stored.created));
    let events = world.events("autumn").await;
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].sequence, events[0].at), (1, stored.created));
    assert_eq!(events[0].event, new.event);

    let again = world.store.create(new.clone()).await.unwrap();
    let id = "autumn".to_owned();
    assert_eq!(again, Creation::Existing { id });
    let mut other = new;
    "another".clone_into(&mut other.spec_digest);
    assert_eq!(world.store.create(other).await, Ok(Creation::Taken));
    assert_eq!(world.store.get("autumn").await.unwrap(), stored);
}

pub async fn a_request_makes_one_selection(world: World) {
    let request = |id: &str, digest: &str| {
        let mut new = samples::new(id, &[]);
        "request".clone_into(&mut new.request_id);
        digest.clone_into(&mut new.spec_digest);
        new
    };
    world.create_as(request("first", "digest")).await;
    let first = Creation::Existing { id: "first".to_owned() };
    assert_eq!(world.store.create(request("second", "digest")).await, Ok(first.clone()));
    assert_eq!(
        world.store.create(request("second", "another")).await,
        Ok(Creation::Taken)
    );
    // What a creation would find is told without one.
    let there = |id, request, digest| world.store.existing(id, request, digest);
    assert_eq!(there("second", "request", "digest").await, Ok(Some(first.clone())));
    assert_eq!(there("second", "request", "another").await, Ok(Some(Creation::Taken)));
    assert_eq!(there("first", "", "digest").await, Ok(Some(first.clone())));
    assert_eq!(there("second", "", "digest").await, Ok(None));
    // The request decides before the id, which the retry has made up anew.
    world.create("third").await;
    assert_eq!(world.store.create(request("third", "digest")).await, Ok(first));
    assert!(matches!(
        world.store.get("second").await,
        Err(StoreError::NotFound { .. })
    ));
    // No request is not a request.
    world.create("fourth").await;
}

pub async fn creations_race_and_one_wins(world: World) {
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&world.store);
        // Half of them by id, half by request.
        let mut new = samples::new(if task % 2 == 0 { "same" } else { "other" }, &[]);
        if task % 2 == 1 {
            new.id = format!("other-{task}");
            "request".clone_into(&mut new.request_id);
        }
        tasks.spawn(async move { (task % 2, store.create(new).await.unwrap()) });
    }
    let answers = tasks.join_all().await;
    for half in 0..2 {
        let own: Vec<&Creation> = answers
            .iter()
            .filter(|(of, _)| *of == half)
            .map(|(_, answer)| answer)
            .collect();
        let created: Vec<&String> = own
            .iter()
            .filter_map(|answer| match answer {
                Creation::Created { id } => Some(id),
                _ => None,
            })
            .collect();
        assert_eq!(created.len(), 1, "{own:?}");
        let existing = Creation::Existing { id: created[0].clone() };
        assert_eq!(own.iter().filter(|answer| ***answer == existing).count(), 7);
    }
}

pub async fn what_is_unknown_is_not_found(world: World) {
    let store = &world.store;
    let id = "nobody".to_owned();
    let missing = StoreError::NotFound { id };
    assert_eq!(store.get("nobody").await, Err(missing.clone()));
    assert_eq!(store.events("nobody", 0, 10).await, Err(missing.clone()));
    let appended = store
        .append("nobody", Writer::Caller, append(0, &[Event::Paused]))
        .await;
    assert_eq!(appended, Err(missing.clone()));
    assert_eq!(store.delete("nobody").await, Err(missing));
}

pub async fn events_come_back_in_order_and_by_pages(world: World) {
    world.create("s").await;
    let history = samples::history();
    let first = world.write("s", &history[1..4]).await;
    world.shift(1_000);
    let second = world.write("s", &history[4..]).await;
    assert!(second >= first + 1_000);
    let stored = world.store.get("s").await.unwrap();
    assert_eq!((stored.sequence, stored.updated), (history.len() as u64, second));
    assert_eq!(stored.summary, samples::summary(&history[4..]));

    let events = world.events("s").await;
    assert_eq!(events.len(), history.len());
    for (stored, (event, sequence)) in events.iter().zip(history.iter().zip(1..)).skip(1) {
        assert_eq!((stored.sequence, &stored.event), (sequence, event));
        assert_eq!(stored.at, if sequence <= 4 { first } else { second });
    }
    let mut read = Vec::new();
    loop {
        let after = read
            .last()
            .map_or(0, |event: &selector_svc::store::StoredEvent| event.sequence);
        let page = world.store.events("s", after, 5).await.unwrap();
        assert!(page.len() <= 5);
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_eq!(read, events);
    assert_eq!(world.store.events("s", u64::MAX, 5).await, Ok(Vec::new()));
    assert_eq!(world.store.events("s", 0, 0).await, Ok(Vec::new()));
}

pub async fn who_comes_late_meets_a_conflict(world: World) {
    world.create("s").await;
    world.write("s", &[Event::Paused]).await;
    for after in [0, 1, 3, u64::MAX] {
        let late = world
            .store
            .append("s", Writer::Caller, append(after, &[Event::Resumed]))
            .await;
        let (id, sequence) = ("s".to_owned(), 2);
        assert_eq!(late, Err(StoreError::Conflict { id, sequence }), "after {after}");
    }
    assert_eq!(world.events("s").await.len(), 2);
    assert!(world.store.get("s").await.unwrap().summary.paused);
}

pub async fn each_sequence_has_one_winner(world: World) {
    const TASKS: u64 = 8;
    const EACH: u64 = 6;
    world.create("s").await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&world.store);
        tasks.spawn(async move {
            let (mut won, mut after) = (Vec::new(), 1);
            while (won.len() as u64) < EACH {
                let wait = Wait {
                    reason: WaitReason::Worker,
                    detail: format!("{task}"),
                };
                match store
                    .append("s", Writer::Caller, append(after, &[Event::Waiting { wait }]))
                    .await
                {
                    Ok(_) => {
                        after += 1;
                        won.push(after);
                    }
                    Err(StoreError::Conflict { sequence, .. }) => {
                        assert!(sequence > after);
                        after = sequence;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            (task, won)
        });
    }
    let won = tasks.join_all().await;
    let events = world.events("s").await;
    assert_eq!(events.len() as u64, 1 + TASKS * EACH);
    assert!(events.is_sorted_by_key(|event| event.at));
    for (task, sequences) in won {
        for sequence in sequences {
            let event = &events[usize::try_from(sequence).unwrap() - 1];
            let Event::Waiting { wait } = &event.event else {
                panic!("{event:?}")
            };
            assert_eq!((event.sequence, &wait.detail), (sequence, &task.to_string()));
        }
    }
}

pub async fn times_never_go_back(world: World) {
    world.create("s").await;
    let first = world.write("s", &[Event::Paused]).await;
    world.shift(-86_400_000);
    assert!(world.store.now().await.unwrap() < first);
    let second = world.write("s", &[Event::Resumed]).await;
    assert_eq!(second, first);
    world.shift(2 * 86_400_000);
    let third = world.write("s", &[Event::Paused]).await;
    assert!(third > first + 80_000_000);
    let times: Vec<_> = world.events("s").await.iter().map(|event| event.at).collect();
    assert_eq!(times[1..], [first, second, third]);
}

pub async fn what_cannot_be_read_again_is_not_written(world: World) {
    world.create("s").await;
    let mut spent = append(1, &[Event::Paused, Event::Resumed]);
    spent.summary.spent.device_seconds = f64::NAN;
    let mut forecast = append(1, &[Event::Paused]);
    forecast.forecasts.push(KnownForecast {
        data_digest: "d".to_owned(),
        model_key: "m".to_owned(),
        loss: f64::INFINITY,
        selection: "s".to_owned(),
    });
    let mut event = append(1, &samples::history()[10..12]);
    let Event::Judged { decision } = &mut event.events[1] else {
        panic!("the history has changed")
    };
    decision.log_threshold = Some(f64::NEG_INFINITY);
    for (append, at) in [(spent, 0), (forecast, 0), (event, 3)] {
        match world.store.append("s", Writer::Caller, append).await {
            Err(StoreError::Record(RecordError {
                selection,
                sequence,
                problem: RecordProblem::Unwritable { .. },
            })) => assert_eq!((selection.as_str(), sequence), ("s", at)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.events("s").await.len(), 1);
    let keys = ["m".to_owned()];
    assert_eq!(world.store.known_forecasts(&keys, "", 9).await, Ok(Vec::new()));
}

pub async fn only_what_has_ended_is_deleted(world: World) {
    let mut new = samples::new("s", &[("team", "red")]);
    "request".clone_into(&mut new.request_id);
    world.create_as(new.clone()).await;
    let id = "s".to_owned();
    assert_eq!(world.store.delete("s").await, Err(StoreError::NotEnded { id }));
    let mut ended = append(1, &end());
    let key = LossKey("key".to_owned());
    ended.losses.push(KnownLoss {
        key: key.clone(),
        observation: samples::point(100, 2.0),
        selection: "s".to_owned(),
    });
    ended.forecasts.push(KnownForecast {
        data_digest: "d".to_owned(),
        model_key: "m".to_owned(),
        loss: 2.5,
        selection: "s".to_owned(),
    });
    world.store.append("s", Writer::Caller, ended.clone()).await.unwrap();
    assert_eq!(world.store.delete("s").await, Ok(()));
    let gone = StoreError::NotFound { id: "s".to_owned() };
    assert_eq!(world.store.get("s").await, Err(gone.clone()));
    assert_eq!(world.store.events("s", 0, 9).await, Err(gone));
    // What was measured stays known, and id and request are free again.
    assert_eq!(world.store.known_losses(&[key]).await, Ok(ended.losses));
    assert_eq!(
        world.store.known_forecasts(&["m".to_owned()], "", 9).await,
        Ok(ended.forecasts)
    );
    world.create_as(new).await;
    assert_eq!(world.events("s").await.len(), 1);
}

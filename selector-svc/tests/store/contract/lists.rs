//! Pages, and what outlives selections.

use selector_svc::selection::{Ending, Event};
use selector_svc::store::{KnownForecast, KnownLoss, ListQuery, LossKey, Writer};

use super::end;
use crate::samples;
use crate::world::{World, append};

fn query(limit: u32, phases: &[&str], labels: &[(&str, &str)]) -> ListQuery {
    ListQuery {
        limit,
        before: None,
        phases: phases.iter().map(|phase| (*phase).to_owned()).collect(),
        labels: labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

/// All ids of a list, read by pages.
async fn pages(world: &World, mut query: ListQuery) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = world.store.list(query.clone()).await.unwrap();
        assert!(page.len() <= query.limit as usize);
        let Some(last) = page.last() else { return ids };
        query.before = Some((last.created, last.id.clone()));
        ids.extend(page.into_iter().map(|selection| selection.id));
    }
}

pub async fn pages_are_newest_first_without_gaps(world: World) {
    assert_eq!(world.store.list(query(5, &[], &[])).await, Ok(Vec::new()));
    let ids: Vec<String> = (0..7).map(|index| format!("s{}", (index * 5) % 7)).collect();
    for id in &ids {
        world.create(id).await;
    }
    let newest: Vec<String> = ids.iter().rev().cloned().collect();
    for limit in [1, 2, 3, 7, 100] {
        assert_eq!(pages(&world, query(limit, &[], &[])).await, newest, "pages of {limit}");
    }
    assert_eq!(world.store.list(query(0, &[], &[])).await, Ok(Vec::new()));
    let page = world.store.list(query(1, &[], &[])).await.unwrap();
    assert_eq!(page[0], world.store.get(&newest[0]).await.unwrap());
    // A page goes on where it was, whatever came or went.
    let mut rest = query(10, &[], &[]);
    rest.before = Some((page[0].created, page[0].id.clone()));
    world.create("later").await;
    world.write(&newest[1], &end()).await;
    world.store.delete(&newest[1]).await.unwrap();
    assert_eq!(pages(&world, rest).await, newest[2..]);
}

pub async fn phases_select_and_follow_changes(world: World) {
    for id in ["a", "b", "c", "d", "e"] {
        world.create(id).await;
    }
    assert_eq!(
        pages(&world, query(2, &["preparing"], &[])).await,
        ["e", "d", "c", "b", "a"]
    );
    world.write("a", &end()).await;
    world.write("b", &[Event::Paused]).await;
    let ending = Ending::Succeeded;
    world.write("d", &[Event::Stopping { ending }]).await;
    for (phases, ids) in [
        (&["preparing"][..], &["e", "c"][..]),
        (&["paused"], &["b"]),
        (&["cancelled"], &["a"]),
        (&["cancelling"], &["d"]),
        (&["paused", "preparing", "paused"], &["e", "c", "b"]),
        (&["cancelled", "preparing", "cancelling"], &["e", "d", "c", "a"]),
        (&["running"], &[]),
        (&["no_phase"], &[]),
    ] {
        for limit in [1, 2, 10] {
            assert_eq!(
                pages(&world, query(limit, phases, &[])).await,
                ids,
                "{phases:?} by {limit}"
            );
        }
    }
    world.write("b", &[Event::Resumed]).await;
    assert_eq!(pages(&world, query(10, &["paused"], &[])).await, Vec::<String>::new());
}

/// Labels, phases, and the ids that they find.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);

pub async fn labels_select_together_and_with_phases(world: World) {
    let labels: [(&str, &[(&str, &str)]); 5] = [
        ("a", &[("team", "red"), ("season", "autumn")]),
        ("b", &[("team", "red")]),
        ("c", &[("team", "blue"), ("season", "autumn")]),
        ("d", &[]),
        (
            "e",
            &[("team", "red"), ("season", "autumn"), ("z \"name'", "%_\u{0}\n")],
        ),
    ];
    for (id, labels) in labels {
        world.create_as(samples::new(id, labels)).await;
    }
    world.write("a", &[Event::Paused]).await;
    let cases: [Case<'_>; 9] = [
        (&[("team", "red")], &[], &["e", "b", "a"]),
        (&[("team", "red"), ("season", "autumn")], &[], &["e", "a"]),
        (&[("season", "autumn")], &[], &["e", "c", "a"]),
        (&[("team", "green")], &[], &[]),
        (&[("team", "red"), ("season", "spring")], &[], &[]),
        (&[("z \"name'", "%_\u{0}\n"), ("team", "red")], &[], &["e"]),
        (&[("team", "red")], &["paused"], &["a"]),
        (
            &[("team", "red"), ("season", "autumn")],
            &["preparing", "running"],
            &["e"],
        ),
        (&[("season", "autumn")], &["preparing", "paused"], &["e", "c", "a"]),
    ];
    for (labels, phases, ids) in cases {
        for limit in [1, 10] {
            let found = pages(&world, query(limit, phases, labels)).await;
            assert_eq!(found, ids, "{labels:?} {phases:?} by {limit}");
        }
    }
    world.write("b", &end()).await;
    world.store.delete("b").await.unwrap();
    assert_eq!(pages(&world, query(10, &[], &[("team", "red")])).await, ["e", "a"]);
}

fn loss(key: &str, nats: f64, selection: &str) -> KnownLoss {
    KnownLoss {
        key: LossKey(key.to_owned()),
        observation: samples::point(100, nats).with_standard_error(0.1 + 0.2).unwrap(),
        selection: selection.to_owned(),
    }
}

pub async fn losses_keep_the_first_and_the_order_asked_for(world: World) {
    world.create("s").await;
    world.create("t").await;
    let mut first = append(1, &[Event::Paused]);
    first.losses = vec![loss("k1", 1.0 / 3.0, "s"), loss("k2", 2.0, "s")];
    world.store.append("s", Writer::Caller, first).await.unwrap();
    let mut second = append(1, &[Event::Paused]);
    second.losses = vec![loss("k2", 9.0, "t"), loss("k3", 3.0, "t")];
    world.store.append("t", Writer::Caller, second.clone()).await.unwrap();
    // A write that is refused leaves nothing behind.
    second.losses = vec![loss("k4", 4.0, "t")];
    assert!(world.store.append("t", Writer::Caller, second).await.is_err());
    let keys = ["k3", "k4", "k1", "k2", "nothing '\""].map(|key| LossKey(key.to_owned()));
    let known = world.store.known_losses(&keys).await.unwrap();
    assert_eq!(
        known,
        [loss("k3", 3.0, "t"), loss("k1", 1.0 / 3.0, "s"), loss("k2", 2.0, "s")]
    );
    assert_eq!(world.store.known_losses(&[]).await, Ok(Vec::new()));
    let many: Vec<LossKey> = (0..40_000).map(|index| LossKey(format!("k{index}"))).collect();
    assert_eq!(world.store.known_losses(&many).await.unwrap().len(), 3);
}

fn forecast(model: &str, data: &str, nats: f64, selection: &str) -> KnownForecast {
    KnownForecast {
        data_digest: data.to_owned(),
        model_key: model.to_owned(),
        loss: nats,
        selection: selection.to_owned(),
    }
}

pub async fn forecasts_are_newest_first_on_other_data(world: World) {
    for (id, data, base) in [("s", "verse", 1.0), ("t", "prose", 2.0), ("u", "news", 3.0)] {
        world.create(id).await;
        let mut append = append(1, &end());
        append.forecasts = ["m1", "m2"].map(|model| forecast(model, data, base / 3.0, id)).into();
        world.store.append(id, Writer::Caller, append).await.unwrap();
    }
    let keys = ["m2".to_owned(), "unknown".to_owned()];
    let known = world.store.known_forecasts(&keys, "prose", 10).await.unwrap();
    let (verse, news) = (
        forecast("m2", "verse", 1.0 / 3.0, "s"),
        forecast("m2", "news", 1.0, "u"),
    );
    assert_eq!(known, [news.clone(), verse.clone()]);
    assert_eq!(
        world.store.known_forecasts(&keys, "prose", 1).await,
        Ok(vec![news.clone()])
    );
    // Told again by the same selection on the same data, it is the newest, once.
    let after = world.store.get("s").await.unwrap().sequence;
    let mut again = append(after, &end());
    again.forecasts = vec![forecast("m2", "verse", 0.25, "s")];
    world.store.append("s", Writer::Caller, again).await.unwrap();
    let known = world.store.known_forecasts(&keys, "prose", 10).await.unwrap();
    assert_eq!(known, [forecast("m2", "verse", 0.25, "s"), news]);
    let both = ["m1".to_owned(), "m2".to_owned()];
    assert_eq!(world.store.known_forecasts(&both, "", 100).await.unwrap().len(), 6);
    assert_eq!(world.store.known_forecasts(&[], "", 100).await, Ok(Vec::new()));
}

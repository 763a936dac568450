//! Who drives.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use selector_svc::selection::Event;
use selector_svc::store::{Claim, StoreError};
use tokio::task::JoinSet;

use super::end;
use crate::world::{LEASE, World};

const LEASE_MILLIS: i64 = 600_000;

async fn claim(world: &World, owner: &str) -> Vec<Claim> {
    world.store.claim(owner, LEASE, 100).await.unwrap()
}

async fn owner(world: &World, id: &str) -> String {
    world.store.get(id).await.unwrap().owner
}

fn fenced(id: &str) -> Result<i64, StoreError> {
    Err(StoreError::Fenced { id: id.to_owned() })
}

pub async fn only_a_claim_in_force_writes(world: World) {
    world.create("s").await;
    world.create("t").await;
    let mut made_up = Claim {
        id: "s".to_owned(),
        owner: "a".to_owned(),
        fence: 0,
    };
    assert_eq!(world.owned(&made_up, 1).await, fenced("s"));
    let claims = claim(&world, "a").await;
    let [mine, other] = &claims[..] else {
        panic!("{claims:?}")
    };
    assert_eq!((mine.id.as_str(), mine.owner.as_str()), ("s", "a"));
    assert!(world.owned(mine, 1).await.is_ok());
    made_up.fence = mine.fence + 1;
    assert_eq!(world.owned(&made_up, 2).await, fenced("s"));
    made_up.fence = mine.fence;
    "b".clone_into(&mut made_up.owner);
    assert_eq!(world.owned(&made_up, 2).await, fenced("s"));
    // A claim of one selection does not write another.
    let writer = selector_svc::store::Writer::Owner(other.clone());
    let append = crate::world::append(2, &[Event::Resumed]);
    assert_eq!(world.store.append("s", writer, append).await, fenced("s"));
    // Callers write beside the owner, who learns of it; a lost claim counts before that.
    world.write("s", &[Event::Resumed]).await;
    let (id, sequence) = ("s".to_owned(), 3);
    assert_eq!(world.owned(mine, 2).await, Err(StoreError::Conflict { id, sequence }));
    assert_eq!(world.owned(&made_up, 2).await, fenced("s"));
    assert_eq!(world.events("s").await.len(), 3);
}

pub async fn leases_end_by_the_stores_clock(world: World) {
    world.create("s").await;
    let first = claim(&world, "a").await;
    assert_eq!(owner(&world, "s").await, "a");
    assert_eq!(claim(&world, "b").await, []);
    // Not even for the owner: it may be another process of the same name.
    assert_eq!(claim(&world, "a").await, []);
    world.shift(LEASE_MILLIS / 2);
    assert_eq!(claim(&world, "b").await, []);
    world.shift(LEASE_MILLIS / 2);
    assert_eq!(owner(&world, "s").await, "");
    assert_eq!(world.owned(&first[0], 1).await, fenced("s"));
    let second = claim(&world, "b").await;
    assert!(second[0].fence > first[0].fence);
    assert_eq!(owner(&world, "s").await, "b");
    assert_eq!(world.store.renew(&first, LEASE).await, Ok(first.clone()));
    assert_eq!(world.store.release(&first).await, Ok(()));
    assert_eq!(world.owned(&first[0], 1).await, fenced("s"));
    assert!(world.owned(&second[0], 1).await.is_ok());
    assert_eq!(owner(&world, "s").await, "b");
}

pub async fn leases_are_extended_and_given_back(world: World) {
    world.create("s").await;
    world.create("t").await;
    let claims = claim(&world, "a").await;
    for _ in 0..3 {
        world.shift(LEASE_MILLIS / 2);
        assert_eq!(world.store.renew(&claims, LEASE).await, Ok(Vec::new()));
    }
    assert_eq!(claim(&world, "b").await, []);
    // What is renewed beside a lost one stays.
    let mut lost = claims[1].clone();
    lost.fence += 1;
    let mixed = [claims[0].clone(), lost.clone(), claims[1].clone()];
    assert_eq!(world.store.renew(&mixed, LEASE).await, Ok(vec![lost]));
    assert_eq!(world.store.release(&claims[..1]).await, Ok(()));
    assert_eq!(owner(&world, "s").await, "");
    assert_eq!(world.owned(&claims[0], 1).await, fenced("s"));
    assert_eq!(world.store.renew(&claims, LEASE).await, Ok(vec![claims[0].clone()]));
    let taken = claim(&world, "b").await;
    assert_eq!((taken.len(), taken[0].id.as_str()), (1, "s"));
    // A shorter lease replaces a longer one.
    assert_eq!(
        world.store.renew(&claims[1..], Duration::from_secs(1)).await,
        Ok(Vec::new())
    );
    world.shift(1_500);
    assert_eq!(owner(&world, "t").await, "");
    assert_eq!(world.store.renew(&[], LEASE).await, Ok(Vec::new()));
    assert_eq!(world.store.release(&[]).await, Ok(()));
}

pub async fn claims_go_to_the_longest_untouched(world: World) {
    for id in ["c", "a", "b", "over"] {
        world.create(id).await;
    }
    world.write("c", &[Event::Paused]).await;
    world.shift(5);
    world.write("over", &end()).await;
    let claimed = world.store.claim("x", LEASE, 2).await.unwrap();
    let ids: Vec<&str> = claimed.iter().map(|claim| claim.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(world.store.claim("x", LEASE, 0).await, Ok(Vec::new()));
    let rest = claim(&world, "y").await;
    assert_eq!((rest.len(), rest[0].id.as_str()), (1, "c"));
    assert_eq!(claim(&world, "z").await, []);
}

pub async fn claims_race_and_each_selection_goes_once(world: World) {
    for index in 0..20 {
        world.create(&format!("s{index}")).await;
    }
    let mut tasks = JoinSet::new();
    for task in 0..6 {
        let store = Arc::clone(&world.store);
        tasks.spawn(async move {
            let (owner, mut mine) = (format!("owner-{task}"), Vec::new());
            loop {
                let claims = store.claim(&owner, LEASE, 3).await.unwrap();
                if claims.is_empty() {
                    return mine;
                }
                mine.extend(claims);
            }
        });
    }
    let claims: Vec<Claim> = tasks.join_all().await.into_iter().flatten().collect();
    let ids: BTreeSet<&String> = claims.iter().map(|claim| &claim.id).collect();
    assert_eq!((claims.len(), ids.len()), (20, 20));
}

pub async fn a_clock_that_jumps_back_frees_what_nobody_renews(world: World) {
    world.create("s").await;
    let first = claim(&world, "a").await;
    // A step such as time servers make changes nothing.
    world.shift(-500);
    assert_eq!(claim(&world, "b").await, []);
    assert!(world.owned(&first[0], 1).await.is_ok());
    world.shift(-86_400_000);
    assert_eq!(world.owned(&first[0], 2).await, fenced("s"));
    let second = claim(&world, "b").await;
    assert!(second[0].fence > first[0].fence);
    assert!(world.owned(&second[0], 2).await.is_ok());
}

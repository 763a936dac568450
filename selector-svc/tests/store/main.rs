//! One suite for every store, what only a file can suffer, and records that stay readable.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    unreachable_pub,
    missing_docs,
    reason = "helpers of tests fail as the tests themselves do"
)]

mod contract;
mod crash;
mod file;
mod golden;
mod samples;
mod world;

/// Runs each case on each store.
macro_rules! on_every_store {
    ($($group:ident: $($case:ident)*;)*) => {
        mod memory {
            $($(
                #[tokio::test]
                async fn $case() {
                    crate::contract::$group::$case(crate::world::World::memory()).await;
                }
            )*)*
        }
        mod sqlite {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::contract::$group::$case(crate::world::World::sqlite().await).await;
                }
            )*)*
        }
    };
}

on_every_store! {
    writing:
        a_selection_is_created_once
        a_request_makes_one_selection
        creations_race_and_one_wins
        what_is_unknown_is_not_found
        events_come_back_in_order_and_by_pages
        who_comes_late_meets_a_conflict
        each_sequence_has_one_winner
        times_never_go_back
        what_cannot_be_read_again_is_not_written
        only_what_has_ended_is_deleted;
    leases:
        only_a_claim_in_force_writes
        leases_end_by_the_stores_clock
        leases_are_extended_and_given_back
        claims_go_to_the_longest_untouched
        claims_race_and_each_selection_goes_once
        a_clock_that_jumps_back_frees_what_nobody_renews;
    lists:
        pages_are_newest_first_without_gaps
        phases_select_and_follow_changes
        labels_select_together_and_with_phases
        losses_keep_the_first_and_the_order_asked_for
        forecasts_are_newest_first_on_other_data;
}

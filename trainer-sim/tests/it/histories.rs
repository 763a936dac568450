//! Random histories of calls and time on the bare domain: whatever callers do, the contract holds.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use trainer_sim::SimulationConfig;
use trainer_sim::event::{EvaluationKind, Happening};
use trainer_sim::overrides::Fault;
use trainer_sim::run::Run;
use trainer_sim::simulation::Simulation;
use trainer_sim::spec::{Hyperparameters, Method, Reference, Spec};
use trainer_sim::state::{Cause, Failure, RunState, WaitReason, transition};

#[derive(Debug, Clone)]
enum Call {
    Create(u8, Box<Spec>),
    Cancel(u8),
    Pause(u8),
    Resume(u8),
    Delete(u8),
    Wait(u64),
}

fn spec_strategy() -> impl Strategy<Value = Spec> {
    let fault = prop::option::of(0..Fault::NAMED.len());
    (
        fault,
        prop::collection::btree_set(0_i64..5_000, 1..4),
        0_u64..3,
        prop::option::of(1_u64..400),
        any::<bool>(),
    )
        .prop_map(|(fault, sizes, seed, limit, pinned)| {
            let fault = fault
                .map(|index| Fault::NAMED[index])
                .filter(|(_, fault)| !fault.ends_process());
            let fault = fault.map(|(name, _)| ("sim.fault".to_owned(), name.to_owned()));
            let pace = ("sim.seconds_per_example".to_owned(), "0.1".to_owned());
            let reference = Reference {
                uri: "sim://x-20m".to_owned(),
                digest: String::new(),
            };
            Spec {
                candidate_id: "c".to_owned(),
                model: reference.clone(),
                data: reference,
                held_out: None,
                data_sizes: sizes.into_iter().collect(),
                method: Method::Full,
                hyperparameters: Hyperparameters::default(),
                seed,
                subset_seed: 0,
                retention_sets: Vec::new(),
                device: if pinned { "sim:0".to_owned() } else { String::new() },
                max_duration: limit.map(Duration::from_secs),
                labels: fault.into_iter().chain([pace]).collect(),
                initial_adapter: None,
            }
        })
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let id = 0_u8..6;
    let call = prop_oneof![
        3 => (id.clone(), spec_strategy()).prop_map(|(id, spec)| Call::Create(id, Box::new(spec))),
        1 => id.clone().prop_map(Call::Cancel),
        1 => id.clone().prop_map(Call::Pause),
        2 => id.clone().prop_map(Call::Resume),
        1 => id.prop_map(Call::Delete),
        4 => (0_u64..400).prop_map(Call::Wait),
    ];
    prop::collection::vec(call, 1..60)
}

/// Does some cause lead there?
fn is_way(from: RunState, to: RunState) -> bool {
    let causes = [
        Cause::Dispatched,
        Cause::Prepared,
        Cause::Finished,
        Cause::Failed(Failure::Internal),
        Cause::Cancelled,
        Cause::Paused,
        Cause::Resumed(WaitReason::NoFreeSlot),
        Cause::Preempted,
        Cause::Vanished,
    ];
    causes
        .into_iter()
        .any(|cause| transition(from, cause).is_ok_and(|way| way.to == to))
}

/// The events of a run, against the contract and against the run itself.
fn check(run: &Run) -> Result<(), TestCaseError> {
    let mut state = None;
    let (mut cost, mut evaluations, mut last) = (0.0, Vec::new(), (0, Duration::ZERO));
    for event in run.log.after(0, usize::MAX) {
        prop_assert!(event.sequence > last.0 && event.at >= last.1);
        last = (event.sequence, event.at);
        prop_assert!(
            state.is_none_or(|state: RunState| !state.is_ended()),
            "an event after the end"
        );
        match event.what {
            Happening::Created(_) => {
                prop_assert_eq!((state, event.sequence), (None, 1));
                state = Some(RunState::Queued);
            }
            Happening::State(way, _) => {
                prop_assert_eq!(Some(way.from), state);
                prop_assert!(is_way(way.from, way.to), "{:?} → {:?}", way.from, way.to);
                state = Some(way.to);
            }
            Happening::Cost(now) => {
                prop_assert!(now.device_seconds > cost);
                cost = now.device_seconds;
            }
            Happening::Evaluation(found) => {
                prop_assert!(found.loss.is_finite() && found.loss > 0.0);
                evaluations.push(found);
            }
            _ => {}
        }
    }
    prop_assert_eq!(last.0, run.log.last_sequence());
    prop_assert_eq!(state, Some(run.state));
    prop_assert_eq!(&evaluations, &run.evaluations);
    prop_assert_eq!(run.failure.is_some(), run.state == RunState::Failed);
    prop_assert_eq!(run.ended.is_some(), run.state.is_ended());
    if run.state == RunState::Succeeded {
        let held_out = evaluations.iter().filter(|e| e.kind == EvaluationKind::HeldOut);
        let sizes: Vec<i64> = held_out.map(|e| e.data_size).collect();
        prop_assert_eq!(&sizes, &run.spec.data_sizes);
    }
    Ok(())
}

fn play(calls: &[Call]) -> Result<Simulation, TestCaseError> {
    let config = SimulationConfig {
        devices: 2,
        slots_per_device: 1,
        queue_limit: 2,
        ..SimulationConfig::default()
    };
    let mut simulation = Simulation::new(config.settings());
    let mut now = Duration::ZERO;
    let mut ended = HashMap::new();
    for call in calls {
        let name = |id: &u8| format!("r{id}");
        // Refusals are checked elsewhere; here only what they leave behind matters.
        match call {
            Call::Create(id, spec) => drop(simulation.create(&name(id), *spec.clone())),
            Call::Cancel(id) => drop(simulation.cancel(&name(id))),
            Call::Pause(id) => drop(simulation.pause(&name(id))),
            Call::Resume(id) => drop(simulation.resume(&name(id))),
            Call::Delete(id) => drop(simulation.delete(&name(id))),
            Call::Wait(seconds) => now += Duration::from_secs(*seconds),
        }
        simulation.advance(now);
        let holding = simulation
            .runs_before(u64::MAX)
            .filter(|run| run.state.holds_slot())
            .count();
        let waiting = simulation
            .runs_before(u64::MAX)
            .filter(|run| run.state == RunState::Queued)
            .count();
        prop_assert_eq!((simulation.active() as usize, simulation.queued()), (holding, waiting));
        prop_assert!(holding <= 2 && waiting <= 2, "{holding} hold a slot, {waiting} wait");
        for run in simulation.runs_before(u64::MAX) {
            check(run)?;
            if run.state.is_ended() {
                let last = *ended.entry(run.key).or_insert(run.log.last_sequence());
                prop_assert_eq!(last, run.log.last_sequence(), "an ended run changed");
            }
        }
    }
    Ok(simulation)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_callers_do_the_contract_holds(calls in calls()) {
        let simulation = play(&calls)?;
        let again = play(&calls)?;
        for (one, other) in simulation.runs_before(u64::MAX).zip(again.runs_before(u64::MAX)) {
            prop_assert_eq!(one.log.after(0, usize::MAX), other.log.after(0, usize::MAX));
        }
    }

    #[test]
    fn everything_ends_when_nobody_interferes(specs in prop::collection::vec(spec_strategy(), 1..5)) {
        let mut simulation = Simulation::new(SimulationConfig::default().settings());
        for (index, spec) in specs.into_iter().enumerate() {
            simulation.create(&format!("r{index}"), spec).unwrap();
        }
        simulation.advance(Duration::from_secs(1_000_000));
        prop_assert_eq!(simulation.next_due(), None);
        for run in simulation.runs_before(u64::MAX) {
            prop_assert!(run.state.is_ended(), "{:?}", run.state);
        }
    }
}

//! A driver without trainers: losses come from a table, trouble from dice.

use std::collections::BTreeMap;

use selector_svc::constraint::Constraints;
use selector_svc::curve::{DataSize, Observation};
use selector_svc::plan::{self, Told};
use selector_svc::policy::{Exclusion, ExclusionReason};
use selector_svc::race::{Judgement, Next, Race};
use selector_svc::selection::{
    Action, AttemptEnd, BudgetSpec, CandidateSpec, Ending, Event, MethodSpec, Millis, Outcome, Phase, PlannedTrial,
    ScheduledAttempt, SelectionSpec, State, WorkMode, transition,
};
use selector_svc::simulate::SelectionPolicy;
use selector_svc::table::{Candidate, CandidateTable};
use trainer_kit::spec::{Hyperparameters, Method};

use crate::data::size;

/// Nobody may need more steps.
const MOST_STEPS: usize = 200_000;

pub(super) fn spec_of(
    table: &CandidateTable,
    full: DataSize,
    least: u64,
    policy: SelectionPolicy,
    budget: BudgetSpec,
) -> SelectionSpec {
    let candidate = |c: &Candidate| CandidateSpec {
        id: c.name().to_owned(),
        attributes: c.attributes().clone(),
        model: None,
    };
    SelectionSpec {
        candidates: table.candidates().iter().map(candidate).collect(),
        methods: vec![MethodSpec {
            id: "full".to_owned(),
            method: Method::Full,
            hyperparameters: Hyperparameters::default(),
        }],
        data: None,
        held_out: None,
        data_size_full: Some(full),
        data_size_min: Some(size(least)),
        budget,
        policy,
        constraints: Constraints::default(),
        trainers: Vec::new(),
        parallelism: None,
        max_attempts: 3,
        seed: 0,
        subset_seed: 0,
        interval_level: 0.9,
        work_mode: WorkMode::AskTell,
        reuse: false,
        warm_start: false,
        max_run_millis: None,
        device: String::new(),
        labels: BTreeMap::new(),
        display_name: String::new(),
    }
}

/// What goes wrong, by a stream of numbers that is drawn once.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    pub(super) dice: Vec<u8>,
    pub(super) at: usize,
    /// (after so many events, new budget in examples)
    pub(super) amendments: Vec<(u64, u64)>,
}

impl Trouble {
    fn next(&mut self) -> u8 {
        let Some(dice) = self.dice.get(self.at % self.dice.len().max(1)) else {
            return 255;
        };
        self.at += 1;
        *dice
    }
}

/// A selection in memory.
pub(super) struct Ride<'a> {
    table: &'a CandidateTable,
    state: Option<State>,
    race: Option<Race>,
    trouble: Trouble,
    /// Judges with a race that is built anew each time as well, and compares.
    pub(super) rebuilds: bool,
    clock: Millis,
}

impl<'a> Ride<'a> {
    pub(super) fn new(table: &'a CandidateTable, spec: SelectionSpec, trouble: Trouble) -> Self {
        assert_eq!(plan::check(&spec), []);
        let mut ride = Self {
            table,
            state: None,
            race: None,
            trouble,
            rebuilds: true,
            clock: 0,
        };
        ride.append(Event::Created {
            spec: Box::new(spec),
            nonce: "n".to_owned(),
        });
        ride
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    fn append(&mut self, event: Event) -> Vec<Action> {
        self.clock += 1;
        let (state, actions) = transition(self.state.take(), event, self.clock).unwrap();
        self.state = Some(state);
        actions
    }

    /// To the end.
    pub(super) fn run(mut self) -> State {
        let mut actions = selector_svc::selection::due(self.state(), self.clock);
        for _ in 0..MOST_STEPS {
            if self.state().has_ended() {
                return self.state.unwrap();
            }
            actions = match self.amendment() {
                Some(event) => self.append(event),
                None => self.act(&actions),
            };
        }
        panic!("did not end: {:?}", self.state().phase);
    }

    fn amendment(&mut self) -> Option<Event> {
        if !matches!(self.state().phase, Phase::Preparing | Phase::Running) {
            return None;
        }
        let at = self
            .trouble
            .amendments
            .iter()
            .position(|(after, _)| *after <= self.state().sequence)?;
        let (_, examples) = self.trouble.amendments.remove(at);
        let budget = BudgetSpec {
            examples: Some(examples),
            ..BudgetSpec::default()
        };
        let (limits, plan_examples) = plan::amend(self.state(), &budget).ok()?;
        Some(Event::BudgetAmended {
            budget,
            limits,
            plan_examples,
        })
    }

    fn act(&mut self, actions: &[Action]) -> Vec<Action> {
        match actions.first().unwrap() {
            Action::Prepare => match plan::prepare(&self.state().spec, &Told::default()) {
                Ok(prepared) => {
                    assert!(prepared.planned.examples <= prepared.plan_examples);
                    self.append(Event::Prepared {
                        prepared: Box::new(prepared),
                    })
                }
                Err((failure, detail)) => self.append(Event::Stopping {
                    ending: Ending::Failed { failure, detail },
                }),
            },
            Action::Judge => self.judge(),
            Action::Schedule { trials } => self.schedule(trials[0]),
            Action::Attend { trial, attempt } => self.end(*trial, *attempt),
            Action::Finish { ending } => {
                let ending = ending.clone();
                self.append(Event::Ended { ending })
            }
            Action::WaitUntil { at } => {
                self.clock = self.clock.max(*at);
                selector_svc::selection::due(self.state(), self.clock)
            }
            Action::Cancel { trial, attempt } => {
                let (trial, attempt) = (*trial, *attempt);
                self.ended(trial, attempt, Outcome::Cancelled, 0, None)
            }
        }
    }

    fn judgement(&mut self) -> Judgement {
        let state = self.state.as_ref().unwrap();
        let race = self.race.get_or_insert_with(|| Race::new(state).unwrap());
        assert_eq!(race.fit_request(state), None);
        let judgement = race.judge(state, None);
        if self.rebuilds {
            assert_eq!(Race::new(state).unwrap().judge(state, None), judgement);
        }
        judgement
    }

    fn judge(&mut self) -> Vec<Action> {
        let judgement = self.judgement();
        if let Some(decision) = judgement.decision {
            let explained =
                !decision.explanation.is_empty() && decision.contenders.iter().all(|c| !c.reason.is_empty());
            assert!(explained, "{decision:?}");
            self.append(Event::Judged {
                decision: Box::new(decision),
            });
            if self.rebuilds {
                // A crash between the decision and what follows: the same follows.
                let again = self.judgement();
                assert_eq!((again.decision, &again.next), (None, &judgement.next));
            }
        }
        match judgement.next {
            Next::Round(runs) => {
                let planned = |(contender, data_size)| PlannedTrial {
                    contender,
                    data_size,
                    reused: None,
                };
                let trials = runs.into_iter().map(planned).collect();
                self.append(Event::RoundOpened { trials })
            }
            Next::Finish(ending) => self.append(Event::Stopping { ending }),
        }
    }

    fn schedule(&mut self, trial: usize) -> Vec<Action> {
        let (state, dice) = (self.state.as_ref().unwrap(), self.trouble.next());
        let planned = &state.trials[trial];
        let reserved = state.price(planned.contender, planned.data_size);
        let total = state.spent.plus(state.reserved).plus(reserved);
        if state.limits.allow(total).is_err() || dice < 4 {
            let exclusion = Exclusion {
                reason: ExclusionReason::Budget,
                detail: "the budget does not pay for it".to_owned(),
            };
            return self.append(Event::TrialGivenUp { trial, exclusion });
        }
        let attempt = u32::try_from(planned.attempts.len()).unwrap() + 1;
        self.append(Event::Scheduled {
            attempts: vec![ScheduledAttempt {
                trial,
                attempt,
                trainer: "w".to_owned(),
                run_id: format!("r{trial}.{attempt}"),
                reserved,
                max_seconds: None,
                lease_until: None,
            }],
        })
    }

    fn end(&mut self, trial: usize, attempt: u32) -> Vec<Action> {
        let planned = &self.state().trials[trial];
        let (contender, data_size) = (planned.contender, planned.data_size);
        let dice = self.trouble.next();
        if (4..40).contains(&dice) {
            let retry_at = (attempt < 3).then_some(self.clock + 10);
            let outcome = Outcome::Failed {
                failure: "OUT_OF_MEMORY".to_owned(),
            };
            let spent = data_size.examples() * u64::from(dice % 3) / 2;
            return self.ended(trial, attempt, outcome, spent, retry_at);
        }
        let name = self.state().spec.contender_name(contender);
        let loss = self.table.find(&name).unwrap().curve().loss_at(data_size);
        let loss = loss.unwrap_or_else(|| panic!("{name} has no loss at {data_size}"));
        let outcome = Outcome::Observed {
            observation: Observation::new(data_size, loss),
            model_digest: String::new(),
            data_digest: String::new(),
        };
        self.ended(trial, attempt, outcome, data_size.examples(), None)
    }

    fn ended(
        &mut self,
        trial: usize,
        attempt: u32,
        outcome: Outcome,
        examples: u64,
        retry_at: Option<Millis>,
    ) -> Vec<Action> {
        let spent = selector_svc::selection::Spending {
            examples,
            ..selector_svc::selection::Spending::ZERO
        };
        self.append(Event::AttemptEnded(Box::new(AttemptEnd {
            trial,
            attempt,
            outcome,
            spent,
            detail: "told".to_owned(),
            retry_at,
        })))
    }
}

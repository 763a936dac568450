//! A manager over a folder, and what the tests ask of it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use trainer_kit::Refusal;
use trainer_kit::capability::Capabilities;
use trainer_kit::cost::PriceTable;
use trainer_kit::event::{EvaluationKind, Event, Happening, Severity};
use trainer_kit::run::Run;
use trainer_kit::spec::{Hyperparameters, Method, MethodKind, Reference, Spec};
use trainer_kit::state::RunState;
use trainer_svc::runs::{Listener, Manager, OpenError, Roots, Settings, system_clock};

use crate::fake::Fake;

/// Everything ends within this time, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Hears what is told, and calls back at every change.
#[derive(Default)]
pub(crate) struct Ear {
    pub(crate) told: Mutex<Vec<String>>,
    pub(crate) on_change: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Listener for Ear {
    fn changed(&self, _: u64) {
        if let Some(call) = &mut *self.on_change.lock().unwrap() {
            call();
        }
    }

    fn gone(&self, _: u64) {}

    fn tell(&self, _: Severity, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }
}

pub(crate) struct World {
    pub(crate) manager: Manager,
    pub(crate) fake: Arc<Fake>,
    pub(crate) ear: Arc<Ear>,
    dir: PathBuf,
}

pub(crate) fn capabilities() -> Capabilities {
    Capabilities {
        methods: vec![MethodKind::Full, MethodKind::Lora, MethodKind::Prompt],
        model_formats: vec!["huggingface".to_owned(), "onnx".to_owned()],
        uri_schemes: vec!["hf".to_owned()],
        precisions: vec!["fp32".to_owned()],
        pause: true,
        checkpoint_resume: true,
        nested_subsets: true,
        deterministic_seeds: true,
        estimate: true,
        retention_sets: true,
        prices: Some(PriceTable {
            currency: "EUR".to_owned(),
            per_device_second: 0.5,
            per_run: 0.25,
        }),
        heartbeat_interval: Duration::from_secs(1),
        data_size_max: None,
    }
}

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        state_dir: dir.to_owned(),
        name: "dev.finepick.test".to_owned(),
        capabilities: capabilities(),
        queue_limit: 3,
        stall_timeout: PATIENCE,
        stop_grace: PATIENCE,
        retained_events: 1_000,
        roots: Roots::default(),
        permit: None,
    }
}

impl World {
    pub(crate) fn try_open(settings: Settings, fake: Fake, ear: Ear) -> Result<Self, OpenError> {
        let (fake, ear) = (Arc::new(fake), Arc::new(ear));
        let listener: Arc<dyn Listener> = ear.clone();
        let dir = settings.state_dir.clone();
        let manager = Manager::open(settings, "0.0.0", fake.clone(), listener, system_clock())?;
        Ok(Self {
            manager,
            fake,
            ear,
            dir,
        })
    }

    /// One slot on `cpu`.
    pub(crate) fn open(dir: &Path) -> Self {
        Self::with(&settings(dir), &[("cpu", 1)])
    }

    pub(crate) fn with(settings: &Settings, slots: &[(&str, u32)]) -> Self {
        // The manager before this one may still be letting go of the folder.
        let end = Instant::now() + PATIENCE;
        loop {
            match Self::try_open(settings.clone(), Fake::with_slots(slots), Ear::default()) {
                Err(OpenError::Locked { .. }) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                opened => return opened.unwrap(),
            }
        }
    }

    pub(crate) fn create(&self, id: &str, spec: &Spec) -> Run {
        self.manager.create(id, spec.clone()).unwrap()
    }

    pub(crate) fn get(&self, id: &str) -> Run {
        self.manager.get(id).unwrap()
    }

    /// Waits until it is so.
    pub(crate) fn until(&self, id: &str, what: impl Fn(&Run) -> bool) -> Run {
        let end = Instant::now() + PATIENCE;
        loop {
            let run = self.get(id);
            if what(&run) {
                return run;
            }
            assert!(Instant::now() < end, "it stays {run:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(crate) fn until_state(&self, id: &str, state: RunState) -> Run {
        self.until(id, |run| {
            assert!(run.state == state || !run.state.is_ended(), "{run:?}");
            run.state == state
        })
    }

    pub(crate) fn until_step(&self, id: &str, step: i64) -> Run {
        self.until(id, |run| {
            run.progress.as_ref().is_some_and(|progress| progress.step >= step)
        })
    }

    pub(crate) fn events(&self, id: &str) -> Vec<Event> {
        let log = self.manager.watch(id, 0).unwrap();
        log.read(0, usize::MAX).unwrap().0
    }

    /// Waits until the operator is told this.
    pub(crate) fn until_told(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.ear.told.lock().unwrap().iter().any(|told| told.contains(text)) {
            assert!(Instant::now() < end, "nobody is told {text:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Lets the manager go, and everything that works for it.
    pub(crate) fn close(self) {
        assert_eq!(self.manager.drain(PATIENCE), 0);
        let Self { manager, dir, .. } = self;
        drop(manager);
        let lock = std::fs::File::open(dir.join("lock")).unwrap();
        // Threads that have just finished let go of the folder a moment later.
        lock.lock().unwrap();
    }
}

pub(crate) fn spec(sizes: &[i64], labels: &[(&str, i64)]) -> Spec {
    let reference = |uri: &str| Reference {
        uri: uri.to_owned(),
        digest: String::new(),
    };
    Spec {
        candidate_id: "candidate".to_owned(),
        model: reference("model"),
        data: reference("data"),
        held_out: None,
        data_sizes: sizes.to_vec(),
        method: Method::Full,
        hyperparameters: Hyperparameters {
            batch_size: Some(1),
            learning_rate: Some(0.1 + 0.2),
            ..Hyperparameters::default()
        },
        seed: u64::MAX,
        subset_seed: 1,
        retention_sets: Vec::new(),
        device: String::new(),
        max_duration: None,
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.to_string()))
            .collect(),
        initial_adapter: None,
    }
}

/// Held-out losses, in order.
pub(crate) fn losses(run: &Run) -> Vec<(i64, f64)> {
    let held_out = run
        .evaluations
        .iter()
        .filter(|found| found.kind == EvaluationKind::HeldOut);
    held_out.map(|found| (found.data_size, found.loss)).collect()
}

/// The states that a run went through.
pub(crate) fn states(events: &[Event]) -> Vec<RunState> {
    let state = |event: &Event| match &event.what {
        Happening::Created(_) => Some(RunState::Queued),
        Happening::State(way, _) => Some(way.to),
        _ => None,
    };
    events.iter().filter_map(state).collect()
}

pub(crate) fn is_queue_full(answer: &Result<Run, Refusal>) -> bool {
    matches!(answer, Err(Refusal::QueueFull))
}

/// Whole lines of a file.
pub(crate) fn lines(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |text| {
        text.split_inclusive(|byte| *byte == b'\n')
            .filter(|line| line.ends_with(b"\n"))
            .count()
    })
}

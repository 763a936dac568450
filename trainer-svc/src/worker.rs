//! Runs of the contract done with ONNX Runtime: the [`Executor`] of this trainer.

mod convert;
mod defaults;
mod estimate;
mod failure;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use trainer_kit::capability::{self, Estimate};
use trainer_kit::spec::{Reference as Named, Spec};
use trainer_kit::state::Failure;

use crate::hub::{self, Reference};
use crate::runs::{Desk, Done, Executor, Job, RunFailure, StopReason};
use crate::session::{Device, DeviceOptions, Precision, Runtime, StopToken};
use crate::train::{self, Ending};

/// A device that runs may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// ONNX Runtime's name for it: `cpu`, `cuda:0`, `openvino`, `webgpu`, `auto`.
    pub name: String,
    /// Runs at the same time, ≥ 1.
    pub slots: u32,
    /// Threads of one run; absent: all cores, shared among the slots.
    pub threads: Option<usize>,
}

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Devices, the default first. At least one.
    pub devices: Vec<Offered>,
    /// Folders in which models and data may lie; empty: anywhere.
    pub roots: Vec<PathBuf>,
    /// Time between saved states.
    pub checkpoint_interval: Duration,
    /// Time between two reports of progress at least; zero: every step.
    pub progress_interval: Duration,
    /// Where models and data of the hub come from; absent: there is no hub.
    pub hub: Option<hub::HubConfig>,
}

/// Does runs with ONNX Runtime.
#[derive(Debug)]
pub struct Worker {
    runtime: Runtime,
    settings: Settings,
    hub: Option<hub::Hub>,
    /// Opened devices: name, slot, precision.
    opened: Mutex<BTreeMap<(String, u32, String), Device>>,
    pace: estimate::Pace,
}

impl Worker {
    /// A worker on these devices; each is opened once to see that it is there.
    ///
    /// # Errors
    /// A device cannot be used, or the hub's settings cannot.
    pub fn new(runtime: Runtime, settings: Settings) -> Result<Self, RunFailure> {
        let hub = match &settings.hub {
            Some(config) => Some(hub::Hub::new(config.clone()).map_err(|error| failure::of_hub(&error))?),
            None => None,
        };
        let worker = Self {
            runtime,
            hub,
            opened: Mutex::default(),
            pace: estimate::Pace::default(),
            settings,
        };
        for device in &worker.settings.devices {
            worker.open(&device.name, 0, "")?;
        }
        Ok(worker)
    }

    /// Names of the precisions that runs can ask for.
    #[must_use]
    pub fn precisions(&self) -> Vec<String> {
        let mut names = vec!["fp32".to_owned()];
        if self.settings.devices.iter().any(|device| device.name == "openvino") {
            names.push("bf16".to_owned());
        }
        names
    }

    fn open(&self, name: &str, slot: u32, precision: &str) -> Result<Device, RunFailure> {
        let key = (name.to_owned(), slot, precision.to_owned());
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = opened.get(&key) {
            return Ok(device.clone());
        }
        let offered = self.settings.devices.iter().find(|device| device.name == name);
        let offered = offered.ok_or_else(|| RunFailure::new(Failure::Internal, format!("there is no device {name:?}")))?;
        let options = DeviceOptions {
            threads: offered.threads.or_else(|| shared_threads(offered.slots)),
            precision: match precision {
                "bf16" => Precision::Bf16,
                _ => Precision::F32,
            },
            ..DeviceOptions::default()
        };
        let device = self.runtime.open(name, &options);
        let device = device.map_err(|error| failure::of(&error.into()))?;
        opened.insert(key, device.clone());
        Ok(device)
    }

    /// Where a reference lies on this machine; the hub's are fetched.
    fn resolve(&self, named: &Named, desk: &dyn Desk, unreadable: Failure) -> Result<PathBuf, RunFailure> {
        let refused = |message: String| RunFailure::new(unreadable, message);
        match Reference::parse(&named.uri).map_err(|error| refused(error.to_string()))? {
            Reference::Local(path) => self.inside_roots(&path).map_err(refused),
            Reference::Hub(reference) => {
                let hub = self.hub.as_ref();
                let hub = hub.ok_or_else(|| refused(format!("{}: this trainer has no hub", named.uri)))?;
                let fetched = hub.fetch(&reference, &mut |_| {
                    desk.alive();
                    desk.stop().reason().is_none()
                });
                Ok(fetched.map_err(|error| failure::of_hub(&error).or(unreadable))?.path)
            }
        }
    }

    /// A path, if it leads into one of the roots, also through links.
    fn inside_roots(&self, path: &Path) -> Result<PathBuf, String> {
        let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
        let real = std::fs::canonicalize(path).map_err(unreadable)?;
        let roots = &self.settings.roots;
        let is_inside = |root: &PathBuf| std::fs::canonicalize(root).is_ok_and(|root| real.starts_with(root));
        if roots.is_empty() || roots.iter().any(is_inside) {
            return Ok(path.to_owned());
        }
        Err(format!("{} lies in none of the folders that this trainer reads", path.display()))
    }

    fn digest(&self, path: &Path, expected: &str) -> Result<String, RunFailure> {
        let unreadable = |message: String| RunFailure::new(Failure::ModelUnreadable, message);
        let found = hub::digest_model(path).map_err(|error| unreadable(error.to_string()))?;
        if expected.is_empty() || expected == found {
            return Ok(found);
        }
        Err(unreadable(format!("the model has the digest {found}, expected was {expected}")))
    }
}

/// Threads of one run where nothing is said: the cores, divided among the slots.
fn shared_threads(slots: u32) -> Option<usize> {
    let cores = std::thread::available_parallelism().ok()?.get();
    Some((cores / usize::try_from(slots).ok()?.max(1)).max(1))
}

impl Executor for Worker {
    fn devices(&self) -> Vec<capability::Device> {
        let known = self.runtime.devices();
        let describe = |offered: &Offered| {
            let info = known.iter().find(|info| info.name == offered.name);
            capability::Device {
                name: offered.name.clone(),
                description: info.map_or_else(String::new, |info| format!("{} ({})", info.description, info.provider)),
                memory_bytes: info
                    .and_then(|info| info.memory_bytes)
                    .and_then(|bytes| i64::try_from(bytes).ok()),
                slots: offered.slots,
            }
        };
        self.settings.devices.iter().map(describe).collect()
    }

    fn with_defaults(&self, spec: &Spec) -> Spec {
        defaults::fill(spec)
    }

    fn estimate(&self, spec: &Spec) -> Result<Estimate, RunFailure> {
        let local = |named: &Named| match Reference::parse(&named.uri) {
            Ok(Reference::Local(path)) => self.inside_roots(&path).ok(),
            _ => None,
        };
        let device = self.settings.devices.iter().find(|device| device.name == spec.device);
        let device = device.or(self.settings.devices.first());
        let memory = self.devices().into_iter().find(|known| Some(&known.name) == device.map(|device| &device.name));
        let memory = memory.and_then(|device| device.memory_bytes);
        estimate::of(spec, local(&spec.model).as_deref(), local(&spec.data).as_deref(), memory, &self.pace)
    }

    fn execute(&self, job: &Job, desk: &dyn Desk) -> Result<Done, RunFailure> {
        let stop = StopToken::new();
        let token = stop.clone();
        let _registered = desk.stop().on_stop(move |reason: StopReason| {
            // A checkpoint needs a whole step; everything else ends the step that is running.
            if !reason.wants_checkpoint() {
                token.stop();
            }
        });
        let done = self.run(job, desk, &stop);
        match done {
            // What fails because it was stopped did not fail by itself.
            Err(_) if desk.stop().reason().is_some_and(|reason| !reason.wants_checkpoint()) => Ok(Done::Stopped),
            done => done,
        }
    }
}

impl Worker {
    fn run(&self, job: &Job, desk: &dyn Desk, stop: &StopToken) -> Result<Done, RunFailure> {
        let spec = &job.spec;
        let model = self.resolve(&spec.model, desk, Failure::ModelUnreadable)?;
        let data = |named: &Named| self.resolve(named, desk, Failure::DataUnreadable);
        let places = convert::Places {
            model_digest: self.digest(&model, &spec.model.digest)?,
            model,
            data: data(&spec.data)?,
            held_out: spec.held_out.as_ref().map(data).transpose()?,
            retention: spec
                .retention_sets
                .iter()
                .map(|set| Ok((set.name.clone(), data(&set.data)?)))
                .collect::<Result<_, RunFailure>>()?,
            initial_adapter: match &spec.initial_adapter {
                Some(adapter) => Some(self.resolve(adapter, desk, Failure::ModelUnreadable)?),
                None => None,
            },
        };
        desk.alive();
        let device = self.open(&job.device, job.slot, &spec.hyperparameters.precision)?;
        let work = convert::job(job, places, self.settings.checkpoint_interval)?;
        let mut reporter = report::Reporter::new(job, desk, &work.model_digest, self.settings.progress_interval);
        let ending = train::run(&work, &device, &mut reporter, stop);
        self.pace.learn(&job.device, reporter.pace());
        match ending {
            Ok(Ending::Done) => Ok(Done::Finished),
            Ok(Ending::Paused) => Ok(Done::Stopped),
            Err(error) if error.is_stop() => Ok(Done::Stopped),
            Err(error) => Err(failure::of(&error)),
        }
    }
}

//! Runs of the contract done with ONNX Runtime: the [`Executor`] of this trainer.

mod convert;
mod estimate;
mod failure;
mod inputs;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use svc_kit::BoxError;
use trainer_kit::capability::{self, Estimate};
use trainer_kit::spec::{Reference as Named, Spec};
use trainer_kit::state::Failure;

use crate::config::{DeviceConfig, TrainerConfig};
use crate::hub::{self, Hub, HubConfig, Reference};
use crate::runs::{Desk, Done, Executor, Job, Roots, RunFailure, StopReason, with_defaults};
use crate::session::{Device, DeviceOptions, Precision, Runtime, StopToken};
use crate::train::{self, Ending};

/// Does runs with ONNX Runtime.
#[derive(Debug)]
pub struct Worker {
    runtime: Runtime,
    config: TrainerConfig,
    roots: Roots,
    hub: Hub,
    /// Opened devices: name, slot, precision.
    opened: Mutex<BTreeMap<(String, u32, String), Device>>,
    pace: estimate::Pace,
    known: inputs::Known,
}

impl Worker {
    /// A worker on the configured devices; each is opened once to see that it is there.
    ///
    /// # Errors
    /// ONNX Runtime, a device or the hub's settings cannot be used.
    pub fn new(config: &TrainerConfig) -> Result<Self, BoxError> {
        let devices = config.devices_in_use().map(|(name, _)| name);
        let library = Runtime::locate_for(config.runtime_library.as_deref(), devices)?;
        let runtime = Runtime::load(&library)?;
        for (name, library) in [
            ("openvino", &config.plugins.openvino),
            ("webgpu", &config.plugins.webgpu),
        ] {
            if let Some(library) = library {
                runtime.register_plugin(name, library)?;
            }
        }
        let hub = Hub::new(HubConfig {
            endpoint: config.hub.endpoint.clone(),
            token: config.hub.token_file.as_deref().map(token).transpose()?,
            ..HubConfig::new(&config.hub.cache_dir)
        })?;
        let worker = Self {
            runtime,
            hub,
            roots: config.settings().roots,
            opened: Mutex::default(),
            pace: estimate::Pace::default(),
            known: inputs::Known::default(),
            config: config.clone(),
        };
        for (name, device) in config.devices_in_use() {
            worker.open(name, 0, &device.precision)?;
        }
        Ok(worker)
    }

    fn open(&self, name: &str, slot: u32, precision: &str) -> Result<Device, RunFailure> {
        let key = (name.to_owned(), slot, precision.to_owned());
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = opened.get(&key) {
            return Ok(device.clone());
        }
        let config = self.config.devices.get(name);
        let config =
            config.ok_or_else(|| RunFailure::new(Failure::Internal, format!("there is no device {name:?}")))?;
        let options = DeviceOptions {
            threads: threads(config),
            precision: match precision {
                "bf16" => Precision::Bf16,
                "fp16" => Precision::F16,
                _ => Precision::F32,
            },
            ..DeviceOptions::default()
        };
        let device = self.runtime.open(name, &options);
        let device = device.map_err(|error| failure::of(&error.into()))?;
        opened.insert(key, device.clone());
        Ok(device)
    }

    /// Where a model or an adapter lies on this machine; the hub's are fetched.
    fn model(&self, named: &Named, desk: &dyn Desk) -> Result<PathBuf, RunFailure> {
        let fetched = self.hub.model(&named.uri, &mut |_| goes_on(desk));
        let path = fetched
            .map_err(|error| RunFailure::new(Failure::ModelUnreadable, error.to_string()))?
            .path;
        if is_local(named) && !self.roots.allows_model(&path) {
            return Err(RunFailure::new(Failure::ModelUnreadable, outside(&path)));
        }
        Ok(path)
    }

    /// Where data lie on this machine.
    fn data(&self, named: &Named, desk: &dyn Desk) -> Result<PathBuf, RunFailure> {
        let fetched = self.hub.data(&named.uri, &mut |_| goes_on(desk));
        let path = fetched
            .map_err(|error| RunFailure::new(Failure::DataUnreadable, error.to_string()))?
            .path;
        if is_local(named) && !self.roots.allows_data(&path) {
            return Err(RunFailure::new(Failure::DataUnreadable, outside(&path)));
        }
        Ok(path)
    }
}

fn digest(path: &Path, expected: &str) -> Result<String, RunFailure> {
    let unreadable = |message: String| RunFailure::new(Failure::ModelUnreadable, message);
    let found = hub::digest_model(path).map_err(|error| unreadable(error.to_string()))?;
    if expected.is_empty() || expected == found {
        return Ok(found);
    }
    Err(unreadable(format!(
        "the model has the digest {found}, expected was {expected}"
    )))
}

fn is_local(named: &Named) -> bool {
    matches!(Reference::parse(&named.uri), Ok(Reference::Path(_)))
}

fn outside(path: &Path) -> String {
    format!(
        "{} lies outside of the folders that this trainer reads from",
        path.display()
    )
}

/// A fetch shows that the run is alive, and ends when it is to stop.
fn goes_on(desk: &dyn Desk) -> bool {
    desk.alive();
    desk.stop().reason().is_none()
}

/// The token in a file.
fn token(path: &Path) -> Result<String, BoxError> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(text.trim().to_owned())
}

/// Threads of one run: as configured, or the cores divided among the slots.
fn threads(config: &DeviceConfig) -> Option<usize> {
    if config.threads > 0 {
        return Some(config.threads);
    }
    let cores = std::thread::available_parallelism().ok()?.get();
    let slots = usize::try_from(config.slots).ok()?;
    Some((cores / slots.max(1)).max(1))
}

impl Executor for Worker {
    fn devices(&self) -> Vec<capability::Device> {
        let known = self.runtime.devices();
        let describe = |(name, config): (&str, &DeviceConfig)| {
            let info = known.iter().find(|info| info.name == name);
            capability::Device {
                name: name.to_owned(),
                description: info.map_or_else(String::new, |info| format!("{} ({})", info.description, info.provider)),
                memory_bytes: info
                    .and_then(|info| info.memory_bytes)
                    .and_then(|bytes| i64::try_from(bytes).ok()),
                slots: config.slots,
            }
        };
        self.config.devices_in_use().map(describe).collect()
    }

    fn with_defaults(&self, spec: &Spec) -> Spec {
        let precisions = self.config.precisions();
        with_defaults(spec, precisions.first().map_or("fp32", String::as_str))
    }

    fn estimate(&self, spec: &Spec) -> Result<Estimate, RunFailure> {
        let local = |named: &Named| match Reference::parse(&named.uri) {
            Ok(Reference::Path(path)) => Some(path),
            _ => None,
        };
        let model = local(&spec.model).filter(|path| self.roots.allows_model(path));
        let readable = |named: &Named| local(named).filter(|path| self.roots.allows_data(path));
        let data = readable(&spec.data);
        let held_out = spec.held_out.as_ref().map(readable);
        let devices = self.devices();
        let device = devices
            .iter()
            .find(|device| device.name == spec.device)
            .or(devices.first());
        let memory = device.and_then(|device| device.memory_bytes);
        let mut estimate = estimate::of(spec, model.as_deref(), data.as_deref(), memory, &self.pace)?;
        if let Some(model) = &model {
            estimate.inputs.model_digest = self.known.model(model)?.unwrap_or_default();
        }
        let known = match (&data, &held_out) {
            (Some(data), None) => self.known.data(data, None)?,
            (Some(data), Some(Some(held_out))) => self.known.data(data, Some(held_out))?,
            _ => None,
        };
        if let Some(known) = known {
            let examples = i64::try_from(known.examples).ok();
            if estimate.infeasible.is_none() && examples.is_some_and(|examples| examples < spec.data_size_max()) {
                let detail = format!(
                    "{} examples can be trained on, {} are asked for",
                    known.examples,
                    spec.data_size_max()
                );
                estimate.infeasible = Some(("TOO_FEW_EXAMPLES", detail));
            }
            estimate.inputs.data_digest = known.digest;
            estimate.inputs.data_examples = examples;
        }
        Ok(estimate)
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

/// The worker of a configuration, as the process takes it.
///
/// # Errors
/// As for [`Worker::new`].
pub fn open(config: &TrainerConfig) -> Result<Arc<dyn Executor>, BoxError> {
    Ok(Arc::new(Worker::new(config)?))
}

impl Worker {
    fn run(&self, job: &Job, desk: &dyn Desk, stop: &StopToken) -> Result<Done, RunFailure> {
        let spec = &job.spec;
        let data = |named: &Named| self.data(named, desk);
        let model = self.model(&spec.model, desk)?;
        let places = convert::Places {
            model_digest: digest(&model, &spec.model.digest)?,
            model,
            data: data(&spec.data)?,
            held_out: spec.held_out.as_ref().map(data).transpose()?,
            retention: spec
                .retention_sets
                .iter()
                .map(|set| Ok((set.name.clone(), data(&set.data)?)))
                .collect::<Result<_, RunFailure>>()?,
            initial_adapter: match &spec.initial_adapter {
                Some(adapter) => Some(self.model(adapter, desk)?),
                None => None,
            },
        };
        desk.alive();
        let device = self.open(&job.device, job.slot, &spec.hyperparameters.precision)?;
        let work = convert::job(job, places, self.config.checkpoint_interval.get())?;
        let mut reporter = report::Reporter::new(desk, &work.model_digest, self.config.progress_interval.get());
        let ending = train::run(&work, &device, &mut reporter, stop);
        self.pace.learn(&job.device, &reporter.pace());
        match ending {
            Ok(Ending::Done) => Ok(Done::Finished),
            Ok(Ending::Paused) => Ok(Done::Stopped),
            Err(error) if error.is_stop() => Ok(Done::Stopped),
            Err(error) => Err(failure::of(&error)),
        }
    }
}

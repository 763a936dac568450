//! The loaded library.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::memory::DeviceType;

use super::provider::{DeviceInfo, DeviceOptions, Kind, Precision};
use super::{Device, SessionError, plain};

/// A process can load one library and have one environment, for good.
static LOADED: Mutex<Option<Runtime>> = Mutex::new(None);

/// Folder of the libraries that set-up fetches; below it one folder per flavour.
const FETCHED: &str = ".deps/onnxruntime";
/// Flavours of the library, the most able first.
const FLAVOURS: [&str; 2] = ["gpu", "cpu"];
/// The same for whoever uses the device `openvino`: a flavour of its own, of an older version.
const OPENVINO_FIRST: [&str; 3] = ["openvino", "gpu", "cpu"];

/// ONNX Runtime, loaded. Clones are the same.
#[derive(Debug, Clone)]
pub struct Runtime(Arc<Loaded>);

#[derive(Debug)]
struct Loaded {
    origin: PathBuf,
    environment: Environment,
    /// Plugin providers that were registered, with what came of it.
    plugins: Mutex<Vec<(Kind, Result<(), String>)>>,
    /// Taken while a device is open that only one may have.
    exclusive: Arc<AtomicBool>,
}

/// The right to a device that only one may have; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicBool>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Runtime {
    /// Where the library is: the configured path, else what set-up fetched, looked for next to and above the executable and then the
    /// current directory.
    ///
    /// # Errors
    /// [`SessionError::NotFound`]
    pub fn locate(configured: Option<&Path>) -> Result<PathBuf, SessionError> {
        Self::locate_for(configured, [])
    }

    /// [`Self::locate`], for who is going to open these devices.
    ///
    /// # Errors
    /// [`SessionError::NotFound`]
    pub fn locate_for<'a>(
        configured: Option<&Path>,
        devices: impl IntoIterator<Item = &'a str>,
    ) -> Result<PathBuf, SessionError> {
        if let Some(path) = configured {
            return if path.is_file() {
                Ok(path.to_owned())
            } else {
                Err(SessionError::NotFound {
                    searched: path.display().to_string(),
                })
            };
        }
        let starts = [env::current_exe(), env::current_dir()];
        let starts: Vec<PathBuf> = starts.into_iter().filter_map(Result::ok).collect();
        let wants_openvino = devices.into_iter().any(|device| device == "openvino");
        locate_above(&starts, if wants_openvino { &OPENVINO_FIRST } else { &FLAVOURS })
    }

    /// Loads the library; the same one again is no error.
    ///
    /// # Errors
    /// [`SessionError::Load`] when it is none or too old, [`SessionError::AnotherLibrary`] when the process already has one.
    pub fn load(library: &Path) -> Result<Self, SessionError> {
        let unusable = |message: String| SessionError::Load {
            path: library.to_owned(),
            message,
        };
        let path = fs::canonicalize(library).map_err(|error| unusable(error.to_string()))?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = loaded.as_ref() {
            return if runtime.0.origin == path {
                Ok(runtime.clone())
            } else {
                Err(SessionError::AnotherLibrary {
                    loaded: runtime.0.origin.clone(),
                    asked: path,
                })
            };
        }
        let builder = ort::init_from(&path).map_err(|error| unusable(error.to_string()))?;
        let environment = builder
            .with_name("finepick")
            .with_telemetry(false)
            .build()
            .map_err(|error| unusable(error.message().to_owned()))?;
        // Every line is handed to `tracing` as text: do not make those that nobody wants.
        environment.set_log_level(LogLevel::Warning);
        let runtime = Self(Arc::new(Loaded {
            origin: path,
            environment,
            plugins: Mutex::default(),
            exclusive: Arc::default(),
        }));
        *loaded = Some(runtime.clone());
        Ok(runtime)
    }

    /// The library's file.
    #[must_use]
    pub fn origin(&self) -> &Path {
        &self.0.origin
    }

    /// Its version and how it was built, in its own words.
    #[must_use]
    pub fn build(&self) -> &'static str {
        ort::info()
    }

    /// Registers the library of a plugin provider: `openvino` or `webgpu`. Those that set-up fetched need no call.
    ///
    /// # Errors
    /// [`SessionError::UnknownDevice`] when no plugin is called that, [`SessionError::Unavailable`] when it cannot be loaded.
    pub fn register_plugin(&self, name: &str, library: &Path) -> Result<(), SessionError> {
        let kind = match Kind::parse(name) {
            Some(Kind::OpenVino) => Some(Kind::OpenVinoPlugin),
            other => other.filter(|kind| kind.plugin().is_some()),
        };
        let kind = kind.ok_or_else(|| SessionError::UnknownDevice {
            name: name.to_owned(),
            known: "openvino, webgpu".into(),
        })?;
        self.register(kind, library)
    }

    /// The devices that are here.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceInfo> {
        let mut devices = vec![host()];
        devices.extend(self.cuda_devices());
        for kind in [self.here(Kind::OpenVino), Kind::WebGpu] {
            if kind == Kind::OpenVino {
                devices.push(self.describe(kind));
            } else if self.prepare(kind).is_ok() {
                devices.extend(self.plugin_device(kind));
            }
        }
        devices
    }

    /// Opens a device: one of [`Self::devices`] by name, or `auto` for the one that is likely fastest.
    ///
    /// # Errors
    /// [`SessionError::UnknownDevice`], or [`SessionError::Unavailable`] with what is missing.
    pub fn open(&self, name: &str, options: &DeviceOptions) -> Result<Device, SessionError> {
        if name == "auto" {
            return self.open_fastest(options);
        }
        let Some(kind) = Kind::parse(name) else {
            let known: Vec<String> = self.devices().into_iter().map(|device| device.name).collect();
            return Err(SessionError::UnknownDevice {
                name: name.to_owned(),
                known: known.join(", "),
            });
        };
        let kind = self.here(kind);
        if options.precision != Precision::F32 && !kind.has_other_precisions() {
            return Err(unavailable(kind, "computes in f32 only".into()));
        }
        self.prepare(kind)?;
        let info = self.describe(kind);
        Device::open(self.clone(), kind, info, options.clone())
    }

    /// `OpenVINO` is a part of some libraries, to others it is a plugin; a plugin that was registered goes first.
    fn here(&self, kind: Kind) -> Kind {
        let provider = format!(
            "{}onnxruntime_providers_openvino{}",
            env::consts::DLL_PREFIX,
            env::consts::DLL_SUFFIX
        );
        let is_registered = || self.plugins().iter().any(|(known, _)| *known == Kind::OpenVinoPlugin);
        if kind == Kind::OpenVino && (is_registered() || !self.origin().with_file_name(provider).is_file()) {
            Kind::OpenVinoPlugin
        } else {
            kind
        }
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.0.environment
    }

    /// The right to a device that only one may have.
    pub(super) fn permit(&self, kind: Kind) -> Result<Option<Permit>, SessionError> {
        if !kind.is_exclusive() {
            return Ok(None);
        }
        if self.0.exclusive.swap(true, Ordering::SeqCst) {
            return Err(unavailable(kind, "is in use; its provider serves one at a time".into()));
        }
        Ok(Some(Permit(Arc::clone(&self.0.exclusive))))
    }

    fn open_fastest(&self, options: &DeviceOptions) -> Result<Device, SessionError> {
        let mut names: Vec<String> = self.cuda_devices().into_iter().map(|device| device.name).collect();
        if self.prepare(Kind::WebGpu).is_ok() && self.has_real_gpu() {
            names.push(Kind::WebGpu.name());
        }
        names.push(Kind::Cpu.name());
        let mut last = None;
        for name in names {
            match self.open(&name, options) {
                Ok(device) => return Ok(device),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| SessionError::UnknownDevice {
            name: "auto".into(),
            known: String::new(),
        }))
    }

    /// A plugin's library is registered before its first use.
    fn prepare(&self, kind: Kind) -> Result<(), SessionError> {
        let Some((folder, file)) = kind.plugin() else {
            return Ok(());
        };
        if let Some((_, outcome)) = self.plugins().iter().find(|(known, _)| *known == kind) {
            return outcome.clone().map_err(|message| unavailable(kind, message));
        }
        // Set-up puts flavours side by side.
        let name = format!("{}{file}{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        let candidates = [
            self.origin()
                .parent()
                .and_then(Path::parent)
                .map(|all| all.join(folder).join(&name)),
            self.origin().parent().map(|own| own.join(&name)),
        ];
        match candidates.into_iter().flatten().find(|path| path.is_file()) {
            Some(path) => self.register(kind, &path),
            None if kind == Kind::OpenVinoPlugin => Err(unavailable(
                kind,
                format!(
                    "{} has no such provider; `make setup ORT=openvino` fetches a library that has",
                    self.origin().display()
                ),
            )),
            None => Err(unavailable(
                kind,
                format!("its library {name} is not there; `make setup ORT={folder}` fetches it"),
            )),
        }
    }

    fn register(&self, kind: Kind, library: &Path) -> Result<(), SessionError> {
        let path =
            fs::canonicalize(library).map_err(|error| unavailable(kind, format!("{}: {error}", library.display())))?;
        let mut plugins = self.plugins();
        if let Some((_, outcome)) = plugins.iter().find(|(known, _)| *known == kind) {
            return outcome.clone().map_err(|message| unavailable(kind, message));
        }
        let outcome = self
            .0
            .environment
            .register_ep_library(kind.provider(), &path)
            .map_err(|error| plain(error.message()));
        plugins.push((kind, outcome.clone()));
        outcome.map_err(|message| unavailable(kind, message))
    }

    fn plugins(&self) -> MutexGuard<'_, Vec<(Kind, Result<(), String>)>> {
        self.0.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, kind: Kind) -> DeviceInfo {
        let known = match kind {
            Kind::Cpu => Some(host()),
            Kind::Cuda(_) => self
                .cuda_devices()
                .into_iter()
                .find(|device| device.name == kind.name()),
            Kind::OpenVino => Some(DeviceInfo {
                name: kind.name(),
                provider: kind.provider().into(),
                ..host()
            }),
            Kind::OpenVinoPlugin | Kind::WebGpu => self.plugin_device(kind),
        };
        known.unwrap_or_else(|| DeviceInfo {
            name: kind.name(),
            description: String::new(),
            provider: kind.provider().into(),
            memory_bytes: None,
        })
    }

    fn plugin_device(&self, kind: Kind) -> Option<DeviceInfo> {
        let device = self
            .environment()
            .devices()
            .find(|device| device.ep().is_ok_and(|name| name == kind.provider()))?;
        let hardware = device.hardware_device();
        let vendor = hardware.vendor().unwrap_or_default();
        let (what, memory_bytes) = match hardware.ty() {
            DeviceType::GPU => ("GPU", None),
            DeviceType::NPU => ("NPU", None),
            _ => ("CPU", host_memory()),
        };
        Some(DeviceInfo {
            name: kind.name(),
            description: format!("{vendor} {what}").trim().to_owned(),
            provider: kind.provider().into(),
            memory_bytes,
        })
    }

    fn has_real_gpu(&self) -> bool {
        let provider = Kind::WebGpu.provider();
        self.environment().devices().any(|device| {
            device.ep().is_ok_and(|name| name == provider) && device.hardware_device().ty() == DeviceType::GPU
        })
    }

    /// CUDA devices, if the library has the provider: as the driver lists them.
    fn cuda_devices(&self) -> Vec<DeviceInfo> {
        let name = format!(
            "{}onnxruntime_providers_cuda{}",
            env::consts::DLL_PREFIX,
            env::consts::DLL_SUFFIX
        );
        if !self.origin().with_file_name(name).is_file() {
            return Vec::new();
        }
        let mut models: Vec<(PathBuf, String)> = fs::read_dir("/proc/driver/nvidia/gpus")
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .map(|entry| {
                let text = fs::read_to_string(entry.path().join("information")).unwrap_or_default();
                let model = text.lines().find_map(|line| line.strip_prefix("Model:"));
                (entry.path(), model.map_or("NVIDIA GPU", str::trim).to_owned())
            })
            .collect();
        models.sort();
        (0..)
            .zip(models)
            .map(|(index, (_, description))| DeviceInfo {
                name: Kind::Cuda(index).name(),
                description,
                provider: Kind::Cuda(index).provider().into(),
                memory_bytes: None,
            })
            .collect()
    }
}

fn unavailable(kind: Kind, message: String) -> SessionError {
    SessionError::Unavailable {
        device: kind.name(),
        message,
    }
}

fn host() -> DeviceInfo {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    DeviceInfo {
        name: Kind::Cpu.name(),
        description: format!("{} with {threads} threads", env::consts::ARCH),
        provider: Kind::Cpu.provider().into(),
        memory_bytes: host_memory(),
    }
}

/// Memory of this machine, or of the control group that the process is in, where Linux tells.
fn host_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let machine = kibibytes.checked_mul(1024)?;
    let group: Option<u64> = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    Some(group.map_or(machine, |limit| limit.min(machine)))
}

/// The library in the nearest folder above one of these.
fn locate_above(starts: &[PathBuf], flavours: &[&str]) -> Result<PathBuf, SessionError> {
    let file = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    for start in starts {
        for folder in start.ancestors() {
            for flavour in flavours {
                let path = folder.join(FETCHED).join(flavour).join(&file);
                if path.is_file() {
                    return Ok(path);
                }
            }
        }
    }
    let starts: Vec<String> = starts.iter().map(|start| start.display().to_string()).collect();
    Err(SessionError::NotFound {
        searched: format!("{FETCHED}/cpu/{file} above {}", starts.join(" or ")),
    })
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::Path;

    use super::{FETCHED, FLAVOURS, OPENVINO_FIRST, Runtime, locate_above};
    use crate::session::SessionError;

    #[test]
    fn the_nearest_library_above_is_found_and_the_abler_flavour_goes_first() {
        let root = tempfile::tempdir().unwrap();
        let file = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        let deep = root.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let nothing = locate_above(std::slice::from_ref(&deep), &FLAVOURS).unwrap_err();
        assert!(nothing.to_string().contains("`make setup`"), "{nothing}");

        for (folder, flavour) in [
            (root.path(), "cpu"),
            (root.path(), "gpu"),
            (root.path(), "openvino"),
            (&root.path().join("a"), "cpu"),
        ] {
            let flavour = folder.join(FETCHED).join(flavour);
            fs::create_dir_all(&flavour).unwrap();
            fs::write(flavour.join(&file), "").unwrap();
        }
        assert!(
            locate_above(&[deep], &FLAVOURS)
                .unwrap()
                .starts_with(root.path().join("a").join(FETCHED))
        );
        for (flavours, wanted) in [(&FLAVOURS[..], "gpu"), (&OPENVINO_FIRST[..], "openvino")] {
            let top = locate_above(&[root.path().to_owned()], flavours).unwrap();
            assert!(top.parent().unwrap().ends_with(wanted), "{}", top.display());
        }
    }

    #[test]
    fn a_configured_path_is_not_replaced_by_another() {
        let missing = Path::new("/nowhere/libonnxruntime.so");
        let error = Runtime::locate(Some(missing)).unwrap_err();
        assert!(
            matches!(&error, SessionError::NotFound { searched } if searched.contains("/nowhere")),
            "{error}"
        );
    }
}

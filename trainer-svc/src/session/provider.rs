//! Devices by name, and what ONNX Runtime is told for each.

use std::path::PathBuf;

use ort::device::Device;
use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider as _};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::builder::SessionBuilder;

/// Precision of matrix products. Weights, optimizer state and everything else stay f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// bf16 inside matrix products, where the provider can: `openvino`.
    Bf16,
    /// f16 inside matrix products, where the provider can: `openvino` on a GPU.
    F16,
}

/// How a device is to be used.
#[derive(Debug, Clone, Default)]
pub struct DeviceOptions {
    /// Threads that share the work of one operator; absent: as many as there are cores.
    pub threads: Option<usize>,
    /// Precision of matrix products.
    pub precision: Precision,
    /// May nodes that the provider cannot run fall back to the CPU?
    pub allow_cpu_fallback: bool,
    /// May threads that wait for their share of work keep a core busy for a while instead of sleeping at once?
    pub spinning: bool,
    /// Beginning of the path of a trace (JSON of the Chrome browser's `chrome://tracing`) that is written for each program.
    pub profile: Option<PathBuf>,
}

/// A device that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The name it is opened by: `cpu`, `cuda:0`, `openvino`, `webgpu`.
    pub name: String,
    /// What it is, for people.
    pub description: String,
    /// ONNX Runtime's name of the execution provider.
    pub provider: String,
    /// Its memory, if that is known.
    pub memory_bytes: Option<u64>,
}

/// The kinds of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Cpu,
    Cuda(i32),
    /// In the library itself.
    OpenVino,
    /// As a plugin; takes Intel's processors only.
    OpenVinoPlugin,
    WebGpu,
}

impl Kind {
    /// The kind of this name; not `auto`.
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            "openvino" => Some(Self::OpenVino),
            "webgpu" => Some(Self::WebGpu),
            _ => {
                let index: u16 = name.strip_prefix("cuda:")?.parse().ok()?;
                Some(Self::Cuda(i32::from(index)))
            }
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Cpu => "cpu".into(),
            Self::Cuda(index) => format!("cuda:{index}"),
            Self::OpenVino | Self::OpenVinoPlugin => "openvino".into(),
            Self::WebGpu => "webgpu".into(),
        }
    }

    /// ONNX Runtime's name of the provider.
    pub(super) fn provider(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda(_) => "CUDAExecutionProvider",
            Self::OpenVino | Self::OpenVinoPlugin => "OpenVINOExecutionProvider",
            Self::WebGpu => "WebGpuExecutionProvider",
        }
    }

    /// Folder and file of the plugin library, for providers that are one.
    pub(super) fn plugin(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Cpu | Self::Cuda(_) | Self::OpenVino => None,
            Self::OpenVinoPlugin => Some(("openvino-plugin", "onnxruntime_providers_openvino_plugin")),
            Self::WebGpu => Some(("webgpu", "onnxruntime_providers_webgpu")),
        }
    }

    /// Where its tensors lie; `None`: in host memory.
    pub(super) fn memory(self, environment: &Environment) -> ort::Result<Option<MemoryInfo<'static>>> {
        match self {
            Self::Cpu | Self::OpenVino | Self::OpenVinoPlugin => Ok(None),
            Self::Cuda(index) => {
                let memory = MemoryInfo::new(
                    AllocationDevice::CUDA,
                    index,
                    AllocatorType::Device,
                    MemoryType::Default,
                )?;
                Ok(Some(memory))
            }
            Self::WebGpu => Ok(Some(self.plugin_device(environment)?.memory_info(false).to_owned())),
        }
    }

    fn plugin_device(self, environment: &Environment) -> ort::Result<Device<'_>> {
        environment
            .devices()
            .find(|device| device.ep().is_ok_and(|name| name == self.provider()))
            .ok_or_else(|| {
                ort::Error::new(match self {
                    Self::OpenVinoPlugin => "the plugin finds no Intel processor; `make setup ORT=openvino` fetches a library for any x86-64",
                    _ => "the provider's library finds no device that it can use",
                })
            })
    }

    /// Does it run one node after the other, so that in-place updates are safe where the graph's order makes them so? `OpenVINO`
    /// compiles the graph into another; a WebGPU shader may not bind memory both to read and to write.
    pub(super) fn can_update_in_place(self) -> bool {
        matches!(self, Self::Cpu | Self::Cuda(_))
    }

    /// Is it for one thread at a time, over all sessions? Those of the WebGPU provider share one queue and its caches, unguarded.
    pub(super) fn is_exclusive(self) -> bool {
        self == Self::WebGpu
    }

    /// Can matrix products be in another precision than f32?
    pub(super) fn has_other_precisions(self) -> bool {
        !matches!(self, Self::Cpu | Self::WebGpu)
    }

    /// Does it want [`crate::graph::Graph::for_openvino`]?
    pub(super) fn is_openvino(self) -> bool {
        matches!(self, Self::OpenVino | Self::OpenVinoPlugin)
    }

    /// Adds the provider to a session. For a plugin its library is registered already.
    pub(super) fn add_to(
        self,
        builder: SessionBuilder,
        environment: &Environment,
        options: &DeviceOptions,
    ) -> ort::Result<SessionBuilder> {
        match self {
            Self::Cpu => Ok(builder),
            Self::Cuda(index) => {
                let provider = ep::CUDA::default()
                    .with_device_id(index)
                    .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
                    .with_tf32(options.precision != Precision::F32);
                Ok(builder.with_execution_providers([provider.build().error_on_failure()])?)
            }
            Self::OpenVino => {
                let provider = ep::OpenVINO::default()
                    .with_device_type("CPU")
                    .with_arbitrary_config("load_config", openvino_settings(options));
                Ok(builder.with_execution_providers([provider.build().error_on_failure()])?)
            }
            Self::OpenVinoPlugin | Self::WebGpu => {
                let devices = [self.plugin_device(environment)?];
                Ok(builder.with_devices(devices, Some(&self.plugin_options(options)))?)
            }
        }
    }

    /// A plugin's options; keys begin with the provider's name.
    fn plugin_options(self, options: &DeviceOptions) -> Vec<(String, String)> {
        let option = |key: &str, value: String| (format!("{}.{key}", self.provider()), value);
        match self {
            Self::OpenVinoPlugin => vec![option("load_config", openvino_settings(options))],
            // Token ids are 64-bit integers.
            Self::WebGpu => vec![option("enableInt64", "1".into())],
            Self::Cpu | Self::Cuda(_) | Self::OpenVino => Vec::new(),
        }
    }
}

/// `OpenVINO`'s own properties of the CPU, as its provider reads them.
fn openvino_settings(options: &DeviceOptions) -> String {
    let hint = match options.precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
        Precision::F16 => "f16",
    };
    let threads = options.threads.map_or(String::new(), |threads| {
        format!(", \"INFERENCE_NUM_THREADS\": \"{threads}\"")
    });
    format!("{{\"CPU\": {{\"INFERENCE_PRECISION_HINT\": \"{hint}\"{threads}}}}}")
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn names_are_read_and_written() {
        for name in ["cpu", "cuda:0", "cuda:7", "openvino", "webgpu"] {
            assert_eq!(Kind::parse(name).map(Kind::name).as_deref(), Some(name));
        }
        assert_eq!(Kind::parse("cuda"), Some(Kind::Cuda(0)));
        for name in [
            "",
            "auto",
            "CPU",
            "cpu:0",
            "cuda:",
            "cuda:-1",
            "cuda:99999999999",
            "tpu",
        ] {
            assert_eq!(Kind::parse(name), None, "{name}");
        }
    }
}

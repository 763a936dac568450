//! ONNX Runtime: the library, its devices, compiled graphs and tensors in device memory.
//!
//! The library is no part of the build: it is loaded when the process starts, from a path that set-up or the configuration gives,
//! once per process. A graph is compiled for one device and runs there as a whole: unless it is allowed explicitly, nothing falls
//! back to another provider. Programs read and write [`Buffer`]s, which stay in device memory from step to step.
//!
//! | type | is |
//! |---|---|
//! | [`Runtime`] | the loaded library |
//! | [`Device`] | a provider on a device, with its options |
//! | [`Program`] | a graph compiled for a device |
//! | [`Buffer`] | a tensor in device memory |
//! | [`StopToken`] | ends a running program from another thread |

mod buffer;
mod copier;
mod device;
mod in_place;
mod program;
mod provider;
mod runtime;
mod stop;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use thiserror::Error;

pub use self::buffer::Buffer;
pub use self::device::Device;
pub use self::program::{Program, Signature};
pub use self::provider::{DeviceInfo, DeviceOptions, Precision};
pub use self::runtime::Runtime;
pub use self::stop::StopToken;

/// What goes wrong between us and ONNX Runtime.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SessionError {
    /// There is no library.
    #[error("the ONNX Runtime library is not there: no {searched}; `make setup` fetches it")]
    NotFound {
        /// Where it was looked for.
        searched: String,
    },
    /// The file is no ONNX Runtime library that we can use.
    #[error("{} is no usable ONNX Runtime library: {message}", path.display())]
    Load {
        /// The file.
        path: PathBuf,
        /// What the loader says.
        message: String,
    },
    /// A process uses one library, and this is another.
    #[error("this process uses {}, it cannot load {} as well", loaded.display(), asked.display())]
    AnotherLibrary {
        /// The one in use.
        loaded: PathBuf,
        /// The other.
        asked: PathBuf,
    },
    /// No device is called that.
    #[error("there is no device {name:?}: it is `auto` or one of {known}")]
    UnknownDevice {
        /// What was asked for.
        name: String,
        /// Names that exist.
        known: String,
    },
    /// The device or its provider cannot be used here.
    #[error("device {device}: {message}")]
    Unavailable {
        /// The device.
        device: String,
        /// What is missing.
        message: String,
    },
    /// The provider does not take the graph.
    #[error("device {device} cannot run this graph: {message}")]
    Compile {
        /// The device.
        device: String,
        /// What the provider says.
        message: String,
    },
    /// A tensor is bound that the graph does not take or give, or one is missing.
    #[error("{name:?}: {message}")]
    Binding {
        /// Name of the graph's input or output.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The device has no memory left.
    #[error("device {device} is out of memory: {message}")]
    OutOfMemory {
        /// The device.
        device: String,
        /// What the provider says.
        message: String,
    },
    /// The [`StopToken`] said so. Outputs are partly written.
    #[error("stopped")]
    Stopped,
    /// Anything else.
    #[error("device {device}: {message}")]
    Failed {
        /// The device.
        device: String,
        /// What ONNX Runtime says.
        message: String,
    },
}

impl SessionError {
    /// An error of a device that ONNX Runtime reports.
    fn failed(device: &str, error: &ort::Error) -> Self {
        let (device, message) = (device.to_owned(), plain(error.message()));
        if tells_of_memory(&message) {
            Self::OutOfMemory { device, message }
        } else {
            Self::Failed { device, message }
        }
    }

    /// An error while a graph is compiled.
    fn compile(device: &str, error: &ort::Error) -> Self {
        let (device, message) = (device.to_owned(), plain(error.message()));
        if tells_of_memory(&message) {
            Self::OutOfMemory { device, message }
        } else {
            Self::Compile { device, message }
        }
    }

    fn binding(name: &str, message: impl Into<String>) -> Self {
        Self::Binding {
            name: name.to_owned(),
            message: message.into(),
        }
    }
}

/// The message without the place in ONNX Runtime's sources and its code, which begin many.
fn plain(message: &str) -> String {
    let message = message.trim();
    let told = message.split_once("[ONNXRuntimeError] : ").map(|(_, rest)| rest);
    // What is left begins with "1 : FAIL : ".
    let told = told.and_then(|rest| rest.splitn(3, " : ").nth(2));
    told.unwrap_or(message).to_owned()
}

/// ONNX Runtime has no code for it; providers say it in these words (its arena, the C++ library, CUDA, Direct3D and Vulkan).
fn tells_of_memory(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "failed to allocate memory",
        "bad_alloc",
        "bad allocation",
        "out of memory",
        "out_of_memory",
        "memory_allocation",
        "smaller than requested bytes",
    ]
    .iter()
    .any(|words| message.contains(words))
}

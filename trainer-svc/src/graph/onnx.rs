//! ONNX in and out. The format's messages are known here and nowhere else.
//!
//! [`export`] writes a graph; [`Model`] reads a file and builds its graph for given extents, and [`import`] does both in one go. [`with_weights`]
//! writes a file again with other weights.

mod copy;
mod export;
mod import;
mod replace;

pub(crate) use self::copy::{COPY_FROM, COPY_TO, copy};
pub use self::export::export;
pub use self::import::{Bindings, Built, Extent, External, ImportError, Imported, InputInfo, Model, Weight, import};
pub use self::replace::with_weights;

/// The messages of `onnx/onnx.proto`, as prost generates them.
#[expect(clippy::pedantic, reason = "generated; onnx/onnx.proto has the comments")]
#[expect(unreachable_pub, reason = "generated for use anywhere")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/finepick.onnx.rs"));
}

/// The numbers of `TensorProto.DataType` that are read or written.
mod data_type {
    pub(super) const FLOAT: i32 = 1;
    pub(super) const UINT8: i32 = 2;
    pub(super) const INT8: i32 = 3;
    pub(super) const INT32: i32 = 6;
    pub(super) const INT64: i32 = 7;
    pub(super) const BOOL: i32 = 9;
    pub(super) const FLOAT16: i32 = 10;
    pub(super) const DOUBLE: i32 = 11;
    pub(super) const BFLOAT16: i32 = 16;
}

/// Version of the standard's operators that is written.
const OPSET: i64 = 21;
/// Version of the format that is written: the one that came with that operator set.
const IR_VERSION: i64 = 10;

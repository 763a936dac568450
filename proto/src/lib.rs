//! The contracts of finepick: messages, clients and servers generated from the `.proto` files beside this crate.
//!
//! The comments in the `.proto` files are the documentation: units, ranges, and what absence means. There is no logic here;
//! each service converts to its own types in its `grpc/convert.rs`.

#![allow(
    clippy::pedantic,
    clippy::large_enum_variant,
    missing_docs,
    reason = "generated code; its documentation is that of the .proto files"
)]

/// `finepick.types.v1`: what more than one service speaks of.
pub mod types {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("finepick.types.v1");
    }
}

/// `finepick.fitter.v1`: curve fitting.
pub mod fitter {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("finepick.fitter.v1");
    }
}

/// `finepick.selector.v1`: ranking and selection.
pub mod selector {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("finepick.selector.v1");
    }
}

/// `finepick.trainer.v1`: the plugin contract.
pub mod trainer {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("finepick.trainer.v1");
    }
}

/// Encoded `google.protobuf.FileDescriptorSet` of all the contracts, imports included, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("finepick.descriptors");

/// The `domain` of every `google.rpc.ErrorInfo` that finepick sends.
pub const ERROR_DOMAIN: &str = "finepick.dev";

impl types::v1::ErrorReason {
    /// The `reason` of `google.rpc.ErrorInfo`: the name of the value without its prefix.
    pub fn as_reason(self) -> &'static str {
        let name = self.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }
}

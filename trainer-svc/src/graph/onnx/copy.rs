//! A model that copies a tensor of any shape: ONNX Runtime moves tensors between memories where it binds them.

use prost::Message as _;

use super::export::element_number;
use super::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorTypeProto, TypeProto, ValueInfoProto};
use super::{IR_VERSION, OPSET};
use crate::tensor::ElementType;

/// The model's input.
pub(crate) const COPY_FROM: &str = "from";
/// The model's output.
pub(crate) const COPY_TO: &str = "to";

/// y = x, for elements of this type.
pub(crate) fn copy(element: ElementType) -> Vec<u8> {
    let value = |name: &str| ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(element_number(element)),
                shape: None,
            }),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        graph: Some(GraphProto {
            node: vec![NodeProto {
                input: vec![COPY_FROM.into()],
                output: vec![COPY_TO.into()],
                op_type: Some("Identity".into()),
                ..NodeProto::default()
            }],
            name: Some("copy".into()),
            input: vec![value(COPY_FROM)],
            output: vec![value(COPY_TO)],
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    };
    model.encode_to_vec()
}

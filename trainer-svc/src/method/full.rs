//! Full tuning: every weight of the checkpoint is trained.

use super::{MethodError, Trainable, Tuned, assemble_plain};
use crate::arch::Decoder;
use crate::graph::{Graph, ValueId};

pub(super) fn build(decoder: &dyn Decoder, graph: Graph, ids: ValueId) -> Result<Tuned, MethodError> {
    let (graph, logits, parameters) = assemble_plain(decoder, graph, ids, None)?;
    let trainable = parameters
        .into_iter()
        .map(|parameter| Trainable::new(parameter.name, parameter.shape, parameter.value))
        .collect();
    Ok(Tuned {
        graph,
        logits,
        frozen: Vec::new(),
        trainable,
        masks: Vec::new(),
    })
}

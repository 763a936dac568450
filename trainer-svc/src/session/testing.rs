//! Running graphs in tests, on the CPU with two threads.

use std::collections::BTreeMap;

use super::{Buffer, Device, DeviceOptions, Program, Runtime, StopToken};
use crate::graph::{Graph, ValueId};
use crate::tensor::HostTensor;

/// The CPU, two threads.
pub(crate) fn cpu() -> Device {
    let options = DeviceOptions {
        threads: Some(2),
        ..DeviceOptions::default()
    };
    let runtime = Runtime::load(&Runtime::locate(None).unwrap()).unwrap();
    runtime.open("cpu", &options).unwrap()
}

/// A graph compiled to give some of its values.
pub(crate) struct Compiled {
    device: Device,
    program: Program,
    outputs: Vec<(String, Buffer)>,
}

impl Compiled {
    pub(crate) fn new(graph: &Graph, values: &[ValueId]) -> Self {
        let mut graph = graph.clone();
        for &value in values {
            graph.output(value);
        }
        let device = cpu();
        let program = device.compile(&graph).unwrap();
        let buffer = |&value: &ValueId| {
            let value = graph.value(value);
            (value.name.clone(), device.zeros(value.element, &value.shape).unwrap())
        };
        let outputs = values.iter().map(buffer).collect();
        Self {
            device,
            program,
            outputs,
        }
    }

    /// The values, given the inputs by name. Inputs that the graph does not have are passed over.
    pub(crate) fn run(&mut self, inputs: &BTreeMap<String, HostTensor>) -> Vec<HostTensor> {
        let known = |name: &String| self.program.inputs().iter().any(|input| input.name == *name);
        let inputs: Vec<(&str, Buffer)> = inputs
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, tensor)| (name.as_str(), self.device.upload(tensor).unwrap()))
            .collect();
        let inputs: Vec<(&str, &Buffer)> = inputs.iter().map(|(name, buffer)| (*name, buffer)).collect();
        let outputs: Vec<(&str, &Buffer)> = self
            .outputs
            .iter()
            .map(|(name, buffer)| (name.as_str(), buffer))
            .collect();
        self.program.run(&inputs, &outputs, &StopToken::new()).unwrap();
        self.outputs
            .iter()
            .map(|(_, buffer)| self.device.download(buffer).unwrap())
            .collect()
    }
}

/// Values of a graph, given its inputs by name.
pub(crate) fn evaluate(graph: &Graph, inputs: &BTreeMap<String, HostTensor>, values: &[ValueId]) -> Vec<HostTensor> {
    Compiled::new(graph, values).run(inputs)
}

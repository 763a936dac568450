//! Random start weights: normal with standard deviation 0.02, those that end in the residual stream divided by √(2 · layers), norms 1,
//! biases 0 (Radford et al., Language Models are Unsupervised Multitask Learners, 2019, section 2.3).

use std::path::Path;

use half::f16;
use rand::RngExt as _;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::recipe::ModelRecipe;
use super::{ZooError, io};
use crate::arch::{self, Parameter};
use crate::method::generator;
use crate::tensor::HostTensor;

/// Ends of the names of layers whose output is added to the residual stream.
const RESIDUAL: [&str; 4] = [
    "attn.c_proj.weight",
    "mlp.c_proj.weight",
    "o_proj.weight",
    "down_proj.weight",
];

/// Writes `model.safetensors` beside the configuration.
pub(super) fn write(folder: &Path, model: &ModelRecipe, seed: u64) -> Result<(), ZooError> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|error| io(&path, &error))?;
    let config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).map_err(|error| io(&path, &error.into()))?;
    let failed = |message: String| ZooError::Config(message);
    let decoder = arch::decoder(&config).map_err(|error| failed(error.to_string()))?;
    let outline = arch::outline(decoder.as_ref()).map_err(|error| failed(error.to_string()))?;
    let tensors: Vec<(&Parameter, Vec<u8>)> = outline
        .parameters
        .iter()
        .map(|parameter| (parameter, half_bytes(&start(parameter, model.layers, seed))))
        .collect();
    let views = tensors
        .iter()
        .map(|(parameter, bytes)| {
            let view = TensorView::new(Dtype::F16, parameter.shape.clone(), bytes)?;
            Ok((parameter.name.as_str(), view))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let path = folder.join("model.safetensors");
    let file = views.and_then(|views| safetensors::serialize(views, None));
    let file = file.map_err(|error| ZooError::Config(error.to_string()))?;
    std::fs::write(&path, file).map_err(|error| io(&path, &error))
}

fn start(parameter: &Parameter, layers: usize, seed: u64) -> HostTensor {
    let (_, kind) = parameter.name.rsplit_once('.').unwrap_or_default();
    if kind == "bias" {
        return HostTensor::zeros(parameter.shape.clone());
    }
    if parameter.shape.len() == 1 {
        return HostTensor::fill(parameter.shape.clone(), |_| 1.0);
    }
    let is_residual = RESIDUAL.iter().any(|end| parameter.name.ends_with(end));
    let deviation = if is_residual {
        0.02 / (2.0 * layers as f64).sqrt()
    } else {
        0.02
    };
    let mut random = generator(seed, &parameter.name, 0);
    HostTensor::fill(parameter.shape.clone(), |_| {
        // Box and Muller; the logarithm's argument is in (0, 1].
        let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * random.random::<f64>();
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        let weight = (deviation * radius * angle.cos()) as f32;
        weight
    })
}

fn half_bytes(tensor: &HostTensor) -> Vec<u8> {
    let elements = tensor.as_f32().unwrap_or_default();
    elements
        .iter()
        .flat_map(|&element| f16::from_f32(element).to_le_bytes())
        .collect()
}

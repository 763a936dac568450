//! Rotary position embeddings (Su et al. 2021, arXiv:2104.09864), in the half-rotated layout of transformers: element i of a
//! head is turned together with element i + r/2, where r is the rotated part of the head.

use serde_json::Value;

use super::ConfigError;
use super::config::{Fields, MAX_POSITIONS};
use super::layers::constant;
use crate::graph::{Graph, GraphError, ValueId};

/// Angles per position.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rotary {
    /// Radians per position, one for each pair of elements, as f32 like the reference.
    inverse_frequencies: Vec<f32>,
}

/// Cosines and sines as constants, `[positions, pairs]` each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tables {
    cosines: ValueId,
    sines: ValueId,
}

/// Where the fields lie, in the words of one architecture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keys {
    /// θ, the base of the frequencies.
    pub(super) base: &'static str,
    /// Rotated share of a head, where the architecture has one.
    pub(super) share: Option<(&'static str, f64)>,
}

/// Scaling of the frequencies beyond the length seen in pretraining.
enum Scaling {
    Default,
    Linear {
        factor: f64,
    },
    Llama3 {
        factor: f64,
        low: f64,
        high: f64,
        context: f64,
    },
}

impl Rotary {
    /// Reads `rope_parameters` (transformers 5) or `rope_theta`, `rope_scaling` and their kin (transformers 4).
    pub(super) fn read(fields: Fields<'_>, keys: Keys, head: usize, positions: usize) -> Result<Self, ConfigError> {
        let nested = match fields.object("rope_scaling.")? {
            Some(nested) => Some(nested),
            None => fields.object("rope_parameters.")?,
        };
        let base_range = 1e-3..=1e12;
        let inside = match nested {
            Some(nested) => nested.number_if_any("rope_theta", base_range.clone())?,
            None => None,
        };
        let base = inside.map_or_else(|| fields.number(keys.base, base_range, 10_000.0), Ok)?;
        let share = read_share(fields, nested, keys)?;
        // The reference truncates, too.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a head: small and positive"
        )]
        let rotated = (head as f64 * share) as usize;
        if rotated == 0 || !rotated.is_multiple_of(2) || rotated > head {
            let found = Value::from(rotated);
            return Err(fields.invalid(
                "rotated part of a head",
                &found,
                &format!("an even number up to {head}"),
            ));
        }
        let scaling = nested.map_or(Ok(Scaling::Default), |nested| Scaling::read(nested, positions))?;
        let inverse_frequencies = (0..rotated / 2)
            .map(|pair| scaling.apply(inverse_frequency(base, pair, rotated)))
            .collect();
        Ok(Self { inverse_frequencies })
    }

    /// Pairs of elements that are turned; twice that is the rotated part of a head.
    pub(super) fn pairs(&self) -> usize {
        self.inverse_frequencies.len()
    }

    /// Tables for the positions from 0, multiplied by a factor: queries carry the scale of the scores in them.
    pub(super) fn tables(&self, graph: &mut Graph, positions: usize, factor: f64) -> Result<Tables, GraphError> {
        let table = |function: fn(f64) -> f64| -> Vec<f32> {
            (0..positions)
                .flat_map(|position| {
                    let angle = move |&frequency: &f32| f64::from(round(position as f64) * frequency);
                    let entry = move |frequency| round(f64::from(round(function(angle(frequency)))) * factor);
                    self.inverse_frequencies.iter().map(entry)
                })
                .collect()
        };
        let shape = vec![positions, self.pairs()];
        Ok(Tables {
            cosines: constant(graph, shape.clone(), table(f64::cos))?,
            sines: constant(graph, shape, table(f64::sin))?,
        })
    }
}

impl Tables {
    /// Both halves of the rotated part turned; a and b: `[.., positions, pairs]`.
    pub(super) fn turn(self, graph: &mut Graph, a: ValueId, b: ValueId) -> Result<[ValueId; 2], GraphError> {
        let (a_cos, b_sin) = (graph.mul(a, self.cosines)?, graph.mul(b, self.sines)?);
        let (b_cos, a_sin) = (graph.mul(b, self.cosines)?, graph.mul(a, self.sines)?);
        Ok([graph.sub(a_cos, b_sin)?, graph.add(b_cos, a_sin)?])
    }
}

fn read_share(fields: Fields<'_>, nested: Option<Fields<'_>>, keys: Keys) -> Result<f64, ConfigError> {
    let inside = match nested {
        Some(nested) => nested.number_if_any("partial_rotary_factor", 0.0..=1.0)?,
        None => None,
    };
    if let Some((field, default)) = keys.share {
        return inside.map_or_else(|| fields.number(field, 0.0..=1.0, default), Ok);
    }
    let outside = fields.number_if_any("partial_rotary_factor", 0.0..=1.0)?;
    match inside.or(outside) {
        Some(share) if share < 1.0 => Err(fields.unsupported("partial_rotary_factor", &share.into(), "1")),
        _ => Ok(1.0),
    }
}

impl Scaling {
    fn read(fields: Fields<'_>, positions: usize) -> Result<Self, ConfigError> {
        let kind = match fields.text("rope_type")? {
            Some(kind) => kind,
            None => fields.text("type")?.unwrap_or("default"),
        };
        let factor = |field: &str| -> Result<f64, ConfigError> {
            let number = fields.number_if_any(field, 1e-3..=1e6)?;
            number.ok_or_else(|| ConfigError::Missing {
                field: format!("{field} of the rotary scaling {kind}"),
            })
        };
        match kind {
            "default" => Self::refuse_nested(fields).map(|()| Self::Default),
            "linear" => Ok(Self::Linear {
                factor: factor("factor")?,
            }),
            "llama3" => {
                let context = fields.count_if_any("original_max_position_embeddings", 1..=MAX_POSITIONS)?;
                let (low, high) = (factor("low_freq_factor")?, factor("high_freq_factor")?);
                if high <= low {
                    return Err(fields.invalid("high_freq_factor", &high.into(), &format!("more than {low}")));
                }
                Ok(Self::Llama3 {
                    factor: factor("factor")?,
                    low,
                    high,
                    context: context.unwrap_or(positions) as f64,
                })
            }
            other => Err(fields.unsupported("rope_type", &other.into(), "default, linear, llama3")),
        }
    }

    /// Some models have one set of parameters per kind of layer.
    fn refuse_nested(fields: Fields<'_>) -> Result<(), ConfigError> {
        ["full_attention", "sliding_attention", "chunked_attention"]
            .iter()
            .try_for_each(|kind| fields.refuse(kind))
    }

    /// As transformers' `_compute_linear_scaling_rope_parameters` and `_compute_llama3_parameters` have it, in f32.
    fn apply(&self, frequency: f32) -> f32 {
        match *self {
            Self::Default => frequency,
            Self::Linear { factor } => frequency / round(factor),
            Self::Llama3 {
                factor,
                low,
                high,
                context,
            } => {
                let wavelength = round(std::f64::consts::TAU) / frequency;
                if wavelength < round(context / high) {
                    frequency
                } else if wavelength > round(context / low) {
                    frequency / round(factor)
                } else {
                    let smooth = (round(context) / wavelength - round(low)) / round(high - low);
                    (1.0 - smooth) * frequency / round(factor) + smooth * frequency
                }
            }
        }
    }
}

/// base^(−2·pair/rotated), with f32 between the steps as the reference has it.
fn inverse_frequency(base: f64, pair: usize, rotated: usize) -> f32 {
    let exponent = round((2 * pair) as f64) / round(rotated as f64);
    1.0 / round(f64::from(round(base)).powf(f64::from(exponent)))
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is the purpose")]
fn round(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEYS: Keys = Keys {
        base: "rope_theta",
        share: None,
    };

    fn read(config: &Value) -> Rotary {
        Rotary::read(Fields::new(config.as_object().unwrap()), KEYS, 64, 131_072).unwrap()
    }

    #[test]
    fn frequencies_fall_from_one_to_the_base() {
        let rotary = read(&json!({}));
        assert_eq!(rotary.pairs(), 32);
        assert!((rotary.inverse_frequencies[0] - 1.0).abs() < f32::EPSILON);
        assert!((f64::from(rotary.inverse_frequencies[16]) - 0.01).abs() < 1e-9);
        // transformers 5, or 4 with everything in one place.
        let nested = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "rope_theta": 7.0});
        assert_eq!(read(&nested), rotary);
    }

    #[test]
    fn llama_3_leaves_short_waves_and_stretches_long_ones() {
        let scaling = json!({
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
        let plain = read(&json!({"rope_theta": 500_000.0})).inverse_frequencies;
        let scaled = read(&json!({"rope_theta": 500_000.0, "rope_scaling": scaling})).inverse_frequencies;
        let ratios: Vec<f64> = plain.iter().zip(&scaled).map(|(a, b)| f64::from(a / b)).collect();
        assert!(
            (ratios[0] - 1.0).abs() < 1e-6 && (ratios[31] - 32.0).abs() < 1e-4,
            "{ratios:?}"
        );
        assert!(ratios.windows(2).all(|pair| pair[0] <= pair[1] + 1e-5), "{ratios:?}");
        assert!(ratios.iter().any(|&ratio| ratio > 1.01 && ratio < 31.9), "{ratios:?}");
    }

    #[test]
    fn tables_hold_the_factor() {
        let mut graph = Graph::new();
        let tables = read(&json!({})).tables(&mut graph, 3, 0.5).unwrap();
        let cosines = graph.constant_value(tables.cosines).unwrap();
        assert_eq!(cosines.shape(), [3, 32]);
        let found = cosines.as_f32().unwrap();
        assert!((f64::from(found[0]) - 0.5).abs() < 1e-7);
        assert!((f64::from(found[64]) - 0.5 * 2.0_f64.cos()).abs() < 1e-7);
    }
}

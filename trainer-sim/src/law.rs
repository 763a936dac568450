//! The losses: a declared law per candidate, and seeded noise.
//!
//! The law is the rectified one, `L(D) = B / (D_l + D^β) + E` (Lin et al., ICML 2024, arXiv 2402.02314, eq. 4). Where neither
//! the configuration nor a label declares its coefficients they are derived from hashes of the model's URI and the method
//! ([`Law::derived`]). Noise is multiplicative and depends on the spec and its seeds alone, never on time or order.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::spec::{self, MethodKind, Spec};

/// Coefficients of `L(D) = B / (D_l + D^β) + E`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Law {
    /// B, nats·examples^β, ≥ 0.
    pub reducible_scale: f64,
    /// `D_l`, examples^β, > 0: the zero-shot loss is finite.
    pub pre_learned_data_size: f64,
    /// β, in (0, 4].
    pub data_exponent: f64,
    /// E, nats, ≥ 0.
    pub irreducible_loss: f64,
}

/// The text is no law.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a law: expected `B,D_l,beta,E` with B >= 0, D_l > 0, 0 < beta <= 4, E >= 0 and 0 < B/D_l + E <= 1e6"
)]
pub struct ParseLawError(String);

impl std::str::FromStr for Law {
    type Err = ParseLawError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        let error = || ParseLawError(text.to_owned());
        let [scale, pre_learned, exponent, floor] = numbers[..] else {
            return Err(error());
        };
        let law = Self {
            reducible_scale: scale,
            pre_learned_data_size: pre_learned,
            data_exponent: exponent,
            irreducible_loss: floor,
        };
        let zero_shot = law.loss(0);
        let in_range = text.split(',').count() == 4
            && scale >= 0.0
            && pre_learned > 0.0
            && exponent > 0.0
            && exponent <= 4.0
            && floor >= 0.0
            && zero_shot > 0.0
            && zero_shot <= 1e6;
        if in_range { Ok(law) } else { Err(error()) }
    }
}

impl Law {
    /// L(D) in nats per token after `data_size` examples.
    #[must_use]
    pub fn loss(&self, data_size: i64) -> f64 {
        let examples = data_size.max(0) as f64;
        self.reducible_scale / (self.pre_learned_data_size + examples.powf(self.data_exponent)) + self.irreducible_loss
    }

    /// The law of a candidate nobody declared one for. With u, v, w uniform in [0, 1) from a hash of the URI and N the
    /// number of weights:
    /// E = 1.5 + 2·(N / 10⁶)^−0.25·(0.8 + 0.4·u), L(0) = E + 0.6 + 1.8·v, β = 0.2 + 0.35·w, and the knee `D_l^(1/β)` is
    /// log-uniform in 100 to 10,000 examples; B follows from L(0). The zero-shot loss is the model's alone. Adapters
    /// learn with fewer examples and end higher: LoRA has E + 0.02, 0.95·β and half the knee; prompts E + 0.08, 0.85·β
    /// and a quarter of it.
    #[must_use]
    pub fn derived(model_uri: &str, method: MethodKind, parameters: f64) -> Self {
        let uniform = |what: &str| unit(fingerprint(&[what.as_bytes(), model_uri.as_bytes()]));
        let floor = 1.5 + 2.0 * (parameters / 1e6).powf(-0.25) * (0.8 + 0.4 * uniform("floor"));
        let zero_shot = floor + 0.6 + 1.8 * uniform("zero-shot");
        let knee = 10_f64.powf(2.0 + 2.0 * uniform("knee"));
        let exponent = 0.2 + 0.35 * uniform("exponent");
        let (lift, slower, sooner) = match method {
            MethodKind::Full => (0.0, 1.0, 1.0),
            MethodKind::Lora => (0.02, 0.95, 0.5),
            MethodKind::Prompt => (0.08, 0.85, 0.25),
        };
        let data_exponent = exponent * slower;
        let pre_learned_data_size = (knee * sooner).powf(data_exponent);
        let irreducible_loss = floor + lift;
        Self {
            reducible_scale: (zero_shot - irreducible_loss) * pre_learned_data_size,
            pre_learned_data_size,
            data_exponent,
            irreducible_loss,
        }
    }
}

/// Number of weights of a model: the last size in its URI (`…-160m`, `…-1.4b`), or log-uniform in 20 to 1,500 million
/// from its hash.
#[must_use]
pub fn parameters_of(model_uri: &str) -> f64 {
    let written = model_uri
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.'))
        .rev()
        .find_map(|word| {
            let (digits, scale) = match word.as_bytes().last()? {
                b'm' | b'M' => (word.get(..word.len() - 1)?, 1e6),
                b'b' | b'B' => (word.get(..word.len() - 1)?, 1e9),
                _ => return None,
            };
            let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let number: f64 = is_number.then(|| digits.parse().ok())??;
            (number > 0.0 && number <= 1e5).then_some(number * scale)
        });
    let hashed = || 2e7 * 75_f64.powf(unit(fingerprint(&[b"parameters", model_uri.as_bytes()])));
    written.unwrap_or_else(hashed)
}

/// Hyperparameters as they enter the draw, by their debug output: a test of the whole trainer pins the losses that follow. What
/// the simulation has no opinion on (accumulation, schedule, order, early stopping) does not enter.
#[derive(Debug)]
#[expect(dead_code, reason = "read by the derived Debug")]
struct Hyperparameters<'a> {
    epochs: Option<i32>,
    steps: Option<i32>,
    batch_size: Option<i32>,
    sequence_length: Option<i32>,
    learning_rate: Option<f64>,
    warmup_ratio: Option<f64>,
    weight_decay: Option<f64>,
    clip_norm: Option<f64>,
    precision: &'a str,
}

impl<'a> From<&'a spec::Hyperparameters> for Hyperparameters<'a> {
    fn from(chosen: &'a spec::Hyperparameters) -> Self {
        Self {
            epochs: chosen.epochs,
            steps: chosen.steps,
            batch_size: chosen.batch_size,
            sequence_length: chosen.sequence_length,
            learning_rate: chosen.learning_rate,
            warmup_ratio: chosen.warmup_ratio,
            weight_decay: chosen.weight_decay,
            clip_norm: chosen.clip_norm,
            precision: &chosen.precision,
        }
    }
}

/// A standard normal deviate, cut at ±4, that depends on the spec (model, data, method, hyperparameters), its seeds, and
/// on what is measured; the same size gives the same deviate whatever other sizes the run reports.
#[must_use]
pub fn deviate(spec: &Spec, measured: &str, data_size: i64) -> f64 {
    let how = format!("{:?}|{:?}", spec.method, Hyperparameters::from(&spec.hyperparameters));
    let seed = fingerprint(&[
        spec.model.uri.as_bytes(),
        spec.data.uri.as_bytes(),
        spec.held_out.as_ref().map_or("", |held_out| &held_out.uri).as_bytes(),
        how.as_bytes(),
        measured.as_bytes(),
        &data_size.to_le_bytes(),
        &spec.seed.to_le_bytes(),
        &spec.subset_seed.to_le_bytes(),
    ]);
    let drawn: f64 = StandardNormal.sample(&mut ChaCha8Rng::seed_from_u64(seed));
    drawn.clamp(-4.0, 4.0)
}

/// FNV-1a over the parts, each ended by 0xff, and the finalizer of `SplitMix64`: the same on every machine and version.
#[must_use]
pub fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.iter().copied().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Uniform in [0, 1) from the upper 53 bits.
#[must_use]
pub fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn laws_are_read_and_wrong_ones_refused() {
        let law: Law = "12, 4,0.5,2".parse().unwrap();
        assert!((law.loss(0) - 5.0).abs() < 1e-12);
        assert!((law.loss(16) - 3.5).abs() < 1e-12);
        for bad in [
            "",
            "1,2,3",
            "1,2,3,4,5",
            "a,1,1,1",
            "1,0,1,1",
            "1,1,0,1",
            "1,1,5,1",
            "1,1,1,-1",
            "0,1,1,0",
            "nan,1,1,1",
            "1e9,1,1,1",
            "inf,1,1,1",
            "1,x,1,1,1",
        ] {
            assert!(bad.parse::<Law>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_in_names_are_read() {
        for (uri, expected) in [
            ("hf://org/model-160m", 160e6),
            ("/models/llama-1.4B/v2", 1.4e9),
            ("x-7b-lora-350m.onnx", 7e9),
        ] {
            assert!(
                (parameters_of(uri) / expected - 1.0).abs() < 1e-12,
                "{uri}: {}",
                parameters_of(uri)
            );
        }
        for uri in ["bert", "m", "b", "..b", "-0m", "99999999999b"] {
            assert!((2e7..=1.5e9).contains(&parameters_of(uri)), "{uri}");
        }
    }

    #[test]
    fn hashes_are_the_same_for_ever() {
        // By an independent program.
        assert_eq!(fingerprint(&[b"finepick", b"v1"]), 0x738b_b81d_a442_f5e7);
        assert_ne!(fingerprint(&[b"a", b"b"]), fingerprint(&[b"ab"]));
        assert_ne!(fingerprint(&[b"ab", b""]), fingerprint(&[b"a", b"b"]));
    }

    proptest! {
        #[test]
        fn derived_laws_fall_from_the_models_zero_shot_loss(uri in "\\PC{0,40}", size in 1_i64..1_000_000_000) {
            let parameters = parameters_of(&uri);
            let full = Law::derived(&uri, MethodKind::Full, parameters);
            for method in [MethodKind::Full, MethodKind::Lora, MethodKind::Prompt] {
                let law = Law::derived(&uri, method, parameters);
                prop_assert!((law.loss(0) - full.loss(0)).abs() < 1e-9);
                prop_assert!(law.loss(size) < law.loss(0));
                prop_assert!(law.loss(size) > law.irreducible_loss && law.irreducible_loss > 0.0);
            }
        }
    }
}

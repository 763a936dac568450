//! Storage types of safetensors files, and their elements as f32 and back.

use half::{bf16, f16};

/// Type of a stored tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoredType {
    /// IEEE 754 binary64
    F64,
    /// IEEE 754 binary32
    F32,
    /// IEEE 754 binary16
    F16,
    /// The upper half of a binary32
    Bf16,
    /// Anything else that the format knows, e.g. the integers and booleans of masks: there, but never read.
    Other(&'static str),
}

/// Names of the format, and bits of one element.
const NAMES: [(&str, u64); 22] = [
    ("F64", 64),
    ("F32", 32),
    ("F16", 16),
    ("BF16", 16),
    ("BOOL", 8),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("I16", 16),
    ("U16", 16),
    ("I32", 32),
    ("U32", 32),
    ("I64", 64),
    ("U64", 64),
    ("C64", 64),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
];

impl StoredType {
    /// The type of this name in the format, and the bits of one element; `None` for a name that it does not have.
    #[must_use]
    pub fn named(name: &str) -> Option<(Self, u64)> {
        let &(name, bits) = NAMES.iter().find(|(known, _)| *known == name)?;
        let stored = match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            other => Self::Other(other),
        };
        Some((stored, bits))
    }

    /// Its name in the format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Other(name) => name,
        }
    }

    /// Its name in `config.json` (`dtype`, `torch_dtype`), where it has one.
    #[must_use]
    pub fn config_name(self) -> Option<&'static str> {
        match self {
            Self::F64 => Some("float64"),
            Self::F32 => Some("float32"),
            Self::F16 => Some("float16"),
            Self::Bf16 => Some("bfloat16"),
            Self::Other(_) => None,
        }
    }

    /// Bytes of one element, if it is a float that can be read and written.
    #[must_use]
    pub fn float_bytes(self) -> Option<usize> {
        match self {
            Self::F64 => Some(8),
            Self::F32 => Some(4),
            Self::F16 | Self::Bf16 => Some(2),
            Self::Other(_) => None,
        }
    }

    /// Appends elements, stored little-endian in `bytes`, as f32; a rest that is no whole element is left out.
    pub(crate) fn widen(self, bytes: &[u8], elements: &mut Vec<f32>) {
        match self {
            Self::F64 => elements.extend(chunks(bytes).map(|chunk| narrow(f64::from_le_bytes(chunk)))),
            Self::F32 => elements.extend(chunks(bytes).map(f32::from_le_bytes)),
            Self::F16 => elements.extend(chunks(bytes).map(|chunk| f16::from_le_bytes(chunk).to_f32())),
            Self::Bf16 => elements.extend(chunks(bytes).map(|chunk| bf16::from_le_bytes(chunk).to_f32())),
            Self::Other(_) => {}
        }
    }

    /// Appends elements little-endian in this type, rounded to nearest.
    pub(crate) fn store(self, elements: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F64 => put(elements, bytes, |x| f64::from(x).to_le_bytes()),
            Self::F32 => put(elements, bytes, f32::to_le_bytes),
            Self::F16 => put(elements, bytes, |x| f16::from_f32(x).to_le_bytes()),
            Self::Bf16 => put(elements, bytes, |x| bf16::from_f32(x).to_le_bytes()),
            Self::Other(_) => {}
        }
    }
}

fn put<const N: usize>(elements: &[f32], bytes: &mut Vec<u8>, encode: impl Fn(f32) -> [u8; N]) {
    bytes.extend(elements.iter().map(|&x| encode(x)).collect::<Vec<_>>().as_flattened());
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

#[expect(clippy::cast_possible_truncation, reason = "graphs compute in f32")]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for (name, _) in NAMES {
            assert_eq!(StoredType::named(name).unwrap().0.name(), name);
        }
        assert_eq!(StoredType::named("f32"), None);
    }

    #[test]
    fn floats_survive_their_own_type() {
        let elements = [0.0, -1.5, 0.099_975_586, 65504.0];
        for stored in [StoredType::F64, StoredType::F32, StoredType::F16] {
            let mut bytes = Vec::new();
            stored.store(&elements, &mut bytes);
            assert_eq!(bytes.len(), elements.len() * stored.float_bytes().unwrap());
            let mut back = Vec::new();
            stored.widen(&bytes, &mut back);
            assert_eq!(back, elements);
        }
    }

    #[test]
    fn bf16_rounds_to_nearest_even() {
        let mut bytes = Vec::new();
        StoredType::Bf16.store(&[1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0], &mut bytes);
        let mut back = Vec::new();
        StoredType::Bf16.widen(&bytes, &mut back);
        assert_eq!(back, [1.0, 1.0 + 4.0 / 256.0]);
    }
}

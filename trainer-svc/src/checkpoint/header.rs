//! The header of a safetensors file: eight bytes of length, JSON, then the tensors' bytes without gaps.
//!
//! The format's own rules are enforced: no overlap, no hole, nothing after the last tensor. Only the header is read here;
//! source: the format description in the README of huggingface/safetensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{CheckpointError, StoredType, shown};
use crate::tensor::element_count;

/// Longest header that is read; a thousand tensors take about 100 kB.
const MAX_HEADER: u64 = 32 << 20;
/// Highest rank of a tensor.
const MAX_RANK: usize = 16;

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Type of its elements in the file.
    pub stored: StoredType,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub(crate) begin: u64,
    /// Bytes in the file.
    pub(crate) bytes: u64,
}

/// A safetensors file whose header has been read.
#[derive(Debug, Clone)]
pub(crate) struct TensorFile {
    pub(crate) path: PathBuf,
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
}

impl TensorFile {
    /// Reads the header.
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let failed = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Self::parse(path, file, length)
    }

    fn parse(path: &Path, mut file: impl Read, length: u64) -> Result<Self, CheckpointError> {
        let refuse = |message: String| CheckpointError::File {
            path: path.to_owned(),
            message,
        };
        let failed = |source| CheckpointError::Io {
            path: path.to_owned(),
            source,
        };
        let mut prefix = [0_u8; 8];
        if length < 8 {
            return Err(refuse(format!("is cut off: it has {length} bytes")));
        }
        file.read_exact(&mut prefix).map_err(failed)?;
        let header_length = u64::from_le_bytes(prefix);
        if header_length > MAX_HEADER {
            return Err(refuse(format!(
                "says that its header has {header_length} bytes, more than {MAX_HEADER}: not a safetensors file?"
            )));
        }
        let data_length = (length - 8).checked_sub(header_length).ok_or_else(|| {
            refuse(format!(
                "is cut off: {length} bytes, the header alone has {header_length}"
            ))
        })?;
        let mut header = Vec::new();
        file.take(header_length).read_to_end(&mut header).map_err(failed)?;
        if header.len() as u64 != header_length {
            return Err(refuse("is cut off in its header".into()));
        }
        let Header(entries) =
            serde_json::from_slice(&header).map_err(|error| refuse(format!("has a broken header: {error}")))?;
        let tensors = located(path, entries, header_length + 8, data_length)?;
        Ok(Self {
            path: path.to_owned(),
            tensors,
        })
    }
}

/// Checks sizes and places of all tensors.
fn located(
    path: &Path,
    entries: Vec<(String, Entry)>,
    data_begin: u64,
    data_length: u64,
) -> Result<BTreeMap<String, StoredTensor>, CheckpointError> {
    let refuse = |name: &str, message: String| CheckpointError::Tensor {
        path: path.to_owned(),
        tensor: shown(name),
        message,
    };
    let mut tensors = BTreeMap::new();
    let mut places = Vec::with_capacity(entries.len());
    for (name, entry) in entries {
        let tensor = entry
            .checked(data_begin, data_length)
            .map_err(|message| refuse(&name, message))?;
        places.push((tensor.begin, tensor.begin + tensor.bytes, name.clone()));
        if tensors.contains_key(&name) {
            return Err(refuse(&name, "is there twice".into()));
        }
        tensors.insert(name, tensor);
    }
    places.sort_unstable();
    let mut end = data_begin;
    for (begin, next_end, name) in &places {
        if *begin < end {
            return Err(refuse(name, "overlaps another tensor".into()));
        }
        if *begin > end {
            return Err(refuse(name, format!("lies behind a gap of {} bytes", begin - end)));
        }
        end = *next_end;
    }
    if end - data_begin != data_length {
        return Err(CheckpointError::File {
            path: path.to_owned(),
            message: format!("has {} bytes after its last tensor", data_length - (end - data_begin)),
        });
    }
    Ok(tensors)
}

/// A tensor, as the header has it.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn checked(&self, data_begin: u64, data_length: u64) -> Result<StoredTensor, String> {
        let (stored, bits) = StoredType::named(&self.dtype)
            .ok_or_else(|| format!("has the unknown element type {}", shown(&self.dtype)))?;
        if self.shape.len() > MAX_RANK {
            return Err(format!("has {} axes, more than {MAX_RANK}", self.shape.len()));
        }
        let too_large = || format!("has the shape {:?}, too large for any file", self.shape);
        let shape: Vec<usize> = self
            .shape
            .iter()
            .map(|&extent| usize::try_from(extent))
            .collect::<Result<_, _>>()
            .map_err(|_| too_large())?;
        let elements = element_count(&shape).ok_or_else(too_large)? as u64;
        let total = elements.checked_mul(bits).ok_or_else(too_large)?;
        if !total.is_multiple_of(8) {
            return Err(format!("of {} does not fill whole bytes", self.dtype));
        }
        let (begin, end) = self.data_offsets;
        let bytes = end
            .checked_sub(begin)
            .ok_or_else(|| format!("ends at {end}, before it begins at {begin}"))?;
        if bytes != total / 8 {
            return Err(format!(
                "of {} {:?} needs {} bytes, the header gives it {bytes}",
                self.dtype,
                self.shape,
                total / 8
            ));
        }
        if end > data_length {
            return Err(format!(
                "ends at {end}, but there are {data_length} bytes: the file is cut off"
            ));
        }
        Ok(StoredTensor {
            stored,
            shape,
            begin: data_begin + begin,
            bytes,
        })
    }
}

/// All tensors in the order of the header; a map would hide a name that is there twice.
struct Header(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        Ok(Header(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<TensorFile, CheckpointError> {
        TensorFile::parse(Path::new("weights.safetensors"), bytes, bytes.len() as u64)
    }

    fn refusal(header: &str, data: usize) -> String {
        parse(&file(header, data)).unwrap_err().to_string()
    }

    const GOOD: &str = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}   "#;

    #[test]
    fn places_are_absolute() {
        let parsed = parse(&file(GOOD, 12)).unwrap();
        let b = &parsed.tensors["b"];
        assert_eq!(
            (b.begin, b.bytes, b.stored),
            (8 + GOOD.len() as u64 + 8, 4, StoredType::F16)
        );
        assert_eq!(parsed.tensors["a"].shape, [1, 2]);
    }

    #[test]
    fn a_cut_off_file_names_the_tensor() {
        assert!(refusal(GOOD, 11).contains("tensor b"));
        assert!(refusal(GOOD, 11).contains("cut off"));
        assert!(parse(&[1, 2, 3]).unwrap_err().to_string().contains("3 bytes"));
        let bytes = file(GOOD, 12);
        assert!(parse(&bytes[..20]).unwrap_err().to_string().contains("cut off"));
    }

    #[test]
    fn the_rules_of_the_format_hold() {
        let one = |dtype: &str, shape: &str, begin: u64, end: u64| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#)
        };
        assert!(refusal(&one("F33", "[2]", 0, 8), 8).contains("F33"));
        assert!(refusal(&one("F32", "[2]", 8, 0), 8).contains("before it begins"));
        assert!(refusal(&one("F32", "[3]", 0, 8), 8).contains("needs 12 bytes"));
        assert!(refusal(&one("F4", "[1]", 0, 0), 0).contains("whole bytes"));
        assert!(refusal(&one("F32", "[1]", 4, 8), 8).contains("gap of 4"));
        assert!(refusal(&one("F32", "[1]", 0, 4), 8).contains("4 bytes after"));
        assert!(refusal(&one("F32", "[4294967296,4294967296]", 0, 8), 8).contains("too large"));
        assert!(refusal(&one("F64", "[2305843009213693952]", 0, 8), 8).contains("too large"));
        assert!(refusal(&one("F32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 0, 4), 4).contains("17 axes"));
        assert!(refusal(&one("F32", "[-1]", 0, 4), 4).contains("broken header"));
    }

    #[test]
    fn a_name_twice_and_an_overlap_are_refused() {
        let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
        assert!(refusal(twice, 2).contains("is there twice"));
        let overlap = r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#;
        assert!(refusal(overlap, 3).contains("overlaps"));
    }

    #[test]
    fn a_huge_header_length_allocates_nothing() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"{}");
        assert!(
            parse(&bytes)
                .unwrap_err()
                .to_string()
                .contains("not a safetensors file")
        );
    }

    proptest! {
        #[test]
        fn any_mutation_is_parsed_or_refused(at in 0_usize..180, byte in any::<u8>(), cut in 0_usize..200) {
            let mut bytes = file(GOOD, 12);
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length.saturating_sub(cut / 2 * (cut % 2)));
            if let Ok(parsed) = parse(&bytes) {
                for tensor in parsed.tensors.values() {
                    prop_assert!(tensor.begin + tensor.bytes <= bytes.len() as u64);
                }
            }
        }

        #[test]
        fn any_offsets_are_parsed_or_refused(begin in any::<u64>(), end in any::<u64>(), extents in prop::collection::vec(any::<u64>(), 0..4)) {
            let header = format!(r#"{{"w":{{"dtype":"F32","shape":{extents:?},"data_offsets":[{begin},{end}]}}}}"#);
            let product = extents.iter().try_fold(1_u64, |product, &extent| product.checked_mul(extent));
            let fits = product == Some(2) && (begin, end) == (0, 8);
            prop_assert_eq!(parse(&file(&header, 8)).is_ok(), fits);
        }
    }
}

//! The header of a safetensors file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::{LENGTH_BYTES, MAX_HEADER, METADATA, SafeDType, byte_size};
use crate::error::FileError;

/// What the header of a file says: names, dtypes and shapes, without the data.
///
/// A value of this type is consistent: every tensor's bytes are as many as dtype and shape take, and together
/// they cover the data without gap or overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SafeTensorsHeader {
    tensors: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

/// What a header says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Element type.
    pub dtype: SafeDType,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Where the bytes are, counted from the end of the header.
    pub range: Range<usize>,
}

impl SafeTensorsHeader {
    /// Reads the header of a file, and nothing of its data.
    ///
    /// # Errors
    /// The file cannot be read; the header is not valid, or contradicts the length of the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let unreadable = |error| FileError::caused_by(path, "cannot be read", error);
        // Asked before opening: to open a pipe would wait for somebody to write to it.
        if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
            return Err(FileError::new(path, "is not a regular file"));
        }
        let mut file = File::open(path).map_err(unreadable)?;
        let file_length = file.metadata().map_err(unreadable)?.len();
        let mut length = Vec::new();
        file.by_ref().take(LENGTH_BYTES as u64).read_to_end(&mut length).map_err(unreadable)?;
        let invalid = |message| FileError::new(path, message);
        let header_length = header_length(&length, file_length).map_err(invalid)?;
        let mut header = Vec::new();
        file.take(header_length as u64).read_to_end(&mut header).map_err(unreadable)?;
        if header.len() != header_length {
            return Err(invalid("the file became shorter while it was read".into()));
        }
        Self::parse(&header, file_length - LENGTH_BYTES as u64 - header_length as u64).map_err(invalid)
    }

    /// Reads a header from its JSON, of a file with `data_length` bytes behind it.
    pub(super) fn parse(json: &[u8], data_length: u64) -> Result<Self, String> {
        let raw: RawHeader =
            serde_json::from_slice(json).map_err(|error| format!("the safetensors header is not valid: {error}"))?;
        let mut tensors = BTreeMap::new();
        for (name, raw) in raw.tensors {
            let info = raw.check().map_err(|message| format!("safetensors tensor `{name}`: {message}"))?;
            tensors.insert(name, info);
        }
        let mut in_order: Vec<_> = tensors.iter().collect();
        in_order.sort_by_key(|(_, info)| (info.range.start, info.range.end));
        let mut end = 0;
        for (name, info) in in_order {
            if info.range.start != end {
                let start = info.range.start;
                return Err(format!(
                    "safetensors tensor `{name}`: its data begins at byte {start}, expected {end}, where the one before ends"
                ));
            }
            end = info.range.end;
        }
        if end as u64 != data_length {
            return Err(format!("the safetensors header describes {end} bytes of data, found {data_length}"));
        }
        Ok(Self { tensors, metadata: raw.metadata })
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &TensorInfo)> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), info))
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Free text by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// Length of the header, from the first bytes of a file of `file_length` bytes.
pub(super) fn header_length(first: &[u8], file_length: u64) -> Result<usize, String> {
    let Some(&length) = first.first_chunk::<LENGTH_BYTES>() else {
        return Err(format!(
            "is not a safetensors file: found {} bytes, expected at least {LENGTH_BYTES}",
            first.len()
        ));
    };
    let length = u64::from_le_bytes(length);
    let room = file_length.saturating_sub(LENGTH_BYTES as u64);
    if length > room.min(MAX_HEADER) {
        return Err(format!(
            "is not a safetensors file: found a header of {length} bytes, expected at most {}",
            room.min(MAX_HEADER)
        ));
    }
    // At most `MAX_HEADER`.
    Ok(length as usize)
}

/// The JSON of a header, duplicate names refused.
struct RawHeader {
    tensors: BTreeMap<String, RawTensor>,
    metadata: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl RawTensor {
    fn check(self) -> Result<TensorInfo, String> {
        let dtype = SafeDType::from_name(&self.dtype)
            .ok_or_else(|| format!("unknown dtype `{}`, expected one of {}", self.dtype, known_dtypes()))?;
        let size = byte_size(dtype, &self.shape).ok_or_else(|| {
            format!("shape {:?} of {dtype} is not a whole number of bytes that fit into memory", self.shape)
        })?;
        let (start, end) = self.data_offsets;
        if end.checked_sub(start) != Some(size) {
            return Err(format!("data at {start}..{end}, expected {size} bytes for {dtype} {:?}", self.shape));
        }
        Ok(TensorInfo { dtype, shape: self.shape, range: start..end })
    }
}

fn known_dtypes() -> String {
    let names: Vec<_> = SafeDType::ALL.iter().map(|dtype| dtype.name()).collect();
    names.join(", ")
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;

        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let mut header = RawHeader { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
                let mut metadata_seen = false;
                while let Some(name) = map.next_key::<String>()? {
                    let duplicate = if name == METADATA {
                        header.metadata = map.next_value()?;
                        std::mem::replace(&mut metadata_seen, true)
                    } else {
                        header.tensors.insert(name.clone(), map.next_value()?).is_some()
                    };
                    if duplicate {
                        return Err(A::Error::custom(format!("`{name}` occurs twice")));
                    }
                }
                Ok(header)
            }
        }

        deserializer.deserialize_map(HeaderVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_refused(json: &str, data_length: u64, message: &str) {
        let error = SafeTensorsHeader::parse(json.as_bytes(), data_length).unwrap_err();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn names_dtypes_shapes_and_metadata_are_read() {
        let json = r#"{"b":{"dtype":"F32","shape":[1,2],"data_offsets":[2,10]},
            "__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[],"data_offsets":[0,2]},
            "none":{"dtype":"U8","shape":[9223372036854775807,3,0],"data_offsets":[2,2]}}   "#;
        let header = SafeTensorsHeader::parse(json.as_bytes(), 10).unwrap();
        assert_eq!(header.names().collect::<Vec<_>>(), ["a", "b", "none"]);
        assert_eq!(header.get("a"), Some(&TensorInfo { dtype: SafeDType::F16, shape: vec![], range: 0..2 }));
        assert_eq!(header.get("b").unwrap().shape, [1, 2]);
        assert_eq!(header.get("c"), None);
        assert_eq!(header.metadata()["format"], "pt");
        assert!(SafeTensorsHeader::parse(b"{}", 0).unwrap().is_empty());
    }

    #[test]
    fn contradictions_are_refused() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        assert_refused(&one("F31", "[1]", "[0,4]"), 4, "tensor `w`: unknown dtype `F31`, expected one of F4,");
        assert_refused(&one("F32", "[2]", "[0,4]"), 4, "tensor `w`: data at 0..4, expected 8 bytes for F32 [2]");
        assert_refused(&one("F32", "[1]", "[4,0]"), 4, "data at 4..0, expected 4 bytes");
        assert_refused(&one("F32", "[1]", "[4,8]"), 8, "tensor `w`: its data begins at byte 4, expected 0");
        assert_refused(&one("F32", "[1]", "[0,4]"), 5, "describes 4 bytes of data, found 5");
        assert_refused(&one("F4", "[1]", "[0,1]"), 1, "is not a whole number of bytes");
        assert_refused(&one("F32", "[4294967296,4294967296]", "[0,0]"), 0, "fit into memory");
        assert_refused(&one("F32", "[-1]", "[0,4]"), 4, "header is not valid");
        assert_refused("[]", 0, "expected an object of tensors by name");
        assert_refused("", 0, "header is not valid");
        let w = r#""w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
        assert_refused(&format!("{{{w},{w}}}"), 1, "`w` occurs twice");
        let m = r#""__metadata__":{}"#;
        assert_refused(&format!("{{{m},{m}}}"), 0, "`__metadata__` occurs twice");
    }

    #[test]
    fn lengths_are_checked_before_anything_is_allocated() {
        assert_eq!(header_length(&5u64.to_le_bytes(), 13), Ok(5));
        for (length, file) in [(6, 13), (u64::MAX, 13), (MAX_HEADER + 1, u64::MAX), (1, 0)] {
            let error = header_length(&length.to_le_bytes(), file).unwrap_err();
            assert!(error.contains(&format!("found a header of {length} bytes")), "{error}");
        }
        assert!(header_length(&[0; 7], 7).unwrap_err().contains("found 7 bytes, expected at least 8"));
    }
}

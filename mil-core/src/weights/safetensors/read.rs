//! Reading tensors without copying them.

use std::path::Path;

use super::header::{SafeTensorsHeader, header_length};
use super::{LENGTH_BYTES, SafeDType};
use crate::error::FileError;
use crate::weights::Bytes;

/// A safetensors file, memory-mapped or in memory.
#[derive(Clone, Debug)]
pub struct SafeTensors {
    header: SafeTensorsHeader,
    data: Bytes,
}

/// One tensor with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Element type.
    pub dtype: SafeDType,
    /// Dimensions; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements in row-major order, little-endian, shared with the file.
    pub bytes: Bytes,
}

impl SafeTensors {
    /// Maps a file and reads its header.
    ///
    /// # Errors
    /// The file cannot be read; the header is not valid, or contradicts the length of the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        Self::parse(Bytes::map_file(path)?).map_err(|message| FileError::new(path, message))
    }

    /// Reads what is in memory; `name` stands for it in errors.
    ///
    /// # Errors
    /// The header is not valid, or contradicts the length of `bytes`.
    pub fn from_bytes(bytes: Bytes, name: &str) -> Result<Self, FileError> {
        Self::parse(bytes).map_err(|message| FileError::new(name, message))
    }

    fn parse(bytes: Bytes) -> Result<Self, String> {
        let length = header_length(&bytes, bytes.len() as u64)?;
        // `header_length` found that this much is there.
        let data = bytes.slice(LENGTH_BYTES + length..);
        let header = SafeTensorsHeader::parse(&bytes[LENGTH_BYTES..LENGTH_BYTES + length], data.len() as u64)?;
        Ok(Self { header, data })
    }

    /// Names, dtypes and shapes.
    pub fn header(&self) -> &SafeTensorsHeader {
        &self.header
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<TensorEntry> {
        let info = self.header.get(name)?;
        let bytes = self.data.get(info.range.clone())?;
        Some(TensorEntry { dtype: info.dtype, shape: info.shape.clone(), bytes })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.names()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.header.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.header.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data: &[u8]) -> Vec<u8> {
        [&(json.len() as u64).to_le_bytes(), json.as_bytes(), data].concat()
    }

    #[test]
    fn tensors_share_the_memory_of_the_file() {
        let bytes = Bytes::from(file(r#"{"w":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}}"#, &[1, 0, 2, 0]));
        let tensors = SafeTensors::from_bytes(bytes.clone(), "w").unwrap();
        let w = tensors.get("w").unwrap();
        assert_eq!((w.dtype, &w.shape[..], &w.bytes[..]), (SafeDType::I16, &[2][..], &[1, 0, 2, 0][..]));
        assert_eq!(w.bytes.as_ptr(), bytes[bytes.len() - 4..].as_ptr());
        assert!(tensors.get("v").is_none());
        assert_eq!((tensors.len(), tensors.names().collect::<Vec<_>>()), (1, vec!["w"]));
    }

    #[test]
    fn a_file_and_its_header_alone_say_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let whole = file(r#"{"w":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#, &[1, 2, 3]);
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(SafeTensorsHeader::open(&path).unwrap(), *SafeTensors::open(&path).unwrap().header());
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (header, file) = (SafeTensorsHeader::open(&path).unwrap_err(), SafeTensors::open(&path).unwrap_err());
            assert_eq!(header.to_string(), file.to_string());
            assert!(header.to_string().contains("w.safetensors`: "), "{header}");
        }
    }

    #[test]
    fn errors_name_what_was_read() {
        let error = SafeTensors::from_bytes(vec![9, 0, 0, 0, 0, 0, 0, 0].into(), "weights").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`weights`: is not a safetensors file: found a header of 9 bytes, expected at most 0"
        );
        assert!(SafeTensorsHeader::open("missing").unwrap_err().to_string().starts_with("`missing`: cannot be read"));
        assert!(SafeTensorsHeader::open(".").unwrap_err().to_string().ends_with("is not a regular file"));
    }
}

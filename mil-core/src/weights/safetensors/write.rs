//! Writing a file.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::{LENGTH_BYTES, MAX_HEADER, METADATA, SafeDType, byte_size};
use crate::atomic::AtomicFile;
use crate::error::FileError;

/// A tensor to write.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Name, unique in the file.
    pub name: &'a str,
    /// Element type.
    pub dtype: SafeDType,
    /// Dimensions; empty for a scalar.
    pub shape: &'a [usize],
    /// Elements in row-major order, little-endian.
    pub bytes: &'a [u8],
}

/// Writes a file whole or not at all; one that is there is replaced.
///
/// The bytes depend on nothing but the tensors: the widest element types come first, then it goes by name.
///
/// # Errors
/// Two tensors have one name, a name is reserved, bytes do not fit dtype and shape, or the file cannot be
/// written. The destination is then as it was.
pub fn write_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = TensorView<'a>>,
) -> Result<(), FileError> {
    let path = path.as_ref();
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by(|a, b| (b.dtype, a.name).cmp(&(a.dtype, b.name)));
    let header = header(&tensors).map_err(|message| FileError::new(path, message))?;

    let mut file = AtomicFile::create(path)?;
    let unwritable = |error| FileError::caused_by(path, "cannot be written", error);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(unwritable)?;
    file.write_all(header.as_bytes()).map_err(unwritable)?;
    for tensor in &tensors {
        file.write_all(tensor.bytes).map_err(unwritable)?;
    }
    file.commit()
}

fn header(tensors: &[TensorView<'_>]) -> Result<String, String> {
    let mut names = BTreeSet::new();
    let mut json = String::from("{");
    let mut start = 0usize;
    for &TensorView { name, dtype, shape, bytes } in tensors {
        if name == METADATA || !names.insert(name) {
            return Err(format!(
                "cannot be written: the tensor name `{name}` is {}",
                if name == METADATA { "reserved" } else { "used twice" }
            ));
        }
        if byte_size(dtype, shape) != Some(bytes.len()) {
            return Err(format!(
                "cannot be written: tensor `{name}` has {} bytes, which is not {dtype} {shape:?}",
                bytes.len()
            ));
        }
        // All of them are in memory, so the sum does not overflow.
        let end = start + bytes.len();
        let separator = if names.len() == 1 { "" } else { "," };
        let name = serde_json::Value::from(name);
        // `Debug` of a list of numbers is JSON but for its blanks.
        let shape = format!("{shape:?}").replace(' ', "");
        let _ =
            write!(json, r#"{separator}{name}:{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#);
        start = end;
    }
    json.push('}');
    // Blanks behind the JSON align the data.
    while !json.len().is_multiple_of(LENGTH_BYTES) {
        json.push(' ');
    }
    if json.len() as u64 > MAX_HEADER {
        return Err(format!(
            "cannot be written: a header of {} bytes is longer than the format's limit of {MAX_HEADER}",
            json.len()
        ));
    }
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::SafeTensors;

    const F32: TensorView<'_> =
        TensorView { name: "b", dtype: SafeDType::F32, shape: &[1, 2], bytes: &[1, 2, 3, 4, 5, 6, 7, 8] };
    const U8: TensorView<'_> =
        TensorView { name: "a \"quoted\"", dtype: SafeDType::U8, shape: &[3], bytes: &[7, 8, 9] };
    const SCALAR: TensorView<'_> = TensorView { name: "c", dtype: SafeDType::F32, shape: &[], bytes: &[0; 4] };

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write_safetensors(&path, [U8, F32, SCALAR]).unwrap();
        let tensors = SafeTensors::open(&path).unwrap();
        assert_eq!(tensors.len(), 3);
        for view in [U8, F32, SCALAR] {
            let entry = tensors.get(view.name).unwrap();
            assert_eq!((entry.dtype, &entry.shape[..], &entry.bytes[..]), (view.dtype, view.shape, view.bytes));
        }
        assert_eq!(tensors.header().get("b").unwrap().range, 0..8);
        assert_eq!(tensors.header().get("a \"quoted\"").unwrap().range, 12..15);
        let once = std::fs::read(&path).unwrap();
        write_safetensors(&path, [SCALAR, U8, F32]).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), once);
        write_safetensors(&path, []).unwrap();
        assert!(SafeTensors::open(&path).unwrap().is_empty());
    }

    /// The format's own library reads our files, and writes the same bytes.
    #[test]
    fn files_are_those_of_the_reference_implementation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write_safetensors(&path, [U8, F32, SCALAR]).unwrap();
        let ours = std::fs::read(&path).unwrap();
        let views = [U8, F32, SCALAR].map(|view| {
            let dtype = if view.dtype == SafeDType::U8 { safetensors::Dtype::U8 } else { safetensors::Dtype::F32 };
            (view.name, safetensors::tensor::TensorView::new(dtype, view.shape.to_vec(), view.bytes).unwrap())
        });
        assert_eq!(safetensors::serialize(views, None).unwrap(), ours);
        assert_eq!(safetensors::SafeTensors::deserialize(&ours).unwrap().tensor("b").unwrap().data(), F32.bytes);
    }

    #[test]
    fn wrong_tensors_leave_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        write_safetensors(&path, [U8]).unwrap();
        let before = std::fs::read(&path).unwrap();
        for (tensors, message) in [
            ([U8, TensorView { bytes: &[1], ..F32 }], "tensor `b` has 1 bytes, which is not F32 [1, 2]"),
            ([U8, TensorView { name: U8.name, ..F32 }], "is used twice"),
            ([U8, TensorView { name: "__metadata__", ..F32 }], "`__metadata__` is reserved"),
        ] {
            let error = write_safetensors(&path, tensors).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

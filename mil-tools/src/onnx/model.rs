//! Files: the message, and tensors whose bytes stay in the mapped file.

use std::path::{Component, Path, PathBuf};

use mil_core::{ir::Constant, types::DType, weights};
use prost::Message;

use super::proto::{ModelProto, TensorProto, tensor_proto::DataType};
use crate::{ToolError, import::Refusal};

/// The opsets of `ai.onnx` that are read.
pub(super) const OPSETS: std::ops::RangeInclusive<i64> = 7..=23;

/// An ONNX file.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) path: PathBuf,
    pub(super) message: ModelProto,
    file: weights::Bytes,
}

impl Model {
    /// Maps and decodes a file.
    pub(super) fn open(path: &Path) -> Result<Model, ToolError> {
        let file = weights::Bytes::map_file(path)?;
        let wrong = |what: String| ToolError::new(format!("`{}`: {what}", path.display()));
        super::scan::scan(&file).map_err(|e| wrong(format!("is no ONNX model: {e}")))?;
        let bytes = bytes::Bytes::from_owner(file.clone());
        let message = ModelProto::decode(bytes).map_err(|e| wrong(format!("is no ONNX model: {e}")))?;
        if message.graph.is_none() {
            return Err(wrong("is no ONNX model: it has no graph".into()));
        }
        Ok(Model { path: path.to_path_buf(), message, file })
    }

    /// The version of the op set of `ai.onnx`.
    pub(super) fn opset(&self) -> Result<i64, ToolError> {
        let wrong = |what: String| ToolError::new(format!("`{}`: {what}", self.path.display()));
        let ours = |d: &str| matches!(d, "" | "ai.onnx");
        let Some(import) = self.message.opset_import.iter().find(|o| ours(&o.domain)) else {
            return Err(wrong("does not say which version of ONNX's ops it has".into()));
        };
        if !OPSETS.contains(&import.version) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(wrong(format!(
                "is of opset {}, but {first} to {last} are read; `onnx.version_converter` changes it",
                import.version
            )));
        }
        Ok(import.version)
    }

    /// A tensor with its dtype in the model; its bytes are shared with the file where they lie there as they are.
    pub(super) fn constant(&self, t: &TensorProto) -> Result<Constant, Refusal> {
        let dtype = dtype(t.data_type)?;
        let shape: Option<Vec<usize>> = t.dims.iter().map(|d| usize::try_from(*d).ok()).collect();
        let count = shape.as_ref().and_then(|s| s.iter().try_fold(1usize, |n, d| n.checked_mul(*d)));
        let (Some(shape), Some(count)) = (shape, count) else {
            return Err(Refusal::new(format!("has the impossible shape {:?}", t.dims)));
        };
        if dtype == DType::String {
            let strings = t.string_data.iter().map(|s| String::from_utf8(s.clone()));
            let strings = strings.collect::<Result<_, _>>().map_err(|_| Refusal::new("has text that is not UTF-8"))?;
            return Ok(Constant::strings(shape, strings)?);
        }
        let bytes = if t.data_location == super::proto::tensor_proto::DataLocation::External as i32 {
            self.external(t, dtype.packed_len(count).unwrap_or(usize::MAX))?
        } else if !t.raw_data.is_empty() || count == 0 {
            self.raw(&t.raw_data)
        } else {
            typed(t, dtype, count)?.into()
        };
        Ok(Constant::from_bytes(dtype, shape, bytes)?)
    }

    /// A slice of the mapped file as such: it can be given back to the system, unlike one that is merely kept alive.
    fn raw(&self, data: &bytes::Bytes) -> weights::Bytes {
        let start = (data.as_ptr() as usize).checked_sub(self.file.as_ptr() as usize);
        let mapped = start.and_then(|start| self.file.get(start..start.checked_add(data.len())?));
        match mapped {
            Some(bytes) if bytes.as_ptr() == data.as_ptr() => bytes,
            _ => weights::Bytes::from_owner(data.clone()),
        }
    }

    /// Bytes of another file beside the model.
    fn external(&self, t: &TensorProto, need: usize) -> Result<weights::Bytes, Refusal> {
        let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| &e.value[..]);
        let location = entry("location").ok_or_else(|| Refusal::new("is in another file, but not said in which"))?;
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => {
                text.parse::<usize>().map(Some).map_err(|_| Refusal::new(format!("its {key} `{text}` is no number")))
            }
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(need));
        let relative = Path::new(location);
        if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
            let message = format!("its file `{}` is not beside the model", location.escape_debug());
            return Err(Refusal::new(message).remedy("files of weights are named relative to the model's folder"));
        }
        let path = self.path.parent().unwrap_or(Path::new("")).join(relative);
        let all = weights::Bytes::map_file(&path).map_err(|e| {
            let remedy = "the files of weights that a model names must be beside it";
            Refusal::new(format!("its file cannot be read: {e}")).remedy(remedy)
        })?;
        let range = offset.checked_add(length).and_then(|end| all.get(offset..end));
        range.ok_or_else(|| {
            let size = all.len();
            Refusal::new(format!(
                "should be at {offset} of `{}`, {length} bytes, but the file has {size}",
                path.display()
            ))
        })
    }
}

/// Elements out of the fields that are for one dtype each.
fn typed(t: &TensorProto, dtype: DType, count: usize) -> Result<Vec<u8>, Refusal> {
    let narrow = |n: usize| t.int32_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(n)).collect::<Vec<u8>>();
    let (bytes, found): (Vec<u8>, usize) = match dtype {
        DType::F32 => (t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(), t.float_data.len()),
        DType::F64 => (t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(), t.double_data.len()),
        DType::I64 => (t.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(), t.int64_data.len()),
        DType::U64 => (t.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(), t.uint64_data.len()),
        DType::U32 => (t.uint64_data.iter().flat_map(|v| (*v as u32).to_le_bytes()).collect(), t.uint64_data.len()),
        d if d.is_sub_byte() => (narrow(1), count.min(t.int32_data.len() * 8 / d.bits())),
        d => (narrow(d.bits() / 8), t.int32_data.len()),
    };
    if found != count {
        return Err(Refusal::new(format!("has {found} elements where its shape {:?} takes {count}", t.dims)));
    }
    Ok(bytes)
}

/// The dtype of an element type.
pub(super) fn dtype(data_type: i32) -> Result<DType, Refusal> {
    use DataType as D;
    let Ok(known) = D::try_from(data_type) else {
        return Err(Refusal::new(format!("is of the unknown element type {data_type}")));
    };
    Ok(match known {
        D::Float => DType::F32,
        D::Double => DType::F64,
        D::Float16 => DType::F16,
        D::Bfloat16 => DType::BF16,
        D::Float8e4m3fn => DType::F8E4M3FN,
        D::Float8e5m2 => DType::F8E5M2,
        D::Uint8 => DType::U8,
        D::Int8 => DType::I8,
        D::Uint16 => DType::U16,
        D::Int16 => DType::I16,
        D::Int32 => DType::I32,
        D::Int64 => DType::I64,
        D::Uint32 => DType::U32,
        D::Uint64 => DType::U64,
        D::Uint4 => DType::U4,
        D::Int4 => DType::I4,
        D::Uint2 => DType::U2,
        D::Bool => DType::Bool,
        D::String => DType::String,
        other => {
            let name = other.as_str_name();
            return Err(Refusal::new(format!("is of element type {name}, which MIL does not have")));
        }
    })
}

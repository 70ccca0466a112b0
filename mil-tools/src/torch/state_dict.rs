//! State dicts: weights by their names.

use std::{collections::BTreeMap, path::Path};

use mil_core::{
    ir::Constant,
    types::DType,
    weights::{Bytes, SafeDType, TensorView, write_safetensors},
};

use super::{
    archive::{self, Archive},
    legacy,
    pickle::{Classes, Pickle, Value},
    storage::Storages,
};
use crate::{ToolError, import::Refusal};

/// Names under which training scripts put the state dict of their model.
const NESTED: &[&str] = &["state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights"];
/// How deep they put it.
const MAX_DEPTH: usize = 4;

/// The weights in a `.pt` or `.pth` file that `torch.save(model.state_dict(), ..)` wrote, by their names. Nothing in the file is
/// executed, and tensors share the mapped file; those that do not lie there in order are copied.
///
/// Attached to a program that was built with [`Constant::weight`]:
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut g = mil_core::graph::Graph::new("main", mil_core::types::Opset::iOS15);
/// # let x = g.input("x", mil_core::types::TensorType::new(mil_core::types::DType::F32, [1]));
/// # let mut program = g.finish([x])?;
/// let weights = mil_tools::torch::StateDict::open("resnet50.pth")?;
/// program.attach_weights(&|name| weights.get(name).cloned())?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StateDict {
    tensors: BTreeMap<String, Constant>,
    others: Vec<String>,
}

impl StateDict {
    /// Maps a file and reads what is in it. A state dict may be inside of a dict, as training scripts save it: under `state_dict`,
    /// `model` and the like.
    ///
    /// # Errors
    /// If the file cannot be read, is none of PyTorch's, names anything but tensors and plain data, or has tensors of a dtype that
    /// MIL's files cannot name.
    pub fn open(path: impl AsRef<Path>) -> Result<StateDict, ToolError> {
        let path = path.as_ref();
        let file = Bytes::map_file(path)?;
        StateDict::read(&file).map_err(|e| ToolError::new(format!("`{}`: {e}", path.display())))
    }

    /// Reads what is in memory; `name` stands for it in errors.
    ///
    /// # Errors
    /// As of [`open`](StateDict::open).
    pub fn from_bytes(file: Bytes, name: &str) -> Result<StateDict, ToolError> {
        StateDict::read(&file).map_err(|e| ToolError::new(format!("`{name}`: {e}")))
    }

    fn read(file: &Bytes) -> Result<StateDict, Refusal> {
        if legacy::is_legacy(file) {
            let (pickle, storages) = legacy::read(file)?;
            return StateDict::of(&pickle, &storages);
        }
        if !archive::is_archive(file) {
            let found = if file.first() == Some(&0x80) { "a pickle without tensors" } else { "something else" };
            return Err(Refusal::new(format!("is no file of PyTorch, but {found}"))
                .remedy("save weights as `torch.save(model.state_dict(), ..)`"));
        }
        StateDict::of_archive(&Archive::new(file.clone())?)
    }

    /// Of an archive that was opened.
    pub(super) fn of_archive(archive: &Archive) -> Result<StateDict, Refusal> {
        if archive.has("constants.pkl") {
            return Err(Refusal::new("is a TorchScript model, not weights alone")
                .remedy("save weights as `torch.save(model.state_dict(), ..)`, or convert the model: `mil convert`"));
        }
        if !archive.has("data.pkl") {
            return Err(Refusal::new("is a zip file, but none of weights: it has no `data.pkl`")
                .remedy("save weights as `torch.save(model.state_dict(), ..)`"));
        }
        let pickle = Pickle::read(&archive.read("data.pkl")?, Classes::None)?;
        StateDict::of(&pickle, &Storages::folder(archive, "data/")?)
    }

    /// The tensors of a dict that may have none.
    pub(super) fn tensors_of(archive: &Archive) -> Result<BTreeMap<String, Constant>, Refusal> {
        let pickle = Pickle::read(&archive.read("data.pkl")?, Classes::None)?;
        if *pickle.root() == Value::Dict(vec![]) {
            return Ok(BTreeMap::new());
        }
        Ok(StateDict::of(&pickle, &Storages::folder(archive, "data/")?)?.tensors)
    }

    fn of(pickle: &Pickle, storages: &Storages<'_>) -> Result<StateDict, Refusal> {
        let mut tensors = BTreeMap::new();
        let mut others = vec![];
        for (name, value) in pickle.entries(model(pickle)?) {
            if let Value::Tensor(t) = value {
                let tensor = storages.tensor(t).map_err(|e| Refusal {
                    message: format!("its tensor `{}` {}", name.escape_debug(), e.message),
                    ..e
                })?;
                tensors.insert(name.to_string(), tensor);
            } else {
                others.push(name.to_string());
            }
        }
        Ok(StateDict { tensors, others })
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&Constant> {
        self.tensors.get(name)
    }

    /// All tensors, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Constant)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Names of what is beside the tensors and is no tensor.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    /// Writes a safetensors file, whole or not at all: weights of `#[mil_program(weights = "..")]`. Tensors go from the mapped file
    /// to the new one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_safetensors(&self, path: impl AsRef<Path>) -> Result<(), ToolError> {
        let path = path.as_ref();
        let views = self.iter().map(|(name, tensor)| {
            let dtype = safe_dtype(tensor.dtype())?;
            Some(TensorView { name, dtype, shape: tensor.shape(), bytes: tensor.bytes()? })
        });
        let views: Option<Vec<_>> = views.collect();
        // PyTorch's dtypes that are read are those of safetensors.
        let views = views.ok_or_else(|| ToolError::new(format!("`{}`: has a dtype of no name", path.display())))?;
        Ok(write_safetensors(path, views)?)
    }
}

fn safe_dtype(dtype: DType) -> Option<SafeDType> {
    SafeDType::ALL.iter().copied().find(|safe| safe.dtype() == Some(dtype))
}

/// The dict that has the model's tensors.
fn model(pickle: &Pickle) -> Result<&Value, Refusal> {
    let mut dict = pickle.root();
    for _ in 0..MAX_DEPTH {
        if !matches!(dict, Value::Dict(_)) {
            break;
        }
        if pickle.entries(dict).any(|(_, value)| matches!(value, Value::Tensor(_))) {
            return Ok(dict);
        }
        let Some(inner) = NESTED.iter().find_map(|key| pickle.entry(dict, key)) else { break };
        dict = inner;
    }
    let keys: Vec<String> = pickle.entries(dict).take(8).map(|(key, _)| format!("`{}`", key.escape_debug())).collect();
    let found = match dict {
        Value::Dict(_) if keys.is_empty() => "an empty dict".to_string(),
        Value::Dict(_) => format!("a dict of {}", keys.join(", ")),
        Value::Tensor(_) => "a tensor without name".to_string(),
        _ => "no dict".to_string(),
    };
    Err(Refusal::new(format!("has no tensors by name, but {found}"))
        .remedy("save weights as `torch.save(model.state_dict(), ..)`"))
}

//! Parameters, buffers and constants of a program.

use std::collections::BTreeMap;

use mil_core::ir::Constant;

use super::{
    exported_dtype,
    schema::{self, Payload, PayloadConfig, Size},
};
use crate::{
    import::Refusal,
    torch::{archive::Archive, pickle, pickle::Value, state_dict::StateDict, storage::Storages},
};

/// Tensors by their names in the module.
#[derive(Debug)]
pub(super) struct Tensors<'a> {
    weights: Group<'a>,
    constants: Group<'a>,
}

#[derive(Debug)]
enum Group<'a> {
    /// A pickle of all of them.
    Pickle(BTreeMap<String, Constant>),
    /// A file for each storage.
    Files(&'a Archive, String, BTreeMap<String, Payload>, Storages<'a>),
}

impl<'a> Tensors<'a> {
    /// Those of the program of that name; a program of torch 2.7 and before has none.
    pub(super) fn new(archive: &'a Archive, name: Option<&str>) -> Result<Tensors<'a>, Refusal> {
        Ok(match name {
            None => Tensors {
                weights: Group::pickle(archive, "serialized_state_dict.pt")?,
                constants: Group::pickle(archive, "serialized_constants.pt")?,
            },
            Some(name) => Tensors {
                weights: Group::files(archive, "data/weights/", name, "weights")?,
                constants: Group::files(archive, "data/constants/", name, "constants")?,
            },
        })
    }

    /// A parameter or a buffer.
    pub(super) fn weight(&self, name: &str) -> Result<Constant, Refusal> {
        self.weights.get(name)
    }

    /// A constant, or a buffer that is not saved with the weights (older versions saved it with them).
    pub(super) fn constant(&self, name: &str) -> Result<Constant, Refusal> {
        if self.constants.has(name) { self.constants.get(name) } else { self.weights.get(name) }
    }
}

impl<'a> Group<'a> {
    fn pickle(archive: &Archive, entry: &str) -> Result<Group<'a>, Refusal> {
        let Some(bytes) = archive.get(entry)? else { return Ok(Group::Pickle(BTreeMap::new())) };
        let at = |e: Refusal| Refusal { message: format!("its entry `{entry}` {}", e.message), ..e };
        let inner = Archive::new(bytes).map_err(at)?;
        let tensors = StateDict::tensors_of(&inner).map_err(at)?;
        Ok(Group::Pickle(tensors))
    }

    fn files(archive: &'a Archive, folder: &str, name: &str, kind: &str) -> Result<Group<'a>, Refusal> {
        // Between 2.7 and the files there was a pickle here as well.
        let pickle = format!("{folder}{name}.pt");
        if archive.has(&pickle) {
            return Group::pickle(archive, &pickle);
        }
        let entry = format!("{folder}{name}_{kind}_config.json");
        let Some(json) = archive.get(&entry)? else { return Ok(Group::Pickle(BTreeMap::new())) };
        let invalid = |e: String| Refusal::new(format!("its entry `{entry}` is not valid: {e}"));
        let text = std::str::from_utf8(&json).map_err(|e| invalid(e.to_string()))?;
        let config: PayloadConfig = schema::parse(text, &mut String::new()).map_err(invalid)?;
        Ok(Group::Files(archive, folder.to_string(), config.config, Storages::folder(archive, folder)?))
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Group::Pickle(all) => all.contains_key(name),
            Group::Files(_, _, all, _) => all.contains_key(name),
        }
    }

    fn get(&self, name: &str) -> Result<Constant, Refusal> {
        let missing = || Refusal::new(format!("has no tensor `{name}`, which its graph uses"));
        let at = |e: Refusal| Refusal { message: format!("its tensor `{name}` {}", e.message), ..e };
        match self {
            Group::Pickle(all) => all.get(name).cloned().ok_or_else(missing),
            Group::Files(archive, folder, all, storages) => {
                let payload = all.get(name).ok_or_else(missing)?;
                if payload.use_pickle {
                    return pickled(archive, &format!("{folder}{}", payload.path_name)).map_err(at);
                }
                file(payload, storages).map_err(at)
            }
        }
    }
}

/// A tensor in a file of its own.
fn file(payload: &Payload, storages: &Storages<'_>) -> Result<Constant, Refusal> {
    let Some(meta) = &payload.tensor_meta else { return Err(Refusal::new("is no tensor")) };
    let dtype = exported_dtype(meta.dtype).map_err(Refusal::new)?;
    let number = |size: &Size| match size {
        Size::AsInt(n) => Ok(*n),
        Size::AsExpr(_) => Err(Refusal::new("is of an unknown size")),
    };
    let sizes = meta.sizes.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let strides = meta.strides.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let bytes = storages.bytes(&payload.path_name)?;
    storages.strided(&bytes, dtype, number(&meta.storage_offset)?, &sizes, &strides)
}

/// A tensor that was saved by `torch.save` alone.
fn pickled(archive: &Archive, entry: &str) -> Result<Constant, Refusal> {
    let inner = Archive::new(archive.read(entry)?)?;
    let pickle = pickle::Pickle::read(&inner.read("data.pkl")?, pickle::Classes::None)?;
    match pickle.root() {
        Value::Tensor(t) => Storages::folder(&inner, "data/")?.tensor(t),
        _ => Err(Refusal::new("is no tensor")),
    }
}

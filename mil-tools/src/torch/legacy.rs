//! What `torch.save` wrote before 1.6, and writes with `_use_new_zipfile_serialization=False`: pickles one behind the other (a number, a
//! version, facts of the system, the object, the names of the storages), and the bytes of each storage behind its length.

use std::collections::BTreeMap;

use mil_core::weights::Bytes;

use super::{
    dtype,
    pickle::{Classes, Pickle, Value},
    storage::Storages,
};
use crate::import::Refusal;

/// The first pickle: the number 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether this is such a file by its first bytes.
pub(super) fn is_legacy(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// Its object and its storages.
pub(super) fn read(file: &Bytes) -> Result<(Pickle, Storages<'static>), Refusal> {
    let mut at = 0;
    let mut pickle = || -> Result<Pickle, Refusal> {
        let pickle = Pickle::read(&file[at..], Classes::None)?;
        at += pickle.length;
        Ok(pickle)
    };
    let (_, version, system, object, keys) = (pickle()?, pickle()?, pickle()?, pickle()?, pickle()?);
    if *version.root() != Value::Int(1001) {
        return Err(Refusal::new("is of a version of PyTorch's first format that is not known")
            .remedy("load and save it again with PyTorch"));
    }
    if system.entry(system.root(), "little_endian") == Some(&Value::Bool(false)) {
        return Err(Refusal::new("was saved by a machine that stores numbers the other way round (big-endian)")
            .remedy("load and save it again with PyTorch"));
    }
    let sizes = element_sizes(&object);
    let Value::List(keys_in_order) = keys.root() else {
        return Err(Refusal::new("does not say which storages it has"));
    };
    let mut slices = BTreeMap::new();
    for key in keys_in_order {
        let Value::Str(key) = keys.get(*key) else { return Err(Refusal::new("has a storage without name")) };
        let short = || {
            Refusal::new(format!("is truncated: its storage `{}` is not there", key.escape_debug()))
                .remedy("copy it again")
        };
        let each = sizes.get(key).copied();
        let each = each.ok_or_else(|| Refusal::new(format!("has a storage `{}` of no tensor", key.escape_debug())))?;
        let count = file.get(at..).and_then(|rest| rest.first_chunk::<8>().map(|b| i64::from_le_bytes(*b)));
        let length = count.and_then(|n| usize::try_from(n).ok()?.checked_mul(each)).ok_or_else(short)?;
        // Eight bytes were found there.
        let start = at + 8;
        let bytes = start.checked_add(length).and_then(|end| file.get(start..end)).ok_or_else(short)?;
        at = start + length;
        slices.insert(key.clone(), bytes);
    }
    Ok((object, Storages::slices(slices, file.len())))
}

/// Bytes of an element of each storage.
fn element_sizes(object: &Pickle) -> BTreeMap<String, usize> {
    let storages = object.values().filter_map(|v| if let Value::Storage(s) = v { Some(s) } else { None });
    let size = |name: &str| match (dtype::by_name(name), name) {
        (Some(dtype), _) => dtype.bits() / 8,
        (None, "complex64") => 8,
        (None, "complex128") => 16,
        (None, "qint32") => 4,
        // Quantized numbers, and bytes without dtype.
        _ => 1,
    };
    storages.map(|s| (s.key.clone(), size(&s.dtype))).collect()
}

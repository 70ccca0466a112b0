//! Tensors out of storages: dtype, offset, sizes and strides over bytes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use mil_core::{ir::Constant, types::DType, weights::Bytes};

use super::{
    archive::Archive,
    dtype,
    pickle::{StorageRef, TensorRef},
};
use crate::import::Refusal;

/// What tensors that are not stored one element after the other may take, beside the size of the file: theirs are copied in order.
const SMALL: usize = 1 << 26;

/// The storages of a file.
#[derive(Debug)]
pub(super) struct Storages<'a> {
    place: Place<'a>,
    /// Bytes that may still be copied.
    budget: Cell<usize>,
    /// Those that were read, since inflating one again would cost again.
    found: RefCell<BTreeMap<String, Bytes>>,
}

#[derive(Debug)]
enum Place<'a> {
    /// A folder of a zip file, with the slash.
    Folder(&'a Archive, String),
    /// Slices of a file, all of them known.
    Slices,
}

impl<'a> Storages<'a> {
    /// Those in a folder of an archive (`data/`).
    pub(super) fn folder(archive: &'a Archive, folder: &str) -> Result<Storages<'a>, Refusal> {
        if archive.get("byteorder")?.is_some_and(|order| &order[..] == b"big") {
            return Err(Refusal::new("was saved by a machine that stores numbers the other way round (big-endian)")
                .remedy("`torch.serialization.set_default_load_endianness` reads it: save it again"));
        }
        Ok(Storages {
            place: Place::Folder(archive, folder.to_string()),
            budget: Cell::new(archive.len().saturating_add(SMALL)),
            found: RefCell::default(),
        })
    }

    /// These, of a file of `length` bytes.
    pub(super) fn slices(slices: BTreeMap<String, Bytes>, length: usize) -> Storages<'a> {
        let budget = Cell::new(length.saturating_add(SMALL));
        Storages { place: Place::Slices, budget, found: RefCell::new(slices) }
    }

    /// The bytes of a storage.
    pub(super) fn bytes(&self, key: &str) -> Result<Bytes, Refusal> {
        if let Some(bytes) = self.found.borrow().get(key) {
            return Ok(bytes.clone());
        }
        let bytes = match &self.place {
            Place::Folder(archive, folder) => archive.read(&format!("{folder}{key}"))?,
            Place::Slices => return Err(Refusal::new(format!("has no storage `{}`", key.escape_debug()))),
        };
        self.found.borrow_mut().insert(key.to_string(), bytes.clone());
        Ok(bytes)
    }

    /// A tensor of a pickle.
    pub(super) fn tensor(&self, t: &TensorRef) -> Result<Constant, Refusal> {
        let StorageRef { key, count, .. } = &*t.storage;
        let Some(dtype) = dtype::by_name(&t.dtype) else {
            return Err(Refusal::new(format!("is of {}, which MIL does not have", t.dtype)));
        };
        let bytes = self.bytes(key)?;
        if usize::try_from(*count).is_err() {
            return Err(Refusal::new(format!("lies in a storage of {count} elements")));
        }
        self.strided(&bytes, dtype, t.offset, &t.sizes, &t.strides)
    }

    /// Elements of a storage by their offset, sizes and strides, in elements. They share its memory if they lie in order.
    pub(super) fn strided(
        &self,
        storage: &Bytes,
        dtype: DType,
        offset: i64,
        sizes: &[i64],
        strides: &[i64],
    ) -> Result<Constant, Refusal> {
        let impossible = || {
            let found = storage.len();
            Refusal::new(format!(
                "has sizes {sizes:?}, strides {strides:?} and offset {offset} of {dtype}, which its storage of {found} bytes does not hold"
            ))
        };
        let natural = |n: &i64| usize::try_from(*n).ok();
        let shape: Option<Vec<usize>> = sizes.iter().map(natural).collect();
        let steps: Option<Vec<usize>> = strides.iter().map(natural).collect();
        let (Some(shape), Some(steps), Some(offset)) = (shape, steps, natural(&offset)) else {
            return Err(impossible());
        };
        if shape.len() != steps.len() {
            return Err(impossible());
        }
        if shape.contains(&0) {
            return Ok(Constant::from_bytes(dtype, shape, vec![])?);
        }
        let each = dtype.bits() / 8;
        let count = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let length = count.and_then(|n| n.checked_mul(each)).ok_or_else(impossible)?;
        // The place behind the last element.
        let reach =
            shape.iter().zip(&steps).try_fold(offset, |at, (d, step)| (d - 1).checked_mul(*step)?.checked_add(at));
        let end = reach.and_then(|last| last.checked_add(1)?.checked_mul(each)).ok_or_else(impossible)?;
        if end > storage.len() {
            return Err(impossible());
        }
        if in_order(&shape, &steps) {
            // Not beyond `end`: the last of elements in order is at `offset + count - 1`.
            return Ok(Constant::from_bytes(dtype, shape, storage.slice(offset * each..offset * each + length))?);
        }
        let Some(left) = self.budget.get().checked_sub(length) else {
            return Err(Refusal::new(format!("repeats elements of its storage to {length} bytes"))
                .remedy("save tensors with `.contiguous()`"));
        };
        self.budget.set(left);
        Ok(Constant::from_bytes(dtype, shape.clone(), gather(storage, each, offset, &shape, &steps, length))?)
    }
}

/// Whether elements lie one after the other; a stride of a dimension of one element says nothing.
fn in_order(shape: &[usize], steps: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.iter().zip(steps).rev().all(|(d, step)| {
        let fits = *d == 1 || *step == expected;
        expected = expected.saturating_mul(*d);
        fits
    })
}

/// Elements in the order of their indices. All of them are in the storage.
fn gather(storage: &[u8], each: usize, offset: usize, shape: &[usize], steps: &[usize], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length);
    let mut index = vec![0; shape.len()];
    let mut at = offset;
    while out.len() < length {
        out.extend_from_slice(&storage[at * each..(at + 1) * each]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += steps[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= steps[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storages() -> Storages<'static> {
        Storages::slices(BTreeMap::new(), 0)
    }

    fn storage() -> Bytes {
        (0..6u16).flat_map(u16::to_le_bytes).collect::<Vec<u8>>().into()
    }

    fn ints(offset: i64, sizes: &[i64], strides: &[i64]) -> Result<Vec<i64>, String> {
        let c = storages().strided(&storage(), DType::U16, offset, sizes, strides).map_err(|e| e.to_string())?;
        assert_eq!(c.shape().iter().map(|d| *d as i64).collect::<Vec<_>>(), sizes);
        Ok(c.ints().unwrap())
    }

    #[test]
    fn elements_in_order_share_memory() {
        let storage = storage();
        let c = storages().strided(&storage, DType::U16, 1, &[2, 1, 2], &[2, 77, 1]);
        // A stride of one element may lead anywhere; it is not taken.
        assert_eq!(c.unwrap().bytes().unwrap().as_ptr(), storage[2..].as_ptr());
    }

    #[test]
    fn strides_are_followed() {
        assert_eq!(ints(0, &[3, 2], &[1, 3]).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(ints(1, &[2, 3], &[4, 0]).unwrap(), [1, 1, 1, 5, 5, 5]);
        assert_eq!(ints(5, &[], &[]).unwrap(), [5]);
        assert_eq!(ints(9, &[0, 3], &[3, 1]).unwrap(), [0; 0]);
    }

    #[test]
    fn what_is_outside_is_refused() {
        let max = i64::MAX;
        for (offset, sizes, strides) in [
            (0, &[7][..], &[1][..]),
            (6, &[1], &[1]),
            (-1, &[1], &[1]),
            (0, &[-1], &[1]),
            (0, &[2], &[-1]),
            (0, &[2], &[max]),
            (max, &[2], &[max]),
            (0, &[max, max], &[0, 0]),
            (0, &[2, 2], &[1]),
        ] {
            let e = ints(offset, sizes, strides).unwrap_err();
            assert!(e.contains("which its storage of 12 bytes does not hold"), "{e}");
        }
        let e = ints(0, &[1 << 40], &[0]).unwrap_err();
        assert!(e.contains("repeats elements of its storage") && e.contains("contiguous"), "{e}");
    }
}

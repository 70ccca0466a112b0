//! Weights of convolutions and products: packed from what the model has, dense or compressed.

use std::{borrow::Cow, sync::Arc};

use half::f16;
use mil_core::{
    ir::{Constant, ValueId},
    op::Arg,
    ops::constexpr::{ConstexprAffineDequantize, ConstexprBlockwiseShiftScale, ConstexprLutToDense},
    types::DType,
};

use super::super::build::Builder;
use crate::{
    cpu::{
        compressed::Compressed,
        kernels::panels::{Affine, Packer, Panels, Source},
    },
    tensor::{AnyTensor, Data},
};

/// A constant of f16 or f32.
#[derive(Clone)]
pub(super) struct Weight {
    pub(super) id: Option<ValueId>,
    shape: Vec<usize>,
    held: Held,
}

#[derive(Clone)]
enum Held {
    Dense(Arc<AnyTensor>),
    Compressed(Arc<Compressed>),
}

impl Weight {
    /// The weight that an argument is, if it is one.
    pub(super) fn of(b: &Builder<'_>, arg: &Arg) -> Option<Weight> {
        let compressed = arg.id.and_then(|id| b.planner.compressed.get(&id));
        let (shape, dtype, held) = match compressed {
            Some(c) => (c.shape().to_vec(), c.dtype(), Held::Compressed(Arc::clone(c))),
            None => {
                let dense = b.constant(arg)?;
                (dense.shape().to_vec(), dense.dtype(), Held::Dense(dense))
            }
        };
        super::is_float(dtype).then_some(Weight { id: arg.id, shape, held })
    }

    /// Sizes, outermost first.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The tensor, if it is not compressed.
    pub(super) fn plain(&self) -> Option<&AnyTensor> {
        match &self.held {
            Held::Dense(dense) => Some(dense),
            Held::Compressed(_) => None,
        }
    }

    /// All numbers; of a compressed weight unpacked for the caller alone.
    pub(super) fn dense(&self) -> Option<Arc<AnyTensor>> {
        match &self.held {
            Held::Dense(dense) => Some(Arc::clone(dense)),
            Held::Compressed(c) => c.transient().ok(),
        }
    }

    /// The elements as panels take them, whose columns run along dimension `axis`: as compressed as they are, where panels can have them so.
    pub(super) fn elements(&self, axis: usize) -> Option<Elements<'_>> {
        if let Held::Compressed(c) = &self.held
            && let Some(small) = affine(c, axis).or_else(|| blockwise(c, axis)).or_else(|| table(c, axis))
        {
            return Some(small);
        }
        let dense = match &self.held {
            Held::Dense(dense) => Cow::Borrowed(&**dense),
            Held::Compressed(c) => Cow::Owned(Arc::unwrap_or_clone(c.transient().ok()?)),
        };
        Some(match dense {
            Cow::Borrowed(t) => match t.data() {
                Data::F16(v) => Elements::F16(Cow::Borrowed(v)),
                Data::F32(v) => Elements::F32(Cow::Borrowed(v)),
                _ => return None,
            },
            Cow::Owned(t) => match t.into_data() {
                Data::F16(v) => Elements::F16(Cow::Owned(v.into_vec())),
                Data::F32(v) => Elements::F32(Cow::Owned(v.into_vec())),
                _ => return None,
            },
        })
    }
}

/// Elements of a weight. What there is per column is there for all of the dimension that columns run along.
pub(super) enum Elements<'a> {
    F16(Cow<'a, [f16]>),
    F32(Cow<'a, [f32]>),
    Int8 { elements: Cow<'a, [i8]>, columns: Arc<Columns> },
    UInt8 { elements: Cow<'a, [u8]>, columns: Arc<Columns> },
    Lut { elements: Cow<'a, [u8]>, tables: Arc<Tables> },
}

/// What integers stand for, by column.
pub(super) struct Columns {
    scale: Vec<f32>,
    zero: Vec<f32>,
    half: bool,
}

/// Tables of `size` entries, and which each column has.
pub(super) struct Tables {
    entries: Vec<f32>,
    of: Vec<u32>,
    size: usize,
}

impl Elements<'_> {
    /// The elements at some places, in that order.
    pub(super) fn gathered(&self, places: impl Iterator<Item = usize>) -> Elements<'static> {
        match self {
            Elements::F16(v) => Elements::F16(places.map(|i| v[i]).collect()),
            Elements::F32(v) => Elements::F32(places.map(|i| v[i]).collect()),
            Elements::Int8 { elements, columns } => {
                Elements::Int8 { elements: places.map(|i| elements[i]).collect(), columns: Arc::clone(columns) }
            }
            Elements::UInt8 { elements, columns } => {
                Elements::UInt8 { elements: places.map(|i| elements[i]).collect(), columns: Arc::clone(columns) }
            }
            Elements::Lut { elements, tables } => {
                Elements::Lut { elements: places.map(|i| elements[i]).collect(), tables: Arc::clone(tables) }
            }
        }
    }

    /// A matrix of `k` rows and `n` columns, of which `source` says where they are from element `start` on; the first column is number
    /// `first` of the dimension.
    pub(super) fn panels(
        &self,
        by: Packer<'_>,
        (k, n): (usize, usize),
        (start, first): (usize, usize),
        source: Source,
    ) -> Panels {
        let of = |c: &Columns| (c.scale[first..][..n].to_vec(), c.zero[first..][..n].to_vec(), c.half);
        match self {
            Elements::F16(v) => Panels::f16(by, k, n, &v[start..], source),
            Elements::F32(v) => Panels::f32(by, k, n, &v[start..], source),
            Elements::Int8 { elements, columns } => {
                let (scale, zero, half) = of(columns);
                let affine = Affine { scale: &scale, zero: &zero, half };
                Panels::int8(by, (k, n), &elements[start..], source, affine)
            }
            Elements::UInt8 { elements, columns } => {
                let (scale, zero, half) = of(columns);
                let affine = Affine { scale: &scale, zero: &zero, half };
                Panels::uint8(by, (k, n), &elements[start..], source, affine)
            }
            Elements::Lut { elements, tables } => {
                // Only the tables of these columns.
                let of = &tables.of[first..][..n];
                let (low, high) = (of.iter().min().map_or(0, |t| *t), of.iter().max().map_or(0, |t| *t + 1));
                let entries = &tables.entries[low as usize * tables.size..high as usize * tables.size];
                let of = of.iter().map(|t| t - low).collect();
                Panels::lut(by, (k, n), &elements[start..], source, (entries.to_vec(), of, tables.size))
            }
        }
    }
}

/// All numbers of a constant.
fn numbers(arg: &Arg) -> Option<Vec<f32>> {
    Some(AnyTensor::from_constant(arg.constant()?).ok()?.to_f32().ok()?.into_owned())
}

/// Integers of 8 bits or less that stand for something by column.
fn integers(data: &Constant, columns: Columns) -> Option<Elements<'_>> {
    let (bytes, columns) = (data.byte_ints()?, Arc::new(columns));
    Some(match (data.dtype().is_unsigned(), bytes) {
        (true, elements) => Elements::UInt8 { elements, columns },
        (false, Cow::Borrowed(v)) => Elements::Int8 { elements: Cow::Borrowed(bytemuck::cast_slice(v)), columns },
        (false, Cow::Owned(v)) => Elements::Int8 { elements: v.into_iter().map(|b| b as i8).collect(), columns },
    })
}

/// One number or one per group of columns, as one per column.
fn spread(v: &[f32], columns: usize) -> Option<Vec<f32>> {
    if v.is_empty() || !columns.is_multiple_of(v.len()) {
        return None;
    }
    let each = columns / v.len();
    Some(v.iter().flat_map(|v| std::iter::repeat_n(*v, each)).collect())
}

fn affine(c: &Compressed, axis: usize) -> Option<Elements<'_>> {
    let op = c.bind::<ConstexprAffineDequantize>()?;
    let rank = c.shape().len() as i64;
    let along = if op.axis < 0 { op.axis + rank } else { op.axis };
    let columns = c.shape()[axis];
    let (scale, zero) = (numbers(&op.scale)?, numbers(&op.zero_point)?);
    if (scale.len() > 1 || zero.len() > 1) && usize::try_from(along) != Ok(axis) {
        return None;
    }
    let half = c.dtype() == DType::F16;
    integers(
        c.constant("quantized_data")?,
        Columns { scale: spread(&scale, columns)?, zero: spread(&zero, columns)?, half },
    )
}

/// Whether groups split no dimension but the one that columns run along.
fn by_column(groups: &[usize], axis: usize) -> bool {
    groups.iter().enumerate().all(|(d, n)| d == axis || *n == 1)
}

fn blockwise(c: &Compressed, axis: usize) -> Option<Elements<'_>> {
    let op = c.bind::<ConstexprBlockwiseShiftScale>()?;
    if !by_column(&op.scale.shape().fixed()?, axis) {
        return None;
    }
    let columns = c.shape()[axis];
    let zero = match &op.offset {
        Some(offset) => numbers(offset)?,
        None => vec![0.0],
    };
    let half = c.dtype() == DType::F16;
    // The op rounds the difference from an f16 offset to f16: that changes nothing where both are integers.
    let rounds = half && op.offset.as_ref().is_some_and(|o| o.dtype() == DType::F16);
    if rounds && !zero.iter().all(|z| z.fract() == 0.0 && z.abs() <= 1024.0) {
        return None;
    }
    let columns = Columns { scale: spread(&numbers(&op.scale)?, columns)?, zero: spread(&zero, columns)?, half };
    integers(c.constant("data")?, columns)
}

fn table(c: &Compressed, axis: usize) -> Option<Elements<'_>> {
    let op = c.bind::<ConstexprLutToDense>()?;
    let (columns, entries, lut) = (c.shape()[axis], numbers(&op.lut)?, op.lut.shape().fixed()?);
    let indices = c.constant("indices")?;
    let (size, elements) = if op.shape.is_some() {
        // Packed into bytes, as many bits each as the table needs.
        let dtype = match entries.len() {
            2 => DType::U1,
            4 => DType::U2,
            16 => DType::U4,
            64 => DType::U6,
            256 => DType::U8,
            _ => return None,
        };
        let indices = Constant::from_bytes(dtype, c.shape(), indices.bytes()?.clone()).ok()?;
        (entries.len(), Cow::Owned(indices.byte_ints()?.into_owned()))
    } else {
        let (groups, [size, 1]) = lut.split_at(lut.len().checked_sub(2)?) else { return None };
        if !by_column(groups, axis) {
            return None;
        }
        (*size, indices.byte_ints()?)
    };
    // A table per column can be larger than the columns.
    if size == 0 || entries.len() * size_of::<f32>() + elements.len() >= elements.len() * c.dtype().bits() / 8 {
        return None;
    }
    let count = entries.len() / size;
    let of = (0..columns).map(|i| u32::try_from(i / columns.div_ceil(count)).ok()).collect::<Option<_>>()?;
    Some(Elements::Lut { elements, tables: Arc::new(Tables { entries, of, size }) })
}

#[cfg(test)]
mod tests;

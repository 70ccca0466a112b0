//! What a package is validated on.

use std::path::PathBuf;

use mil_core::types::Dim;
use mil_runtime::{AnyTensor, InputInfo, Model};

use crate::{
    ToolError,
    inputs::{made_up, read},
};

/// Tensors by the names of inputs.
pub(super) type Sample = Vec<(String, AnyTensor)>;

/// A sample of each file.
pub(super) fn read_all(files: &[PathBuf]) -> Result<Vec<Sample>, ToolError> {
    files.iter().map(|f| read(f)).collect()
}

/// Made-up inputs, which are tried one after another until the model takes them. Integers are 1, which is a place in most tables and
/// says in a mask that something is there, or else 0. Sizes are the declared ones, and where they may be anything, then larger ones.
pub(super) fn made_up_samples(model: &Model) -> impl Iterator<Item = Result<Sample, ToolError>> + '_ {
    let flexible = model.inputs().iter().any(|i| i.ty.shape.iter().any(|d| d.fixed().is_none()));
    let sizes = [None, Some(16), Some(64), Some(256)];
    let sizes = sizes.into_iter().take(if flexible { 4 } else { 1 });
    let integers = model.inputs().iter().any(|i| !i.ty.dtype.is_float());
    let numbers = [1, 0].into_iter().take(if integers { 2 } else { 1 });
    sizes.flat_map(move |size| numbers.clone().map(move |n| (size, n))).map(|(size, n)| {
        let shapes = match size {
            None => model.input_shapes(Vec::<(String, Vec<usize>)>::new())?,
            Some(size) => model.inputs().iter().map(|i| sized(i, size)).collect(),
        };
        sample(model, &shapes, n)
    })
}

/// A shape whose flexible sizes are as near to this as they may be.
fn sized(info: &InputInfo, size: i64) -> Vec<usize> {
    let one = |d: &Dim| {
        let nearest = |s: &mil_core::types::Symbol| match s.domain() {
            mil_core::types::Domain::OneOf(sizes) => sizes.iter().copied().min_by_key(|n| n.abs_diff(size)),
            domain => {
                let (min, max) = domain.bounds();
                Some(size.max(min.unwrap_or(1)).min(max.unwrap_or(i64::MAX)))
            }
        };
        let n = d.as_symbol().and_then(nearest).or(d.value()).unwrap_or(1);
        usize::try_from(n).unwrap_or(1)
    };
    info.ty.shape.iter().map(one).collect()
}

fn sample(model: &Model, shapes: &[Vec<usize>], integer: i64) -> Result<Sample, ToolError> {
    let inputs = model.inputs().iter().zip(shapes).enumerate();
    let one = |(i, (info, shape)): (usize, (&InputInfo, &Vec<usize>))| {
        let tensor = made_up(info, shape, i as u64)?;
        let tensor = match info.ty.dtype {
            float if float.is_float() => tensor,
            dtype => AnyTensor::from_i64(dtype, &shape[..], vec![integer; tensor.count()])?,
        };
        Ok((info.name.clone(), tensor))
    };
    inputs.map(one).collect()
}

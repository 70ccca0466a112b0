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

/// Made-up inputs, in the sizes that are tried one after another until the model takes them: the declared ones, and for sizes that may
/// be anything, larger ones.
pub(super) fn made_up_samples(model: &Model) -> Vec<Result<Sample, ToolError>> {
    let declared = || -> Result<Sample, ToolError> {
        let shapes = model.input_shapes(Vec::<(String, Vec<usize>)>::new())?;
        sample(model, &shapes)
    };
    let mut all = vec![declared()];
    if model.inputs().iter().any(|i| i.ty.shape.iter().any(|d| d.fixed().is_none())) {
        all.extend([16, 64, 256].map(|size| {
            let shapes: Vec<Vec<usize>> = model.inputs().iter().map(|i| sized(i, size)).collect();
            sample(model, &shapes)
        }));
    }
    all
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

fn sample(model: &Model, shapes: &[Vec<usize>]) -> Result<Sample, ToolError> {
    let inputs = model.inputs().iter().zip(shapes).enumerate();
    inputs.map(|(i, (info, shape))| Ok((info.name.clone(), made_up(info, shape, i as u64)?))).collect()
}

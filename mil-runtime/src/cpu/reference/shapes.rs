//! The ops' own rules, on the sizes that a run has.

use mil_core::{
    op::{self, Arg, Infer},
    types::Opset,
};

use super::Cx;
use crate::{
    error::RunError,
    tensor::{AnyTensor, checked_count},
};

/// An argument with the type that its tensor has now, without symbols.
pub(super) fn actual(arg: &Arg, tensor: &AnyTensor) -> Arg {
    Arg { ty: tensor.ty(), ..arg.clone() }
}

/// The same for an optional argument.
pub(super) fn actual_of(arg: &Option<Arg>, cx: &Cx<'_>) -> Result<Option<Arg>, RunError> {
    arg.as_ref().map(|arg| Ok(actual(arg, &*cx.get(arg)?))).transpose()
}

/// The shape of the only output, by the op's rule: sizes that inference had to trust are checked with it. `op` has
/// [`actual`] arguments.
pub(super) fn output_shape(op: &impl Infer) -> Result<Vec<usize>, RunError> {
    let outputs = op.infer(&mut op::Cx::new(Opset::iOS18, "", &[]))?;
    let ty = outputs.first().and_then(|o| o.ty.tensor());
    let shape = ty.and_then(|ty| Some((ty.dtype, ty.shape.fixed()?)));
    let (dtype, shape) = shape.ok_or_else(|| RunError::new("the sizes of the output are not known"))?;
    checked_count(dtype, &shape)?;
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mil_core::{ops::conv::Conv, types::DType};

    fn arg(shape: &[usize]) -> Arg {
        Arg { id: None, ty: mil_core::types::TensorType::new(DType::F32, shape), known: None, is_const: false }
    }

    fn conv(x: &[usize], pad: i64) -> Conv {
        Conv {
            x: arg(x),
            weight: arg(&[4, 3, 3]),
            bias: None,
            strides: vec![1],
            pad_type: mil_core::ops::conv::PadType::Custom,
            pad: vec![pad, pad],
            dilations: vec![1],
            groups: 1,
        }
    }

    #[test]
    fn rules_hold_while_running() {
        assert_eq!(output_shape(&conv(&[2, 3, 9], 0)).unwrap(), [2, 4, 7]);
        let e = output_shape(&conv(&[2, 5, 9], 0)).unwrap_err();
        assert!(e.to_string().contains("`x` has 5 channels"), "{e}");
    }

    #[test]
    fn sizes_do_not_exhaust_memory() {
        let e = output_shape(&conv(&[1 << 20, 3, 9], 1 << 20)).unwrap_err();
        assert!(e.to_string().contains("too large"), "{e}");
    }
}

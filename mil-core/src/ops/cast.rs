//! `cast`.

use crate::{
    op::{Arg, Cx, Infer, Inferred, Op, OpDef, OpError},
    types::{DType, Opset},
};
use mil_derive::Op;

use super::fold;

pub(crate) const OPS: &[&OpDef] = &[Cast::DEF];

/// The same numbers as another dtype.
///
/// A float becomes an integer by truncation toward zero; one that the integer cannot hold becomes its nearest end, and NaN
/// becomes 0. An integer becomes a narrower one by its low bits. A number becomes a bool by whether it is not 0.
///
/// # Constraints
/// - C1 `dtype` is one that `x` may have in this opset.
#[derive(Op, Clone, Debug)]
#[op(name = "cast", since = iOS15)]
#[domain(T = F16 | F32 | I32 | Bool, iOS17 = F16 | F32 | I8 | I16 | I32 | U8 | U16 | Bool)]
pub struct Cast {
    /// The operand.
    #[dtype(T)]
    pub x: Arg,
    /// The dtype of the result: `"fp16"`, `"fp32"`, `"int32"`, `"bool"`, and since iOS17 `"int8"`, `"int16"`, `"uint8"`,
    /// `"uint16"`.
    #[dtype(String)]
    pub dtype: DType,
}

impl Infer for Cast {
    fn infer(&self, cx: &mut Cx<'_>) -> Result<Vec<Inferred>, OpError> {
        let taken = |opset| Self::DEF.params[0].allowed(opset).is_some_and(|a| a.dtypes.contains(&self.dtype));
        if !taken(cx.opset) {
            let message = format!("`dtype` cannot be \"{}\" in opset {}", self.dtype.mil_name(), cx.opset); // C1
            let newer = Opset::ALL.into_iter().find(|o| taken(*o));
            let note = match newer {
                Some(opset) => format!("set `opset = {opset}`"),
                None => "models compute with fp16, fp32, int8, int16, int32, uint8, uint16 and bool".into(),
            };
            return Err(OpError::at("dtype", message).note(note));
        }
        Ok(vec![Inferred::known(self.x.ty.with_dtype(self.dtype), fold::cast(&self.x, self.dtype))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ir::Constant,
        mb,
        ops::testing::{fails, fails_in, infer_in, infers},
    };
    use half::f16;

    #[test]
    fn shapes() {
        infers(|g| mb::cast(g.t("Tensor<f32, 2, H>"), "int32"), "Tensor<i32, 2, H>");
        infers(|g| mb::cast(g.t("Tensor<i32>"), DType::F16), "Tensor<f16>");
        infers(|g| mb::cast(g.t("Tensor<u16, 3>"), "int8"), "Tensor<i8, 3>");
    }

    #[test]
    fn c1_dtypes() {
        fails(|g| mb::cast(g.t("Tensor<f32, 2>"), "int64"), "dtype", "cannot be \"int64\"");
        fails(|g| mb::cast(g.t("Tensor<f32, 2>"), "float"), "dtype", "names no dtype");
        fails_in(Opset::iOS16, |g| mb::cast(g.t("Tensor<f32, 2>"), "int8"), "dtype", "set `opset = iOS17`");
        fails_in(Opset::iOS16, |g| mb::cast(g.t("Tensor<u8, 2>"), "fp32"), "x", "opset iOS17 takes it");
    }

    fn constant(value: Constant, dtype: DType) -> Option<Constant> {
        let outputs = infer_in(Opset::iOS18, |g| mb::cast(g.c(value), dtype)).unwrap();
        outputs[0].known().and_then(|k| k.constant()).cloned()
    }

    #[test]
    fn known_values() {
        let ints = || Constant::vector(&[-1i32, 0, 300]);
        assert_eq!(constant(ints(), DType::F32), Some(Constant::vector(&[-1f32, 0.0, 300.0])));
        assert_eq!(constant(ints(), DType::Bool), Some(Constant::vector(&[true, false, true])));
        assert_eq!(constant(ints(), DType::I16), Some(Constant::vector(&[-1i16, 0, 300])));
        assert_eq!(constant(ints(), DType::U16), None);
        assert_eq!(constant(ints(), DType::I8), None);
        let floats = Constant::vector(&[-1.9f32, 0.5, 2.5]);
        assert_eq!(constant(floats.clone(), DType::I32), Some(Constant::vector(&[-1i32, 0, 2])));
        assert_eq!(constant(floats.clone(), DType::Bool), Some(Constant::vector(&[true, true, true])));
        let halves = Constant::vector(&[-1.9f32, 0.5, 2.5].map(f16::from_f32));
        assert_eq!(constant(floats, DType::F16), Some(halves));
        assert_eq!(constant(Constant::scalar(f32::NAN), DType::I32), None);
        assert_eq!(constant(Constant::scalar(true), DType::F32), Some(Constant::scalar(1f32)));
        assert_eq!(constant(Constant::scalar(3e9f32), DType::I32), None);
    }
}

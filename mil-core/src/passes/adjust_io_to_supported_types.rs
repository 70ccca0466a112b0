//! Inputs and outputs of dtypes that Core ML hands over.

use crate::{
    ir::ValueId,
    mb,
    op::OpError,
    types::{DType, Type},
    validate::interface_dtype,
};

use super::{Context, Pass, Report, Rewriter};

/// Gives inputs and outputs dtypes that the opset allows there, and casts inside: integers become i32, all else f32 (f16 before
/// iOS16, bool). Descriptions follow. What cannot be cast stays, and is told.
#[derive(Clone, Copy, Debug)]
pub struct AdjustIoToSupportedTypes;

impl Pass for AdjustIoToSupportedTypes {
    fn name(&self) -> &'static str {
        "adjust_io_to_supported_types"
    }

    fn doc(&self) -> &'static str {
        "casts inputs and outputs whose dtypes a model cannot take or give"
    }

    fn function(&self, rw: &mut Rewriter, _: &Context<'_>, report: &mut Report) -> Result<(), OpError> {
        for v in rw.function().inputs.clone() {
            let Some((from, to)) = change(rw, v, false) else { continue };
            rw.set_input_dtype(v, to);
            let (x, name) = (rw.value(v), rw.data(v).name.clone());
            let body = rw.body();
            match rw.at_start(body).push(mb::cast(&x, from)) {
                Ok(inner) => {
                    rw.replace_uses(v, inner.id())?;
                    report.note(format!("the input `{name}` is of {to} now, and was of {from}"));
                    report.count("cast input");
                }
                Err(_) => {
                    rw.set_input_dtype(v, from);
                    report.note(format!("the input `{name}` of {from} stays: there is no cast to it in this opset"));
                }
            }
        }
        for v in rw.function().outputs().to_vec() {
            let Some((from, to)) = change(rw, v, true) else { continue };
            let (x, name) = (rw.value(v), rw.data(v).name.clone());
            let body = rw.body();
            match rw.after_value(v).push(mb::cast(&x, to)) {
                Ok(outer) => {
                    rw.replace_uses_where(v, outer.id(), |by| by == super::Use::Block(body))?;
                    rw.describe_output_dtype(&name, to);
                    report.note(format!("the output `{name}` is of {to} now, and was of {from}"));
                    report.count("cast output");
                }
                Err(_) => {
                    report.note(format!("the output `{name}` of {from} stays: there is no cast from it in this opset"));
                }
            }
        }
        Ok(())
    }
}

/// The dtype of an input or output, and the one it must have instead; `None` if it is allowed.
fn change(rw: &Rewriter, v: ValueId, output: bool) -> Option<(DType, DType)> {
    let Type::Tensor(t) = rw.ty(v) else { return None };
    interface_dtype(rw.function(), &rw.data(v).name, t, output).err()?;
    Some((t.dtype, if t.dtype.is_int() { DType::I32 } else { DType::F32 }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        graph::Graph,
        ir::{
            Feature,
            feature::{ArrayFeature, FeatureKind},
        },
        passes::testing::{ops, outputs},
        types::{Opset, TensorType},
        validate::validate,
    };

    fn adjusted(opset: Opset, dtype: DType) -> (String, Vec<&'static str>, Report) {
        let mut g = Graph::new("main", opset);
        let x = g.input("x", TensorType::new(dtype, [2]));
        let y = g.push(mb::identity(&x)).unwrap();
        let mut p = g.finish([("y", y)]).unwrap();
        let array = ArrayFeature { dtype: Some(dtype), shape: vec![2], ..ArrayFeature::default() };
        let kind = FeatureKind::Array(array);
        let feature =
            |name: &str| Feature { name: name.into(), description: String::new(), optional: false, kind: kind.clone() };
        let f = p.functions.get_mut("main").unwrap();
        (f.input_features, f.output_features) = (vec![feature("x")], vec![feature("y")]);
        let mut report = Report::new("");
        AdjustIoToSupportedTypes.program(&mut p, &Context::default(), &mut report).unwrap();
        validate(&p).unwrap_or_else(|e| panic!("{e}\n{p}"));
        assert_eq!(outputs(&p), ["y"]);
        let f = p.main().unwrap();
        (f.value(f.inputs[0]).ty.to_string(), ops(&p), report)
    }

    #[test]
    fn what_is_not_allowed_is_cast() {
        let cast = vec!["cast", "identity", "cast"];
        let ty = |opset, dtype| {
            let (ty, ops, report) = adjusted(opset, dtype);
            assert_eq!((ops, report.changes()), (cast.clone(), 2), "{dtype}");
            ty
        };
        assert_eq!(ty(Opset::iOS15, DType::F16), "Tensor<f32, 2>");
        assert_eq!(ty(Opset::iOS17, DType::Bool), "Tensor<f32, 2>");
        assert_eq!(ty(Opset::iOS17, DType::I16), "Tensor<i32, 2>");
    }

    #[test]
    fn what_is_allowed_stays() {
        assert_eq!(adjusted(Opset::iOS16, DType::F16).1, ["identity"]);
        assert_eq!(adjusted(Opset::iOS15, DType::I32).2.changes(), 0);
    }
}

//! What each opset has.

use super::report::Report;
use crate::{
    ir::{Function, Program, ValueId, feature::FeatureKind},
    op::OpError,
    types::{DType, Dim, Opset, TensorType, Type},
};

/// No function speaks a newer opset than the program, whose specification version the model has. Older ones are what a
/// model is put together of.
pub(super) fn opsets(program: &Program, report: &mut Report<'_>) {
    for (name, f) in program.functions.iter().filter(|(_, f)| f.opset > program.opset) {
        let message =
            format!("function `{}` is of opset {}, the program of {}", name.escape_debug(), f.opset, program.opset);
        report.whole(message, "give the program the newest opset of its functions");
    }
}

/// Several functions, or functions that are described one by one, need iOS18 (specification version 9).
pub(super) fn multifunction(program: &Program, report: &mut Report<'_>) {
    let several = program.functions.len() > 1;
    if (several || program.multifunction) && program.opset < Opset::iOS18 {
        let message = format!("several functions need opset iOS18, found {}", program.opset);
        report.whole(message, "set `opset = iOS18`, or save each function as a model of its own");
    }
    if several && !program.multifunction {
        let message = format!("{} functions, but the program is not marked as multi-function", program.functions.len());
        report.whole(message, "set `multifunction`");
    }
}

/// Constants are of dtypes that the opset has: 16-bit integers since iOS16 (indices of `gather`), integers below 8 bits since iOS18. What an
/// op takes is the op's rule; this is about what the file can hold.
pub(super) fn constant_dtypes(f: &Function, report: &mut Report<'_>) {
    for id in f.walk() {
        let Some(constant) = f.op(id).constant() else { continue };
        let since = match constant.dtype() {
            DType::I16 | DType::U16 => Opset::iOS16,
            d if d.is_sub_byte() => Opset::iOS18,
            _ => continue,
        };
        if f.opset < since {
            let message = format!("constants of {} need opset {since}, found {}", constant.dtype(), f.opset);
            report.op(id, OpError::new(message).note(format!("set `opset = {since}`, or use a wider dtype")));
        }
    }
}

/// States need iOS18, are of f16, and of fixed size.
///
/// Source: coremltools' `InterfaceValidators.cpp`.
pub(super) fn states(f: &Function, report: &mut Report<'_>) {
    for (name, state) in f.inputs.iter().filter_map(|id| match &f.value(*id).ty {
        Type::State(t) => Some((f.value(*id).name.escape_debug(), t)),
        _ => None,
    }) {
        if f.opset < Opset::iOS18 {
            report.whole(format!("the state `{name}` needs opset iOS18, found {}", f.opset), "set `opset = iOS18`");
        }
        if state.dtype != DType::F16 {
            report.whole(format!("the state `{name}` must be of f16, found {}", state.dtype), "make it a state of f16");
        }
        if state.shape.iter().any(|d| Dim::fixed(d).is_none()) {
            let message = format!("the state `{name}` must be of fixed size, found {}", state.shape);
            report.whole(message, "give it the largest size");
        }
    }
}

/// Inputs and outputs are of f32 or i32; f16 since iOS16, i8 since iOS26. Grayscale images may be of u8 since iOS17, and
/// a classifier's label is a string or an i64.
///
/// Core ML: "invalid or unspecified dataType. It must be DOUBLE, FLOAT32, FLOAT16 or INT32"; "FLOAT16 multi array needs
/// spec >= 7".
pub(super) fn interface_dtypes(f: &Function, report: &mut Report<'_>) {
    let check = |id: ValueId, output: bool, report: &mut Report<'_>| {
        let value = f.value(id);
        let Type::Tensor(t) = &value.ty else { return };
        let Err(message) = interface_dtype(f, &value.name, t, output) else { return };
        let what = if output { "output" } else { "input" };
        let message = format!("the {what} `{}` is of {}, {message}", value.name.escape_debug(), t.dtype);
        report.value(id, message, "convert it with `mb::cast`");
    };
    f.inputs.iter().for_each(|id| check(*id, false, report));
    f.outputs().iter().for_each(|id| check(*id, true, report));
}

/// Whether an input or output may be of this type, in the function's opset; if not, why.
pub(crate) fn interface_dtype(f: &Function, name: &str, t: &TensorType, output: bool) -> Result<(), String> {
    let features = if output { &f.output_features } else { &f.input_features };
    let kind = features.iter().find(|d| d.name == name).map(|d| &d.kind);
    let label = output && !f.predicted_feature.is_empty();
    let since = match t.dtype {
        DType::F32 | DType::I32 => Opset::iOS15,
        DType::F16 => Opset::iOS16,
        DType::I8 => Opset::iOS26,
        DType::U8 if matches!(kind, Some(FeatureKind::Image(_))) => Opset::iOS17,
        DType::String | DType::I64 if label && t.rank() == 0 => Opset::iOS15,
        _ => return Err("which a model cannot take or give: f32, i32, f16 (iOS16) and i8 (iOS26) are allowed".into()),
    };
    if f.opset < since { Err(format!("which needs opset {since}, found {}", f.opset)) } else { Ok(()) }
}

/// A function without inputs needs iOS18.
///
/// Core ML: "Empty input is only valid in specification version >= 9".
pub(super) fn no_inputs(f: &Function, report: &mut Report<'_>) {
    if f.inputs.is_empty() && f.opset < Opset::iOS18 {
        let message = format!("a function without inputs needs opset iOS18, found {}", f.opset);
        report.whole(message, "set `opset = iOS18`, or add an input");
    }
}

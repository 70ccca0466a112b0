//! Types in MIL's spelling.

use std::fmt::{self, Write};

use super::Style;
use crate::types::{Dim, TensorType, Type};

/// A type; sizes as expressions if the style says so, else `?`.
pub(super) fn write_type(out: &mut dyn Write, ty: &Type, style: Style) -> fmt::Result {
    match ty {
        Type::Tensor(t) => write_tensor_type(out, t, style),
        Type::State(t) => {
            out.write_str("state<")?;
            write_tensor_type(out, t, style)?;
            out.write_char('>')
        }
        Type::List(element, length) => {
            out.write_str("list<")?;
            write_type(out, element, style)?;
            out.write_str(", ")?;
            write_size(out, length, style)?;
            out.write_char('>')
        }
        Type::Tuple(types) => {
            out.write_str("tuple<")?;
            for (i, ty) in types.iter().enumerate() {
                out.write_str(if i == 0 { "" } else { ", " })?;
                write_type(out, ty, style)?;
            }
            out.write_char('>')
        }
        Type::Dictionary(key, value) => {
            out.write_str("dict<")?;
            write_type(out, key, style)?;
            out.write_str(", ")?;
            write_type(out, value, style)?;
            out.write_char('>')
        }
    }
}

pub(super) fn write_tensor_type(out: &mut dyn Write, ty: &TensorType, style: Style) -> fmt::Result {
    if style.short && ty.rank() == 0 {
        return out.write_str(ty.dtype.mil_name());
    }
    write!(out, "tensor<{}, [", ty.dtype.mil_name())?;
    for (i, size) in ty.shape.iter().enumerate() {
        out.write_str(if i == 0 { "" } else { ", " })?;
        write_size(out, size, style)?;
    }
    out.write_str("]>")
}

fn write_size(out: &mut dyn Write, size: &Dim, style: Style) -> fmt::Result {
    if style.symbols || size.value().is_some() { write!(out, "{size}") } else { out.write_char('?') }
}

//! Types in MIL's spelling.

use std::fmt::{self, Write};

use crate::types::{Dim, TensorType, Type};

/// A type; sizes as expressions if `symbols`, else `?`.
pub(super) fn write_type(out: &mut dyn Write, ty: &Type, symbols: bool) -> fmt::Result {
    match ty {
        Type::Tensor(t) => write_tensor_type(out, t, symbols),
        Type::State(t) => {
            out.write_str("state<")?;
            write_tensor_type(out, t, symbols)?;
            out.write_char('>')
        }
        Type::List(element, length) => {
            out.write_str("list<")?;
            write_type(out, element, symbols)?;
            out.write_str(", ")?;
            write_size(out, length, symbols)?;
            out.write_char('>')
        }
        Type::Tuple(types) => {
            out.write_str("tuple<")?;
            for (i, ty) in types.iter().enumerate() {
                out.write_str(if i == 0 { "" } else { ", " })?;
                write_type(out, ty, symbols)?;
            }
            out.write_char('>')
        }
        Type::Dictionary(key, value) => {
            out.write_str("dict<")?;
            write_type(out, key, symbols)?;
            out.write_str(", ")?;
            write_type(out, value, symbols)?;
            out.write_char('>')
        }
    }
}

pub(super) fn write_tensor_type(out: &mut dyn Write, ty: &TensorType, symbols: bool) -> fmt::Result {
    write!(out, "tensor<{}, [", ty.dtype.mil_name())?;
    for (i, size) in ty.shape.iter().enumerate() {
        out.write_str(if i == 0 { "" } else { ", " })?;
        write_size(out, size, symbols)?;
    }
    out.write_str("]>")
}

fn write_size(out: &mut dyn Write, size: &Dim, symbols: bool) -> fmt::Result {
    if symbols || size.value().is_some() { write!(out, "{size}") } else { out.write_char('?') }
}

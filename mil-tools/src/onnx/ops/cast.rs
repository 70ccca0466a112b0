//! Changes of dtype.

use mil_core::types::DType;

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("Cast", cast).but("bf16 and f64 stay f32; not to 8-bit floats or strings"),
    Entry::new("CastLike", cast_like).but("as of `Cast`"),
];

fn cast(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let to = n.dtype_attr("to")?.ok_or_else(|| Refusal::new("its attribute `to` is missing"))?;
    Ok(vec![cast_to(n, &x, to)?])
}

fn cast_like(n: &mut Node<'_, '_>) -> Lowered {
    let (x, like) = (n.input(0)?, n.input(1)?);
    Ok(vec![cast_to(n, &x, like.dtype)?])
}

fn cast_to(n: &mut Node<'_, '_>, x: &Tensor, to: DType) -> Result<Tensor, Refusal> {
    if matches!(to, DType::F8E4M3FN | DType::F8E5M2) && to != x.dtype {
        let message = format!("MIL has no values of {to}, and nothing that rounds to it");
        return Err(Refusal::new(message).remedy("quantize to 8-bit integers, or leave the cast out"));
    }
    n.convert(x, to)
}

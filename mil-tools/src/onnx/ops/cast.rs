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

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType::F32};

    use crate::onnx::testing::{Net, int};

    #[test]
    fn floats_are_cut_off_and_narrow_integers_wrap() {
        let cast = |to| {
            let x = Constant::vector(&[-1.7f32, 2.9, 300.0]);
            Net::new(13).constant("x", x).node("Cast", "x", "y", &[int("to", to)]).numbers("y")
        };
        assert_eq!(cast(6), [-1.0, 2.0, 300.0]);
        assert_eq!(cast(3), [-1.0, 2.0, 44.0]);
        assert_eq!(cast(9), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn there_is_no_rounding_to_8_bit_floats() {
        let net = |to| Net::new(19).input("x", F32, &[2]).node("Cast", "x", "y", &[int("to", to)]).import("y");
        assert!(net(17).unwrap_err().contains("nothing that rounds"));
        assert!(net(14).unwrap_err().contains("its attribute `to` is of element type COMPLEX64"));
        assert!(net(99).unwrap_err().contains("unknown element type"));
    }
}

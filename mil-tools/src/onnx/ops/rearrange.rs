//! Elements moved to other places of their tensor.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("DepthToSpace", depth_to_space),
    Entry::new("ReverseSequence", reverse_sequence),
    Entry::new("SpaceToDepth", space_to_depth),
    Entry::new("Trilu", trilu),
];

fn block_size(n: &Node<'_, '_>) -> Result<i64, Refusal> {
    n.int("blocksize")?.ok_or_else(|| Refusal::new("its attribute `blocksize` is missing"))
}

/// What `f` makes of a tensor of floats: MIL's ops that rearrange take nothing else.
fn as_float(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    f: impl FnOnce(&mut Node<'_, '_>, &Value) -> Result<Value, Refusal>,
) -> Lowered {
    if x.value.dtype().is_some_and(DType::is_float) {
        let y = f(n, &x.value)?;
        return n.one(y, x.dtype);
    }
    if x.dtype.bits() > 24 {
        return Err(Refusal::new(format!("MIL's op takes floats alone, which do not hold all of {}", x.dtype)));
    }
    let wide = n.cast(&x.value, DType::F32)?;
    let y = f(n, &wide)?;
    let y = n.cast(&y, x.value.dtype().unwrap_or(DType::I32))?;
    n.one(y, x.dtype)
}

fn depth_to_space(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let size = block_size(n)?;
    let rows = match &n.string_or("mode", "DCR")?[..] {
        "DCR" => false,
        "CRD" => true,
        mode => return Err(Refusal::new(format!("its mode `{mode}` is none that ONNX has"))),
    };
    as_float(n, &x, |n, x| if rows { n.push(mb::pixel_shuffle(x, size)) } else { n.push(mb::depth_to_space(x, size)) })
}

fn space_to_depth(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let size = block_size(n)?;
    as_float(n, &x, |n, x| n.push(mb::space_to_depth(x, size)))
}

fn reverse_sequence(n: &mut Node<'_, '_>) -> Lowered {
    let (x, lengths) = (n.input(0)?, n.input(1)?);
    let (seq, batch) = (n.int_or("time_axis", 0)?, n.int_or("batch_axis", 1)?);
    let y = n.push(mb::reverse_sequence(&x.value, &lengths.value).seq_axis(seq).batch_axis(batch))?;
    n.one(y, x.dtype)
}

fn trilu(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let upper = n.int_or("upper", 1)? != 0;
    if x.rank() < 2 {
        return Err(Refusal::new(format!("takes matrices, found {}", x.value.ty())));
    }
    if x.dims().iter().any(|d| d.is(0)) {
        return n.one(x.value, x.dtype);
    }
    let k = match n.optional(1)? {
        Some(k) => k,
        None => Tensor::new(n.number(DType::I32, 0.0)?, DType::I64),
    };
    let number = k.ints().and_then(|k| k.first().copied());
    // The diagonal itself and those on the side that is kept.
    let y = match number {
        Some(k) if upper && k <= 0 => n.push(mb::band_part(&x.value).lower(-k).upper(-1i64))?,
        Some(k) if !upper && k >= 0 => n.push(mb::band_part(&x.value).lower(-1i64).upper(k))?,
        _ => {
            let (rows, columns) = (n.size(&x.value, x.rank() - 2)?, n.size(&x.value, x.rank() - 1)?);
            let (rows, columns) = (n.iota(&rows)?, n.iota(&columns)?);
            let (rows, columns) = (n.expand_dims(&rows, &[1])?, n.expand_dims(&columns, &[0])?);
            let diagonal = n.push(mb::sub(&columns, &rows))?;
            let k = n.squeeze(&k.value, &(0..k.rank()).collect::<Vec<_>>())?;
            let kept = match upper {
                true => n.push(mb::greater_equal(&diagonal, &k))?,
                false => n.push(mb::less_equal(&diagonal, &k))?,
            };
            let zero = n.number(x.value.dtype().unwrap_or(DType::F32), 0.0)?;
            n.push(mb::select(&kept, &x.value, &zero))?
        }
    };
    n.one(y, x.dtype)
}

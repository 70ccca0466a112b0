//! Elements moved to other places of their tensor.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("Col2Im", col2im).but("image or block shapes that are computed"),
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

/// Blocks of columns are added up in an image: each element has a place there that is known, or falls on the margin.
fn col2im(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let image = n.known_ints(1, "image's shape")?.unwrap_or_default();
    let block = n.known_ints(2, "block's shape")?.unwrap_or_default();
    let rank = image.len();
    let dilations = n.ints_attr("dilations")?.unwrap_or_else(|| vec![1; rank]);
    let strides = n.ints_attr("strides")?.unwrap_or_else(|| vec![1; rank]);
    let pads = n.ints_attr("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
    let lengths = [block.len(), dilations.len(), strides.len(), pads.len() / 2];
    let positive = [&image, &block, &dilations, &strides].iter().all(|l| l.iter().all(|v| (1..1 << 24).contains(v)));
    if lengths.iter().any(|l| *l != rank) || rank == 0 || !positive || pads.iter().any(|v| !(0..1 << 24).contains(v)) {
        return Err(Refusal::new("its shapes, strides, dilations and pads do not agree"));
    }
    // How many blocks there are along each axis.
    let steps: Vec<i64> = (0..rank)
        .map(|i| (image[i] + pads[i] + pads[rank + i] - dilations[i] * (block[i] - 1) - 1).div_euclid(strides[i]) + 1)
        .collect();
    let product = |l: &[i64]| l.iter().try_fold(1i64, |n, v| n.checked_mul(*v)).filter(|n| *n < 1 << 24);
    let counts = (product(&image), product(&block), product(&steps));
    let (Some(area), Some(inside), Some(blocks)) = counts else {
        return Err(Refusal::new("its image is too large"));
    };
    if blocks < 1 || inside * blocks > 1 << 26 || x.rank() != 3 || x.size(2).is_some_and(|s| s as i64 != blocks) {
        return Err(Refusal::new(format!("{} does not hold {blocks} blocks", x.value.ty())));
    }
    let digits = |mut i: i64, sizes: &[i64]| {
        let mut all = vec![0; sizes.len()];
        for (digit, size) in all.iter_mut().zip(sizes).rev() {
            (*digit, i) = (i % size, i / size);
        }
        all
    };
    let mut places = Vec::with_capacity((inside * blocks) as usize);
    for within in 0..inside {
        let within = digits(within, &block);
        for step in 0..blocks {
            let step = digits(step, &steps);
            let at = (0..rank).map(|i| step[i] * strides[i] + within[i] * dilations[i] - pads[i]);
            let place = at.zip(&image).try_fold(0, |n, (at, size)| (0..*size).contains(&at).then_some(n * size + at));
            places.push(place.unwrap_or(area));
        }
    }
    let sizes = n.sizes(&x.value)?;
    let (batch, dtype) = (sizes[0].clone(), x.value.dtype().unwrap_or(DType::F32));
    let Some(channels) = x.size(1).map(|c| c as i64 / inside).filter(|c| *c > 0) else {
        return Err(Refusal::new(format!("the channels of {} are not known, or too few", x.value.ty())));
    };
    let columns = n.reshape(&x.value, &[batch.clone(), Size::Fixed(channels), Size::Fixed(inside * blocks)])?;
    let empty = n.filled(&[batch.clone(), Size::Fixed(channels), Size::Fixed(area + 1)], dtype, 0.0)?;
    let places = n.ints(&places)?;
    let sums = n.push(mb::scatter(&empty, &places, &columns).axis(2i64).mode("add"))?;
    let sums = n.range_of(&sums, 2, Size::Fixed(0), Size::Fixed(area))?;
    let mut shape = vec![batch, Size::Fixed(channels)];
    shape.extend(image.into_iter().map(Size::Fixed));
    let y = n.reshape(&sums, &shape)?;
    n.one(y, x.dtype)
}

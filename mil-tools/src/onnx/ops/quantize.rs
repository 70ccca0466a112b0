//! Quantized tensors: integers that stand for `scale * (integer - zero point)`.
//!
//! Constants that are dequantized stay packed. Else it is arithmetic of floats, which is exact for integers of 8 and 16 bits;
//! from iOS17 on MIL has ops for those of 8 bits.

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Opset},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Tensor, carrier, literal};

pub(super) const OPS: &[Entry] = &[
    Entry::new("DequantizeLinear", dequantize_linear),
    Entry::new("DynamicQuantizeLinear", dynamic_quantize_linear),
    Entry::new("QuantizeLinear", quantize_linear).but("not to floats of 8 bits"),
];

/// Constants below this many elements are computed rather than kept packed: a bias, a table of a few numbers.
const PACKED_FROM: usize = 256;

/// Blocks are told apart by a list of as many integers as there are elements along the axis: none is that long.
const MOST_PLACES: usize = 1 << 24;

/// Where scales and zero points lie along.
#[derive(Clone, Copy)]
struct Layout {
    axis: i64,
    /// How many elements along the axis share a scale; 0 if there are no blocks.
    block: usize,
}

impl Layout {
    fn read(n: &Node<'_, '_>) -> Result<Layout, Refusal> {
        let block = n.int_or("block_size", 0)?;
        let block = usize::try_from(block).map_err(|_| Refusal::new(format!("its `block_size` is {block}")))?;
        Ok(Layout { axis: n.int_or("axis", 1)?, block })
    }

    /// A scale or a zero point so that it broadcasts with `x`.
    fn spread(self, n: &mut Node<'_, '_>, parameter: &Value, x: &Tensor) -> Result<Value, Refusal> {
        let shape = parameter.shape().map(|s| s.to_vec()).unwrap_or_default();
        match &shape[..] {
            [] => Ok(parameter.clone()),
            [one] if one.is(1) => n.squeeze(parameter, &[0]),
            [_] if self.block == 0 => n.along(parameter, x.axis(self.axis)?, x.rank()),
            _ if self.block > 0 && shape.len() == x.rank() => {
                let axis = x.axis(self.axis)?;
                let size = x.size(axis).ok_or_else(|| {
                    Refusal::new("blocks along an axis of an unknown size are not supported")
                        .remedy("say the input's shape: `--input NAME=1,3,224,224`")
                })?;
                if size > MOST_PLACES {
                    return Err(Refusal::new(format!("{size} elements in blocks along an axis are too many")));
                }
                let places: Vec<i64> = (0..size).map(|i| (i / self.block) as i64).collect();
                let places = n.ints(&places)?;
                n.push(mb::gather(parameter, &places).axis(axis as i64))
            }
            _ => Err(Refusal::new(format!("its scales {} do not fit {}", parameter.ty(), x.value.ty()))),
        }
    }
}

/// The range of an integer as floats.
fn range(dtype: DType) -> Result<(f64, f64), Refusal> {
    let (min, max) = dtype.int_range().filter(|_| dtype.bits() <= 16).ok_or_else(|| {
        Refusal::new(format!("MIL has nothing that rounds to {dtype}")).remedy("quantize to integers of 8 bits")
    })?;
    Ok((min as f64, max as f64))
}

/// Floats as integers: rounded, raised by the zero point, and cut off at the ends of the dtype.
pub(super) fn rounded(
    n: &mut Node<'_, '_>,
    quotient: &Value,
    zero: Option<&Value>,
    dtype: DType,
) -> Result<Value, Refusal> {
    let (min, max) = range(dtype)?;
    let y = n.push(mb::round(quotient))?;
    // f16 has not all integers of 16 bits.
    let mut y = n.cast(&y, DType::F32)?;
    if let Some(zero) = zero {
        let zero = n.cast(zero, DType::F32)?;
        y = n.push(mb::add(&y, &zero))?;
    }
    let y = n.push(mb::clip(&y, min, max))?;
    n.cast(&y, DType::I32)
}

fn quantize_linear(n: &mut Node<'_, '_>) -> Lowered {
    let (x, scale, zero) = (n.input(0)?, n.input(1)?, n.optional(2)?);
    let said = n.dtype_attr("output_dtype")?;
    let dtype = zero.as_ref().map(|z| z.dtype).or(said).unwrap_or(DType::U8);
    range(dtype)?;
    let layout = Layout::read(n)?;
    let precision = n.dtype_attr("precision")?.and_then(carrier);
    let floats = x.value.dtype().filter(|d| d.is_float()).unwrap_or(DType::F32);
    let floats = precision.unwrap_or(floats);
    let (v, s) = (n.cast(&x.value, floats)?, n.cast(&scale.value, floats)?);
    let v = Tensor::new(v, floats);
    if let Some(parameters) = Parameters::constant(n, &v, &s, zero.as_ref(), dtype, layout)? {
        let call = mb::quantize(&v.value, parameters.scale, dtype);
        let call = parameters.zero.into_iter().fold(call, |call, z| call.zero_point(z));
        let y = n.push(parameters.axis.into_iter().fold(call, |call, a| call.axis(a)))?;
        let y = n.cast(&y, DType::I32)?;
        return n.one(y, dtype);
    }
    let s = layout.spread(n, &s, &x)?;
    let zero = zero.map(|z| layout.spread(n, &z.value, &x)).transpose()?;
    let quotient = n.push(mb::real_div(&v.value, &s))?;
    let y = rounded(n, &quotient, zero.as_ref(), dtype)?;
    n.one(y, dtype)
}

/// What MIL's ops for integers of 8 bits take.
struct Parameters {
    scale: Constant,
    zero: Option<Constant>,
    axis: Option<i64>,
}

impl Parameters {
    /// If this is said for such a target, and all is known.
    fn constant(
        n: &mut Node<'_, '_>,
        x: &Tensor,
        scale: &Value,
        zero: Option<&Tensor>,
        dtype: DType,
        layout: Layout,
    ) -> Result<Option<Parameters>, Refusal> {
        let known = |v: &Value| v.known().and_then(|k| k.constant()).cloned();
        let fits = n.opset() >= Opset::iOS17 && matches!(dtype, DType::I8 | DType::U8) && layout.block == 0;
        let Some(scale) = known(scale).filter(|c| fits && c.floats().is_some_and(|s| s.iter().all(|s| *s != 0.0)))
        else {
            return Ok(None);
        };
        let zeros = match zero {
            None => None,
            Some(z) => match z.ints() {
                Some(ints) => Some(ints),
                None => return Ok(None),
            },
        };
        let count = scale.count();
        let vector = count != 1;
        if zeros.as_ref().is_some_and(|z| z.len() != count) || scale.shape().len() > 1 {
            return Ok(None);
        }
        let shape = if vector { vec![count] } else { vec![] };
        let Some(bytes) = scale.bytes().cloned() else { return Ok(None) };
        let scale = Constant::from_bytes(scale.dtype(), shape.clone(), bytes)?;
        let zero = zeros.map(|z| Constant::integers(dtype, shape, &z)).transpose()?;
        let axis = if vector { Some(x.axis(layout.axis)? as i64) } else { None };
        Ok(Some(Parameters { scale, zero, axis }))
    }
}

fn dequantize_linear(n: &mut Node<'_, '_>) -> Lowered {
    let (scale, zero) = (n.input(1)?, n.optional(2)?);
    let dtype = n.dtype_attr("output_dtype")?.unwrap_or(scale.dtype);
    let Some(floats) = carrier(dtype).filter(|d| d.is_float()) else {
        return Err(Refusal::new(format!("its result is of {dtype}, which is no float")));
    };
    let layout = Layout::read(n)?;
    let s = n.cast(&scale.value, floats)?;
    if let Some(y) = packed(n, 0, &s, zero.as_ref(), layout)? {
        return n.one(y, dtype);
    }
    let x = n.input(0)?;
    if x.constant().is_none()
        && let Some(parameters) = Parameters::constant(n, &x, &s, zero.as_ref(), x.dtype, layout)?
    {
        let narrow = n.push(mb::cast(&x.value, x.dtype))?;
        let call = mb::dequantize(&narrow, parameters.scale);
        let call = parameters.zero.into_iter().fold(call, |call, z| call.zero_point(z));
        let y = n.push(parameters.axis.into_iter().fold(call, |call, a| call.axis(a)))?;
        return n.one(y, dtype);
    }
    let zero = zero.map(|z| layout.spread(n, &z.value, &x)).transpose()?;
    let wide = difference(n, &x, zero.as_ref())?;
    let s = layout.spread(n, &s, &x)?;
    let s = n.cast(&s, DType::F32)?;
    let y = n.push(mb::mul(&wide, &s))?;
    let y = n.cast(&y, floats)?;
    n.one(y, dtype)
}

/// Integers less their zero point, as f32, which has all integers up to 2^24. Those of 32 bits are subtracted before.
pub(super) fn difference(n: &mut Node<'_, '_>, x: &Tensor, zero: Option<&Value>) -> Result<Value, Refusal> {
    let Some(zero) = zero else { return n.cast(&x.value, DType::F32) };
    if x.dtype.bits() > 16 && x.dtype.is_int() {
        let zero = n.cast(zero, DType::I32)?;
        let y = n.push(mb::sub(&x.value, &zero))?;
        return n.cast(&y, DType::F32);
    }
    let (x, zero) = (n.cast(&x.value, DType::F32)?, n.cast(zero, DType::F32)?);
    n.push(mb::sub(&x, &zero))
}

/// An input that is a constant of few bits, with scales and zero points that are known, stays packed. `None` if that cannot be
/// said, or is not worth it.
fn packed(
    n: &mut Node<'_, '_>,
    i: usize,
    scale: &Value,
    zero: Option<&Tensor>,
    layout: Layout,
) -> Result<Option<Value>, Refusal> {
    let Some(data) = n.stored(i).filter(|c| c.count() >= PACKED_FROM && !c.shape().is_empty()) else { return Ok(None) };
    let (dtype, rank) = (data.dtype(), data.shape().len());
    if !matches!(dtype, DType::I4 | DType::U4 | DType::I8 | DType::U8) {
        return Ok(None);
    }
    let known = scale.known().and_then(|k| k.constant()).cloned();
    let (Some(scale), zeros) = (known, zero.map(Tensor::ints)) else { return Ok(None) };
    let (Some(bytes), false) = (scale.bytes().cloned(), zeros == Some(None)) else { return Ok(None) };
    let (count, zeros) = (scale.count(), zeros.flatten());
    if zeros.as_ref().is_some_and(|z| z.len() != count) {
        return Ok(None);
    }
    let axis = match count {
        1 => 0,
        _ => crate::import::axis_of(layout.axis, rank)?,
    };
    if layout.block == 0 && dtype.bits() == 8 {
        if count != 1 && (scale.shape().len() != 1 || count != data.shape()[axis]) {
            return Ok(None);
        }
        n.needs(Opset::iOS16, "a weight of 8 bits")?;
        let shape = if count == 1 { vec![] } else { vec![count] };
        let zeros = Constant::integers(dtype, shape.clone(), &zeros.unwrap_or(vec![0; count]))?;
        let scale = Constant::from_bytes(scale.dtype(), shape, bytes)?;
        return n.push(mb::constexpr_affine_dequantize(data, zeros, scale, axis as i64)).map(Some);
    }
    // One scale per block of each dimension: blocks are as long as the dimension, or one element, or as is said.
    let blocks: Vec<usize> = match (count, scale.shape().len()) {
        (1, _) => vec![1; rank],
        (_, 1) if layout.block == 0 => (0..rank).map(|a| if a == axis { count } else { 1 }).collect(),
        (_, r) if layout.block > 0 && r == rank => scale.shape().to_vec(),
        _ => return Ok(None),
    };
    if blocks.iter().zip(data.shape()).any(|(blocks, size)| *blocks == 0 || size % blocks != 0)
        || (layout.block > 0 && count != 1 && blocks[axis] * layout.block != data.shape()[axis])
    {
        return Ok(None);
    }
    n.needs(Opset::iOS18, "a weight that is quantized in blocks, or to 4 bits,")?;
    let zeros = zeros.map(|z| Constant::integers(dtype, blocks.clone(), &z)).transpose()?;
    let scale = Constant::from_bytes(scale.dtype(), blocks, bytes)?;
    let call = mb::constexpr_blockwise_shift_scale(data, scale);
    let call = zeros.into_iter().fold(call, |call, z| call.offset(z));
    n.push(call).map(Some)
}

/// An input of integers less its zero point, as f32; a constant stays packed. A vector of zero points runs along `axis`.
pub(super) fn centered(n: &mut Node<'_, '_>, i: usize, zero: Option<usize>, axis: i64) -> Result<Tensor, Refusal> {
    let zero = match zero {
        Some(i) => n.optional(i)?,
        None => None,
    };
    let one = n.number(DType::F32, 1.0)?;
    let rank = n.stored(i).map_or(0, |c| c.shape().len());
    let vector = zero.as_ref().and_then(Tensor::ints).filter(|z| z.len() > 1).map(|z| z.len());
    let scale = match vector {
        None => one,
        Some(count) => n.constant(Constant::vector(&vec![1f32; count])),
    };
    // The axis of a matrix; vectors have but one.
    let axis = if rank == 1 { 0 } else { axis };
    let layout = Layout { axis, block: 0 };
    if let Some(y) = packed(n, i, &scale, zero.as_ref(), layout)? {
        return Ok(Tensor::new(y, DType::F32));
    }
    let x = n.input(i)?;
    let layout = Layout { axis: if x.rank() == 1 { 0 } else { axis }, block: 0 };
    let zero = match zero {
        // Zero points of the tensor's rank broadcast as they are.
        Some(z) if z.rank() > 1 => Some(z.value),
        Some(z) => Some(layout.spread(n, &z.value, &x)?),
        None => None,
    };
    let y = difference(n, &x, zero.as_ref())?;
    Ok(Tensor::new(y, DType::F32))
}

/// To `u8`, with the scale and zero point that the tensor's range asks for, 0 being in it.
fn dynamic_quantize_linear(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let flat = if x.rank() == 0 { n.expand_dims(&x.value, &[0])? } else { x.value.clone() };
    let low = n.push(mb::reduce_min(&flat).keep_dims(false))?;
    let low = n.push(mb::minimum(&low, literal(DType::F32, 0.0)))?;
    let high = n.push(mb::reduce_max(&flat).keep_dims(false))?;
    let high = n.push(mb::maximum(&high, literal(DType::F32, 0.0)))?;
    let span = n.push(mb::sub(&high, &low))?;
    let scale = n.push(mb::real_div(&span, 255.0))?;
    let low = n.push(mb::mul(&low, -1.0))?;
    let zero = n.push(mb::real_div(&low, &scale))?;
    let zero = rounded(n, &zero, None, DType::U8)?;
    let quotient = n.push(mb::real_div(&x.value, &scale))?;
    let y = rounded(n, &quotient, Some(&zero), DType::U8)?;
    Ok(vec![Tensor::new(y, DType::U8), Tensor::new(scale, DType::F32), Tensor::new(zero, DType::U8)])
}

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::{
            DType::{self, F32, I4, I8, U4, U8},
            Opset,
        },
    };

    use crate::onnx::testing::{Net, int};

    fn ints(dtype: DType, shape: &[usize]) -> Constant {
        let count: usize = shape.iter().product();
        let values: Vec<i64> = (0..count as i64).map(|v| v % 7).collect();
        Constant::integers(dtype, shape, &values).unwrap()
    }

    /// `x @ dequantized(w)`, and what is done about it in the oldest opset that can say it.
    fn weight(w: Constant, scale: Constant, attributes: &[(&str, i64)]) -> (Opset, Vec<&'static str>) {
        let attributes: Vec<_> = attributes.iter().map(|(name, i)| int(name, *i)).collect();
        let zeros = Constant::integers(w.dtype(), scale.shape(), &vec![1; scale.count()]).unwrap();
        let net = || {
            let net = Net::new(21).constant("w", w.clone()).constant("s", scale.clone()).constant("z", zeros.clone());
            net.input("x", F32, &[16, 64]).node("DequantizeLinear", "w s z", "d", &attributes).node(
                "Add",
                "x d",
                "y",
                &[],
            )
        };
        (net().import("y").unwrap().main().unwrap().opset, net().ops("y"))
    }

    #[test]
    fn constants_stay_packed() {
        let affine = ["constexpr_affine_dequantize", "add"].to_vec();
        let blocks = ["constexpr_blockwise_shift_scale", "add"].to_vec();
        let scale = |shape: &[usize]| Constant::new(shape, &vec![0.5f32; shape.iter().product()]).unwrap();
        assert_eq!(weight(ints(I8, &[16, 64]), scale(&[]), &[]), (Opset::iOS16, affine.clone()));
        assert_eq!(weight(ints(U8, &[16, 64]), scale(&[16]), &[("axis", 0)]), (Opset::iOS16, affine));
        assert_eq!(weight(ints(I4, &[16, 64]), scale(&[64]), &[]), (Opset::iOS18, blocks.clone()));
        let blocked = [("axis", 1), ("block_size", 32)];
        assert_eq!(weight(ints(U4, &[16, 64]), scale(&[16, 2]), &blocked), (Opset::iOS18, blocks));
        // A few numbers are computed.
        assert_eq!(weight(ints(I8, &[64]), scale(&[]), &[]), (Opset::iOS15, vec!["add"]));
    }

    #[test]
    fn the_numbers_are_right() {
        let net = Net::new(21).constant("x", Constant::integers(I8, [2, 2], &[-8, 0, 4, 6]).unwrap());
        let net = net.constant("s", Constant::vector(&[0.5f32, 2.0])).constant("z", Constant::vector(&[1i8, -1]));
        let net = net.node("DequantizeLinear", "x s z", "y", &[]);
        assert_eq!(net.numbers("y"), [-4.5, 2.0, 1.5, 14.0]);
        let net = Net::new(21).constant("x", Constant::vector(&[-1f32, 0.5, 1.5, 1000.0, -1000.0]));
        let net = net.constant("s", Constant::scalar(1f32)).constant("z", Constant::scalar(3u8));
        assert_eq!(net.node("QuantizeLinear", "x s z", "y", &[]).numbers("y"), [2.0, 3.0, 5.0, 255.0, 0.0]);
    }

    #[test]
    fn newer_systems_have_ops() {
        let net = Net::new(19).input("x", F32, &[4]).target(Opset::iOS17);
        let net = net.constant("s", Constant::scalar(0.1f32)).constant("z", Constant::scalar(3u8));
        let net = net.node("QuantizeLinear", "x s z", "q", &[]).node("DequantizeLinear", "q s z", "y", &[]);
        assert_eq!(net.ops("y"), ["quantize", "cast", "cast", "dequantize"]);
    }

    #[test]
    fn there_are_no_8_bit_floats() {
        let net = Net::new(21).input("x", F32, &[4]).constant("s", Constant::scalar(0.1f32));
        let net = net.node("QuantizeLinear", "x s", "y", &[int("output_dtype", 17)]);
        assert!(net.import("y").unwrap_err().contains("quantize to integers of 8 bits"));
    }
}

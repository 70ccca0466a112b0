//! Tensors made from nothing: constants, ranges, random numbers, windows.

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Dim},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor, carrier, literal};

const OTHER_NUMBERS: &str = "a seed gives other numbers than elsewhere";

pub(super) const OPS: &[Entry] = &[
    Entry::new("Bernoulli", bernoulli).but(OTHER_NUMBERS),
    Entry::new("BlackmanWindow", blackman_window),
    Entry::new("Constant", constant).but("not sparse tensors or strings"),
    Entry::new("ConstantOfShape", constant_of_shape),
    Entry::new("EyeLike", eye_like),
    Entry::new("HammingWindow", hamming_window),
    Entry::new("HannWindow", hann_window),
    Entry::new("Multinomial", multinomial).but(OTHER_NUMBERS),
    Entry::new("RandomNormal", random_normal).but(OTHER_NUMBERS),
    Entry::new("RandomNormalLike", random_normal_like).but(OTHER_NUMBERS),
    Entry::new("RandomUniform", random_uniform).but(OTHER_NUMBERS),
    Entry::new("RandomUniformLike", random_uniform_like).but(OTHER_NUMBERS),
    Entry::new("Range", range),
];

fn constant(n: &mut Node<'_, '_>) -> Lowered {
    let constant = if let Some(c) = n.tensor_attr("value")? {
        c
    } else if let Some(v) = n.float("value_float")? {
        Constant::scalar(v)
    } else if let Some(v) = n.floats_attr("value_floats")? {
        Constant::vector(&v)
    } else if let Some(v) = n.int("value_int")? {
        Constant::scalar(v)
    } else if let Some(v) = n.ints_attr("value_ints")? {
        Constant::vector(&v)
    } else if n.has("sparse_value") {
        return Err(Refusal::new("its tensor is sparse").remedy("store it densely"));
    } else if n.has("value_string") || n.has("value_strings") {
        return Err(Refusal::new("it is of strings, of which MIL has no values"));
    } else {
        return Err(Refusal::new("it has no value"));
    };
    Ok(vec![n.tensor(&constant)?])
}

fn constant_of_shape(n: &mut Node<'_, '_>) -> Lowered {
    let shape = n.input(0)?;
    let value = n.tensor_attr("value")?.unwrap_or_else(|| Constant::scalar(0f32));
    let dtype = value.dtype();
    let carried = n.tensor(&value)?;
    let number = carried.numbers().filter(|v| v.len() == 1);
    let number = number.ok_or_else(|| Refusal::new("its value is not one number"))?[0];
    let to = carried.value.dtype().unwrap_or(DType::F32);
    let sizes = listed(n, &shape)?;
    let y = n.filled(&sizes, to, number)?;
    n.one(y, dtype)
}

/// The sizes in a list.
fn listed(n: &mut Node<'_, '_>, shape: &Tensor) -> Result<Vec<Size>, Refusal> {
    if let Some(known) = shape.ints() {
        if known.iter().any(|d| *d < 0) {
            return Err(Refusal::new(format!("the shape {known:?} has negative sizes")));
        }
        return Ok(known.into_iter().map(Size::Fixed).collect());
    }
    let rank = shape.size(0).filter(|_| shape.rank() == 1);
    let rank = rank.ok_or_else(|| n.must_be_known(0, "shape"))?;
    let dims = shape.known_dims();
    let size = |axis: usize| dims.as_ref().and_then(|d| d.get(axis)).and_then(Dim::fixed);
    (0..rank)
        .map(|axis| match size(axis) {
            Some(size) => Ok(size.into()),
            None => {
                let at = axis as i64;
                Ok(Size::Value(n.push(mb::slice_by_index(&shape.value, [at], [at + 1]))?))
            }
        })
        .collect()
}

/// Ones where the column is the row and `k`.
fn eye_like(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let dtype = n.dtype_attr("dtype")?.unwrap_or(x.dtype);
    let k = n.int_or("k", 0)?;
    if x.rank() != 2 {
        return Err(Refusal::new(format!("a matrix is expected, found {}", x.value.ty())));
    }
    let (rows, columns) = (n.size(&x.value, 0)?, n.size(&x.value, 1)?);
    let rows = places(n, rows)?;
    let rows = n.push(mb::add(&rows, k))?;
    let rows = n.expand_dims(&rows, &[1])?;
    let columns = places(n, columns)?;
    let y = n.push(mb::equal(&rows, &columns))?;
    Ok(vec![n.convert(&Tensor::new(y, DType::Bool), dtype)?])
}

/// `[0, 1, .., size - 1]` of `i32`.
fn places(n: &mut Node<'_, '_>, size: Size) -> Result<Value, Refusal> {
    let end = match size {
        Size::Fixed(size) => n.number(DType::I32, size as f64)?,
        Size::Value(v) => n.squeeze(&v, &[0])?,
    };
    n.push(mb::range_1d(&end, 0, 1))
}

fn range(n: &mut Node<'_, '_>) -> Lowered {
    let (start, limit, delta) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let dtype = start.dtype;
    let one = |t: &Tensor| t.numbers().and_then(|v| v.first().copied());
    let step = one(&delta);
    if step == Some(0.0) {
        return Err(Refusal::new("its step is 0"));
    }
    if let (Some(start), Some(limit), Some(step)) = (one(&start), one(&limit), step)
        && (limit - start) * step <= 0.0
    {
        let none = n.filled(&[Size::Fixed(0)], carrier(dtype).unwrap_or(DType::F32), 0.0)?;
        return n.one(none, dtype);
    }
    // A range that leads away from its limit is empty; MIL refuses it when it runs.
    let dim = |t: &Tensor| t.known_dims().and_then(|d| d.first().cloned());
    let leads = match (dim(&start), dim(&limit), step) {
        (Some(start), Some(limit), Some(step)) if step > 0.0 => (limit - start).at_least(0),
        (Some(start), Some(limit), Some(_)) => (start - limit).at_least(0),
        _ => false,
    };
    let end = if leads {
        limit.value.clone()
    } else {
        match step {
            Some(step) if step > 0.0 => n.push(mb::maximum(&limit.value, &start.value))?,
            Some(_) => n.push(mb::minimum(&limit.value, &start.value))?,
            None => {
                let up = n.push(mb::greater(&delta.value, literal(dtype, 0.0)))?;
                let high = n.push(mb::maximum(&limit.value, &start.value))?;
                let low = n.push(mb::minimum(&limit.value, &start.value))?;
                n.select(&up, &high, &low)?
            }
        }
    };
    let y = n.push(mb::range_1d(&end, &start.value, &delta.value))?;
    n.one(y, dtype)
}

/// The seed of random numbers: a float in ONNX, -1 in MIL for other numbers each time.
fn seed(n: &Node<'_, '_>) -> Result<i64, Refusal> {
    Ok(n.float("seed")?.map_or(-1, |s| {
        let whole = s >= 0.0 && s.fract() == 0.0 && s < 2f32.powi(31);
        if whole { s as i64 } else { i64::from(s.to_bits() >> 1) }
    }))
}

/// The dtype of what is drawn, and the one in which it is: MIL draws floats.
fn drawn(n: &Node<'_, '_>, or: DType) -> Result<(DType, DType), Refusal> {
    let dtype = n.dtype_attr("dtype")?.unwrap_or(or);
    Ok((dtype, if dtype == DType::F16 { DType::F16 } else { DType::F32 }))
}

fn shape_attr(n: &mut Node<'_, '_>) -> Result<Vec<Size>, Refusal> {
    let shape = n.ints_attr("shape")?.ok_or_else(|| Refusal::new("it has no shape"))?;
    Ok(shape.into_iter().map(Size::Fixed).collect())
}

fn random_normal(n: &mut Node<'_, '_>) -> Lowered {
    let sizes = shape_attr(n)?;
    normal(n, &sizes, DType::F32)
}

fn random_normal_like(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let sizes = n.sizes(&x.value)?;
    normal(n, &sizes, x.dtype)
}

fn normal(n: &mut Node<'_, '_>, sizes: &[Size], or: DType) -> Lowered {
    let (dtype, carried) = drawn(n, or)?;
    let (mean, scale) = (n.float_or("mean", 0.0)?, n.float_or("scale", 1.0)?);
    let (mean, scale) =
        (literal(carried, mean.into()).constant(carried)?, literal(carried, scale.into()).constant(carried)?);
    let seed = seed(n)?;
    let shape = n.shape_of_sizes(sizes)?;
    let y = n.push(mb::random_normal(shape).mean(mean).stddev(scale).seed(seed))?;
    Ok(vec![n.convert(&Tensor::new(y, carried), dtype)?])
}

fn random_uniform(n: &mut Node<'_, '_>) -> Lowered {
    let sizes = shape_attr(n)?;
    let (dtype, carried) = drawn(n, DType::F32)?;
    uniform(n, &sizes, dtype, carried)
}

fn random_uniform_like(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let sizes = n.sizes(&x.value)?;
    let (dtype, carried) = drawn(n, x.dtype)?;
    uniform(n, &sizes, dtype, carried)
}

fn uniform(n: &mut Node<'_, '_>, sizes: &[Size], dtype: DType, carried: DType) -> Lowered {
    let (low, high) = (n.float_or("low", 0.0)?, n.float_or("high", 1.0)?);
    let y = uniform_values(n, sizes, carried, low, high)?;
    Ok(vec![n.convert(&Tensor::new(y, carried), dtype)?])
}

fn uniform_values(n: &mut Node<'_, '_>, sizes: &[Size], dtype: DType, low: f32, high: f32) -> Result<Value, Refusal> {
    let (low, high) = (literal(dtype, low.into()).constant(dtype)?, literal(dtype, high.into()).constant(dtype)?);
    let seed = seed(n)?;
    let shape = n.shape_of_sizes(sizes)?;
    n.push(mb::random_uniform(shape).low(low).high(high).seed(seed))
}

/// Ones as probable as the input says.
fn bernoulli(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let dtype = n.dtype_attr("dtype")?.unwrap_or(x.dtype);
    let carried = x.value.dtype().unwrap_or(DType::F32);
    let sizes = n.sizes(&x.value)?;
    let drawn = uniform_values(n, &sizes, carried, 0.0, 1.0)?;
    let y = n.push(mb::less(&drawn, &x.value))?;
    Ok(vec![n.convert(&Tensor::new(y, DType::Bool), dtype)?])
}

/// Classes, each as often as the logarithm of its weight says.
fn multinomial(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let dtype = n.dtype_attr("dtype")?.unwrap_or(DType::I32);
    let (count, seed) = (n.int_or("sample_size", 1)?, seed(n)?);
    let y = n.push(mb::random_categorical(&x.value).mode("logits").size(count).seed(seed))?;
    Ok(vec![n.convert(&Tensor::new(y, x.dtype), dtype)?])
}

fn hann_window(n: &mut Node<'_, '_>) -> Lowered {
    window(n, &[0.5, -0.5])
}

fn hamming_window(n: &mut Node<'_, '_>) -> Lowered {
    window(n, &[25.0 / 46.0, -21.0 / 46.0])
}

fn blackman_window(n: &mut Node<'_, '_>) -> Lowered {
    window(n, &[0.42, -0.5, 0.08])
}

/// A sum of cosines: `terms[k] * cos(2 * pi * k * i / N)`, where N is the window's size, or one less if it is not periodic.
fn window(n: &mut Node<'_, '_>, terms: &[f64]) -> Lowered {
    let size = n.input(0)?;
    let dtype = n.dtype_attr("output_datatype")?.unwrap_or(DType::F32);
    let places = n.push(mb::range_1d(&size.value, 0, 1))?;
    let places = n.cast(&places, DType::F32)?;
    let mut period = n.cast(&size.value, DType::F32)?;
    if n.int_or("periodic", 1)? == 0 {
        period = n.push(mb::sub(&period, 1.0))?;
    }
    let turns = n.push(mb::real_div(&places, &period))?;
    let mut sum: Option<Value> = None;
    for (k, term) in terms.iter().enumerate().skip(1) {
        let angle = n.push(mb::mul(&turns, std::f64::consts::TAU * k as f64))?;
        let cos = n.push(mb::cos(&angle))?;
        let cos = n.push(mb::mul(&cos, *term))?;
        sum = Some(match sum {
            None => n.push(mb::add(&cos, terms[0]))?,
            Some(sum) => n.push(mb::add(&sum, &cos))?,
        });
    }
    let y = sum.ok_or_else(|| Refusal::new("it has no terms"))?;
    Ok(vec![n.convert(&Tensor::new(y, DType::F32), dtype)?])
}

#[cfg(test)]
mod tests {
    use mil_core::ir::Constant;

    use crate::onnx::testing::{Net, int};

    #[test]
    fn ranges_may_be_empty() {
        let net = |start: i64, limit: i64, step: i64| {
            let net = Net::new(11).constant("a", Constant::scalar(start)).constant("b", Constant::scalar(limit));
            net.constant("c", Constant::scalar(step)).node("Range", "a b c", "y", &[])
        };
        assert_eq!(net(1, 7, 2).numbers("y"), [1.0, 3.0, 5.0]);
        assert_eq!(net(5, 1, -2).numbers("y"), [5.0, 3.0]);
        assert_eq!(net(5, 1, 1).numbers("y"), [0.0; 0]);
        assert!(net(5, 1, 0).import("y").unwrap_err().contains("its step is 0"));
    }

    #[test]
    fn filled_tensors_need_no_elements() {
        let net = |shape: &[i64]| {
            let net = Net::new(11).constant("s", Constant::vector(shape));
            net.node("ConstantOfShape", "s", "y", &[])
        };
        assert_eq!(net(&[2, 2]).numbers("y"), [0.0; 4]);
        assert_eq!(net(&[2, 0]).numbers("y"), [0.0; 0]);
        assert_eq!(net(&[]).numbers("y"), [0.0]);
        assert!(net(&[-1]).import("y").unwrap_err().contains("negative sizes"));
    }

    #[test]
    fn diagonals_are_moved() {
        let net = Net::new(9).constant("x", Constant::new([2, 3], &[0f32; 6]).unwrap());
        let net = net.node("EyeLike", "x", "y", &[int("k", 1)]);
        assert_eq!(net.numbers("y"), [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    }
}

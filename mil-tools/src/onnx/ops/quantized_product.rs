//! Products and convolutions of integers. They are computed in f32, which is exact while sums stay below 2^24.

use mil_core::{graph::Value, mb, types::DType};

use super::{
    Entry, Lowered, Node,
    conv::convolved,
    quantize::{centered, rounded},
};
use crate::import::Refusal;

pub(super) const OPS: &[Entry] = &[
    Entry::new("ConvInteger", conv_integer).but("sums above 2^24 are rounded"),
    Entry::new("MatMulInteger", matmul_integer).but("sums above 2^24 are rounded"),
    Entry::new("QLinearConv", qlinear_conv).but("sums above 2^24 are rounded"),
    Entry::new("QLinearMatMul", qlinear_matmul).but("sums above 2^24 are rounded"),
];

fn matmul_integer(n: &mut Node<'_, '_>) -> Lowered {
    // Zero points may be of the rows of the first, and of the columns of the second.
    let (a, b) = (centered(n, 0, Some(2), -2)?, centered(n, 1, Some(3), -1)?);
    let y = n.matmul(&a.value, &b.value)?;
    let y = n.cast(&y, DType::I32)?;
    n.one(y, DType::I32)
}

fn qlinear_matmul(n: &mut Node<'_, '_>) -> Lowered {
    let (a, b) = (centered(n, 0, Some(2), -2)?, centered(n, 3, Some(5), -1)?);
    let y = n.matmul(&a.value, &b.value)?;
    let scale = scales(n, 1, 4, 6)?;
    let y = n.push(mb::mul(&y, &scale))?;
    requantized(n, &y, 7)
}

/// `a_scale * b_scale / y_scale`, computed in the dtype that they have, of which the result is then f32.
fn scales(n: &mut Node<'_, '_>, a: usize, b: usize, y: usize) -> Result<Value, Refusal> {
    let (a, b, y) = (n.input(a)?, n.input(b)?, n.input(y)?);
    let product = n.push(mb::mul(&a.value, &b.value))?;
    let scale = n.push(mb::real_div(&product, &y.value))?;
    n.cast(&scale, DType::F32)
}

/// Raised by the zero point, rounded, and cut off at the ends of its dtype.
fn requantized(n: &mut Node<'_, '_>, y: &Value, zero: usize) -> Lowered {
    let zero = n.input(zero)?;
    let raised = n.cast(&zero.value, DType::F32)?;
    let y = n.push(mb::add(y, &raised))?;
    let y = rounded(n, &y, None, zero.dtype)?;
    n.one(y, zero.dtype)
}

fn conv_integer(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight) = (centered(n, 0, Some(2), 0)?, centered(n, 1, Some(3), 0)?);
    let y = convolved(n, &x, &weight, None)?;
    let y = n.cast(&y, DType::I32)?;
    n.one(y, DType::I32)
}

fn qlinear_conv(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight) = (centered(n, 0, Some(2), 0)?, centered(n, 3, Some(5), 0)?);
    let mut y = convolved(n, &x, &weight, None)?;
    if let Some(bias) = n.optional(8)? {
        // Of 32 bits, in units of both scales.
        let bias = n.cast(&bias.value, DType::F32)?;
        let bias = n.along(&bias, 1, x.rank())?;
        y = n.push(mb::add(&y, &bias))?;
    }
    let scale = scales(n, 1, 4, 6)?;
    let scale = n.along(&scale, 1, x.rank())?;
    let y = n.push(mb::mul(&y, &scale))?;
    requantized(n, &y, 7)
}

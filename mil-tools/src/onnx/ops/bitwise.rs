//! Bitwise ops. MIL has none: bits are told apart by divisions of integers, which are exact.

use mil_core::{graph::Value, ir::Constant, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("BitShift", bit_shift),
    Entry::new("BitwiseAnd", and),
    Entry::new("BitwiseNot", not),
    Entry::new("BitwiseOr", or),
    Entry::new("BitwiseXor", xor),
];

/// How many bits are computed with: wider integers are carried in 32.
fn width(dtype: DType) -> usize {
    dtype.bits().min(32)
}

/// A list of integers along a new last dimension.
fn list(n: &mut Node<'_, '_>, values: &[i32]) -> Value {
    n.constant(Constant::vector(values))
}

/// The bits of an integer along a new last dimension, the lowest first, as 0 and 1: `x / 2^k` rounded down is odd where the
/// bit k is set, for negative numbers in two's complement as well.
fn bits(n: &mut Node<'_, '_>, x: &Value, width: usize) -> Result<Value, Refusal> {
    let rank = x.shape().map_or(0, |s| s.rank());
    let wide = n.expand_dims(x, &[rank])?;
    let powers: Vec<i32> = (0..width as u32).map(|k| 1 << k.min(16)).collect();
    let low = list(n, &powers);
    let mut shifted = n.push(mb::floor_div(&wide, &low))?;
    if width > 16 {
        // 2^31 is no `i32`: what is above 2^16 is divided twice.
        let powers: Vec<i32> = (0..width as u32).map(|k| 1 << k.saturating_sub(16)).collect();
        let high = list(n, &powers);
        shifted = n.push(mb::floor_div(&shifted, &high))?;
    }
    n.push(mb::mod_(&shifted, 2))
}

/// An integer of bits along the last dimension.
fn integer(n: &mut Node<'_, '_>, bits: &Value, width: usize, signed: bool) -> Result<Value, Refusal> {
    let mut weights: Vec<i32> = (0..width as u32).map(|k| 1i32.wrapping_shl(k)).collect();
    if signed && width < 32 {
        weights[width - 1] = -weights[width - 1];
    }
    let weights = list(n, &weights);
    let weighted = n.push(mb::mul(bits, &weights))?;
    n.push(mb::reduce_sum(&weighted).axes([-1]).keep_dims(false))
}

fn joined(n: &mut Node<'_, '_>, join: impl Fn(&mut Node<'_, '_>, &Value, &Value) -> Result<Value, Refusal>) -> Lowered {
    let (x, y) = (n.input(0)?, n.input(1)?);
    let dtype = x.dtype;
    let (mut x, mut y) = (x.value, y.value);
    let rank = |v: &Value| v.shape().map_or(0, |s| s.rank());
    let mut sizes = None;
    if rank(&x).max(rank(&y)) == 5 {
        // Tensors of rank 5 have no room for a dimension of bits.
        let zero = n.push(mb::mul(&y, 0))?;
        x = n.push(mb::add(&x, &zero))?;
        let zero = n.push(mb::mul(&x, 0))?;
        y = n.push(mb::add(&y, &zero))?;
        sizes = Some(n.sizes(&x)?);
        x = n.reshape(&x, &[Size::Fixed(-1)])?;
        y = n.reshape(&y, &[Size::Fixed(-1)])?;
    }
    let width = width(dtype);
    let (x, y) = (bits(n, &x, width)?, bits(n, &y, width)?);
    let both = join(n, &x, &y)?;
    let z = integer(n, &both, width, !dtype.is_unsigned())?;
    let z = match sizes {
        Some(sizes) => n.reshape(&z, &sizes)?,
        None => z,
    };
    n.one(z, dtype)
}

fn and(n: &mut Node<'_, '_>) -> Lowered {
    joined(n, |n, x, y| n.push(mb::mul(x, y)))
}

fn or(n: &mut Node<'_, '_>) -> Lowered {
    joined(n, |n, x, y| n.push(mb::maximum(x, y)))
}

fn xor(n: &mut Node<'_, '_>) -> Lowered {
    joined(n, |n, x, y| {
        let differ = n.push(mb::sub(x, y))?;
        n.push(mb::abs(&differ))
    })
}

/// All bits turned: `-1 - x`, or for unsigned integers the greatest less `x`.
fn not(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let greatest = match (x.dtype.is_unsigned(), x.dtype.bits()) {
        (false, _) => -1,
        (true, bits @ ..32) => (1 << bits) - 1,
        (true, _) => {
            let message = format!("the result is of {} and above 2^31, and MIL's integers are of 32 bits", x.dtype);
            return Err(Refusal::new(message).remedy("use signed or narrower integers in the model"));
        }
    };
    let y = n.push(mb::sub(greatest, &x.value))?;
    n.one(y, x.dtype)
}

/// Multiplied or divided by a power of 2; what is moved out of the integer is lost.
fn bit_shift(n: &mut Node<'_, '_>) -> Lowered {
    let (x, by) = (n.input(0)?, n.input(1)?);
    let left = match n.string("direction")?.as_deref() {
        Some("LEFT") => true,
        Some("RIGHT") => false,
        _ => return Err(Refusal::new("its `direction` is neither LEFT nor RIGHT")),
    };
    // As many bits as a carried number has; the sign is not one of them.
    let most = if left { width(x.dtype) } else { width(x.dtype).min(31) } as i64;
    let far = n.push(mb::greater_equal(&by.value, most))?;
    let near = n.push(mb::minimum(&by.value, most - 1))?;
    let y = if left { shifted_left(n, &x, &near)? } else { shifted_right(n, &x, &near)? };
    let gone = match left || x.dtype.is_unsigned() {
        true => n.push(mb::select(&far, 0, &y))?,
        false => {
            let negative = n.push(mb::less(&x.value, 0))?;
            let negative = n.cast(&negative, DType::I32)?;
            let sign = n.push(mb::mul(&negative, -1))?;
            n.push(mb::select(&far, &sign, &y))?
        }
    };
    n.one(gone, x.dtype)
}

/// `x * 2^by`, `by` being less than 32.
fn shifted_left(n: &mut Node<'_, '_>, x: &Tensor, by: &Value) -> Result<Value, Refusal> {
    // 2^31 is no `i32`: half of it is multiplied twice.
    let half = n.push(mb::minimum(by, 16))?;
    let rest = n.push(mb::sub(by, &half))?;
    let (half, rest) = (n.push(mb::exp2(&half))?, n.push(mb::exp2(&rest))?);
    let y = n.push(mb::mul(&x.value, &half))?;
    let y = n.push(mb::mul(&y, &rest))?;
    n.wrap(&y, x.dtype)
}

/// `x / 2^by` rounded down, `by` being less than 31.
fn shifted_right(n: &mut Node<'_, '_>, x: &Tensor, by: &Value) -> Result<Value, Refusal> {
    let power = n.push(mb::exp2(by))?;
    n.push(mb::floor_div(&x.value, &power))
}

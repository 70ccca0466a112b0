//! Bitwise ops. MIL has none: bits are told apart by divisions of integers, which are exact.

use mil_core::{graph::Value, ir::Constant, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("BitShift", bit_shift),
    Entry::new("BitwiseAnd", and),
    Entry::new("BitwiseNot", not).but("not of u32 and u64"),
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

#[cfg(test)]
mod tests {
    use mil_core::{
        ir::Constant,
        types::DType::{self, I8, I32, I64, U8, U16, U32},
    };

    use crate::onnx::testing::{Net, string};

    fn ints(op: &str, dtype: DType, x: &[i64], y: &[i64]) -> Vec<i64> {
        let list = |v: &[i64]| Constant::integers(dtype, [v.len()], v).unwrap();
        let (op, attributes) = match op.split_once(' ') {
            Some((op, direction)) => (op, vec![string("direction", direction)]),
            None => (op, vec![]),
        };
        let net = Net::new(18).constant("x", list(x)).constant("y", list(y));
        net.node(op, "x y", "z", &attributes).numbers("z").into_iter().map(|v| v as i64).collect()
    }

    #[test]
    fn bits_are_joined() {
        let (x, y) = ([0x0f0f_1234i64, -1, i32::MIN as i64, 5], [0x00ff_ff00i64, 77, -1, -6]);
        let all = |f: fn(i64, i64) -> i64| x.iter().zip(&y).map(|(x, y)| f(*x, *y)).collect::<Vec<_>>();
        assert_eq!(ints("BitwiseAnd", I32, &x, &y), all(|x, y| x & y));
        assert_eq!(ints("BitwiseOr", I64, &x, &y), all(|x, y| x | y));
        assert_eq!(ints("BitwiseXor", I32, &x, &y), all(|x, y| x ^ y));
        assert_eq!(ints("BitwiseXor", U8, &[200, 255], &[100, 1]), [172, 254]);
        assert_eq!(ints("BitwiseAnd", I8, &[-128, -1], &[-1, 64]), [-128, 64]);
    }

    #[test]
    fn what_is_shifted_out_is_lost() {
        assert_eq!(ints("BitShift LEFT", U8, &[255, 1, 1], &[1, 7, 8]), [254, 128, 0]);
        assert_eq!(ints("BitShift RIGHT", U16, &[65535, 4, 4], &[15, 1, 16]), [1, 2, 0]);
        assert_eq!(ints("BitShift LEFT", I32, &[1, 3, 1], &[31, 31, 32]), [i32::MIN as i64, i32::MIN as i64, 0]);
        assert_eq!(ints("BitShift RIGHT", I32, &[-1, -8, 8], &[40, 1, 31]), [-1, -4, 0]);
    }

    #[test]
    fn rank_5_has_room() {
        let net = Net::new(18).input("x", I32, &[1, 2, 1, 2, 3]).input("y", I32, &[3]);
        let program = net.node("BitwiseAnd", "x y", "z", &[]).import("z").unwrap();
        assert_eq!(mil_core::validate::validate(&program).err(), None);
    }

    #[test]
    fn wide_unsigned_integers_cannot_be_turned() {
        let net = Net::new(18).input("x", U32, &[2]).node("BitwiseNot", "x", "y", &[]);
        assert!(net.import("y").unwrap_err().contains("above 2^31"));
        let not = |dtype: DType, x: i64| {
            let x = Constant::integers(dtype, [1], &[x]).unwrap();
            Net::new(18).constant("x", x).node("BitwiseNot", "x", "y", &[]).numbers("y")
        };
        assert_eq!((not(U8, 1), not(I64, 5)), (vec![254.0], vec![-6.0]));
    }
}

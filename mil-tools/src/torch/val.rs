//! What the names of a graph stand for, and the dtypes that arithmetic on them has.

use mil_core::types::DType;

use crate::import::{Size, Tensor};

/// What an argument is, or what an op gives.
#[derive(Clone, Debug)]
pub(super) enum Val {
    /// Nothing.
    None,
    /// A truth value that is known.
    Bool(bool),
    /// An integer, known or computed from sizes.
    Int(Size),
    /// A number that is known.
    Float(f64),
    /// Text, devices among it.
    Str(String),
    /// A dtype.
    DType(DType),
    /// A tensor.
    Tensor(Tensor),
    /// A constant matrix whose transpose this is: what a linear layer of an exported program has.
    Transposed(Tensor),
    /// A tensor of a rank that Core ML does not have: the elements of `value` in order, in a shape of these sizes.
    High {
        /// The elements.
        value: Tensor,
        /// The sizes.
        sizes: Vec<Size>,
    },
    /// A list or tuple.
    List(Vec<Val>),
}

impl Val {
    /// What kind of argument it is, for errors.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Val::None => "nothing",
            Val::Bool(_) => "a bool",
            Val::Int(_) => "an integer",
            Val::Float(_) => "a float",
            Val::Str(_) => "text",
            Val::DType(_) => "a dtype",
            Val::Tensor(_) | Val::Transposed(_) | Val::High { .. } => "a tensor",
            Val::List(_) => "a list",
        }
    }

    /// Whether it is a tensor.
    pub(super) fn is_tensor(&self) -> bool {
        matches!(self, Val::Tensor(_) | Val::Transposed(_) | Val::High { .. })
    }

    /// Whether it is a number, not a tensor.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Val::Bool(_) | Val::Int(_) | Val::Float(_))
    }

    /// A number that is known.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Val::Bool(b) => Some(f64::from(u8::from(*b))),
            Val::Int(Size::Fixed(n)) => Some(*n as f64),
            Val::Float(x) => Some(*x),
            Val::Tensor(t) => match t.numbers()?[..] {
                [one] => Some(one),
                _ => None,
            },
            _ => None,
        }
    }

    /// The dtype that it counts as where it meets others.
    fn dtype(&self) -> Option<(Priority, DType)> {
        match self {
            Val::Bool(_) => Some((Priority::Number, DType::Bool)),
            Val::Int(_) => Some((Priority::Number, DType::I64)),
            Val::Float(_) => Some((Priority::Number, DType::F32)),
            Val::Tensor(t) if t.rank() == 0 => Some((Priority::Scalar, t.dtype)),
            Val::Tensor(t) | Val::Transposed(t) | Val::High { value: t, .. } => Some((Priority::Dimensions, t.dtype)),
            _ => None,
        }
    }
}

impl From<Tensor> for Val {
    fn from(t: Tensor) -> Val {
        Val::Tensor(t)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Priority {
    Number,
    Scalar,
    Dimensions,
}

/// The dtype of a result (source: `torch.result_type`): tensors with dimensions decide, others only if they are of a
/// greater kind, the kinds being bools, integers, floats.
pub(super) fn result_type(operands: &[&Val]) -> DType {
    let of = |p: Priority| {
        let dtypes = operands.iter().filter_map(|v| v.dtype()).filter(|(q, _)| *q == p).map(|(_, d)| d);
        dtypes.reduce(promote)
    };
    let combine = |higher: Option<DType>, lower: Option<DType>| match (higher, lower) {
        (Some(h), Some(l)) if h.is_float() || !l.is_float() && h != DType::Bool => Some(h),
        (Some(h), Some(l)) => Some(promote(h, l)),
        (h, l) => h.or(l),
    };
    let lower = combine(of(Priority::Scalar), of(Priority::Number));
    combine(of(Priority::Dimensions), lower).unwrap_or(DType::F32)
}

/// The dtype that holds two (source: `torch.promote_types`).
pub(super) fn promote(a: DType, b: DType) -> DType {
    if a == b || b == DType::Bool {
        return a;
    }
    if a == DType::Bool {
        return b;
    }
    match (a.is_float(), b.is_float()) {
        (true, false) => a,
        (false, true) => b,
        (true, true) if a.bits() == b.bits() => DType::F32,
        (true, true) => {
            if a.bits() > b.bits() {
                a
            } else {
                b
            }
        }
        (false, false) => {
            let wide = if a.bits() >= b.bits() { a } else { b };
            let signed = |d: DType| d.int_range().is_some_and(|(min, _)| min < 0);
            match (signed(a), signed(b)) {
                (x, y) if x == y || signed(wide) && a.bits() != b.bits() => wide,
                // A signed dtype that holds the unsigned one.
                _ if wide.bits() < 16 => DType::I16,
                _ if wide.bits() < 32 => DType::I32,
                _ => DType::I64,
            }
        }
    }
}

/// The dtype of TorchScript's number (source: `c10/core/ScalarType.h`).
pub(super) fn scalar_type(number: i64) -> Option<DType> {
    Some(match number {
        0 => DType::U8,
        1 => DType::I8,
        2 => DType::I16,
        3 => DType::I32,
        4 => DType::I64,
        5 => DType::F16,
        6 => DType::F32,
        7 => DType::F64,
        11 => DType::Bool,
        15 => DType::BF16,
        23 => DType::F8E5M2,
        24 => DType::F8E4M3FN,
        27 => DType::U16,
        28 => DType::U32,
        29 => DType::U64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion() {
        use DType as D;
        let int = Val::Int(Size::Fixed(2));
        assert_eq!(result_type(&[&int, &Val::Float(0.5)]), D::F32);
        assert_eq!(result_type(&[&Val::Bool(true), &int]), D::I64);
        assert_eq!((promote(D::U8, D::I8), promote(D::U8, D::I32)), (D::I16, D::I32));
        assert_eq!((promote(D::F16, D::BF16), promote(D::F16, D::I64)), (D::F32, D::F16));
        assert_eq!((promote(D::I64, D::I32), promote(D::Bool, D::U8)), (D::I64, D::U8));
        assert_eq!((scalar_type(6), scalar_type(8)), (Some(D::F32), None));
    }
}

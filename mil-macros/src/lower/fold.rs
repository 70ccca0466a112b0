//! Arithmetic at compile time.

use mil_core::{ir::Literal, types::DType};

use crate::value::Const;

/// `a op b`.
///
/// # Errors
/// If the operator does not take these, or the result does not exist.
pub(super) fn binary(op: &str, a: &Const, b: &Const) -> Result<Const, String> {
    let dtype = match (a.dtype, b.dtype) {
        (Some(x), Some(y)) if x != y => {
            return Err(format!("`{op}` of an {x} and an {y} constant; convert one with `as`"));
        }
        (x, y) => x.or(y),
    };
    let misfit = || format!("`{op}` does not take {} and {}", a.literal, b.literal);
    use Literal::{Bool, Float, Int, Str};
    let literal = match (&a.literal, &b.literal) {
        (Int(x), Int(y)) => ints(op, *x, *y)?,
        (Float(x), Float(y)) => floats(op, *x, *y),
        (Int(x), Float(y)) => floats(op, *x as f64, *y),
        (Float(x), Int(y)) => floats(op, *x, *y as f64),
        (Bool(x), Bool(y)) => bools(op, *x, *y),
        (Str(x), Str(y)) => match op {
            "==" => Some(Bool(x == y)),
            "!=" => Some(Bool(x != y)),
            "+" => Some(Str(format!("{x}{y}"))),
            _ => None,
        },
        _ => None,
    };
    let literal = literal.ok_or_else(misfit)?;
    let dtype = dtype.filter(|_| !matches!(literal, Bool(_)));
    Ok(Const { literal, dtype })
}

fn ints(op: &str, x: i64, y: i64) -> Result<Option<Literal>, String> {
    let number = match op {
        "+" => x.checked_add(y),
        "-" => x.checked_sub(y),
        "*" => x.checked_mul(y),
        "/" | "%" if y == 0 => return Err("division by zero".into()),
        "/" => x.checked_div(y),
        "%" => x.checked_rem(y),
        _ => return Ok(compare(op, &x, &y).map(Literal::Bool)),
    };
    number.map(|n| Some(Literal::Int(n))).ok_or_else(|| format!("{x} {op} {y} does not fit 64 bits"))
}

fn floats(op: &str, x: f64, y: f64) -> Option<Literal> {
    Some(Literal::Float(match op {
        "+" => x + y,
        "-" => x - y,
        "*" => x * y,
        "/" => x / y,
        "%" => x % y,
        _ => return compare(op, &x, &y).map(Literal::Bool),
    }))
}

fn bools(op: &str, x: bool, y: bool) -> Option<Literal> {
    Some(Literal::Bool(match op {
        "&&" => x && y,
        "||" => x || y,
        "^" => x ^ y,
        "==" => x == y,
        "!=" => x != y,
        _ => return None,
    }))
}

fn compare<T: PartialOrd>(op: &str, x: &T, y: &T) -> Option<bool> {
    Some(match op {
        "<" => x < y,
        "<=" => x <= y,
        ">" => x > y,
        ">=" => x >= y,
        "==" => x == y,
        "!=" => x != y,
        _ => return None,
    })
}

/// `-a`.
///
/// # Errors
/// If it is no number, or has no negative.
pub(super) fn negate(a: &Const) -> Result<Const, String> {
    let literal = match &a.literal {
        Literal::Int(n) => Literal::Int(n.checked_neg().ok_or("this number has no negative in 64 bits")?),
        Literal::Float(v) => Literal::Float(-v),
        other => return Err(format!("`-` does not take {other}")),
    };
    Ok(Const { literal, dtype: a.dtype })
}

/// `a as dtype`.
///
/// # Errors
/// If it does not fit.
pub(super) fn cast(a: &Const, dtype: DType) -> Result<Const, String> {
    let literal = match &a.literal {
        Literal::Int(n) if dtype.is_float() => Literal::Float(*n as f64),
        Literal::Float(v) if dtype.is_int() => Literal::Int(*v as i64),
        Literal::Bool(b) if dtype.is_int() => Literal::Int(i64::from(*b)),
        other => other.clone(),
    };
    literal.constant(dtype)?;
    Ok(Const { literal, dtype: Some(dtype) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(literal: impl Into<Literal>) -> Const {
        Const { literal: literal.into(), dtype: None }
    }

    #[test]
    fn folds_as_rust_does() {
        assert_eq!(binary("/", &c(7), &c(2)), Ok(c(3)));
        assert_eq!(binary("/", &c(1.0), &c(4)), Ok(c(0.25)));
        assert_eq!(binary("<", &c(1), &c(2)), Ok(c(true)));
        assert_eq!(binary("&&", &c(true), &c(false)), Ok(c(false)));
        assert_eq!(negate(&c(2.5)), Ok(c(-2.5)));
        assert_eq!(cast(&c(2), DType::F16).unwrap().dtype, Some(DType::F16));
        let typed = binary("*", &cast(&c(2.0), DType::F16).unwrap(), &c(3.0)).unwrap();
        assert_eq!((typed.literal, typed.dtype), (Literal::Float(6.0), Some(DType::F16)));
    }

    #[test]
    fn refuses_what_has_no_result() {
        assert!(binary("/", &c(1), &c(0)).unwrap_err().contains("zero"));
        assert!(binary("*", &c(i64::MAX), &c(2)).unwrap_err().contains("64 bits"));
        assert!(binary("+", &c(true), &c(1)).unwrap_err().contains("does not take"));
        assert!(cast(&c(300), DType::U8).unwrap_err().contains("does not fit"));
        assert!(cast(&c("a"), DType::F32).is_err());
    }
}

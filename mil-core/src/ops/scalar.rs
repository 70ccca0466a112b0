//! What elementwise ops and reductions make of single numbers.
//!
//! This is the one place that says it: inference folds constants with it, and the reference executor computes with it,
//! so the two cannot disagree. Floats are computed in f64 and rounded by the caller, once, to f32 and from there to the
//! dtype; for `+ - * /` and the square root that gives what f32 arithmetic gives. Integers are computed in i64 modulo
//! 2^64, of which the caller keeps the low bits, so they wrap as the dtype does; `dim` and `dims` are exact instead, over
//! numbers and symbols, or `None`.

use crate::types::Dim;

/// An op of one number.
pub trait Unary {
    /// Of a float.
    fn float(&self, x: f64) -> f64;

    /// Of an integer; a bool is 0 or 1.
    fn int(&self, x: i64) -> i64 {
        self.float(x as f64) as i64
    }

    /// Of an integer that may be symbolic; `None` if there is no exact expression.
    fn dim(&self, _: &Dim) -> Option<Dim> {
        None
    }
}

/// An op of two numbers.
pub trait Binary {
    /// Of floats.
    fn float(&self, x: f64, y: f64) -> f64;

    /// Of integers. A division by zero gives 0.
    fn int(&self, x: i64, y: i64) -> i64;

    /// Of integers that may be symbolic; `None` if there is no exact expression.
    fn dim(&self, x: &Dim, y: &Dim) -> Option<Dim>;
}

/// A question about two numbers.
pub trait Compare {
    /// Of floats, of integers of at most 32 bits (which f64 holds exactly), or of bools as 0 and 1.
    fn holds(&self, x: f64, y: f64) -> bool;

    /// Of integers that may be symbolic; `None` if it depends on the symbols.
    fn dim(&self, x: &Dim, y: &Dim) -> Option<bool>;
}

/// One number of many.
pub trait Reduction {
    /// Of floats.
    fn floats(&self, v: &[f64]) -> f64;

    /// Of integers. What is no integer is truncated toward zero, as coremltools does it.
    fn ints(&self, v: &[i64]) -> i64 {
        let v: Vec<f64> = v.iter().map(|x| *x as f64).collect();
        self.floats(&v) as i64
    }

    /// Of integers that may be symbolic; `None` if there is no exact expression.
    fn dims(&self, v: &[Dim]) -> Option<Dim> {
        let v: Vec<i64> = v.iter().map(Dim::value).collect::<Option<_>>()?;
        Some(Dim::from(self.ints(&v)))
    }
}

/// The place of one number among many.
pub trait Pick {
    /// Of floats, or of integers of at most 32 bits. The first of equals; a NaN before all numbers, as NumPy does it.
    /// 0 if there is none.
    fn pick(&self, v: &[f64]) -> usize;
}

/// The greater; NaN if either is.
pub fn max(x: f64, y: f64) -> f64 {
    if x.is_nan() || x > y { x } else { y }
}

/// The smaller; NaN if either is.
pub fn min(x: f64, y: f64) -> f64 {
    if x.is_nan() || x < y { x } else { y }
}

/// `floor(x / y)` as NumPy has it: the sign of a zero is the quotient's, and a number that is divided by zero or
/// infinite gives an infinity or NaN as division does.
pub fn floor_div(x: f64, y: f64) -> f64 {
    if y == 0.0 {
        return x / y;
    }
    let rest = x % y;
    let mut quotient = (x - rest) / y;
    if rest != 0.0 && (rest < 0.0) != (y < 0.0) {
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return 0f64.copysign(x / y);
    }
    // `quotient` is an integer but for rounding.
    quotient.round()
}

/// The rest of [`floor_div`], with the sign of `y`.
pub fn modulo(x: f64, y: f64) -> f64 {
    let rest = x % y;
    if rest == 0.0 {
        0f64.copysign(y)
    } else if (rest < 0.0) != (y < 0.0) {
        rest + y
    } else {
        rest
    }
}

/// `floor(x / y)`; 0 if `y` is.
pub fn int_floor_div(x: i64, y: i64) -> i64 {
    let quotient = x.checked_div(y).unwrap_or(0);
    if y != 0 && x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient }
}

/// `floor(x / y)` of integers that may be symbolic, where `y` is a number or they divide evenly.
pub fn dim_floor_div(x: &Dim, y: &Dim) -> Option<Dim> {
    match y.value() {
        Some(0) => None,
        Some(d) if d > 0 => Some(x.clone().floor_div(d)),
        Some(d) => Some((x.clone() * -1).floor_div(d.checked_neg()?)),
        None if x.is(0) && y.at_least(1) => Some(Dim::from(0)),
        None if x == y && y.at_least(1) => Some(Dim::from(1)),
        None => None,
    }
}

/// `x / y` rounded toward zero; 0 if `y` is.
pub fn int_div(x: i64, y: i64) -> i64 {
    x.checked_div(y).unwrap_or(0)
}

/// [`int_div`] of integers that may be symbolic, but for a division by zero.
pub fn dim_div(x: &Dim, y: &Dim) -> Option<Dim> {
    match (x.value(), y.value()) {
        (Some(x), Some(y)) => x.checked_div(y).map(Dim::from),
        // Toward zero is downward where the quotient is not negative.
        _ if x.at_least(0) && y.at_least(1) => dim_floor_div(x, y),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: [f64; 9] = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0, -0.0, 5.5, -5.5, 1.0, -2.0];

    /// Bit for bit, but any NaN is a NaN.
    #[track_caller]
    fn table(f: fn(f64, f64) -> f64, expected: [[f64; 9]; 9]) {
        for (x, row) in ODD.iter().zip(expected) {
            for (y, e) in ODD.iter().zip(row) {
                let got = f(*x, *y);
                assert!(got.to_bits() == e.to_bits() || (got.is_nan() && e.is_nan()), "{x} {y}: {got}, not {e}");
            }
        }
    }

    const I: f64 = f64::INFINITY;
    const N: f64 = f64::NAN;

    #[test]
    fn floor_div_is_numpys() {
        table(
            floor_div,
            [
                [N, N, N, I, -I, N, N, N, N],
                [N, N, N, -I, I, N, N, N, N],
                [N; 9],
                [0.0, -0.0, N, N, N, 0.0, -0.0, 0.0, -0.0],
                [-0.0, 0.0, N, N, N, -0.0, 0.0, -0.0, 0.0],
                [0.0, -1.0, N, I, -I, 1.0, -1.0, 5.0, -3.0],
                [-1.0, 0.0, N, -I, I, -1.0, 1.0, -6.0, 2.0],
                [0.0, -1.0, N, I, -I, 0.0, -1.0, 1.0, -1.0],
                [-1.0, 0.0, N, -I, I, -1.0, 0.0, -2.0, 1.0],
            ],
        );
    }

    #[test]
    fn modulo_is_numpys() {
        table(
            modulo,
            [
                [N; 9],
                [N; 9],
                [N; 9],
                [0.0, -0.0, N, N, N, 0.0, -0.0, 0.0, -0.0],
                [0.0, -0.0, N, N, N, 0.0, -0.0, 0.0, -0.0],
                [5.5, -I, N, N, N, 0.0, -0.0, 0.5, -0.5],
                [I, -5.5, N, N, N, 0.0, -0.0, 0.5, -1.5],
                [1.0, -I, N, N, N, 1.0, -4.5, 0.0, -1.0],
                [I, -2.0, N, N, N, 3.5, -2.0, 0.0, -0.0],
            ],
        );
    }

    #[test]
    fn nan_wins_and_integers_floor() {
        for (x, y) in [(f64::NAN, 1.0), (1.0, f64::NAN)] {
            assert!(max(x, y).is_nan() && min(x, y).is_nan());
        }
        assert_eq!((max(1.0, 2.0), min(1.0, 2.0)), (2.0, 1.0));
        let cases = [(-7, 2, -4), (7, -2, -4), (-7, -2, 3), (7, 2, 3), (6, -2, -3), (3, 0, 0)];
        for (x, y, q) in cases {
            assert_eq!(int_floor_div(x, y), q, "{x} {y}");
            let dim = dim_floor_div(&Dim::from(x), &Dim::from(y)).and_then(|d| d.value());
            assert_eq!(dim, (y != 0).then_some(q), "{x} {y}");
        }
    }
}

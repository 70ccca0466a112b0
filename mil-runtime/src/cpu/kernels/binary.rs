//! Elementwise ops of two operands, of runs of elements. What they make of numbers is said in `mil_core::ops`.

use mil_core::ops::scalar;

use super::simd::Simd;

/// An elementwise op.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    /// `real_div`
    Div,
    /// `maximum`
    Max,
    /// `minimum`
    Min,
    Pow,
    FloorDiv,
    Mod,
    /// `x` where it is at least 0, else `y * x`.
    Prelu,
}

/// The second operand of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operand {
    /// As many elements.
    Run(*const f32),
    /// One for all.
    One(f32),
}

/// Each of `n` elements: for a run or one number, for whole vectors and the rest.
macro_rules! each {
    ($S:ident, $to:ident, $a:ident, $b:ident, $n:ident, ($x:ident, $y:ident) => $e:expr) => {{
        let whole = $n - $n % $S::LANES;
        let mut at = 0;
        match $b {
            Operand::Run(b) => {
                while at < whole {
                    let ($x, $y) = ($S::load($a.add(at)), $S::load(b.add(at)));
                    $S::store($to.add(at), $e);
                    at += $S::LANES;
                }
                if at < $n {
                    let ($x, $y) = ($S::load_first($a.add(at), $n - at), $S::load_first(b.add(at), $n - at));
                    $S::store_first($to.add(at), $e, $n - at);
                }
            }
            Operand::One(b) => {
                let $y = $S::splat(b);
                while at < whole {
                    let $x = $S::load($a.add(at));
                    $S::store($to.add(at), $e);
                    at += $S::LANES;
                }
                if at < $n {
                    let $x = $S::load_first($a.add(at), $n - at);
                    $S::store_first($to.add(at), $e, $n - at);
                }
            }
        }
    }};
}

/// `to = op(a, b)`, or `op(b, a)` if `swapped`, of `n` elements.
///
/// # Safety
/// `n` elements can be read at `a` and `b` and written at `to`, which is `a`, `b` or apart from both; `S` is of this machine.
#[inline(always)]
pub(crate) unsafe fn binary_in<S: Simd>(op: Binary, swapped: bool, to: *mut f32, a: *const f32, b: Operand, n: usize) {
    // SAFETY: the caller's; no more than `n` elements are touched.
    unsafe {
        match (op, swapped) {
            (Binary::Add, _) => each!(S, to, a, b, n, (x, y) => S::add(x, y)),
            (Binary::Mul, _) => each!(S, to, a, b, n, (x, y) => S::mul(x, y)),
            (Binary::Sub, false) => each!(S, to, a, b, n, (x, y) => S::sub(x, y)),
            (Binary::Sub, true) => each!(S, to, a, b, n, (x, y) => S::sub(y, x)),
            (Binary::Div, false) => each!(S, to, a, b, n, (x, y) => S::div(x, y)),
            (Binary::Div, true) => each!(S, to, a, b, n, (x, y) => S::div(y, x)),
            // The vectors' own give the second if the first is NaN.
            (Binary::Max, _) => each!(S, to, a, b, n, (x, y) => S::select(S::eq(x, x), S::max(x, y), x)),
            (Binary::Min, _) => each!(S, to, a, b, n, (x, y) => S::select(S::eq(x, x), S::min(x, y), x)),
            (Binary::Prelu, false) => {
                let zero = S::splat(0.0);
                each!(S, to, a, b, n, (x, y) => S::select(S::lt(x, zero), S::mul(x, y), x))
            }
            (Binary::Prelu, true) => {
                let zero = S::splat(0.0);
                each!(S, to, a, b, n, (x, y) => S::select(S::lt(y, zero), S::mul(x, y), y))
            }
            (Binary::Pow, false) => match b {
                Operand::One(1.0) => each!(S, to, a, b, n, (x, _y) => x),
                Operand::One(2.0) => each!(S, to, a, b, n, (x, _y) => S::mul(x, x)),
                Operand::One(3.0) => each!(S, to, a, b, n, (x, _y) => S::mul(S::mul(x, x), x)),
                Operand::One(-1.0) => {
                    let one = S::splat(1.0);
                    each!(S, to, a, b, n, (x, _y) => S::div(one, x))
                }
                Operand::One(0.5) => {
                    // As powers, the roots of -0 and negative infinity are positive.
                    let (zero, infinity) = (S::splat(0.0), S::splat(f32::INFINITY));
                    let least = S::splat(f32::NEG_INFINITY);
                    each!(S, to, a, b, n, (x, _y) => S::select(S::eq(x, least), infinity, S::sqrt(S::add(x, zero))))
                }
                _ => lanes(f64::powf, swapped, to, a, b, n),
            },
            (Binary::Pow, true) => lanes(f64::powf, swapped, to, a, b, n),
            (Binary::FloorDiv, _) => lanes(scalar::floor_div, swapped, to, a, b, n),
            (Binary::Mod, _) => lanes(scalar::modulo, swapped, to, a, b, n),
        }
    }
}

/// Number by number, in f64 and rounded once, as the reference executor does it.
///
/// # Safety
/// As [`binary_in`].
#[inline(never)]
unsafe fn lanes(f: fn(f64, f64) -> f64, swapped: bool, to: *mut f32, a: *const f32, b: Operand, n: usize) {
    for at in 0..n {
        // SAFETY: the caller's.
        unsafe {
            let x = f64::from(a.add(at).read());
            let y = f64::from(match b {
                Operand::Run(b) => b.add(at).read(),
                Operand::One(b) => b,
            });
            to.add(at).write(if swapped { f(y, x) } else { f(x, y) } as f32);
        }
    }
}

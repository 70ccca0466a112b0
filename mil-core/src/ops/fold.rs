//! Known values: what ops make of constants, and of integers that may hold symbols.
//!
//! Results are exact or absent: an integer that its dtype does not hold is left unknown. Only small tensors are folded;
//! shape arithmetic is, and weights are not.

use half::f16;

use crate::{
    ir::{Constant, Known},
    op::Arg,
    types::{DType, Dim},
};

use super::{
    scalar::{Binary, Compare, Pick, Reduction, Unary},
    strided::{Broadcast, Groups, broadcast_shapes, reduced_shape},
};

/// Tensors of more elements than this are not folded.
const LIMIT: usize = 1024;

/// The known elements of a tensor.
struct Elements {
    shape: Vec<usize>,
    values: Values,
}

enum Values {
    Floats(Vec<f64>),
    Ints(Vec<Dim>),
}
use Values::{Floats, Ints};

/// Whether there are few elements, also in every slice: a shape `[0, 1 << 40]` has none, but a sum over its first
/// dimension has.
fn small(shape: &[usize]) -> bool {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1))).is_some_and(|n| n <= LIMIT)
}

fn elements(arg: &Arg) -> Option<Elements> {
    let shape = arg.shape().fixed().filter(|s| small(s))?;
    let values = match arg.constant().and_then(Constant::floats) {
        Some(floats) => Floats(floats),
        None => Ints(arg.known_dims()?),
    };
    Some(Elements { shape, values })
}

/// A shape and the elements of two operands that broadcast to it, side by side.
type Pairs<T> = (Vec<usize>, Vec<(T, T)>);

fn pairs<T: Clone>(a: (&[usize], &[T]), b: (&[usize], &[T])) -> Option<Pairs<T>> {
    let shape = broadcast_shapes(&[a.0, b.0]).filter(|s| small(s))?;
    let walk = Broadcast::new(&shape, [a.0, b.0]);
    let pairs = walk.map(|[i, j]| Some((a.1.get(i)?.clone(), b.1.get(j)?.clone()))).collect::<Option<_>>()?;
    Some((shape, pairs))
}

/// Floats, each rounded once to f32 and from there to the dtype.
fn floats(dtype: DType, shape: Vec<usize>, values: impl IntoIterator<Item = f64>) -> Option<Known> {
    let values = values.into_iter().map(|v| v as f32);
    let constant = match dtype {
        DType::F32 => Constant::new(shape, &values.collect::<Vec<_>>()),
        DType::F16 => Constant::new(shape, &values.map(f16::from_f32).collect::<Vec<_>>()),
        _ => return None,
    };
    constant.ok().map(Known::Constant)
}

/// Integers or bools, as a constant if all are numbers; symbols are kept in rank 0 and 1.
fn ints(dtype: DType, shape: Vec<usize>, values: Vec<Dim>) -> Option<Known> {
    let range = if dtype == DType::Bool { (0, 1) } else { dtype.int_range()? };
    // A symbol is trusted to have a size that fits, unless none does.
    let fits = |d: &Dim| {
        let (min, max) = d.bounds();
        min.is_none_or(|v| i128::from(v) <= range.1) && max.is_none_or(|v| i128::from(v) >= range.0)
    };
    if !values.iter().all(fits) {
        return None;
    }
    let Some(numbers) = values.iter().map(Dim::value).collect::<Option<Vec<i64>>>() else {
        let kept = shape.len() <= 1 && dtype.is_int();
        return kept.then(|| Known::Ints { dtype, scalar: shape.is_empty(), values });
    };
    let width = dtype.bits() / 8;
    let bytes: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width)).collect();
    Constant::from_bytes(dtype, shape, bytes).ok().map(Known::Constant)
}

pub(crate) fn unary(op: &impl Unary, x: &Arg) -> Option<Known> {
    let e = elements(x)?;
    match e.values {
        Floats(v) => floats(x.dtype(), e.shape, v.into_iter().map(|x| op.float(x))),
        Ints(v) => ints(x.dtype(), e.shape, v.iter().map(|d| op.dim(d)).collect::<Option<_>>()?),
    }
}

pub(crate) fn binary(op: &impl Binary, x: &Arg, y: &Arg) -> Option<Known> {
    let (a, b) = (elements(x)?, elements(y)?);
    match (a.values, b.values) {
        (Floats(v), Floats(w)) => {
            let (shape, pairs) = pairs((&a.shape, &v), (&b.shape, &w))?;
            floats(x.dtype(), shape, pairs.into_iter().map(|(x, y)| op.float(x, y)))
        }
        (Ints(v), Ints(w)) => {
            let (shape, pairs) = pairs((&a.shape, &v), (&b.shape, &w))?;
            ints(x.dtype(), shape, pairs.iter().map(|(x, y)| op.dim(x, y)).collect::<Option<_>>()?)
        }
        _ => None,
    }
}

pub(crate) fn compare(op: &impl Compare, x: &Arg, y: &Arg) -> Option<Known> {
    let (a, b) = (elements(x)?, elements(y)?);
    let (shape, truths): (_, Vec<bool>) = match (a.values, b.values) {
        (Floats(v), Floats(w)) => {
            let (shape, pairs) = pairs((&a.shape, &v), (&b.shape, &w))?;
            (shape, pairs.into_iter().map(|(x, y)| op.holds(x, y)).collect())
        }
        (Ints(v), Ints(w)) => {
            let (shape, pairs) = pairs((&a.shape, &v), (&b.shape, &w))?;
            (shape, pairs.iter().map(|(x, y)| op.dim(x, y)).collect::<Option<_>>()?)
        }
        _ => return None,
    };
    Constant::new(shape, &truths).ok().map(Known::Constant)
}

pub(crate) fn select(cond: &Arg, a: &Arg, b: &Arg) -> Option<Known> {
    fn pick<T: Clone>(shape: &[usize], from: [&[usize]; 3], cond: &[i64], a: &[T], b: &[T]) -> Option<Vec<T>> {
        let walk = Broadcast::new(shape, from);
        walk.map(|[c, i, j]| if *cond.get(c)? != 0 { a.get(i) } else { b.get(j) }.cloned()).collect()
    }
    let truths = elements(cond)?;
    let cond = cond.known_ints()?;
    let (x, y) = (elements(a)?, elements(b)?);
    let from = [&truths.shape[..], &x.shape, &y.shape];
    let shape = broadcast_shapes(&from).filter(|s| small(s))?;
    match (&x.values, &y.values) {
        (Floats(v), Floats(w)) => floats(a.dtype(), shape.clone(), pick(&shape, from, &cond, v, w)?),
        (Ints(v), Ints(w)) => ints(a.dtype(), shape.clone(), pick(&shape, from, &cond, v, w)?),
        _ => None,
    }
}

pub(crate) fn cast(x: &Arg, dtype: DType) -> Option<Known> {
    let e = elements(x)?;
    match e.values {
        Floats(v) if dtype == DType::Bool => {
            ints(dtype, e.shape, v.iter().map(|x| Dim::from(i64::from(*x != 0.0))).collect())
        }
        Floats(v) if dtype.is_int() => {
            let whole = v.iter().map(|x| x.is_finite().then_some(Dim::from(*x as i64)));
            ints(dtype, e.shape, whole.collect::<Option<_>>()?)
        }
        Floats(v) => floats(dtype, e.shape, v),
        Ints(v) if dtype == DType::Bool => {
            let truth = |d: &Dim| match d.value() {
                Some(n) => Some(Dim::from(i64::from(n != 0))),
                None => (!d.may_equal(&Dim::from(0))).then_some(Dim::from(1)),
            };
            ints(dtype, e.shape, v.iter().map(truth).collect::<Option<_>>()?)
        }
        Ints(v) if dtype.is_int() => {
            // A symbol stands for a size, which 32 bits hold; narrower dtypes must be proven to.
            let (min, max) = dtype.int_range()?;
            let inside = |d: &Dim| match d.bounds() {
                _ if dtype.bits() >= x.dtype().bits() && !dtype.is_unsigned() => true,
                (Some(a), Some(b)) => min <= i128::from(a) && i128::from(b) <= max,
                _ => false,
            };
            v.iter().all(inside).then(|| ints(dtype, e.shape, v)).flatten()
        }
        Ints(v) => floats(dtype, e.shape, v.iter().map(|d| Some(d.value()? as f64)).collect::<Option<Vec<_>>>()?),
    }
}

pub(crate) fn reduce(op: &impl Reduction, x: &Arg, axes: &[usize], keep_dims: bool) -> Option<Known> {
    let e = elements(x)?;
    let groups = Groups::new(&e.shape, axes);
    let shape = reduced_shape(&e.shape, axes, keep_dims, 1);
    match e.values {
        Floats(v) => floats(x.dtype(), shape, gather(&groups, &v)?.iter().map(|g| op.floats(g))),
        Ints(v) => {
            let dims = gather(&groups, &v)?.iter().map(|g| op.dims(g)).collect::<Option<_>>()?;
            ints(x.dtype(), shape, dims)
        }
    }
}

pub(crate) fn pick(op: &impl Pick, x: &Arg, axis: usize, keep_dims: bool, dtype: DType) -> Option<Known> {
    let e = elements(x)?;
    let values = match e.values {
        Floats(v) => v,
        Ints(v) => v.iter().map(|d| Some(d.value()? as f64)).collect::<Option<_>>()?,
    };
    let groups = gather(&Groups::new(&e.shape, &[axis]), &values)?;
    let shape = reduced_shape(&e.shape, &[axis], keep_dims, 1);
    ints(dtype, shape, groups.iter().map(|g| Dim::from(op.pick(g))).collect())
}

/// What is known of `data` after the elements of `updates` were put into it: each at its place among `targets`, joined by
/// `op` with what is there.
pub(crate) fn scatter(op: &impl Binary, data: &Arg, updates: &Arg, targets: &[usize]) -> Option<Known> {
    let (data_elements, update_elements) = (elements(data)?, elements(updates)?);
    match (data_elements.values, update_elements.values) {
        (Floats(mut v), Floats(w)) => {
            for (target, w) in targets.iter().zip(w) {
                let at = v.get_mut(*target)?;
                *at = op.float(*at, w);
            }
            floats(data.dtype(), data_elements.shape, v)
        }
        (Ints(mut v), Ints(w)) => {
            for (target, w) in targets.iter().zip(w) {
                let at = v.get_mut(*target)?;
                *at = op.dim(at, &w)?;
            }
            ints(data.dtype(), data_elements.shape, v)
        }
        _ => None,
    }
}

/// What is known of a tensor as large as `x`, made of all elements of `x` at once, of which the shape is given too.
pub(crate) fn all(
    x: &Arg,
    of_floats: impl FnOnce(&[usize], &[f64]) -> Vec<f64>,
    of_ints: impl FnOnce(&[usize], &[Dim]) -> Vec<Dim>,
) -> Option<Known> {
    let e = elements(x)?;
    match e.values {
        Floats(v) => floats(x.dtype(), e.shape.clone(), of_floats(&e.shape, &v)),
        Ints(v) => ints(x.dtype(), e.shape.clone(), of_ints(&e.shape, &v)),
    }
}

fn gather<T: Clone>(groups: &Groups, values: &[T]) -> Option<Vec<Vec<T>>> {
    let group = |start: &usize| groups.offsets.iter().map(|o| values.get(start + o).cloned()).collect();
    groups.starts.iter().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        op::{AnyArg, Args, Cx, Op},
        ops::{cast::*, compare::*, elementwise_binary::*, elementwise_unary::*, reduce::*, select::*},
        types::{Domain, Opset, Symbol, TensorType},
    };

    fn h() -> Dim {
        Dim::symbol(Symbol::new("H", Domain::Range { min: 1, max: None }))
    }

    fn n(v: i64) -> Dim {
        Dim::from(v)
    }

    fn vector(values: &[Dim]) -> AnyArg {
        let known = Some(Known::ints(DType::I32, false, values.to_vec()));
        AnyArg { id: None, ty: TensorType::new(DType::I32, [values.len()]).into(), known, is_const: false }
    }

    fn known<O: Op>(args: &[AnyArg]) -> Option<Known> {
        let mut bound = Args::new(O::DEF);
        args.iter().enumerate().for_each(|(i, a)| bound.set(i, vec![a.clone()]));
        O::DEF.infer(&bound, &mut Cx::new(Opset::iOS18, "", &[])).unwrap().remove(0).known
    }

    /// What an op knows of operands of known integers.
    #[track_caller]
    fn gives<O: Op>(args: &[&[Dim]], expected: &str) {
        let args: Vec<_> = args.iter().map(|a| vector(a)).collect();
        let dims = known::<O>(&args).and_then(|k| k.dims());
        let text = dims.map(|d| d.iter().map(Dim::to_string).collect::<Vec<_>>().join(", "));
        assert_eq!(text.as_deref().unwrap_or("unknown"), expected);
    }

    #[test]
    fn arithmetic_of_symbols() {
        gives::<Add>(&[&[h(), n(2)], &[n(1)]], "H + 1, 3");
        gives::<Sub>(&[&[n(1)], &[h()]], "-H + 1");
        gives::<Mul>(&[&[h()], &[h() + 1]], &(h() * (h() + 1)).to_string());
        gives::<FloorDiv>(&[&[h()], &[n(2)]], "H / 2");
        gives::<Mul>(&[&[h() * 65536], &[n(32768)]], "unknown"); // H is 1 or more
    }

    #[test]
    fn divisions_of_symbols() {
        gives::<FloorDiv>(&[&[h() * 4], &[n(2)]], "2 * H");
        gives::<FloorDiv>(&[&[h() * 4], &[n(-2)]], "-2 * H");
        gives::<FloorDiv>(&[&[h()], &[h()]], "1");
        gives::<FloorDiv>(&[&[h() + 1], &[h()]], "unknown");
        gives::<RealDiv>(&[&[h()], &[n(3)]], "H / 3");
        gives::<RealDiv>(&[&[h() * -1], &[n(3)]], "unknown");
        gives::<Mod>(&[&[h() * 4 + 1], &[n(2)]], "1");
        gives::<Mod>(&[&[n(0)], &[h()]], "0");
        gives::<Maximum>(&[&[h()], &[n(1)]], "H");
        gives::<Minimum>(&[&[h()], &[n(8)]], &h().min(n(8)).to_string());
        gives::<Pow>(&[&[h()], &[n(2)]], &(h() * h()).to_string());
        gives::<Abs>(&[&[h(), h() * -1, n(-3)]], "H, H, 3");
        gives::<Sign>(&[&[h()]], "1");
    }

    #[test]
    fn comparisons_of_symbols() {
        gives::<Greater>(&[&[h(), h() + 1], &[n(0), h()]], "1, 1");
        gives::<GreaterEqual>(&[&[h()], &[n(1)]], "1");
        gives::<Less>(&[&[h()], &[n(1)]], "0");
        gives::<LessEqual>(&[&[h()], &[h()]], "1");
        gives::<Equal>(&[&[h(), h()], &[h(), n(0)]], "1, 0");
        gives::<NotEqual>(&[&[h()], &[n(0)]], "1");
        gives::<Equal>(&[&[h()], &[n(5)]], "unknown");
        gives::<Greater>(&[&[h()], &[n(5)]], "unknown");
    }

    #[test]
    fn reductions_of_symbols() {
        gives::<ReduceProd>(&[&[n(2), h(), n(3)]], "6 * H");
        gives::<ReduceSum>(&[&[n(2), h(), h()]], "2 * H + 2");
        gives::<ReduceMax>(&[&[n(1), h(), n(0)]], "H");
        gives::<ReduceMin>(&[&[n(1), h()]], "1");
        gives::<ReduceL1Norm>(&[&[n(-1), h()]], "H + 1");
        gives::<ReduceMean>(&[&[n(1), h()]], "unknown");
        assert_eq!(known::<ReduceProd>(&[vector(&[h()])]), Some(Known::ints(DType::I32, true, vec![h()])));
    }

    #[test]
    fn selection_and_casts_of_symbols() {
        let cond = AnyArg::constant(Constant::vector(&[true, false]));
        let picked = known::<Select>(&[cond, vector(&[h(), n(1)]), vector(&[n(2), n(3)])]);
        assert_eq!(picked, Some(Known::ints(DType::I32, false, vec![h(), n(3)])));
        let to = |to: &str| known::<Cast>(&[vector(&[h()]), AnyArg::constant(Constant::string(to))]);
        assert_eq!(to("int32"), Some(Known::ints(DType::I32, false, vec![h()])));
        assert_eq!(to("bool"), Some(Known::Constant(Constant::vector(&[true]))));
        assert_eq!(to("uint16"), None); // H has no greatest size
        assert_eq!(to("fp32"), None);
    }
}

//! Numbers that are no tensors (sizes among them), lists, and checks.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node, binary};
use crate::{
    import::{Refusal, Size, Tensor},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("_operator::add", |n| two(n, Arithmetic::Add)),
    Entry::new("_operator::eq", |n| compare(n, |o| o.is_eq())),
    Entry::new("_operator::floordiv", |n| two(n, Arithmetic::FloorDiv)),
    Entry::new("_operator::ge", |n| compare(n, |o| o.is_ge())),
    Entry::new("_operator::getitem", item),
    Entry::new("_operator::gt", |n| compare(n, |o| o.is_gt())),
    Entry::new("_operator::le", |n| compare(n, |o| o.is_le())),
    Entry::new("_operator::lt", |n| compare(n, |o| o.is_lt())),
    Entry::new("_operator::mod", |n| two(n, Arithmetic::Mod)),
    Entry::new("_operator::mul", |n| two(n, Arithmetic::Mul)),
    Entry::new("_operator::ne", |n| compare(n, |o| o.is_ne())),
    Entry::new("_operator::neg", negative),
    Entry::new("_operator::pow", |n| two(n, Arithmetic::Pow)),
    Entry::new("_operator::sub", |n| two(n, Arithmetic::Sub)),
    Entry::new("_operator::truediv", |n| two(n, Arithmetic::TrueDiv)),
    Entry::new("aten::Bool", truth),
    Entry::new("aten::Float", float),
    Entry::new("aten::FloatImplicit", float),
    Entry::new("aten::Int", int),
    Entry::new("aten::IntImplicit", int),
    Entry::new("aten::ScalarImplicit", scalar),
    Entry::new("aten::__getitem__", item),
    Entry::new("aten::_assert_async", |_| Ok(vec![Val::None])),
    Entry::new("aten::_assert_scalar", |_| Ok(vec![Val::None])),
    Entry::new("aten::_assert_tensor_metadata", |_| Ok(vec![Val::None])),
    Entry::new("aten::_local_scalar_dense", scalar),
    Entry::new("aten::dim", |n| {
        let x = n.tensor(0, "self")?;
        Ok(vec![Val::Int(x.rank().into())])
    }),
    Entry::new("aten::item", scalar),
    Entry::new("aten::len", length),
    Entry::new("aten::numel", numel),
    Entry::new("aten::size", size),
    Entry::new("aten::sym_constrain_range", |_| Ok(vec![Val::None])),
    Entry::new("aten::sym_constrain_range_for_size", |_| Ok(vec![Val::None])),
    Entry::new("aten::sym_numel", numel),
    Entry::new("aten::sym_size", size),
    Entry::new("math::ceil", |n| rounded(n, Rounding::Up)),
    Entry::new("math::floor", |n| rounded(n, Rounding::Down)),
    Entry::new("math::trunc", |n| rounded(n, Rounding::Zero)),
    Entry::new("prim::ListConstruct", construct),
    Entry::new("prim::ListUnpack", unpack),
    Entry::new("prim::NumToTensor", |n| {
        let x = n.tensor(0, "a")?;
        Ok(vec![x.into()])
    }),
    Entry::new("prim::TupleConstruct", construct),
    Entry::new("prim::TupleUnpack", unpack),
    Entry::new("torch::sym_float", float),
    Entry::new("torch::sym_int", int),
    Entry::new("torch::sym_max", |n| two(n, Arithmetic::Max)),
    Entry::new("torch::sym_min", |n| two(n, Arithmetic::Min)),
    Entry::new("torch::sym_not", |n| {
        let x = n.tensor(0, "a")?;
        let y = n.push(mb::logical_not(&x.value))?;
        n.one(y, DType::Bool)
    }),
];

/// What is done with two numbers or tensors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    /// Rounded down.
    FloorDiv,
    /// Of floats.
    TrueDiv,
    /// With the sign of the divisor.
    Mod,
    Pow,
    Min,
    Max,
}

/// One of the ops on values of one dtype.
pub(super) fn push(n: &mut Node<'_, '_>, op: Arithmetic, x: &Value, y: &Value) -> Result<Value, Refusal> {
    match op {
        Arithmetic::Add => n.push(mb::add(x, y)),
        Arithmetic::Sub => n.push(mb::sub(x, y)),
        Arithmetic::Mul => n.push(mb::mul(x, y)),
        Arithmetic::FloorDiv => n.push(mb::floor_div(x, y)),
        Arithmetic::TrueDiv => n.push(mb::real_div(x, y)),
        Arithmetic::Mod => n.push(mb::mod_(x, y)),
        Arithmetic::Pow => n.push(mb::pow(x, y)),
        Arithmetic::Min => n.push(mb::minimum(x, y)),
        Arithmetic::Max => n.push(mb::maximum(x, y)),
    }
}

/// Of two numbers.
pub(super) fn number(n: &mut Node<'_, '_>, op: Arithmetic, a: &Val, b: &Val) -> Result<Val, Refusal> {
    use Arithmetic as A;
    let whole = |v: &Val| matches!(v, Val::Int(_) | Val::Bool(_));
    if !(whole(a) && whole(b)) || op == A::TrueDiv {
        let (Some(x), Some(y)) = (a.number(), b.number()) else { return computed(n, op, a, b) };
        return Ok(Val::Float(match op {
            A::Add => x + y,
            A::Sub => x - y,
            A::Mul => x * y,
            A::FloorDiv => (x / y).floor(),
            A::TrueDiv => x / y,
            A::Mod => x - (x / y).floor() * y,
            A::Pow => x.powf(y),
            A::Min => x.min(y),
            A::Max => x.max(y),
        }));
    }
    let integer = |n: &mut Node<'_, '_>, v: &Val| {
        n.size_of(v)?.ok_or_else(|| Refusal::new(format!("{} is no integer", v.kind())))
    };
    let (x, y) = (integer(n, a)?, integer(n, b)?);
    if let (Size::Fixed(x), Size::Fixed(y)) = (&x, &y) {
        let floor = || {
            let (q, r) = (x.checked_div(*y)?, x.checked_rem(*y)?);
            Some((q - i64::from(r != 0 && (r < 0) != (*y < 0)), if r != 0 && (r < 0) != (*y < 0) { r + y } else { r }))
        };
        let z = match op {
            A::Add => x.checked_add(*y),
            A::Sub => x.checked_sub(*y),
            A::Mul => x.checked_mul(*y),
            A::FloorDiv => floor().map(|f| f.0),
            A::Mod => floor().map(|f| f.1),
            A::Pow => u32::try_from(*y).ok().and_then(|y| x.checked_pow(y)),
            A::Min => Some(*x.min(y)),
            A::Max => Some(*x.max(y)),
            A::TrueDiv => None,
        };
        let impossible = || Refusal::new(format!("{op:?} of {x} and {y} is no integer of 64 bits"));
        return z.map(|z| Val::Int(Size::Fixed(z))).ok_or_else(impossible);
    }
    let (x, y) = (list(n, &x)?, list(n, &y)?);
    let z = push(n, op, &x, &y)?;
    Ok(Val::Int(known(z)))
}

/// A size as a value `[1]`.
fn list(n: &mut Node<'_, '_>, size: &Size) -> Result<Value, Refusal> {
    match size {
        Size::Fixed(number) => n.list(&[*number]),
        Size::Value(v) => Ok(v.clone()),
    }
}

/// A value `[1]` as a size.
fn known(value: Value) -> Size {
    let t = Tensor::new(value, DType::I32);
    match t.ints().as_deref() {
        Some([one]) => Size::Fixed(*one),
        _ => Size::Value(t.value),
    }
}

/// Of numbers of which one is computed and one no integer: a tensor of rank 0.
fn computed(n: &mut Node<'_, '_>, op: Arithmetic, a: &Val, b: &Val) -> Result<Val, Refusal> {
    let (a, b) = (n.as_tensor(a)?, n.as_tensor(b)?);
    let (x, y) = (n.convert(&a, DType::F32)?, n.convert(&b, DType::F32)?);
    let z = push(n, op, &x.value, &y.value)?;
    Ok(Val::Tensor(Tensor::new(z, DType::F32)))
}

fn two(n: &mut Node<'_, '_>, op: Arithmetic) -> Lowered {
    let (a, b) = (n.val(0, "a|self")?, n.val(1, "b|other")?);
    binary::apply(n, op, &a, &b)
}

/// Compares numbers; of what is computed a tensor comes out, which only checks read.
fn compare(n: &mut Node<'_, '_>, holds: fn(std::cmp::Ordering) -> bool) -> Lowered {
    let (a, b) = (n.val(0, "a")?, n.val(1, "b")?);
    if let (Some(x), Some(y)) = (a.number(), b.number()) {
        return Ok(vec![Val::Bool(x.partial_cmp(&y).is_some_and(holds))]);
    }
    let (x, y) = (n.operand(&a, DType::I32)?, n.operand(&b, DType::I32)?);
    let z =
        match (holds(std::cmp::Ordering::Less), holds(std::cmp::Ordering::Equal), holds(std::cmp::Ordering::Greater)) {
            (true, true, _) => n.push(mb::less_equal(&x, &y))?,
            (true, false, true) => n.push(mb::not_equal(&x, &y))?,
            (true, false, false) => n.push(mb::less(&x, &y))?,
            (false, true, true) => n.push(mb::greater_equal(&x, &y))?,
            (false, true, false) => n.push(mb::equal(&x, &y))?,
            (false, false, _) => n.push(mb::greater(&x, &y))?,
        };
    n.one(z, DType::Bool)
}

fn negative(n: &mut Node<'_, '_>) -> Lowered {
    let a = n.val(0, "a")?;
    binary::apply(n, Arithmetic::Mul, &a, &Val::Int(Size::Fixed(-1)))
}

fn int(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "a")?;
    if let Some(number) = x.number() {
        return Ok(vec![Val::Int(Size::Fixed(number.trunc() as i64))]);
    }
    match n.size_of(&x)? {
        Some(size) => Ok(vec![Val::Int(size)]),
        None => Err(Refusal::new("is of a tensor that has more than one element")),
    }
}

fn float(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "a")?;
    if let Some(number) = x.number() {
        return Ok(vec![Val::Float(number)]);
    }
    let t = n.as_tensor(&x)?;
    Ok(vec![n.convert(&t, DType::F32)?.into()])
}

fn truth(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "a")?;
    match x.number() {
        Some(number) => Ok(vec![Val::Bool(number != 0.0)]),
        None => {
            Err(Refusal::new("decides by data, and only straight-line graphs are read").remedy("use `torch.where`"))
        }
    }
}

/// A tensor's only element as a number.
fn scalar(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self|a")?;
    if let Some([one]) = x.numbers().as_deref() {
        return Ok(vec![match x.dtype {
            DType::Bool => Val::Bool(*one != 0.0),
            d if d.is_float() => Val::Float(*one),
            _ => Val::Int(Size::Fixed(*one as i64)),
        }]);
    }
    if x.dtype.is_int()
        && let Some(size) = n.size_of(&Val::Tensor(x.clone()))?
    {
        return Ok(vec![Val::Int(size)]);
    }
    let value = n.reshape(&x.value, &[])?;
    n.one(value, x.dtype)
}

/// The size of one dimension, or all of them.
fn size(n: &mut Node<'_, '_>) -> Lowered {
    let x = match n.val(0, "self")? {
        Val::High { sizes, .. } => {
            let axis = n.int(1, "dim")?;
            let axis = if axis < 0 { axis + sizes.len() as i64 } else { axis };
            let size = usize::try_from(axis).ok().and_then(|a| sizes.get(a));
            let size = size.ok_or_else(|| Refusal::new(format!("there is no axis {axis}")))?;
            return Ok(vec![Val::Int(size.clone())]);
        }
        val => n.as_tensor(&val)?,
    };
    if !n.has(1, "dim") {
        let all = n.sizes(&x.value)?;
        return Ok(vec![Val::List(all.into_iter().map(Val::Int).collect())]);
    }
    let axis = n.int(1, "dim")?;
    let axis = x.axis(axis)?;
    Ok(vec![Val::Int(n.size(&x.value, axis)?)])
}

fn numel(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let sizes = n.sizes(&x.value)?;
    Ok(vec![Val::Int(n.product(&sizes)?)])
}

fn length(n: &mut Node<'_, '_>) -> Lowered {
    match n.val(0, "a|self")? {
        Val::List(items) => Ok(vec![Val::Int(items.len().into())]),
        val => {
            let x = n.as_tensor(&val)?;
            Ok(vec![Val::Int(n.size(&x.value, 0)?)])
        }
    }
}

fn item(n: &mut Node<'_, '_>) -> Lowered {
    let index = n.int(1, "idx|b")?;
    match n.val(0, "list|a|self")? {
        Val::List(items) => {
            let at = if index < 0 { index + items.len() as i64 } else { index };
            let found = usize::try_from(at).ok().and_then(|at| items.get(at).cloned());
            found.map(|v| vec![v]).ok_or_else(|| Refusal::new(format!("there is no item {index} of {}", items.len())))
        }
        val => Err(Refusal::new(format!("{} has no items", val.kind()))),
    }
}

fn construct(n: &mut Node<'_, '_>) -> Lowered {
    Ok(vec![Val::List((0..n.len()).map(|i| n.val(i, "")).collect::<Result<_, _>>()?)])
}

fn unpack(n: &mut Node<'_, '_>) -> Lowered {
    match n.val(0, "list|self")? {
        Val::List(items) => Ok(items),
        val => Err(Refusal::new(format!("{} cannot be taken apart", val.kind()))),
    }
}

enum Rounding {
    Up,
    Down,
    Zero,
}

/// A number rounded to an integer.
fn rounded(n: &mut Node<'_, '_>, how: Rounding) -> Lowered {
    let x = n.val(0, "a")?;
    if let Some(x) = x.number() {
        let whole = match how {
            Rounding::Up => x.ceil(),
            Rounding::Down => x.floor(),
            Rounding::Zero => x.trunc(),
        };
        return Ok(vec![Val::Int(Size::Fixed(whole as i64))]);
    }
    if let Val::Int(_) = x {
        return Ok(vec![x]);
    }
    let t = n.as_tensor(&x)?;
    let t = n.floats(&t)?;
    let y = match how {
        Rounding::Up => n.push(mb::ceil(&t.value))?,
        Rounding::Down => n.push(mb::floor(&t.value))?,
        Rounding::Zero => t.value,
    };
    let y = n.cast(&y, DType::I32)?;
    let y = n.reshape(&y, &[Size::Fixed(1)])?;
    Ok(vec![Val::Int(known(y))])
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    #[test]
    fn numbers_are_computed_at_once() {
        let net = Net::new().input("x", &[2, 6]).node("n = aten::size(x, 1)").node("m = aten::floordiv(n, 2)");
        assert_eq!(net.node("y = aten::view(x, [-1, m])").form("y"), ["reshape(x=x, shape=[-1, 3])"]);
        let net = |call: &str| {
            let net = Net::new().input("x", &[1]).node(&format!("n = {call}"));
            net.node("y = aten::add(x, n, 1)").refusal("y")
        };
        for (call, message) in [
            ("aten::Bool(x)", "use `torch.where`"),
            ("aten::size(x, 1)", "no axis 1"),
            ("aten::__getitem__([1, 2], 2)", "there is no item 2 of 2"),
            ("aten::floordiv(1, 0)", "of 1 and 0 is no integer"),
            ("aten::mul(9223372036854775807, 2)", "is no integer of 64 bits"),
        ] {
            let e = net(call);
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}

//! Largest elements, order, and sums along an axis.

use mil_core::{
    graph::Value,
    mb,
    types::{DType, Dim},
};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("ArgMax", arg_max),
    Entry::new("ArgMin", arg_min),
    Entry::new("CumSum", cum_sum),
    Entry::new("TopK", top_k),
    Entry::new("Unique", unique).but("slices along an axis of a tensor with several"),
];

fn arg_max(n: &mut Node<'_, '_>) -> Lowered {
    arg(n, |n, x, axis| n.push(mb::reduce_argmax(x).axis(axis).keep_dims(true)))
}

fn arg_min(n: &mut Node<'_, '_>) -> Lowered {
    arg(n, |n, x, axis| n.push(mb::reduce_argmin(x).axis(axis).keep_dims(true)))
}

fn arg(n: &mut Node<'_, '_>, place: impl FnOnce(&mut Node<'_, '_>, &Value, i64) -> Result<Value, Refusal>) -> Lowered {
    let x = n.input(0)?;
    let axis = x.axis(n.int_or("axis", 0)?)?;
    let keep = n.int_or("keepdims", 1)? != 0;
    let last = n.int_or("select_last_index", 0)? != 0;
    let mut source = x.value.clone();
    if last {
        source = n.push(mb::reverse(&source).axes([axis as i64]))?;
    }
    let mut y = place(n, &source, axis as i64)?;
    if last {
        let size = n.size(&x.value, axis)?;
        let size = n.scalar_size(&size)?;
        let end = n.push(mb::sub(&size, 1i64))?;
        y = n.push(mb::sub(&end, &y))?;
    }
    if !keep {
        y = n.squeeze(&y, &[axis])?;
    }
    n.one(y, DType::I64)
}

fn cum_sum(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axis = n.optional(1)?.ok_or_else(|| Refusal::new("its axis is missing"))?;
    let (exclusive, reverse) = (n.int_or("exclusive", 0)? != 0, n.int_or("reverse", 0)? != 0);
    let sums = |n: &mut Node<'_, '_>, axis: usize| {
        let mut call = mb::cumsum(&x.value).axis(axis as i64);
        if exclusive {
            call = call.exclusive(true);
        }
        if reverse {
            call = call.reverse(true);
        }
        n.push(call)
    };
    let y = match axis.ints() {
        Some(known) => {
            let axis = x.axis(known.first().copied().unwrap_or(0))?;
            sums(n, axis)?
        }
        // Along each axis, of which one is taken when the model runs.
        None => {
            let axis = computed_axis(n, &axis, x.rank())?;
            let mut y = sums(n, 0)?;
            for at in 1..x.rank() {
                let other = sums(n, at)?;
                let taken = n.push(mb::equal(&axis, at as i64))?;
                y = n.select(&taken, &other, &y)?;
            }
            y
        }
    };
    let y = n.wrap(&y, x.dtype)?;
    n.one(y, x.dtype)
}

/// An axis that is known when the model runs, counted from the start: a scalar.
pub(super) fn computed_axis(n: &mut Node<'_, '_>, axis: &Tensor, rank: usize) -> Result<Value, Refusal> {
    let axis = n.squeeze(&axis.value, &(0..axis.rank()).collect::<Vec<_>>())?;
    // MIL's `mod` is not negative here: -1 becomes the last axis.
    n.push(mb::mod_(&axis, rank.max(1) as i64))
}

fn top_k(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let axis = x.axis(n.int_or("axis", -1)?)?;
    let smallest = n.int_or("largest", 1)? == 0;
    let k = match n.int("k")? {
        Some(k) => Size::Fixed(k),
        None => {
            let k = n.input(1)?;
            n.element(&k.value, 0)?
        }
    };
    let (values, places) = match k {
        Size::Fixed(k) => {
            let mut call = mb::topk(&x.value).k(k).axis(axis as i64);
            if smallest {
                call = call.ascending(true);
            }
            let both = n.push(call)?;
            let [values, places] = &both[..] else { return Err(Refusal::new("MIL's `topk` gave no places")) };
            (values.clone(), places.clone())
        }
        k => {
            let order = n.push(mb::argsort(&x.value).axis(axis as i64).ascending(smallest))?;
            let places = n.range_of(&order, axis, None, k)?;
            let mut source = x.value.clone();
            source = n.push(mb::gather_along_axis(&source, &places).axis(axis as i64))?;
            (source, places)
        }
    };
    Ok(vec![Tensor::new(values, x.dtype), Tensor::new(places, DType::I64)])
}

/// Sorted, an element is new where it differs from the one before it.
fn unique(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    if let Some(axis) = n.int("axis")? {
        x.axis(axis)?;
        if x.rank() > 1 {
            return Err(Refusal::new(format!("finds equal slices of {}", x.value.ty()))
                .remedy("MIL sorts numbers, not slices: let the model work on a list"));
        }
    }
    let bools = x.value.dtype() == Some(DType::Bool);
    let list = n.reshape(&x.value, &[Size::Fixed(-1)])?;
    let list = if bools { n.cast(&list, DType::I32)? } else { list };
    let count = n.size(&list, 0)?;
    if list.shape().and_then(|s| s.first()).is_some_and(|d: &Dim| d.is(0)) {
        return Err(Refusal::new("finds equal elements of an empty tensor"));
    }
    let order = n.push(mb::argsort(&list).axis(0i64).ascending(true))?;
    let sorted = n.push(mb::gather(&list, &order).axis(0i64))?;
    let before = n.range_of(&sorted, 0, None, Size::Fixed(-1))?;
    let after = n.range_of(&sorted, 0, Size::Fixed(1), None)?;
    let differs = n.push(mb::not_equal(&before, &after))?;
    let differs = n.cast(&differs, DType::I32)?;
    let one = n.ints(&[1])?;
    let new = n.join(&[one, differs], 0)?;
    let starts = n.push(mb::non_zero(&new))?;
    let starts = n.squeeze(&starts, &[1])?;
    let rest = n.range_of(&starts, 0, Size::Fixed(1), None)?;
    let end = n.shape_of_sizes(std::slice::from_ref(&count))?;
    let end = n.push(mb::identity(end))?;
    let ends = n.push(mb::concat([&rest, &end], 0i64))?;
    let counts = n.push(mb::sub(&ends, &starts))?;
    let values = n.push(mb::gather(&sorted, &starts).axis(0i64))?;
    // `argsort` keeps equal elements in their order.
    let first = n.push(mb::gather(&order, &starts).axis(0i64))?;
    let group = n.push(mb::cumsum(&new).axis(0i64))?;
    let group = n.push(mb::sub(&group, 1i64))?;
    let empty = n.filled(std::slice::from_ref(&count), DType::I32, 0.0)?;
    let inverse = n.push(mb::scatter(&empty, &order, &group).axis(0i64).mode("update"))?;
    let mut all = [values, first, inverse, counts];
    if n.int_or("sorted", 1)? == 0 {
        let order = n.push(mb::argsort(&all[1]).axis(0i64).ascending(true))?;
        let back = n.push(mb::argsort(&order).axis(0i64).ascending(true))?;
        for i in [0, 1, 3] {
            all[i] = n.push(mb::gather(&all[i], &order).axis(0i64))?;
        }
        all[2] = n.push(mb::gather(&back, &all[2]).axis(0i64))?;
    }
    let [values, first, inverse, counts] = all;
    let values = if bools { n.cast(&values, DType::Bool)? } else { values };
    Ok(vec![
        Tensor::new(values, x.dtype),
        Tensor::new(first, DType::I64),
        Tensor::new(inverse, DType::I64),
        Tensor::new(counts, DType::I64),
    ])
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType};

    use crate::onnx::testing::Net;

    #[test]
    fn an_axis_to_sum_along_may_be_computed() {
        let sums = |net: Net| {
            let ops = net.input("x", DType::F32, &[2, 3, 4]).node("CumSum", "x axis", "y", &[]).ops("y");
            ops.into_iter().filter(|o| *o == "cumsum").count()
        };
        assert_eq!(sums(Net::new(14).constant("axis", Constant::scalar(-2i32))), 1);
        assert_eq!(sums(Net::new(14).input("axis", DType::I32, &[])), 3);
        assert_eq!(sums(Net::new(14).input("axis", DType::I64, &[1])), 3);
    }
}

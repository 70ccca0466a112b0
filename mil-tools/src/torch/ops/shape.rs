//! Shapes, and tensors in other shapes.
//!
//! Core ML has tensors of rank 5 at most. PyTorch's modules go through higher ones where they rearrange blocks (`view`, `permute`,
//! `view`): such a tensor stays a list of elements with sizes ([`Val::High`]) until a rank is reached that Core ML has, and
//! dimensions that stay side by side are moved as one.

use mil_core::mb;

use super::{Entry, Lowered, Node};
use crate::{
    import::{Refusal, Size, Tensor},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::T", |n| swap(n, None)),
    Entry::new("aten::_reshape_alias", view),
    Entry::new("aten::_unsafe_view", view),
    Entry::new("aten::atleast_1d", |n| {
        let x = n.tensor(0, "self")?;
        let value = if x.rank() == 0 { n.expand_dims(&x.value, &[0])? } else { x.value };
        n.one(value, x.dtype)
    }),
    Entry::new("aten::broadcast_to", expand),
    Entry::new("aten::expand", expand),
    Entry::new("aten::expand_as", |n| {
        let (x, other) = (n.tensor(0, "self")?, n.tensor(1, "other")?);
        let sizes = n.sizes(&other.value)?;
        let value = n.broadcast_to(&x.value, &sizes)?;
        n.one(value, x.dtype)
    }),
    Entry::new("aten::flatten", flatten),
    Entry::new("aten::mT", |n| swap(n, Some((-2, -1)))),
    Entry::new("aten::movedim", move_dims),
    Entry::new("aten::moveaxis", move_dims),
    Entry::new("aten::numpy_T", |n| swap(n, None)),
    Entry::new("aten::permute", permute),
    Entry::new("aten::ravel", flatten),
    Entry::new("aten::repeat", repeat),
    Entry::new("aten::repeat_interleave", repeat_interleave).but("as often for each element"),
    Entry::new("aten::reshape", view),
    Entry::new("aten::reshape_as", view_as),
    Entry::new("aten::squeeze", squeeze),
    Entry::new("aten::swapaxes", swap_of),
    Entry::new("aten::swapdims", swap_of),
    Entry::new("aten::t", |n| swap(n, Some((0, 1)))),
    Entry::new("aten::tile", repeat),
    Entry::new("aten::transpose", swap_of),
    Entry::new("aten::unflatten", unflatten),
    Entry::new("aten::unsqueeze", unsqueeze),
    Entry::new("aten::view", view),
    Entry::new("aten::view_as", view_as),
];

/// Greatest rank of Core ML.
const RANK: usize = 5;

/// The elements, whatever shape they are thought to have.
fn elements(n: &mut Node<'_, '_>) -> Result<Tensor, Refusal> {
    match n.val(0, "self")? {
        Val::High { value, .. } => Ok(value),
        val => n.as_tensor(&val),
    }
}

/// All sizes.
fn sizes_of(n: &mut Node<'_, '_>, val: &Val) -> Result<Vec<Size>, Refusal> {
    match val {
        Val::High { sizes, .. } => Ok(sizes.clone()),
        val => {
            let x = n.as_tensor(val)?;
            n.sizes(&x.value)
        }
    }
}

/// The elements in a shape of these sizes.
fn shaped(n: &mut Node<'_, '_>, x: &Tensor, sizes: &[Size]) -> Lowered {
    if sizes.len() <= RANK {
        let value = n.reshape(&x.value, sizes)?;
        let (from, to) = (x.dims(), value.shape().map_or(&[][..], |s| s));
        // Back from rows to what they are rows of.
        if let Some(whole) = n.importer.rows.get(&x.value.id()).filter(|w| w.dims() == to) {
            return Ok(vec![whole.clone().into()]);
        }
        if to.len() == 2 && from.len() > 2 && to.last() == from.last() {
            n.importer.rows.insert(value.id(), x.clone());
        }
        return n.one(value, x.dtype);
    }
    let mut sizes = sizes.to_vec();
    if let Some(open) = sizes.iter().position(|s| matches!(s, Size::Fixed(-1))) {
        let rest: Option<Vec<i64>> =
            sizes.iter().map(|s| if let Size::Fixed(n) = s { Some(*n) } else { None }).collect();
        let product = |all: Vec<i64>| all.into_iter().try_fold(1i64, i64::checked_mul);
        let all = x.fixed().and_then(|s| product(s.iter().map(|n| *n as i64).collect()));
        if let (Some(others), Some(all)) = (rest.and_then(product), all)
            && let Some(others) = others.checked_neg().filter(|n| *n > 0)
        {
            sizes[open] = Size::Fixed(all / others);
        }
    }
    Ok(vec![Val::High { value: x.clone(), sizes }])
}

fn view(n: &mut Node<'_, '_>) -> Lowered {
    if matches!(n.val(1, "size|shape|dtype")?, Val::DType(_)) || n.overload() == "dtype" {
        return Err(Refusal::new("reads the bits of a tensor as another dtype, which MIL does not"));
    }
    let x = elements(n)?;
    let sizes = n.dims(1, "size|shape")?.unwrap_or_default();
    shaped(n, &x, &sizes)
}

fn view_as(n: &mut Node<'_, '_>) -> Lowered {
    let x = elements(n)?;
    let other = n.val(1, "other")?;
    let sizes = sizes_of(n, &other)?;
    shaped(n, &x, &sizes)
}

fn axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    let at = usize::try_from(at).ok().filter(|a| *a < rank);
    at.ok_or_else(|| Refusal::new(format!("there is no axis {axis} in a tensor of rank {rank}")))
}

fn flatten(n: &mut Node<'_, '_>) -> Lowered {
    let whole = n.op() == "ravel";
    let x = n.val(0, "self")?;
    let sizes = sizes_of(n, &x)?;
    let x = elements(n)?;
    if sizes.is_empty() {
        let value = n.expand_dims(&x.value, &[0])?;
        return n.one(value, x.dtype);
    }
    let (first, last) = if whole { (0, -1) } else { (n.int_or(1, "start_dim", 0)?, n.int_or(2, "end_dim", -1)?) };
    let (first, last) = (axis(first, sizes.len())?, axis(last, sizes.len())?);
    if first > last {
        return Err(Refusal::new(format!("its `start_dim` {first} is behind its `end_dim` {last}")));
    }
    let mut new = sizes[..first].to_vec();
    new.push(merged(&sizes[first..=last]));
    new.extend_from_slice(&sizes[last + 1..]);
    shaped(n, &x, &new)
}

/// The product of sizes, or what is left.
fn merged(sizes: &[Size]) -> Size {
    match sizes {
        [one] => one.clone(),
        many => {
            let known: Option<i64> = many.iter().try_fold(1i64, |p, s| match s {
                Size::Fixed(n) => p.checked_mul(*n),
                Size::Value(_) => None,
            });
            Size::Fixed(known.unwrap_or(-1))
        }
    }
}

fn unflatten(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "self")?;
    let sizes = sizes_of(n, &x)?;
    let x = elements(n)?;
    let dim = n.int(1, "dim")?;
    let at = axis(dim, sizes.len())?;
    let parts = n.dims(2, "sizes")?.unwrap_or_default();
    let mut new = sizes[..at].to_vec();
    new.extend(parts);
    new.extend_from_slice(&sizes[at + 1..]);
    shaped(n, &x, &new)
}

/// The dimensions of a tensor in another order.
fn permuted(n: &mut Node<'_, '_>, x: Val, perm: &[usize]) -> Lowered {
    match x {
        Val::Transposed(t) if perm == [1, 0] => Ok(vec![t.into()]),
        Val::High { value, sizes } => high(n, &value, &sizes, perm),
        val => {
            let t = n.as_tensor(&val)?;
            if perm == [1, 0] && t.constant().is_some() {
                return Ok(vec![Val::Transposed(t)]);
            }
            let value = n.transpose(&t.value, perm)?;
            n.one(value, t.dtype)
        }
    }
}

/// Dimensions that stay side by side are moved as one.
fn high(n: &mut Node<'_, '_>, x: &Tensor, sizes: &[Size], perm: &[usize]) -> Lowered {
    let new: Vec<Size> = perm.iter().map(|p| sizes[*p].clone()).collect();
    // Dimensions of size 1 may be anywhere.
    let moved: Vec<usize> = perm.iter().copied().filter(|p| !matches!(sizes[*p], Size::Fixed(1))).collect();
    let mut order: Vec<usize> = moved.clone();
    order.sort_unstable();
    let next = |a: usize| order.iter().position(|o| *o == a).and_then(|i| order.get(i + 1)).copied();
    let mut groups: Vec<Vec<usize>> = vec![];
    for p in moved {
        match groups.last_mut() {
            Some(group) if group.last().and_then(|l| next(*l)) == Some(p) => group.push(p),
            _ => groups.push(vec![p]),
        }
    }
    if groups.len() > RANK {
        let message =
            format!("rearranges {} dimensions at once, and Core ML has tensors of rank {RANK} at most", groups.len());
        return Err(Refusal::new(message).remedy("rearrange in two steps"));
    }
    let mut before: Vec<usize> = (0..groups.len()).collect();
    before.sort_by_key(|g| groups[*g][0]);
    let mut shape = vec![];
    for g in &before {
        let own: Vec<Size> = groups[*g].iter().map(|d| sizes[*d].clone()).collect();
        shape.push(n.product(&own)?);
    }
    let value = n.reshape(&x.value, &shape)?;
    let turn: Vec<usize> = (0..groups.len()).filter_map(|g| before.iter().position(|b| *b == g)).collect();
    let value = n.transpose(&value, &turn)?;
    shaped(n, &Tensor::new(value, x.dtype), &new)
}

fn permute(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "self")?;
    let rank = sizes_of(n, &x)?.len();
    let dims = n.ints(1, "dims")?.unwrap_or_default();
    let perm = dims.iter().map(|d| axis(*d, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return Err(Refusal::new(format!("its `dims` {dims:?} are no order of {rank} dimensions")));
    }
    permuted(n, x, &perm)
}

/// Two dimensions change places; without them, all are turned around.
fn swap(n: &mut Node<'_, '_>, dims: Option<(i64, i64)>) -> Lowered {
    let x = n.val(0, "self")?;
    let rank = sizes_of(n, &x)?.len();
    let mut perm: Vec<usize> = (0..rank).collect();
    match dims {
        // `t` of a vector is the vector.
        Some(_) if rank < 2 => {}
        Some((a, b)) => perm.swap(axis(a, rank)?, axis(b, rank)?),
        None => perm.reverse(),
    }
    permuted(n, x, &perm)
}

fn swap_of(n: &mut Node<'_, '_>) -> Lowered {
    let dims = (n.int(1, "dim0|axis0")?, n.int(2, "dim1|axis1")?);
    swap(n, Some(dims))
}

fn move_dims(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "self")?;
    let rank = sizes_of(n, &x)?.len();
    let (from, to) = (n.ints(1, "source")?.unwrap_or_default(), n.ints(2, "destination")?.unwrap_or_default());
    let mut perm: Vec<Option<usize>> = vec![None; rank];
    for (f, t) in from.iter().zip(&to) {
        let (f, t) = (axis(*f, rank)?, axis(*t, rank)?);
        if perm[t].is_some() || perm.contains(&Some(f)) {
            return Err(Refusal::new("moves a dimension twice, or two to one place"));
        }
        perm[t] = Some(f);
    }
    let mut rest = (0..rank).filter(|d| !perm.contains(&Some(*d))).collect::<Vec<_>>().into_iter();
    let perm: Vec<usize> = perm.iter().filter_map(|p| p.or_else(|| rest.next())).collect();
    permuted(n, x, &perm)
}

fn squeeze(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "self")?;
    let sizes = sizes_of(n, &x)?;
    let dims = match n.ints(1, "dim")? {
        Some(dims) => dims,
        None => (0..sizes.len() as i64).collect(),
    };
    let mut gone = vec![];
    for dim in dims {
        if sizes.is_empty() {
            break;
        }
        let at = axis(dim, sizes.len())?;
        if matches!(sizes[at], Size::Fixed(1)) {
            gone.push(at);
        }
    }
    gone.sort_unstable();
    if let Val::High { value, .. } = &x {
        let left: Vec<Size> = (0..sizes.len()).filter(|i| !gone.contains(i)).map(|i| sizes[i].clone()).collect();
        return shaped(n, value, &left);
    }
    let x = n.as_tensor(&x)?;
    let value = n.squeeze(&x.value, &gone)?;
    n.one(value, x.dtype)
}

fn unsqueeze(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.val(0, "self")?;
    let mut sizes = sizes_of(n, &x)?;
    let dim = n.int(1, "dim")?;
    let at = axis(dim, sizes.len() + 1)?;
    let t = elements(n)?;
    if sizes.len() < RANK {
        let value = n.expand_dims(&t.value, &[at])?;
        return n.one(value, t.dtype);
    }
    sizes.insert(at, Size::Fixed(1));
    shaped(n, &t, &sizes)
}

/// Sizes of -1 stay; others must be the size or come from 1.
fn expand(n: &mut Node<'_, '_>) -> Lowered {
    let val = n.val(0, "self")?;
    let wanted = n.dims(1, "size")?.unwrap_or_default();
    if wanted.len() > RANK {
        return expand_high(n, &val, wanted);
    }
    let x = n.as_tensor(&val)?;
    let front = wanted
        .len()
        .checked_sub(x.rank())
        .ok_or_else(|| Refusal::new("has fewer sizes than its input has dimensions"))?;
    let own = n.sizes(&x.value)?;
    let sizes: Vec<Size> = wanted
        .into_iter()
        .enumerate()
        .map(|(i, want)| match want {
            Size::Fixed(-1) if i >= front => own[i - front].clone(),
            want => want,
        })
        .collect();
    let value = n.broadcast_to(&x.value, &sizes)?;
    n.one(value, x.dtype)
}

/// Repeats dimensions of size 1, those that stay side by side being one.
fn expand_high(n: &mut Node<'_, '_>, val: &Val, wanted: Vec<Size>) -> Lowered {
    let own = sizes_of(n, val)?;
    let x = match val {
        Val::High { value, .. } => value.clone(),
        val => n.as_tensor(val)?,
    };
    let front = wanted
        .len()
        .checked_sub(own.len())
        .ok_or_else(|| Refusal::new("has fewer sizes than its input has dimensions"))?;
    let own: Vec<Size> = (0..front).map(|_| Size::Fixed(1)).chain(own).collect();
    let one = |s: &Size| matches!(s, Size::Fixed(1));
    let mut new = vec![];
    // Runs of dimensions that are repeated, or not.
    let mut runs: Vec<(bool, Vec<Size>)> = vec![];
    for (have, want) in own.iter().zip(wanted) {
        let want = if matches!(want, Size::Fixed(-1)) { have.clone() } else { want };
        if !one(&want) {
            let repeated = one(have);
            match runs.last_mut() {
                Some((kind, run)) if *kind == repeated => run.push(want.clone()),
                _ => runs.push((repeated, vec![want.clone()])),
            }
        }
        new.push(want);
    }
    if runs.len() > RANK {
        return Err(Refusal::new(format!(
            "repeats elements in {} dimensions, and Core ML has {RANK} at most",
            runs.len()
        )));
    }
    let (mut before, mut after) = (vec![], vec![]);
    for (repeated, run) in &runs {
        let size = n.product(run)?;
        before.push(if *repeated { Size::Fixed(1) } else { size.clone() });
        after.push(size);
    }
    let value = n.reshape(&x.value, &before)?;
    let value = n.broadcast_to(&value, &after)?;
    shaped(n, &Tensor::new(value, x.dtype), &new)
}

fn repeat(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.tensor(0, "self")?;
    let mut reps = n.dims(1, "repeats|dims")?.unwrap_or_default();
    // `tile` may say fewer dimensions than there are.
    while reps.len() < x.rank() {
        reps.insert(0, Size::Fixed(1));
    }
    let front: Vec<usize> = (0..reps.len() - x.rank()).collect();
    let value = n.expand_dims(&x.value, &front)?;
    if reps.iter().all(|r| matches!(r, Size::Fixed(1))) {
        return n.one(value, x.dtype);
    }
    let reps = n.shape_of_sizes(&reps)?;
    let value = n.without_bools(&value, |n, v| n.push(mb::tile(v, reps)))?;
    n.one(value, x.dtype)
}

/// Each element several times: a dimension behind it is repeated.
fn repeat_interleave(n: &mut Node<'_, '_>) -> Lowered {
    let mut x = n.tensor(0, "self")?;
    let count = n.int(1, "repeats")?;
    let at = if n.has(2, "dim") {
        let dim = n.int(2, "dim")?;
        x.axis(dim)?
    } else {
        x.value = n.reshape(&x.value, &[Size::Fixed(-1)])?;
        0
    };
    if count < 1 {
        return Err(Refusal::new("its result is empty"));
    }
    let mut sizes = n.sizes(&x.value)?;
    let wide = n.expand_dims(&x.value, &[at + 1])?;
    let mut reps = vec![1i64; sizes.len() + 1];
    reps[at + 1] = count;
    let wide = n.without_bools(&wide, |n, v| n.push(mb::tile(v, reps)))?;
    sizes[at] = n.product(&[sizes[at].clone(), Size::Fixed(count)])?;
    let value = n.reshape(&wide, &sizes)?;
    n.one(value, x.dtype)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    fn net(call: &str) -> Net {
        Net::new().input("x", &[2, 3, 4]).node(&format!("y = aten::{call}"))
    }

    #[test]
    fn shapes_are_changed_by_one_op() {
        assert_eq!(net("view(x, [6, -1])").form("y"), ["reshape(x=x, shape=[6, -1])"]);
        assert_eq!(net("flatten(x, 1)").form("y"), ["reshape(x=x, shape=[2, 12])"]);
        assert_eq!(net("permute(x, [2, 0, -2])").form("y"), ["transpose(x=x, perm=[2, 0, 1])"]);
        assert_eq!(net("transpose(x, 0, -1)").form("y"), ["transpose(x=x, perm=[2, 1, 0])"]);
        assert_eq!(net("unsqueeze(x, -1)").form("y"), ["expand_dims(x=x, axes=[3])"]);
        // What changes nothing.
        assert_eq!(net("view(x, [2, 3, 4])").ops("y"), ["identity"]);
        assert_eq!(net("squeeze(x, 1)").ops("y"), ["identity"]);
    }

    #[test]
    fn what_is_no_shape_is_refused() {
        for (call, message) in [
            ("view(x, @i32)", "reads the bits of a tensor as another dtype"),
            ("permute(x, [0, 0, 1])", "are no order of 3 dimensions"),
            ("transpose(x, 0, 3)", "there is no axis 3 in a tensor of rank 3"),
            ("flatten(x, 2, 1)", "its `start_dim` 2 is behind its `end_dim` 1"),
            ("expand(x, [3, 4])", "has fewer sizes than its input has dimensions"),
            ("movedim(x, [0, 0], [1, 2])", "moves a dimension twice"),
            ("movedim(x, [0, 1], [2, 2])", "or two to one place"),
            ("repeat_interleave(x, 0, 1)", "its result is empty"),
        ] {
            let e = net(call).refusal("y");
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}

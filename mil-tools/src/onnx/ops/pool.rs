//! Pooling.

use mil_core::{
    graph::Value,
    ir::Constant,
    mb,
    types::{DType, Opset},
};

use super::{
    Entry, Lowered, Node,
    window::{AutoPad, Window, spatial_sizes},
};
use crate::import::{Refusal, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("MaxPool", max_pool).but("indices for known sizes, and windows of at most 256 elements"),
    Entry::new("AveragePool", average_pool),
    Entry::new("LpPool", lp_pool),
    Entry::new("GlobalAveragePool", global_average_pool),
    Entry::new("GlobalMaxPool", global_max_pool),
    Entry::new("GlobalLpPool", global_lp_pool),
];

/// Elements of a window whose places can be told, each of which takes some ops.
const MOST_TAPS: i64 = 256;

/// What becomes of the elements of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Max,
    Sum,
}

/// A pool's window, and whether windows that reach over the end count.
fn window(n: &Node<'_, '_>, x: &Tensor) -> Result<(Window, bool), Refusal> {
    let Some(kernel) = n.ints_attr("kernel_shape")? else {
        return Err(Refusal::new("its attribute `kernel_shape` is missing"));
    };
    if x.rank() != kernel.len() + 2 {
        return Err(Refusal::new(format!("its window has {} sizes, its input rank {}", kernel.len(), x.rank())));
    }
    let window = Window::read(n, kernel)?;
    // With `auto_pad` the number of places is said without it.
    let ceil = n.int_or("ceil_mode", 0)? != 0 && window.auto_pad == AutoPad::NotSet;
    Ok((window, ceil))
}

/// Whether MIL's pools have windows of this kind.
fn plain(window: &Window, ceil: bool, opset: Opset) -> bool {
    let pads = || window.pads.iter();
    let rounds = window.kernel.len() <= 2
        && pads().all(|[before, after]| before == after)
        // Else MIL counts windows that begin behind the end.
        && window.strides.iter().zip(&window.kernel).all(|(s, k)| s <= k);
    (1..=3).contains(&window.kernel.len())
        && window.dilations.iter().all(|d| *d == 1)
        && window.kernel.iter().zip(pads()).all(|(k, [before, after])| before < k && after < k)
        && (!ceil || rounds)
        && (window.auto_pad != AutoPad::SameLower || opset >= Opset::iOS16)
}

/// A window over sizes that are known: what each dimension needs before and after, and how many places there are.
struct Placed {
    pads: Vec<[i64; 2]>,
    places: Vec<i64>,
}

fn place(window: &mut Window, ceil: bool, sizes: &[usize]) -> Result<Placed, Refusal> {
    window.settle(sizes);
    let mut placed = Placed { pads: vec![], places: vec![] };
    for (i, size) in sizes.iter().enumerate() {
        let (size, stride, reach, [before, after]) = (*size as i64, window.strides[i], window.reach(i), window.pads[i]);
        let room = size + before + after - reach;
        if room < 0 {
            return Err(Refusal::new(format!("a window that reaches over {reach} does not fit {size} elements")));
        }
        let mut places = room / stride + 1;
        if ceil && room % stride != 0 {
            places += 1;
            // The last one must begin within the input or the padding before it.
            if (places - 1) * stride >= size + before {
                places -= 1;
            }
        }
        let need = (places - 1) * stride + reach - size - before;
        placed.places.push(places);
        placed.pads.push([before, need.max(0)]);
    }
    Ok(placed)
}

/// The sizes, which what MIL's pools do not have needs.
fn known_sizes(x: &Tensor) -> Result<Vec<usize>, Refusal> {
    spatial_sizes(x).ok_or_else(|| {
        Refusal::new("MIL has no pool of this kind, and it can be said in other ops for known sizes only")
            .remedy("say the input's shape: `--input NAME=1,3,224,224`")
    })
}

/// Puts elements around the spatial dimensions.
fn padded(n: &mut Node<'_, '_>, x: &Value, pads: &[[i64; 2]], with: f64) -> Result<Value, Refusal> {
    if pads.iter().all(|p| *p == [0, 0]) {
        return Ok(x.clone());
    }
    let mut all = vec![0; 4];
    all.extend(pads.iter().flatten());
    let with = n.number(x.dtype().unwrap_or(DType::F32), with)?;
    n.push(mb::pad(x, all).constant_val(&with))
}

/// The elements that a window has at one of its places in each dimension that is given, for all places.
fn tap(n: &mut Node<'_, '_>, x: &Value, window: &Window, places: &[i64], at: &[Option<i64>]) -> Result<Value, Refusal> {
    let rank = at.len() + 2;
    let (mut begin, mut end, mut stride, mut all) = (vec![0; rank], vec![0; rank], vec![1; rank], vec![true; rank]);
    for (i, k) in at.iter().enumerate() {
        let Some(k) = k else { continue };
        begin[i + 2] = k * window.dilations[i];
        end[i + 2] = begin[i + 2] + (places[i] - 1) * window.strides[i] + 1;
        stride[i + 2] = window.strides[i];
        all[i + 2] = false;
    }
    n.push(mb::slice_by_index(x, begin, end).stride(stride).begin_mask(all.clone()).end_mask(all))
}

/// The maximum or sum of each window, out of slices: dimension by dimension.
fn sliced(n: &mut Node<'_, '_>, x: &Value, window: &Window, placed: &Placed, kind: Kind) -> Result<Value, Refusal> {
    let nothing = if kind == Kind::Max { f64::NEG_INFINITY } else { 0.0 };
    let mut x = padded(n, x, &placed.pads, nothing)?;
    let spatial = window.kernel.len();
    if window.kernel.iter().sum::<i64>() > 4 * MOST_TAPS {
        return Err(Refusal::new("a window of this size with dilations takes too many ops"));
    }
    for i in 0..spatial {
        let mut joined: Option<Value> = None;
        for k in 0..window.kernel[i] {
            let mut at = vec![None; spatial];
            at[i] = Some(k);
            let part = tap(n, &x, window, &placed.places, &at)?;
            joined = Some(match (joined, kind) {
                (None, _) => part,
                (Some(all), Kind::Max) => n.push(mb::maximum(&all, &part))?,
                (Some(all), Kind::Sum) => n.push(mb::add(&all, &part))?,
            });
        }
        x = joined.unwrap_or(x);
    }
    Ok(x)
}

/// The float that a pool of integers is computed in; MIL's pools have floats only.
fn as_float(n: &mut Node<'_, '_>, x: &Tensor) -> Result<Value, Refusal> {
    if x.value.dtype().is_some_and(|d| d.is_float()) { Ok(x.value.clone()) } else { n.cast(&x.value, DType::F32) }
}

fn max_pool(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (mut window, ceil) = window(n, &x)?;
    let float = as_float(n, &x)?;
    if n.has_output(1) {
        return max_pool_with_indices(n, &x, &float, window, ceil);
    }
    let y = if plain(&window, ceil, n.opset()) {
        let call = mb::max_pool(&float, window.kernel.clone(), window.pad_type());
        n.push(call.strides(window.strides.clone()).pad(window.pad()).ceil_mode(ceil))?
    } else {
        let placed = place(&mut window, ceil, &known_sizes(&x)?)?;
        let mut rounded = Window { pads: placed.pads.clone(), ..window.clone() };
        if plain(&rounded, false, n.opset()) {
            // Padding is never the greatest, so that more of it at the end stands for rounding up.
            rounded.auto_pad = AutoPad::NotSet;
            let call = mb::max_pool(&float, rounded.kernel.clone(), rounded.pad_type());
            n.push(call.strides(rounded.strides.clone()).pad(rounded.pad()))?
        } else {
            sliced(n, &float, &window, &placed, Kind::Max)?
        }
    };
    let y = n.cast(&y, x.value.dtype().unwrap_or(DType::F32))?;
    n.one(y, x.dtype)
}

/// The maximum of each window and its place: element by element of the window, the first of equals.
fn max_pool_with_indices(n: &mut Node<'_, '_>, x: &Tensor, float: &Value, mut window: Window, ceil: bool) -> Lowered {
    let sizes = known_sizes(x)?;
    let taps = window.kernel.iter().try_fold(1i64, |a, k| a.checked_mul(*k)).filter(|t| *t <= MOST_TAPS);
    let Some(taps) = taps else {
        return Err(Refusal::new(format!("the places in windows of more than {MOST_TAPS} elements take too many ops")));
    };
    let placed = place(&mut window, ceil, &sizes)?;
    let spatial = window.kernel.len();
    let padded = padded(n, float, &placed.pads, f64::NEG_INFINITY)?;
    let mut best: Option<(Value, Value)> = None;
    let order = n.int_or("storage_order", 0)?;
    let mut steps = vec![1i64; spatial];
    if order == 0 {
        (0..spatial.saturating_sub(1)).rev().for_each(|i| steps[i] = steps[i + 1] * sizes[i + 1] as i64);
    } else {
        (1..spatial).for_each(|i| steps[i] = steps[i - 1] * sizes[i - 1] as i64);
    }
    let count: usize = placed.places.iter().product::<i64>() as usize;
    for t in 0..taps {
        let mut rest = t;
        let mut at = vec![0; spatial];
        for i in (0..spatial).rev() {
            at[i] = rest % window.kernel[i];
            rest /= window.kernel[i];
        }
        let some: Vec<Option<i64>> = at.iter().copied().map(Some).collect();
        let part = tap(n, &padded, &window, &placed.places, &some)?;
        let mut inside = true;
        let places = (0..count).map(|out| {
            let (mut rest, mut index) = (out as i64, 0);
            for i in (0..spatial).rev() {
                let start = rest % placed.places[i] * window.strides[i];
                rest /= placed.places[i];
                let to = start + at[i] * window.dilations[i] - window.pads[i][0];
                inside &= (0..sizes[i] as i64).contains(&to);
                index += to.clamp(0, sizes[i] as i64 - 1) * steps[i];
            }
            index
        });
        let places: Vec<i64> = places.collect();
        let mut shape = vec![1, 1];
        shape.extend(placed.places.iter().map(|p| *p as usize));
        let index = Constant::integers(DType::I32, shape, &places)?;
        let index = n.constant(index);
        best = Some(match best {
            None => {
                // The index must have batch and channels from the start.
                let sizes = n.sizes(&part)?;
                let index = n.broadcast_to(&index, &sizes)?;
                (part, index)
            }
            Some((most, place)) => {
                let more = n.push(mb::greater(&part, &most))?;
                let place = n.push(mb::select(&more, &index, &place))?;
                (n.push(mb::maximum(&most, &part))?, place)
            }
        });
    }
    let Some((y, place)) = best else { return Err(Refusal::new("its window is empty")) };
    let (Some(batch), Some(channels)) = (x.size(0), x.size(1)) else {
        return Err(Refusal::new("indices count over batch and channels, which must be known")
            .remedy("say the input's shape: `--input NAME=1,3,224,224`"));
    };
    let image: usize = sizes.iter().product();
    let place = if batch * channels == 1 {
        place
    } else {
        let starts: Vec<i64> = (0..batch * channels).map(|i| (i * image) as i64).collect();
        let mut shape = vec![batch, channels];
        shape.resize(x.rank(), 1);
        let starts = Constant::integers(DType::I32, shape, &starts)?;
        let starts = n.constant(starts);
        n.push(mb::add(&place, &starts))?
    };
    let y = n.cast(&y, x.value.dtype().unwrap_or(DType::F32))?;
    Ok(vec![Tensor::new(y, x.dtype), Tensor::new(place, DType::I64)])
}

fn average_pool(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (mut window, ceil) = window(n, &x)?;
    let include = n.int_or("count_include_pad", 0)? != 0;
    if plain(&window, ceil, n.opset()) {
        let call = mb::avg_pool(&x.value, window.kernel.clone(), window.pad_type());
        let call = call.strides(window.strides.clone()).pad(window.pad()).ceil_mode(ceil);
        let y = n.push(call.exclude_padding_from_average(!include))?;
        return n.one(y, x.dtype);
    }
    let sizes = known_sizes(&x)?;
    let placed = place(&mut window, ceil, &sizes)?;
    let sum = sliced(n, &x.value, &window, &placed, Kind::Sum)?;
    let y = divide_by_counts(n, &sum, &window, &placed, &sizes, include)?;
    n.one(y, x.dtype)
}

/// A window's sum becomes its mean. Elements beyond the padding at the end are never counted.
fn divide_by_counts(
    n: &mut Node<'_, '_>,
    sum: &Value,
    window: &Window,
    placed: &Placed,
    sizes: &[usize],
    include: bool,
) -> Result<Value, Refusal> {
    let dtype = sum.dtype().unwrap_or(DType::F32);
    let counts: Vec<Vec<i64>> = (0..sizes.len())
        .map(|i| {
            let (size, [before, after]) = (sizes[i] as i64, window.pads[i]);
            let within = if include { 0..before + size + after } else { before..before + size };
            let counts = |place: i64| {
                let taps = (0..window.kernel[i]).map(|k| place * window.strides[i] + k * window.dilations[i]);
                taps.filter(|to| within.contains(to)).count() as i64
            };
            (0..placed.places[i]).map(counts).collect()
        })
        .collect();
    let mut y = sum.clone();
    for (i, counts) in counts.iter().enumerate() {
        let first = counts.first().copied().unwrap_or(1);
        let by = if counts.iter().all(|c| *c == first) {
            n.number(dtype, first as f64)?
        } else {
            let counts: Vec<f32> = counts.iter().map(|c| *c as f32).collect();
            let mut shape = vec![1; sizes.len() + 2];
            shape[i + 2] = counts.len();
            let counts = Constant::new(shape, &counts)?;
            let counts = n.constant(counts);
            n.cast(&counts, dtype)?
        };
        y = n.push(mb::real_div(&y, &by))?;
    }
    Ok(y)
}

fn lp_pool(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (mut window, ceil) = window(n, &x)?;
    let p = n.int_or("p", 2)?;
    if p < 1 {
        return Err(Refusal::new(format!("its attribute `p` is {p}")));
    }
    if p == 2 && plain(&window, ceil, n.opset()) && window.kernel.len() <= 2 {
        let call = mb::l2_pool(&x.value, window.kernel.clone(), window.pad_type());
        let y = n.push(call.strides(window.strides.clone()).pad(window.pad()).ceil_mode(ceil))?;
        return n.one(y, x.dtype);
    }
    let powers = power(n, &x.value, p)?;
    let sum = if plain(&window, ceil, n.opset()) && !ceil {
        let call = mb::avg_pool(&powers, window.kernel.clone(), window.pad_type());
        let mean = n.push(call.strides(window.strides.clone()).pad(window.pad()))?;
        n.push(mb::mul(&mean, window.kernel.iter().product::<i64>() as f64))?
    } else {
        let placed = place(&mut window, ceil, &known_sizes(&x)?)?;
        sliced(n, &powers, &window, &placed, Kind::Sum)?
    };
    let y = root(n, &sum, p)?;
    n.one(y, x.dtype)
}

/// The absolute value to the power of `p`.
fn power(n: &mut Node<'_, '_>, x: &Value, p: i64) -> Result<Value, Refusal> {
    if p == 2 {
        return n.push(mb::square(x));
    }
    let x = n.push(mb::abs(x))?;
    if p == 1 { Ok(x) } else { n.push(mb::pow(&x, p as f64)) }
}

fn root(n: &mut Node<'_, '_>, x: &Value, p: i64) -> Result<Value, Refusal> {
    match p {
        1 => Ok(x.clone()),
        2 => n.push(mb::sqrt(x)),
        _ => n.push(mb::pow(x, 1.0 / p as f64)),
    }
}

/// The spatial dimensions of `[N, C, *D]`.
fn spatial_axes(x: &Tensor) -> Result<Vec<i64>, Refusal> {
    if x.rank() < 3 {
        return Err(Refusal::new(format!("its input has no spatial dimensions: its rank is {}", x.rank())));
    }
    Ok((2..x.rank() as i64).collect())
}

fn global_average_pool(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::reduce_mean(&x.value).axes(spatial_axes(&x)?).keep_dims(true))?;
    n.one(y, x.dtype)
}

fn global_max_pool(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let y = n.push(mb::reduce_max(&x.value).axes(spatial_axes(&x)?).keep_dims(true))?;
    n.one(y, x.dtype)
}

fn global_lp_pool(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (axes, p) = (spatial_axes(&x)?, n.int_or("p", 2)?);
    if p < 1 {
        return Err(Refusal::new(format!("its attribute `p` is {p}")));
    }
    let y = if p == 2 {
        n.push(mb::reduce_l2_norm(&x.value).axes(axes).keep_dims(true))?
    } else {
        let powers = power(n, &x.value, p)?;
        let sum = n.push(mb::reduce_sum(&powers).axes(axes).keep_dims(true))?;
        root(n, &sum, p)?
    };
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use mil_core::types::DType::F32;

    use super::*;
    use crate::onnx::{
        proto::AttributeProto,
        testing::{Net, int, ints},
    };

    fn pool(op: &str, input: &[i64], more: &[AttributeProto]) -> Net {
        let attributes = [&[ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])], more].concat();
        Net::new(18).input("x", F32, input).node(op, "x", "y", &attributes)
    }

    #[test]
    fn pools_are_one_op_where_mil_has_them() {
        let up = int("ceil_mode", 1);
        assert_eq!(pool("MaxPool", &[-1, 3, -1, -1], std::slice::from_ref(&up)).ops("y"), ["max_pool"]);
        // Unequal padding: more of it at the end stands for rounding up.
        let unequal = pool("MaxPool", &[1, 3, 8, 8], &[up, ints("pads", &[1, 1, 0, 0])]);
        assert_eq!(unequal.ops("y"), ["max_pool"]);
        assert_eq!(pool("AveragePool", &[1, 3, 8, 8], &[]).ops("y"), ["avg_pool"]);
        assert_eq!(pool("LpPool", &[1, 3, 8, 8], &[]).ops("y"), ["l2_pool"]);
    }

    #[test]
    fn dilations_need_known_sizes() {
        let dilations = [ints("dilations", &[2, 1])];
        let ops = pool("MaxPool", &[1, 3, 8, 8], &dilations).ops("y");
        assert!(ops.contains(&"maximum") && !ops.contains(&"max_pool"), "{ops:?}");
        let refusal = pool("MaxPool", &[1, 3, -1, 8], &dilations).refusal("y");
        assert!(refusal.contains("say the input's shape: `--input NAME=1,3,224,224`"), "{refusal}");
    }

    #[test]
    fn the_last_window_begins_before_the_end() {
        let mut window = Window {
            kernel: vec![1],
            strides: vec![3],
            dilations: vec![1],
            pads: vec![[0, 0]],
            auto_pad: AutoPad::NotSet,
        };
        // 5 elements: places at 0 and 3; one at 6 would see nothing.
        assert_eq!(place(&mut window, true, &[5]).unwrap().places, [2]);
        window.kernel = vec![2];
        let placed = place(&mut window, true, &[6]).unwrap();
        assert_eq!((placed.places, placed.pads), (vec![2], vec![[0, 0]]));
        assert!(place(&mut window, true, &[1]).is_err());
    }
}

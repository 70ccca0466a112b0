//! Pooling.

use mil_core::{graph::Value, ir::Constant, mb};

use super::{Entry, Lowered, Node, conv::known_size};
use crate::{
    import::{Refusal, Size, Tensor, table},
    torch::val::Val,
};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_adaptive_avg_pool2d", |n| adaptive_avg(n, 2)),
    Entry::new("aten::_adaptive_avg_pool3d", |n| adaptive_avg(n, 3)),
    Entry::new("aten::adaptive_avg_pool1d", |n| adaptive_avg(n, 1)),
    Entry::new("aten::adaptive_avg_pool2d", |n| adaptive_avg(n, 2)),
    Entry::new("aten::adaptive_avg_pool3d", |n| adaptive_avg(n, 3)),
    Entry::new("aten::adaptive_max_pool1d", |n| adaptive_max(n, 1)).but("not the indices"),
    Entry::new("aten::adaptive_max_pool2d", |n| adaptive_max(n, 2)).but("not the indices"),
    Entry::new("aten::adaptive_max_pool3d", |n| adaptive_max(n, 3)).but("not the indices"),
    Entry::new("aten::avg_pool1d", |n| avg(n, 1)),
    Entry::new("aten::avg_pool2d", |n| avg(n, 2)),
    Entry::new("aten::avg_pool3d", |n| avg(n, 3)),
    Entry::new("aten::max_pool1d", |n| max(n, 1)),
    Entry::new("aten::max_pool1d_with_indices", |n| max(n, 1)).but("not the indices"),
    Entry::new("aten::max_pool2d", |n| max(n, 2)),
    Entry::new("aten::max_pool2d_with_indices", |n| max(n, 2)).but("not the indices"),
    Entry::new("aten::max_pool3d", |n| max(n, 3)),
    Entry::new("aten::max_pool3d_with_indices", |n| max(n, 3)).but("not the indices"),
];

/// What windows there are, per spatial dimension.
struct Windows {
    kernel: Vec<i64>,
    strides: Vec<i64>,
    pads: Vec<i64>,
    ceil: bool,
}

impl Windows {
    fn pad(&self) -> Vec<i64> {
        self.pads.iter().flat_map(|p| [*p, *p]).collect()
    }

    fn pad_type(&self) -> &'static str {
        // With "valid" the op has no room for padding that rounding up makes.
        if self.pads.iter().all(|p| *p == 0) && !self.ceil { "valid" } else { "custom" }
    }
}

fn windows(n: &mut Node<'_, '_>, count: usize, ceil: usize) -> Result<Windows, Refusal> {
    let kernel = n.spatial(1, "kernel_size", count, 1)?;
    let strides = match n.ints(2, "stride")? {
        Some(list) if !list.is_empty() => n.spatial(2, "stride", count, 1)?,
        _ => kernel.clone(),
    };
    let pads = n.spatial(3, "padding", count, 0)?;
    if kernel.contains(&0) || strides.contains(&0) {
        return Err(Refusal::new(format!("its windows are of {kernel:?} elements, {strides:?} apart")));
    }
    Ok(Windows { kernel, strides, pads, ceil: n.bool_or(ceil, "ceil_mode", false)? })
}

/// The input with a batch dimension, and whether it had none.
fn batched(n: &mut Node<'_, '_>, count: usize) -> Result<(Tensor, bool), Refusal> {
    let mut x = n.float_tensor(0, "self|input")?;
    let single = x.rank() == count + 1;
    if single {
        x.value = n.expand_dims(&x.value, &[0])?;
    }
    if x.rank() != count + 2 {
        return Err(Refusal::new(format!("its input has rank {}, not {} or {}", x.rank(), count + 1, count + 2)));
    }
    Ok((x, single))
}

/// Back to the rank and the dtype of the input.
fn finish(n: &mut Node<'_, '_>, x: &Tensor, single: bool, y: Value) -> Lowered {
    let y = if single { n.squeeze(&y, &[0])? } else { y };
    let dtype = n.tensor(0, "self|input")?.dtype;
    let y = n.convert(&Tensor::new(y, x.dtype), dtype)?;
    Ok(vec![y.into()])
}

fn max(n: &mut Node<'_, '_>, count: usize) -> Lowered {
    let (x, single) = batched(n, count)?;
    let w = windows(n, count, 5)?;
    let dilations = n.spatial(4, "dilation", count, 1)?;
    let y = if dilations.iter().any(|d| *d != 1) {
        dilated(n, &x, &w, &dilations)?
    } else if w.ceil && count > 2 {
        return Err(
            Refusal::new("rounds sizes up over 3 dimensions, which MIL does not").remedy("use `ceil_mode=False`")
        );
    } else {
        let call = mb::max_pool(&x.value, w.kernel.clone(), w.pad_type()).strides(w.strides.clone()).pad(w.pad());
        n.push(call.ceil_mode(w.ceil))?
    };
    finish(n, &x, single, y)
}

/// The greatest of as many slices as the kernel has elements.
fn dilated(n: &mut Node<'_, '_>, x: &Tensor, w: &Windows, dilations: &[i64]) -> Result<Value, Refusal> {
    let count = w.kernel.len();
    let all = w.kernel.iter().try_fold(1i64, |all, k| all.checked_mul(*k)).unwrap_or(i64::MAX);
    let sizes = x.fixed().filter(|_| !w.ceil && (1..=64).contains(&all));
    let Some(sizes) = sizes else {
        return Err(Refusal::new(
            "is dilated; MIL can say that with a fixed shape and a kernel of at most 64 elements, rounding down",
        ));
    };
    let mut value = x.value.clone();
    if w.pads.iter().any(|p| *p > 0) {
        let pad = n.push(mb::pad(&value, w.pad()).constant_val(f64::NEG_INFINITY))?;
        value = pad;
    }
    let places: Vec<i64> = (0..count)
        .map(|i| {
            (sizes[i + 2] as i64 + 2 * w.pads[i] - dilations[i] * (w.kernel[i] - 1) - 1).div_euclid(w.strides[i]) + 1
        })
        .collect();
    let mut best: Option<Value> = None;
    for at in 0..all {
        let (mut begin, mut end, mut stride, mut rest) = (vec![0; 2], vec![0; 2], vec![1; 2], at);
        for i in 0..count {
            let first = rest % w.kernel[i] * dilations[i];
            rest /= w.kernel[i];
            begin.push(first);
            end.push(first + (places[i] - 1) * w.strides[i] + 1);
            stride.push(w.strides[i]);
        }
        let mask: Vec<bool> = (0..count + 2).map(|i| i < 2).collect();
        let part =
            n.push(mb::slice_by_index(&value, begin, end).stride(stride).begin_mask(mask.clone()).end_mask(mask))?;
        best = Some(match best {
            None => part,
            Some(b) => n.push(mb::maximum(&b, &part))?,
        });
    }
    best.ok_or_else(|| Refusal::new("has an empty kernel"))
}

fn avg(n: &mut Node<'_, '_>, count: usize) -> Lowered {
    let (x, single) = batched(n, count)?;
    let w = windows(n, count, 4)?;
    let include = n.bool_or(5, "count_include_pad", true)?;
    let divisor = n.float(6, "divisor_override")?;
    if w.ceil && count > 2 {
        return Err(
            Refusal::new("rounds sizes up over 3 dimensions, which MIL does not").remedy("use `ceil_mode=False`")
        );
    }
    if w.ceil && divisor.is_some() {
        return Err(
            Refusal::new("divides by a number of its own where windows are cut off").remedy("use `ceil_mode=False`")
        );
    }
    let exclude = !include && divisor.is_none();
    let call = mb::avg_pool(&x.value, w.kernel.clone(), w.pad_type()).strides(w.strides.clone()).pad(w.pad());
    let mut y = n.push(call.exclude_padding_from_average(exclude).ceil_mode(w.ceil))?;
    if let Some(divisor) = divisor {
        let elements: f64 = w.kernel.iter().map(|k| *k as f64).product();
        y = n.push(mb::mul(&y, elements / divisor))?;
    }
    finish(n, &x, single, y)
}

/// The sizes of the output: `None` in the module is the size of the input.
fn targets(n: &mut Node<'_, '_>, x: &Tensor, count: usize) -> Result<Vec<Size>, Refusal> {
    let list = match n.val(1, "output_size")? {
        Val::List(items) => items,
        one => vec![one; count],
    };
    let list = if list.len() == 1 { vec![list[0].clone(); count] } else { list };
    let mut sizes = vec![];
    for (i, item) in list.iter().enumerate() {
        sizes.push(match item {
            Val::None => n.size(&x.value, i + 2)?,
            item => n.size_of(item)?.ok_or_else(|| Refusal::new("its `output_size` is no list of integers"))?,
        });
    }
    if sizes.len() != count {
        return Err(Refusal::new(format!("its `output_size` has {} numbers, not {count}", sizes.len())));
    }
    Ok(sizes)
}

/// Where a window begins and ends (source: ATen's `AdaptivePooling.h`).
fn bounds(i: i64, input: i64, output: i64) -> (i64, i64) {
    ((i * input).div_euclid(output), -(-(i + 1) * input).div_euclid(output))
}

fn adaptive_avg(n: &mut Node<'_, '_>, count: usize) -> Lowered {
    let (x, single) = batched(n, count)?;
    let wanted = targets(n, &x, count)?;
    let axes: Vec<i64> = (2..2 + count as i64).collect();
    if wanted.iter().all(|s| matches!(s, Size::Fixed(1))) {
        let y = n.push(mb::reduce_mean(&x.value).axes(axes).keep_dims(true))?;
        return finish(n, &x, single, y);
    }
    let mut sizes = vec![];
    for (i, want) in wanted.iter().enumerate() {
        let size = n.size(&x.value, i + 2)?;
        sizes.push((known_size(&size)?, known_size(want)?));
    }
    if sizes.iter().any(|(_, want)| *want < 1) {
        return Err(Refusal::new("its output is empty"));
    }
    if sizes.iter().all(|(size, want)| size == want) {
        let y = x.value.clone();
        return finish(n, &x, single, y);
    }
    if sizes.iter().all(|(size, want)| size % want == 0) {
        let kernel: Vec<i64> = sizes.iter().map(|(size, want)| size / want).collect();
        let y = n.push(mb::avg_pool(&x.value, kernel.clone(), "valid").strides(kernel))?;
        return finish(n, &x, single, y);
    }
    // Windows of different sizes: along each dimension a product with a matrix of means.
    let mut y = x.value.clone();
    for (i, (size, want)) in sizes.into_iter().enumerate().filter(|(_, (size, want))| size != want) {
        let mut matrix = vec![0f32; table(&[size, want])?];
        for o in 0..want {
            let (begin, end) = bounds(o, size, want);
            for k in begin..end {
                matrix[(o * size + k) as usize] = 1.0 / (end - begin) as f32;
            }
        }
        let rows = n.constant(Constant::new([want as usize, size as usize], &matrix)?);
        y = n.product_along(&y, i + 2, &rows)?;
    }
    finish(n, &x, single, y)
}

fn adaptive_max(n: &mut Node<'_, '_>, count: usize) -> Lowered {
    let (x, single) = batched(n, count)?;
    let wanted = targets(n, &x, count)?;
    let mut y = x.value.clone();
    for (i, want) in wanted.iter().enumerate() {
        let axis = i + 2;
        let size = n.size(&y, axis)?;
        let want = known_size(want)?;
        if want == 1 {
            y = n.push(mb::reduce_max(&y).axes([axis as i64]).keep_dims(true))?;
            continue;
        }
        let size = known_size(&size)?;
        if want < 1 {
            return Err(Refusal::new("its output is empty"));
        }
        if want == size {
            continue;
        }
        let mut parts = vec![];
        for o in 0..want {
            let (begin, end) = bounds(o, size, want);
            let part = super::slice::range(n, &y, axis, begin, end)?;
            parts.push(n.push(mb::reduce_max(&part).axes([axis as i64]).keep_dims(true))?);
        }
        y = n.push(mb::concat(parts, axis as i64))?;
    }
    finish(n, &x, single, y)
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    fn net(call: &str) -> Net {
        Net::new().input("x", &[1, 3, 8, 8]).node(&format!("y = aten::{call}"))
    }

    #[test]
    fn pools_are_one_op() {
        assert_eq!(
            net("max_pool2d(x, [3, 3], [2, 2], [1, 1], [1, 1], True)").form("y"),
            [
                r#"max_pool(x=x, kernel_sizes=[3, 3], strides=[2, 2], pad_type="custom", pad=[1, 1, 1, 1], ceil_mode=true)"#
            ]
        );
        // Strides are the kernel's sizes if they are left out.
        assert_eq!(
            net("avg_pool2d(x, [2, 4])").form("y"),
            [
                r#"avg_pool(exclude_padding_from_average=false, x=x, kernel_sizes=[2, 4], strides=[2, 4], pad_type="valid", pad=[0, 0, 0, 0], ceil_mode=false)"#
            ]
        );
        assert_eq!(net("adaptive_avg_pool2d(x, [1, 1])").form("y"), ["reduce_mean(x=x, axes=[2, 3], keep_dims=true)"]);
        assert_eq!(net("adaptive_avg_pool2d(x, [4, 2])").ops("y"), ["avg_pool"]);
    }

    #[test]
    fn dilations_are_slices() {
        let ops = net("max_pool2d(x, [1, 2], [1, 1], [0, 0], [1, 2])").ops("y");
        assert_eq!(ops, ["slice_by_index", "slice_by_index", "maximum"]);
    }

    #[test]
    fn what_mil_has_no_windows_for_is_refused() {
        for (call, message) in [
            ("max_pool2d(x, [3, 3], [0, 1])", "its windows are of [3, 3] elements, [0, 1] apart"),
            ("max_pool2d(x, [0, 3], [1, 1], [0, 0], [1, 2])", "its windows are of [0, 3] elements"),
            ("max_pool2d(x, [9, 9], [1, 1], [0, 0], [2, 2])", "a kernel of at most 64 elements"),
            ("max_pool1d(x, [2])", "its input has rank 4, not 2 or 3"),
            ("avg_pool2d(x, [3, 3], [2, 2], [0, 0], True, True, 5)", "use `ceil_mode=False`"),
        ] {
            let e = net(call).refusal("y");
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}

//! Blocks that are put together to an image.

use mil_core::{graph::Value, mb, types::DType};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[Entry::new("Col2Im", col2im).but("an image whose rank is not known")];

/// Blocks of columns are added up in an image: each element has a place there that is known, or falls on the margin.
fn col2im(n: &mut Node<'_, '_>) -> Lowered {
    let x = n.input(0)?;
    let (image, block) = (n.input(1)?, n.input(2)?);
    let Some(rank) = image.size(0).filter(|_| image.rank() == 1) else { return Err(n.must_be_known(1, "rank")) };
    if !(1..=3).contains(&rank) {
        return Err(Refusal::new(format!("MIL's tensors are of rank 5 at most: no images of {rank} dimensions")));
    }
    let dilations = n.ints_attr("dilations")?.unwrap_or_else(|| vec![1; rank]);
    let strides = n.ints_attr("strides")?.unwrap_or_else(|| vec![1; rank]);
    let pads = n.ints_attr("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
    let (Some(image), Some(block)) = (image.ints(), block.ints()) else {
        return computed(n, &x, [&image, &block], Steps { dilations, strides, pads });
    };
    let lengths = [block.len(), dilations.len(), strides.len(), pads.len() / 2];
    let positive = [&image, &block, &dilations, &strides].iter().all(|l| l.iter().all(|v| (1..1 << 24).contains(v)));
    if lengths.iter().any(|l| *l != rank) || !positive || pads.iter().any(|v| !(0..1 << 24).contains(v)) {
        return Err(Refusal::new("its shapes, strides, dilations and pads do not agree"));
    }
    // How many blocks there are along each axis.
    let steps: Vec<i64> = (0..rank)
        .map(|i| (image[i] + pads[i] + pads[rank + i] - dilations[i] * (block[i] - 1) - 1).div_euclid(strides[i]) + 1)
        .collect();
    let product = |l: &[i64]| l.iter().try_fold(1i64, |n, v| n.checked_mul(*v)).filter(|n| *n < 1 << 24);
    let counts = (product(&image), product(&block), product(&steps));
    let (Some(area), Some(inside), Some(blocks)) = counts else {
        return Err(Refusal::new("its image is too large"));
    };
    if blocks < 1 || inside * blocks > 1 << 26 || x.rank() != 3 || x.size(2).is_some_and(|s| s as i64 != blocks) {
        return Err(Refusal::new(format!("{} does not hold {blocks} blocks", x.value.ty())));
    }
    let digits = |mut i: i64, sizes: &[i64]| {
        let mut all = vec![0; sizes.len()];
        for (digit, size) in all.iter_mut().zip(sizes).rev() {
            (*digit, i) = (i % size, i / size);
        }
        all
    };
    let mut places = Vec::with_capacity((inside * blocks) as usize);
    for within in 0..inside {
        let within = digits(within, &block);
        for step in 0..blocks {
            let step = digits(step, &steps);
            let at = (0..rank).map(|i| step[i] * strides[i] + within[i] * dilations[i] - pads[i]);
            let place = at.zip(&image).try_fold(0, |n, (at, size)| (0..*size).contains(&at).then_some(n * size + at));
            places.push(place.unwrap_or(area));
        }
    }
    let sizes = n.sizes(&x.value)?;
    let (batch, dtype) = (sizes[0].clone(), x.value.dtype().unwrap_or(DType::F32));
    let Some(channels) = x.size(1).map(|c| c as i64 / inside).filter(|c| *c > 0) else {
        return Err(Refusal::new(format!("the channels of {} are not known, or too few", x.value.ty())));
    };
    let columns = n.reshape(&x.value, &[batch.clone(), Size::Fixed(channels), Size::Fixed(inside * blocks)])?;
    let empty = n.filled(&[batch.clone(), Size::Fixed(channels), Size::Fixed(area + 1)], dtype, 0.0)?;
    let places = n.ints(&places)?;
    let sums = n.push(mb::scatter(&empty, &places, &columns).axis(2i64).mode("add"))?;
    let sums = n.range_of(&sums, 2, Size::Fixed(0), Size::Fixed(area))?;
    let mut shape = vec![batch, Size::Fixed(channels)];
    shape.extend(image.into_iter().map(Size::Fixed));
    let y = n.reshape(&sums, &shape)?;
    n.one(y, x.dtype)
}

/// How blocks move over an image, by axis.
struct Steps {
    dilations: Vec<i64>,
    strides: Vec<i64>,
    /// Before each axis, then after each.
    pads: Vec<i64>,
}

/// Puts blocks together whose shape, or that of the image, is known when the model runs: the places are computed there.
fn computed(n: &mut Node<'_, '_>, x: &Tensor, [image, block]: [&Tensor; 2], steps: Steps) -> Lowered {
    let rank = steps.strides.len();
    let Steps { dilations, strides, pads } = steps;
    let lengths = [image.size(0), block.size(0), Some(dilations.len()), Some(pads.len() / 2)];
    let positive = dilations.iter().chain(&strides).all(|v| (1..1 << 24).contains(v));
    let few = pads.iter().all(|v| (0..1 << 24).contains(v));
    if lengths.iter().any(|l| *l != Some(rank)) || x.rank() != 3 || !positive || !few {
        return Err(Refusal::new("its shapes, strides, dilations and pads do not agree"));
    }
    let sizes = |n: &mut Node<'_, '_>, t: &Tensor| {
        (0..rank).map(|i| n.element(&t.value, i)).collect::<Result<Vec<_>, Refusal>>()
    };
    let (image_sizes, block_sizes) = (sizes(n, image)?, sizes(n, block)?);
    // Rows are elements of a block, columns are blocks: the place of each, below 0 where it falls on the margin.
    let mut places: Option<Value> = None;
    for i in 0..rank {
        let (size, inside) = (n.scalar_size(&image_sizes[i])?, n.scalar_size(&block_sizes[i])?);
        let reach = n.push(mb::mul(&inside, dilations[i]))?;
        // One more than the last place of a block.
        let end = n.push(mb::add(&size, pads[i] + pads[rank + i] + dilations[i]))?;
        let end = n.push(mb::sub(&end, &reach))?;
        let begins = n.push(mb::range_1d(&end, 0i64, strides[i]))?;
        let within = n.push(mb::range_1d(&reach, 0i64, dilations[i]))?;
        let (begins, within) = (n.expand_dims(&begins, &[0])?, n.expand_dims(&within, &[1])?);
        let at = n.push(mb::add(&within, &begins))?;
        let at = n.push(mb::sub(&at, pads[i]))?;
        let (low, high) = (n.push(mb::greater_equal(&at, 0i64))?, n.push(mb::less(&at, &size))?);
        let inner = n.push(mb::logical_and(&low, &high))?;
        let none = n.number(DType::I32, -1.0)?;
        let at = n.select(&inner, &at, &none)?;
        places = Some(match places {
            None => at,
            // Each pair of an outer row and an inner one, and of columns.
            Some(outer) => {
                let (outer, at) = (n.expand_dims(&outer, &[1, 3])?, n.expand_dims(&at, &[0, 2])?);
                let place = n.push(mb::mul(&outer, &size))?;
                let place = n.push(mb::add(&place, &at))?;
                let (out, off) = (n.push(mb::less(&outer, 0i64))?, n.push(mb::less(&at, 0i64))?);
                let off = n.push(mb::logical_or(&out, &off))?;
                let place = n.select(&off, &none, &place)?;
                let (rows, columns) = (n.product(&block_sizes[..=i])?, Size::Fixed(-1));
                n.reshape(&place, &[rows, columns])?
            }
        });
    }
    let Some(places) = places else { return Err(Refusal::new("its image has no axes")) };
    let area = n.product(&image_sizes)?;
    // What falls on the margin goes behind the image.
    let behind = n.scalar_size(&area)?;
    let margin = n.push(mb::less(&places, 0i64))?;
    let behind = n.select(&margin, &behind, &places)?;
    let places = n.reshape(&behind, &[Size::Fixed(-1)])?;
    let batch = n.size(&x.value, 0)?;
    let count = n.size(&places, 0)?;
    let channels = {
        let (all, inside) = (n.size(&x.value, 1)?, n.product(&block_sizes)?);
        let (all, inside) = (n.shape_of_sizes(&[all])?, n.shape_of_sizes(&[inside])?);
        Size::Value(n.push(mb::floor_div(all, inside))?)
    };
    let columns = n.reshape(&x.value, &[batch.clone(), channels.clone(), count])?;
    let more = n.add_sizes(&area, &Size::Fixed(1))?;
    let empty = n.filled(&[batch.clone(), channels.clone(), more], x.value.dtype().unwrap_or(DType::F32), 0.0)?;
    let sums = n.push(mb::scatter(&empty, &places, &columns).axis(2i64).mode("add"))?;
    let sums = n.range_of(&sums, 2, Size::Fixed(0), area)?;
    let mut shape = vec![batch, channels];
    shape.extend(image_sizes);
    let y = n.reshape(&sums, &shape)?;
    n.one(y, x.dtype)
}

#[cfg(test)]
mod tests {
    use mil_core::{ir::Constant, types::DType};

    use crate::onnx::testing::{Net, ints};

    #[test]
    fn overlaps_are_added_up() {
        let net = Net::new(18).constant("x", Constant::new([1, 2, 3], &[1f32, 2.0, 3.0, 10.0, 20.0, 30.0]).unwrap());
        let net = net.constant("image", Constant::vector(&[4i64])).constant("block", Constant::vector(&[2i64]));
        assert_eq!(net.node("Col2Im", "x image block", "y", &[]).numbers("y"), [1.0, 12.0, 23.0, 30.0]);
    }

    #[test]
    fn shapes_may_be_computed_but_not_their_lengths() {
        let net = |rank: i64| {
            let net = Net::new(18).input("x", DType::F32, &[1, 8, 9]);
            net.input("image", DType::I64, &[rank]).input("block", DType::I64, &[rank])
        };
        let places = net(2).node("Col2Im", "x image block", "y", &[]).ops("y");
        assert_eq!(places.iter().filter(|o| **o == "range_1d").count(), 4);
        let refused = |net: Net, strides: &[i64]| {
            net.node("Col2Im", "x image block", "y", &[ints("strides", strides)]).import("y").unwrap_err()
        };
        assert!(refused(net(-1), &[1, 1]).contains("--constant image=.."));
        assert!(refused(net(1 << 40), &[1, 1]).contains("rank 5 at most"));
        assert!(refused(net(2), &[1, 0]).contains("do not agree"));
        assert!(refused(net(2), &[1]).contains("do not agree"));
    }
}

//! Convolutions.

use mil_core::{graph::Value, mb, types::Opset};

use super::{
    Entry, Lowered, Node,
    window::{Window, spatial, spatial_sizes},
};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("Conv", conv).but("1 to 3 spatial dimensions"),
    Entry::new("ConvTranspose", conv_transpose).but("1 to 3 spatial dimensions; computed weights from iOS17"),
    Entry::new("DeformConv", deform_conv).but("2 spatial dimensions"),
];

/// The window that a weight `[_, _, *K]` is.
fn window(n: &Node<'_, '_>, x: &Tensor, weight: &Tensor) -> Result<Window, Refusal> {
    let spatial = spatial(x)?;
    if weight.rank() != x.rank() {
        let (found, want) = (weight.rank(), x.rank());
        return Err(Refusal::new(format!("its weight has rank {found}, its input {want}")));
    }
    let kernel: Option<Vec<i64>> = (0..spatial).map(|i| weight.size(i + 2).map(|k| k as i64)).collect();
    let kernel = kernel.ok_or_else(|| n.must_be_known(1, "weight's shape"))?;
    if let Some(said) = n.ints_attr("kernel_shape")?.filter(|k| !k.is_empty() && *k != kernel) {
        return Err(Refusal::new(format!("its attribute `kernel_shape` is {said:?}, its weight {kernel:?}")));
    }
    Window::read(n, kernel)
}

/// A bias, and whether it is a constant, which MIL wants before iOS17.
fn bias(n: &mut Node<'_, '_>, i: usize) -> Result<(Option<Tensor>, Option<Tensor>), Refusal> {
    let bias = n.optional(i)?;
    let inside = bias.as_ref().is_some_and(|b| b.constant().is_some() || n.opset() >= Opset::iOS17);
    Ok(if inside { (bias, None) } else { (None, bias) })
}

/// Adds `[C]` to `[N, C, *D]`.
fn add_bias(n: &mut Node<'_, '_>, y: Value, bias: Option<Tensor>) -> Result<Value, Refusal> {
    let Some(bias) = bias else { return Ok(y) };
    let rank = y.shape().map_or(0, |s| s.rank());
    let axes: Vec<usize> = (1..rank.saturating_sub(1)).collect();
    let bias = n.expand_dims(&bias.value, &axes)?;
    n.push(mb::add(&y, &bias))
}

fn conv(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight) = (n.input(0)?, n.input(1)?);
    let (inside, after) = bias(n, 2)?;
    let y = convolved(n, &x, &weight, inside.as_ref())?;
    let y = add_bias(n, y, after)?;
    n.one(y, x.dtype)
}

/// A convolution with the node's attributes.
pub(super) fn convolved(
    n: &mut Node<'_, '_>,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Value, Refusal> {
    let mut window = window(n, x, weight)?;
    if window.pad_type() == "same_lower" && n.opset() < Opset::iOS16 {
        // What it comes to can be said in iOS15 too.
        match spatial_sizes(x) {
            Some(sizes) => window.settle(&sizes),
            None => n.needs(Opset::iOS16, "`auto_pad` of `SAME_LOWER` with sizes that are not known")?,
        }
    }
    let mut call = mb::conv(&x.value, &weight.value)
        .strides(window.strides.clone())
        .pad_type(window.pad_type())
        .pad(window.pad())
        .dilations(window.dilations.clone())
        .groups(n.int_or("group", 1)?);
    if let Some(bias) = bias {
        call = call.bias(&bias.value);
    }
    n.push(call)
}

fn conv_transpose(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight) = (n.input(0)?, n.input(1)?);
    let window = window(n, &x, &weight)?;
    let spatial = window.kernel.len();
    if weight.constant().is_none() && n.opset() < Opset::iOS17 {
        let known = n.must_be_known(1, "weight");
        n.needs(Opset::iOS17, "a weight that is computed").map_err(|_| known)?;
    }
    let borders = borders(n, &x, &window)?;
    let cut: Vec<i64> = borders.iter().flatten().map(|b| (*b).max(0)).collect();
    let beyond: Vec<i64> = borders.iter().flatten().map(|b| (-*b).max(0)).collect();
    let grows = beyond.iter().any(|b| *b > 0);
    let (inside, mut after) = bias(n, 2)?;
    let mut call = mb::conv_transpose(&x.value, &weight.value)
        .pad_type(if cut.iter().all(|c| *c == 0) { "valid" } else { "custom" })
        .pad(cut)
        .strides(window.strides.clone())
        .dilations(window.dilations.clone())
        .groups(n.int_or("group", 1)?);
    match inside {
        // What is beyond the last place has the bias too.
        Some(bias) if grows => after = Some(bias),
        Some(bias) => call = call.bias(&bias.value),
        None => {}
    }
    let mut y = n.push(call)?;
    if grows {
        let mut pad = vec![0; 4];
        pad.extend(beyond);
        debug_assert_eq!(pad.len(), 2 * (spatial + 2));
        y = n.push(mb::pad(&y, pad))?;
    }
    let y = add_bias(n, y, after)?;
    n.one(y, x.dtype)
}

/// What is cut off before and after each dimension of a transposed convolution; what is negative is put there.
fn borders(n: &Node<'_, '_>, x: &Tensor, window: &Window) -> Result<Vec<[i64; 2]>, Refusal> {
    let spatial = window.kernel.len();
    let fits = |v: &i64| (0..=i64::from(i32::MAX)).contains(v);
    let more = n.ints_attr("output_padding")?.filter(|m| !m.is_empty()).unwrap_or(vec![0; spatial]);
    if more.len() != spatial || !more.iter().all(fits) {
        return Err(Refusal::new(format!("its attribute `output_padding` is {more:?}")));
    }
    let wanted = n.ints_attr("output_shape")?.filter(|s| !s.is_empty());
    let wanted = match wanted {
        // Some exporters say batch and channels too.
        Some(all) if all.len() == spatial + 2 => Some(all[2..].to_vec()),
        Some(all) if all.len() != spatial || !all.iter().all(fits) => {
            return Err(Refusal::new(format!("its attribute `output_shape` is {all:?}")));
        }
        other => other,
    };
    let mut all = Vec::with_capacity(spatial);
    for i in 0..spatial {
        let stride = window.strides[i];
        // The sum of both, out of the size that is wanted.
        let total = match &wanted {
            Some(sizes) => {
                let Some(size) = x.size(i + 2) else {
                    return Err(Refusal::new("an `output_shape` is for inputs of known sizes")
                        .remedy("say the input's shape: `--input NAME=1,3,224,224`"));
                };
                Some(stride * (size as i64 - 1) + more[i] + window.reach(i) - sizes[i])
            }
            None if window.same() => Some(more[i] + window.reach(i) - stride),
            None => None,
        };
        all.push(match total {
            Some(total) => {
                let [before, _] = window.split(total.max(0));
                [before, total - before - more[i]]
            }
            None => [window.pads[i][0], window.pads[i][1] - more[i]],
        });
    }
    Ok(all)
}

/// Each element of the kernel reads the image where its own offsets say; a convolution of 1 by 1 adds what is read.
fn deform_conv(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight, offset) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let mask = n.optional(4)?;
    if x.rank() != 4 {
        return Err(Refusal::new(format!("`DeformConv` is for 2 spatial dimensions, its input has rank {}", x.rank())));
    }
    let window = window(n, &x, &weight)?;
    let groups = n.int_or("offset_group", 1)?;
    let (Some(height), Some(width)) = (offset.size(2), offset.size(3)) else {
        return Err(n.must_be_known(2, "offsets' shape"));
    };
    let points = window.kernel.iter().product::<i64>();
    let channels = x.size(1).map(|c| c as i64).filter(|c| groups > 0 && c % groups == 0);
    let (Some(channels), Some(outputs), Some(inner)) = (channels, weight.size(0), weight.size(1)) else {
        return Err(Refusal::new("the channels cannot be split as its attributes say"));
    };
    let share = channels / groups;
    // Where each element of the kernel reads, without offsets: along the width, then the height.
    let mut base = Vec::with_capacity(points as usize * height * width * 2);
    for k in 0..points {
        let place = [k / window.kernel[1], k % window.kernel[1]];
        for at in 0..height * width {
            let out = [(at / width) as i64, (at % width) as i64];
            let to = |i: usize| out[i] * window.strides[i] + place[i] * window.dilations[i] - window.pads[i][0];
            base.extend([to(1) as f32, to(0) as f32]);
        }
    }
    let area = height * width;
    let base = mil_core::ir::Constant::new([1, points as usize, area, 2], &base)?;
    let base = n.constant(base);
    let offsets = n.cast(&offset.value, mil_core::types::DType::F32)?;
    let batch = n.size(&x.value, 0)?;
    let mut parts = Vec::with_capacity(groups as usize);
    for g in 0..groups {
        let part = channels_of(n, &offsets, g * points * 2, points * 2)?;
        let sizes = [batch.clone(), Size::Fixed(points), Size::Fixed(2), area.into()];
        let part = n.reshape(&part, &sizes)?;
        // From height and width to width and height.
        let part = n.transpose(&part, &[0, 1, 3, 2])?;
        let part = n.push(mb::reverse(&part).axes([3]))?;
        let coordinates = n.push(mb::add(&part, &base))?;
        let image = channels_of(n, &x.value, g * share, share)?;
        let zeros = n.number(image.dtype().unwrap_or(x.dtype), 0.0)?;
        let mut read =
            n.push(mb::resample(&image, &coordinates, "bilinear", "constant", &zeros, "unnormalized", false))?;
        if let Some(mask) = &mask {
            let part = channels_of(n, &mask.value, g * points, points)?;
            let part = n.reshape(&part, &[batch.clone(), 1.into(), Size::Fixed(points), area.into()])?;
            read = n.push(mb::mul(&read, &part))?;
        }
        let sizes = [batch.clone(), Size::Fixed(share * points), height.into(), width.into()];
        parts.push(n.reshape(&read, &sizes)?);
    }
    let all = if let [one] = &parts[..] { one.clone() } else { n.push(mb::concat(parts, 1))? };
    let flat = [outputs.into(), Size::Fixed(inner as i64 * points), 1.into(), 1.into()];
    let flat = n.reshape(&weight.value, &flat)?;
    let (inside, after) = bias(n, 3)?;
    let mut call = mb::conv(&all, &flat).groups(n.int_or("group", 1)?);
    if let Some(bias) = &inside {
        call = call.bias(&bias.value);
    }
    let y = n.push(call)?;
    let y = add_bias(n, y, after)?;
    n.one(y, x.dtype)
}

/// Some of the channels of `[N, C, H, W]`.
fn channels_of(n: &mut Node<'_, '_>, x: &Value, start: i64, count: i64) -> Result<Value, Refusal> {
    let whole = x.shape().and_then(|s| s.get(1)).is_some_and(|d| d.is(count));
    if whole {
        return Ok(x.clone());
    }
    let masks = [true, false, true, true];
    let call = mb::slice_by_index(x, [0, start, 0, 0], [0, start + count, 0, 0]);
    n.push(call.begin_mask(masks).end_mask(masks))
}

#[cfg(test)]
mod tests {
    use mil_core::types::DType::F32;

    use crate::onnx::{
        proto::AttributeProto,
        testing::{Net, ints, string},
    };

    fn conv(input: &[i64], inputs: &str, attribute: Option<AttributeProto>) -> Net {
        let net = Net::new(18).input("x", F32, input).ones("w", &[4, 3, 3, 3]);
        net.node("Conv", inputs, "y", attribute.as_slice())
    }

    #[test]
    fn a_convolution_with_bias_is_one_op() {
        assert_eq!(conv(&[1, 3, 8, 8], "x w b", None).ones("b", &[4]).ops("y"), ["conv"]);
        for sizes in [[1, 3, 8, 8], [-1, 3, -1, -1]] {
            assert_eq!(conv(&sizes, "x w", Some(string("auto_pad", "SAME_LOWER"))).ops("y"), ["conv"]);
        }
    }

    #[test]
    fn a_computed_bias_is_added_where_mil_wants_a_constant() {
        let ops = conv(&[1, 3, 8, 8], "x w b", None).input("b", F32, &[4]).ops("y");
        assert_eq!(ops, ["conv", "expand_dims", "add"]);
    }

    #[test]
    fn output_padding_is_less_cut_off_or_put_there() {
        let upscale = |pads: &[i64]| {
            let net = Net::new(18).input("x", F32, &[1, 3, 8, 8]).ones("w", &[3, 4, 3, 3]);
            let attributes = [ints("strides", &[2, 2]), ints("output_padding", &[1, 1]), ints("pads", pads)];
            net.node("ConvTranspose", "x w", "y", &attributes).ops("y")
        };
        assert_eq!(upscale(&[1, 1, 1, 1]), ["conv_transpose"]);
        assert_eq!(upscale(&[0, 0, 0, 0]), ["conv_transpose", "pad"]);
    }

    #[test]
    fn bad_attributes_are_told() {
        let refusal = conv(&[1, 3, 8, 8], "x w", Some(ints("strides", &[1, 0]))).refusal("y");
        assert!(refusal.contains("its attribute `strides` has 0"), "{refusal}");
        let refusal = conv(&[1, 3, 8, 8], "x w", Some(ints("pads", &[1, 1]))).refusal("y");
        assert!(refusal.contains("its attribute `pads` has 2 numbers where it takes 4"), "{refusal}");
        let refusal = conv(&[1, 3, 8], "x w", None).refusal("y");
        assert!(refusal.contains("its weight has rank 4, its input 3"), "{refusal}");
    }
}

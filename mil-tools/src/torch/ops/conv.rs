//! Convolutions.

use mil_core::{graph::Value, mb, types::Opset};

use super::{Entry, Lowered, Node};
use crate::import::{Refusal, Size, Tensor};

pub(super) const OPS: &[Entry] = &[
    Entry::new("aten::_convolution", convolution),
    Entry::new("aten::_convolution_mode", |n| plain(n, n_of_mode)),
    Entry::new("aten::conv1d", |n| plain(n, n_of_mode)),
    Entry::new("aten::conv2d", |n| plain(n, n_of_mode)),
    Entry::new("aten::conv3d", |n| plain(n, n_of_mode)),
    Entry::new("aten::conv_transpose1d", transposed),
    Entry::new("aten::conv_transpose2d", transposed),
    Entry::new("aten::conv_transpose3d", transposed),
    Entry::new("aten::convolution", convolution),
];

/// The padding of each side of a spatial dimension: twice the number, or what the words `same` and `valid` mean.
type Padding = fn(&mut Node<'_, '_>, &[i64], &[i64]) -> Result<Vec<[i64; 2]>, Refusal>;

/// What there is of a convolution.
struct Conv {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    strides: Vec<i64>,
    pads: Vec<[i64; 2]>,
    dilations: Vec<i64>,
    groups: i64,
    /// If it is transposed, what is added to the end of the output.
    output_padding: Option<Vec<i64>>,
}

/// Sizes of the kernel, and how many there are.
fn kernel(weight: &Tensor) -> Result<Vec<i64>, Refusal> {
    let sizes = weight.fixed().ok_or_else(|| Refusal::new("the shape of its weight is not known"))?;
    if !(3..=5).contains(&sizes.len()) {
        return Err(Refusal::new(format!("its weight has rank {}, and MIL's convolutions have 3 to 5", sizes.len())));
    }
    Ok(sizes[2..].iter().map(|n| *n as i64).collect())
}

/// Numbers, or a word, in the fifth place.
fn n_of_mode(n: &mut Node<'_, '_>, kernel: &[i64], dilations: &[i64]) -> Result<Vec<[i64; 2]>, Refusal> {
    if let Ok(Some(mode)) = n.text(4, "padding") {
        return match &mode[..] {
            "valid" => Ok(vec![[0, 0]; kernel.len()]),
            "same" => Ok(kernel
                .iter()
                .zip(dilations)
                .map(|(k, d)| (k - 1).saturating_mul(*d))
                .map(|all| [all / 2, all - all / 2])
                .collect()),
            other => Err(Refusal::new(format!("has no padding `{}`", other.escape_debug()))),
        };
    }
    Ok(n.spatial(4, "padding", kernel.len(), 0)?.into_iter().map(|p| [p, p]).collect())
}

fn plain(n: &mut Node<'_, '_>, padding: Padding) -> Lowered {
    let (x, weight, bias) = (n.float_tensor(0, "input")?, n.tensor(1, "weight")?, n.optional(2, "bias")?);
    let kernel = kernel(&weight)?;
    let strides = n.spatial(3, "stride", kernel.len(), 1)?;
    let dilations = n.spatial(5, "dilation", kernel.len(), 1)?;
    let pads = padding(n, &kernel, &dilations)?;
    let groups = n.int_or(6, "groups", 1)?;
    lower(n, Conv { x, weight, bias, strides, pads, dilations, groups, output_padding: None })
}

fn transposed(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight, bias) = (n.float_tensor(0, "input")?, n.tensor(1, "weight")?, n.optional(2, "bias")?);
    let count = kernel(&weight)?.len();
    let strides = n.spatial(3, "stride", count, 1)?;
    let pads = n.spatial(4, "padding", count, 0)?.into_iter().map(|p| [p, p]).collect();
    let output_padding = Some(n.spatial(5, "output_padding", count, 0)?);
    let groups = n.int_or(6, "groups", 1)?;
    let dilations = n.spatial(7, "dilation", count, 1)?;
    lower(n, Conv { x, weight, bias, strides, pads, dilations, groups, output_padding })
}

fn convolution(n: &mut Node<'_, '_>) -> Lowered {
    let (x, weight, bias) = (n.float_tensor(0, "input")?, n.tensor(1, "weight")?, n.optional(2, "bias")?);
    let count = kernel(&weight)?.len();
    let strides = n.spatial(3, "stride", count, 1)?;
    let pads = n.spatial(4, "padding", count, 0)?.into_iter().map(|p| [p, p]).collect();
    let dilations = n.spatial(5, "dilation", count, 1)?;
    let output_padding = n.spatial(7, "output_padding", count, 0)?;
    let output_padding = n.bool_or(6, "transposed", false)?.then_some(output_padding);
    let groups = n.int_or(8, "groups", 1)?;
    lower(n, Conv { x, weight, bias, strides, pads, dilations, groups, output_padding })
}

fn lower(n: &mut Node<'_, '_>, mut c: Conv) -> Lowered {
    if c.weight.dtype != c.x.dtype {
        c.weight = n.convert(&c.weight, c.x.dtype)?;
    }
    // An input without batch.
    let single = c.x.rank() + 1 == c.weight.rank();
    if single {
        c.x.value = n.expand_dims(&c.x.value, &[0])?;
    }
    // Biases that are computed are added behind.
    let behind = c.bias.take_if(|b| b.constant().is_none() && n.opset() < Opset::iOS17);
    let dtype = c.x.dtype;
    let y = if c.output_padding.is_some() { turned(n, &c)? } else { straight(n, &c)? };
    let y = match behind {
        Some(bias) => add_bias(n, &y, &bias.value)?,
        None => y,
    };
    let y = if single { n.squeeze(&y, &[0])? } else { y };
    n.one(y, dtype)
}

fn add_bias(n: &mut Node<'_, '_>, y: &Value, bias: &Value) -> Result<Value, Refusal> {
    let rank = y.shape().map_or(0, |s| s.rank());
    let axes: Vec<usize> = (1..rank - 1).collect();
    let bias = n.expand_dims(bias, &axes)?;
    n.push(mb::add(y, &bias))
}

fn flat(pads: &[[i64; 2]]) -> Vec<i64> {
    pads.iter().flatten().copied().collect()
}

fn straight(n: &mut Node<'_, '_>, c: &Conv) -> Result<Value, Refusal> {
    let mut call = mb::conv(&c.x.value, &c.weight.value);
    if let Some(bias) = &c.bias {
        call = call.bias(&bias.value);
    }
    if c.pads.iter().any(|p| *p != [0, 0]) {
        call = call.pad_type("custom").pad(flat(&c.pads));
    }
    n.push(call.strides(c.strides.clone()).dilations(c.dilations.clone()).groups(c.groups))
}

/// A transposed convolution. MIL takes padding off the output; PyTorch then adds output padding at the end, which takes less
/// off there. Where nothing is left to be taken off, zeros are put there before the bias is added.
fn turned(n: &mut Node<'_, '_>, c: &Conv) -> Result<Value, Refusal> {
    let extra = c.output_padding.clone().unwrap_or_default();
    let off: Vec<[i64; 2]> = c.pads.iter().zip(&extra).map(|(p, e)| [p[0], (p[1] - e).max(0)]).collect();
    let missing: Vec<i64> = c.pads.iter().zip(&extra).map(|(p, e)| (e - p[1]).max(0)).collect();
    let padded = missing.iter().any(|m| *m > 0);
    let mut call = mb::conv_transpose(&c.x.value, &c.weight.value);
    if let Some(bias) = c.bias.as_ref().filter(|_| !padded) {
        call = call.bias(&bias.value);
    }
    if off.iter().any(|p| *p != [0, 0]) {
        call = call.pad_type("custom").pad(flat(&off));
    }
    let y = n.push(call.strides(c.strides.clone()).dilations(c.dilations.clone()).groups(c.groups))?;
    if !padded {
        return Ok(y);
    }
    let amounts: Vec<i64> = missing.iter().flat_map(|m| [0, *m]).collect();
    let y = n.push(mb::pad(&y, amounts))?;
    match &c.bias {
        Some(bias) => add_bias(n, &y, &bias.value),
        None => Ok(y),
    }
}

/// The size of a dimension as a number, which windows must have.
pub(super) fn known_size(size: &Size) -> Result<i64, Refusal> {
    match size {
        Size::Fixed(n) => Ok(*n),
        Size::Value(_) => {
            Err(Refusal::new("needs a size that is known").remedy("convert with a fixed shape (`--input NAME=..`)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::torch::testing::Net;

    fn net(call: &str) -> Net {
        let net = Net::new().input("x", &[1, 3, 8, 8]).ones("w", &[4, 3, 3, 3]).ones("b", &[4]);
        net.ones("turned", &[3, 4, 3, 3]).node(&format!("y = aten::{call}"))
    }

    #[test]
    fn a_convolution_is_one_op_with_its_bias() {
        let form = |pads: &str| {
            format!(
                "conv(x=x, weight=Tensor<f32, 4, 3, 3, 3>, bias=[1.0, 1.0, 1.0, 1.0], strides=[2, 2], {pads}, dilations=[1, 1], groups=1)"
            )
        };
        let padded = form(r#"pad_type="custom", pad=[1, 1, 0, 0]"#);
        assert_eq!(net("conv2d(x, w, b, [2], [1, 0], [1, 1], 1)").form("y"), [&padded[..]]);
        assert_eq!(net("_convolution(x, w, b, [2, 2], [1, 0], [1, 1], False, [0, 0], 1)").form("y"), [&padded[..]]);
        let valid = form(r#"pad_type="valid", pad=[0, 0, 0, 0]"#);
        assert_eq!(net("conv2d(x, w, b, [2, 2], 'valid', [1, 1], 1)").form("y"), [&valid[..]]);
    }

    #[test]
    fn a_computed_bias_is_added_where_mil_wants_a_constant() {
        let net = Net::new().input("x", &[1, 3, 8, 8]).ones("w", &[4, 3, 3, 3]).input("b", &[4]);
        assert_eq!(net.node("y = aten::conv2d(x, w, b)").ops("y"), ["conv", "expand_dims", "add"]);
    }

    #[test]
    fn output_padding_is_less_cut_off_or_put_there() {
        let turned = |pads: &str| net(&format!("conv_transpose2d(x, turned, None, [2, 2], {pads}, [1, 1], 1, [1, 1])"));
        assert_eq!(turned("[1, 1]").ops("y"), ["conv_transpose"]);
        assert_eq!(turned("[0, 0]").ops("y"), ["conv_transpose", "pad"]);
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for (call, message) in [
            ("conv2d(x, b)", "its weight has rank 1, and MIL's convolutions have 3 to 5"),
            ("conv2d(x, w, b, [1, 1], 'full')", "has no padding `full`"),
            ("conv2d(x, w, b, [1, 1, 1])", "its argument `stride` has 3 numbers, not 2"),
            ("conv2d(x, w, b, [1, 1], [-1, 0])", "its argument `padding` is -1"),
            ("conv2d(x, w, b, [1, 1], [0, 0], [9223372036854775807, 1])", "MIL's integers have 32 bits"),
        ] {
            let e = net(call).refusal("y");
            assert!(e.contains(message), "{call}: {e}");
        }
    }
}

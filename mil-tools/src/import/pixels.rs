//! Inputs that are pictures: channels first for the caller, scaled and normalized before the model sees them.

use mil_core::{
    graph::Value,
    ir::{Constant, feature::ColorSpace},
    mb,
    types::{DType, Dim, Shape, TensorType},
};

use super::{ImageInput, Lowering, Normalization, Refusal};

/// What is done with the pixels of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pixels<'a> {
    pub(super) image: Option<&'a ImageInput>,
    pub(super) normalization: Option<&'a Normalization>,
}

/// Where the model has the channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    First,
    Last,
}

impl Pixels<'_> {
    /// How many channels there are: 3 or 1.
    fn channels(&self, shape: &Shape) -> usize {
        let of_color = |i: &ImageInput| if matches!(i.color, ColorSpace::Rgb | ColorSpace::Bgr) { 3 } else { 1 };
        let of_numbers = |n: &Normalization| n.mean.len().max(n.std.len());
        match (self.image.map(of_color), self.normalization.map(of_numbers)) {
            (Some(n), _) => n,
            (None, Some(n)) if n > 1 => n,
            _ => {
                if layout(shape, 3).is_some() {
                    3
                } else {
                    1
                }
            }
        }
    }

    /// Whether an input of this shape may be meant where none is named.
    pub(super) fn fit(&self, shape: &Shape) -> bool {
        layout(shape, self.channels(shape)).is_some()
    }

    /// Declares the input as pixels, channels first, and gives what the model gets, which is of `shape` and `carried`.
    pub(super) fn declare(
        &self,
        l: &mut Lowering,
        (name, called): (&str, &str),
        carried: DType,
        shape: &Shape,
    ) -> Result<Value, Refusal> {
        let channels = self.channels(shape);
        let Some(layout) = layout(shape, channels) else {
            let message = format!("the input `{name}` is {shape}, which is no picture of {channels} channels");
            return Err(Refusal::new(message)
                .remedy("a picture is [1, channels, height, width] or [1, height, width, channels]"));
        };
        let changes = self.normalization.is_some() || self.image.is_some_and(|i| i.scale != 1.0 || !i.bias.is_empty());
        if !carried.is_float() && changes {
            let message = format!("the input `{name}` is of integers: the model scales pixels itself");
            return Err(Refusal::new(message).remedy("leave out `--normalize`, scale and bias"));
        }
        // Batch, channels, height, width; a model of rank 3 has no batch.
        let last = shape.rank() - 1;
        let (lacks_batch, from) = (shape.rank() == 3, shape.rank() - 3);
        let (height, width) = match layout {
            Layout::First => (&shape[from + 1], &shape[from + 2]),
            Layout::Last => (&shape[from], &shape[from + 1]),
        };
        let batch = if lacks_batch { Dim::from(1) } else { shape[0].clone() };
        let dims = [batch, Dim::from(channels), height.clone(), width.clone()];
        let input = l.graph().input(called, TensorType::new(DType::F32, dims));
        if let Some(image) = self.image {
            l.graph().set_image(&input, image.color)?;
        }
        let mut x = self.scaled(l, &input, channels)?;
        if layout == Layout::Last {
            x = l.transpose(&x, &[0, 2, 3, 1])?;
        }
        if lacks_batch {
            debug_assert_eq!(last, 2);
            x = l.squeeze(&x, &[0])?;
        }
        l.cast(&x, carried)
    }

    /// Pixels, scaled as an image and normalized. The mean is subtracted first: in f16 whole numbers up to 255 are exact, and what
    /// is near the mean keeps its digits.
    fn scaled(&self, l: &mut Lowering, input: &Value, channels: usize) -> Result<Value, Refusal> {
        let mut x = input.clone();
        if let Some(ImageInput { scale, bias, .. }) = self.image {
            if *scale != 1.0 {
                let scale = per_channel(l, "scale", &[*scale], channels)?;
                x = l.push(mb::mul(&x, &scale))?;
            }
            if bias.iter().any(|b| *b != 0.0) {
                let bias = per_channel(l, "bias", bias, channels)?;
                x = l.push(mb::add(&x, &bias))?;
            }
        }
        if let Some(n) = self.normalization {
            let reversed = n.rgb && self.image.is_some_and(|i| i.color == ColorSpace::Bgr);
            let ordered = |v: &[f64], f: &dyn Fn(f64) -> f64| -> Vec<f64> {
                let mut all: Vec<f64> = v.iter().map(|n| f(*n)).collect();
                if reversed {
                    all.reverse();
                }
                all
            };
            let mean = ordered(&n.mean, &|m| m * 255.0);
            if mean.iter().any(|m| *m != 0.0) {
                let mean = per_channel(l, "mean", &mean, channels)?;
                x = l.push(mb::sub(&x, &mean))?;
            }
            let factors = ordered(&n.std, &|s| 1.0 / (s * 255.0));
            let factors = per_channel(l, "std", &factors, channels)?;
            x = l.push(mb::mul(&x, &factors))?;
        }
        Ok(x)
    }
}

/// Where the channels are: first, if both would do.
fn layout(shape: &Shape, channels: usize) -> Option<Layout> {
    let from = match shape.rank() {
        rank @ (3 | 4) => rank - 3,
        _ => return None,
    };
    match (shape[from].is(channels as i64), shape[from + 2].is(channels as i64)) {
        (true, _) => Some(Layout::First),
        (false, true) => Some(Layout::Last),
        (false, false) => None,
    }
}

/// One number, or `[1, channels, 1, 1]`.
fn per_channel(l: &mut Lowering, what: &str, numbers: &[f64], channels: usize) -> Result<Value, Refusal> {
    let floats: Vec<f32> = numbers.iter().map(|n| *n as f32).collect();
    if floats.iter().any(|n| !n.is_finite()) {
        return Err(Refusal::new(format!("the {what} of pixels must be numbers, and no std may be 0")));
    }
    if let [one] = floats[..] {
        return l.number(DType::F32, f64::from(one));
    }
    if floats.len() != channels {
        let message = format!("there are {} numbers for the {what} of {channels} channels", floats.len());
        return Err(Refusal::new(message).remedy("give one number, or one for each channel"));
    }
    Ok(l.constant(Constant::new([1, channels, 1, 1], &floats)?))
}

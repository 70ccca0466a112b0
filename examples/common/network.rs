//! Networks out of layers, with weights by the names that PyTorch gives them.

use std::{collections::HashMap, error::Error, path::PathBuf};

use mil::{
    Value, f16,
    ir::{Constant, Program},
    prelude::*,
    weights::{SafeDType, SafeTensors},
};

/// A graph that layers are added to. Weights are named, and given when the graph is done.
pub(crate) struct Network {
    pub(crate) graph: Graph,
    dtype: DType,
    weights: Vec<(String, Vec<usize>)>,
}

/// How a convolution goes over the image.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) groups: usize,
}

impl Window {
    /// A window of 1x1.
    pub(crate) const POINT: Window = Window { kernel: 1, stride: 1, groups: 1 };
}

/// The errors of what may fail for several reasons.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

impl Network {
    /// A network of this dtype. f16 inputs want iOS16.
    pub(crate) fn new(dtype: DType) -> Network {
        let opset = if dtype == DType::F16 { Opset::iOS16 } else { Opset::iOS15 };
        Network { graph: Graph::new("main", opset), dtype, weights: vec![] }
    }

    /// An input of the network's dtype.
    pub(crate) fn input<const N: usize>(&mut self, name: &str, shape: [usize; N]) -> Value {
        self.graph.input(name, TensorType::new(self.dtype, shape))
    }

    /// A weight that is given later.
    pub(crate) fn weight(&mut self, name: String, shape: &[usize]) -> Constant {
        self.weights.push((name.clone(), shape.to_vec()));
        Constant::weight(name, self.dtype, shape)
    }

    /// `nn.Conv2d`, padded so that a stride of 1 keeps the size.
    pub(crate) fn conv(&mut self, x: &Value, name: &str, out: usize, window: Window, bias: bool) -> Result<Value> {
        let Window { kernel, stride, groups } = window;
        let channels = x.shape().and_then(|s| s[1].fixed()).ok_or("the channels are known")?;
        let weight = self.weight(format!("{name}.weight"), &[out, channels / groups, kernel, kernel]);
        let mut conv = mb::conv(x, &weight).strides([stride, stride]).pad_type("custom").groups(groups);
        conv = conv.pad(vec![kernel / 2; 4]);
        if bias {
            conv = conv.bias(self.weight(format!("{name}.bias"), &[out]));
        }
        Ok(self.graph.push(conv)?)
    }

    /// `nn.BatchNorm2d` of a trained network.
    pub(crate) fn batch_norm(&mut self, x: &Value, name: &str) -> Result<Value> {
        let channels = x.shape().and_then(|s| s[1].fixed()).ok_or("the channels are known")?;
        let [mean, variance, gamma, beta] = ["running_mean", "running_var", "weight", "bias"]
            .map(|part| self.weight(format!("{name}.{part}"), &[channels]));
        Ok(self.graph.push(mb::batch_norm(x, &mean, &variance).gamma(&gamma).beta(&beta).epsilon(1e-5))?)
    }

    /// The mean over the image and a dense layer: `[1, classes]`.
    pub(crate) fn head(&mut self, x: &Value, name: &str, classes: usize) -> Result<Value> {
        let features = x.shape().and_then(|s| s[1].fixed()).ok_or("the channels are known")?;
        let mean = self.graph.push(mb::reduce_mean(x).axes([2, 3]).keep_dims(false))?;
        let weight = self.weight(format!("{name}.weight"), &[classes, features]);
        let bias = self.weight(format!("{name}.bias"), &[classes]);
        Ok(self.graph.push(mb::linear(&mean, &weight).bias(&bias))?)
    }

    /// Ends the network. Its weights are those of the file, else made up, small enough for all layers to stay in range.
    pub(crate) fn finish(self, output: Value, file: Option<&PathBuf>) -> Result<Program> {
        let Network { graph, dtype, weights } = self;
        let mut program = graph.finish([("logits", output)])?;
        match file {
            Some(path) => {
                let file = SafeTensors::open(path)?;
                let find = |name: &str| file.get(name).and_then(|t| as_dtype(t.dtype, &t.shape, &t.bytes, dtype));
                program.attach_weights(&find)?;
            }
            None => {
                let seeds = weights.into_iter().enumerate();
                let made_up = seeds.map(|(i, (name, shape))| {
                    let constant = made_up(i as u64, &name, &shape, dtype);
                    (name, constant)
                });
                let made_up: HashMap<String, Constant> = made_up.collect();
                program.attach_weights(&|name| made_up.get(name).cloned())?;
            }
        }
        Ok(program)
    }
}

/// How many numbers the weights of a program have, without the statistics of `batch_norm`: what PyTorch calls parameters.
pub(crate) fn parameters(net: &Network) -> usize {
    let trained = net.weights.iter().filter(|(name, _)| !name.contains("running_"));
    trained.map(|(_, shape)| shape.iter().product::<usize>()).sum()
}

/// A tensor of a file in the network's dtype.
fn as_dtype(stored: SafeDType, shape: &[usize], data: &mil::weights::Bytes, dtype: DType) -> Option<Constant> {
    match (stored, dtype) {
        (SafeDType::F32, DType::F32) => Constant::from_bytes(DType::F32, shape, data.clone()).ok(),
        (SafeDType::F16, DType::F16) => Constant::from_bytes(DType::F16, shape, data.clone()).ok(),
        (SafeDType::F32, DType::F16) => {
            let numbers = data.chunks_exact(4).map(|b| f16::from_f32(f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
            Constant::new(shape, &numbers.collect::<Vec<_>>()).ok()
        }
        _ => None,
    }
}

/// Weights that keep what layers give near what they take: uniform, of variance 1 / fan-in. Scales are 1/2, statistics those
/// of a standard distribution.
fn made_up(seed: u64, name: &str, shape: &[usize], dtype: DType) -> Constant {
    let fan_in: usize = shape.iter().skip(1).product();
    let bound = (3.0 / fan_in.max(1) as f32).sqrt();
    // A linear congruential generator (Knuth's constants): the upper bits are good enough for this.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let count = shape.iter().product();
    let numbers: Vec<f32> = match name.rsplit('.').next() {
        Some("running_var") => vec![1.0; count],
        Some("running_mean" | "bias") => (0..count).map(|_| uniform() * 0.1).collect(),
        Some("gamma") => vec![0.5; count],
        _ if shape.len() == 1 => vec![0.5; count],
        _ => (0..count).map(|_| uniform() * bound).collect(),
    };
    let constant = match dtype {
        DType::F16 => Constant::new(shape, &numbers.into_iter().map(f16::from_f32).collect::<Vec<_>>()),
        _ => Constant::new(shape, &numbers),
    };
    constant.unwrap_or_else(|e| unreachable!("as many numbers as the shape has: {e}"))
}

/// An image of this many pixels' values, smooth, within -2 and 2.
pub(crate) fn image(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i as f32) * 0.013).sin() + ((i / 97) as f32 * 0.21).cos()).collect()
}

/// Saves the network in both dtypes, runs both on an image, and compares what they say.
pub(crate) fn check<const N: usize>(
    name: &str,
    shape: [usize; N],
    build: impl Fn(DType) -> Result<Program>,
) -> Result<()> {
    let out = super::common::output_dir()?;
    let image = image(shape.iter().product());
    let mut logits = vec![];
    for (suffix, dtype) in [("", DType::F32), ("_fp16", DType::F16)] {
        let program = build(dtype)?;
        program.save(out.join(format!("{name}{suffix}.mlpackage")))?;
        let x = AnyTensor::from_f32(dtype, shape, image.clone())?;
        let y = &Model::from_program(&program)?.predict([("image", x)])?["logits"];
        assert_eq!(y.shape(), [1, 1000]);
        logits.push(y.to_f32()?.into_owned());
    }
    let scale = logits[0].iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(scale.is_finite() && scale > 1e-3, "the logits say something: the largest is {scale}");
    let off = logits[0].iter().zip(logits[1].iter()).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(off <= 2e-2 * scale, "f16 is off by {off}, the largest logit being {scale}");
    Ok(())
}

//! What the benchmarks share: a network of a known size, and how a command is measured.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use mil_core::{
    graph::{BuildError, Graph, Value},
    ir::{Constant, Program},
    mb,
    types::{DType, Opset, TensorType},
};

pub(crate) type Error = Box<dyn std::error::Error>;

/// ResNet-50 as a framework exports it: convolutions without bias, each with a batch_norm; 25.6 million weights in f32.
/// Numbers are small and not random: nothing here depends on them.
pub(crate) fn resnet50() -> Result<Program, BuildError> {
    let mut net = Net { g: Graph::new("main", Opset::iOS16), seed: 0 };
    let image = net.g.input("image", TensorType::new(DType::F32, [1, 3, 224, 224]));
    let mut x = net.conv(&image, 3, 64, 7, 2, true)?;
    x = net.g.push(mb::max_pool(&x, [3, 3], "custom").strides([2, 2]).pad([1, 1, 1, 1]))?;
    let mut channels = 64;
    for (stage, (width, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let mut y = net.conv(&x, channels, width, 1, 1, true)?;
            y = net.conv(&y, width, width, 3, stride, true)?;
            y = net.conv(&y, width, width * 4, 1, 1, false)?;
            let skip = if block == 0 { net.conv(&x, channels, width * 4, 1, stride, false)? } else { x };
            let sum = net.g.push(mb::add(&y, &skip))?;
            x = net.g.push(mb::relu(&sum))?;
            channels = width * 4;
        }
    }
    let mean = net.g.push(mb::reduce_mean(&x).axes([2, 3]).keep_dims(false))?;
    let (weight, bias) = (net.weights(vec![1000, channels]), net.weights(vec![1000]));
    let logits = net.g.push(mb::linear(&mean, weight).bias(bias))?;
    net.g.finish([("logits", logits)])
}

struct Net {
    g: Graph,
    seed: usize,
}

impl Net {
    fn weights(&mut self, shape: Vec<usize>) -> Constant {
        self.seed += 1;
        let (count, seed) = (shape.iter().product(), self.seed);
        // From -0.02 to 0.02, with a period that no dimension has.
        let numbers: Vec<f32> = (0..count).map(|i: usize| ((i * 31 + seed) % 1009) as f32 / 25_000.0 - 0.02).collect();
        Constant::new(shape, &numbers).expect("as many numbers as the shape has")
    }

    fn positive(&mut self, channels: usize) -> Constant {
        self.seed += 1;
        let numbers: Vec<f32> = (0..channels).map(|i| 0.5 + ((i + self.seed) % 97) as f32 / 97.0).collect();
        Constant::vector(&numbers)
    }

    fn conv(
        &mut self,
        x: &Value,
        from: usize,
        to: usize,
        k: usize,
        stride: usize,
        relu: bool,
    ) -> Result<Value, BuildError> {
        let weight = self.weights(vec![to, from, k, k]);
        let pad = (k - 1) / 2;
        let y = mb::conv(x, weight).strides([stride, stride]).pad_type("custom").pad([pad, pad, pad, pad]);
        let y = self.g.push(y)?;
        let (mean, variance) = (self.weights(vec![to]), self.positive(to));
        let (gamma, beta) = (self.positive(to), self.weights(vec![to]));
        let y = self.g.push(mb::batch_norm(&y, mean, variance).gamma(gamma).beta(beta))?;
        if relu { self.g.push(mb::relu(&y)) } else { Ok(y) }
    }
}

/// The best of five runs, each into a fresh place.
pub(crate) fn best(mut run: impl FnMut(&Path) -> Result<(), Error>, to: &Path) -> Result<Duration, Error> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        let start = Instant::now();
        run(to)?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

/// Runs the command, which must succeed.
pub(crate) fn succeed(command: &mut Command) -> Result<(), Error> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Bytes of resident memory at most, mapped files included, as GNU time says; `None` where there is no such command.
pub(crate) fn peak_memory(mil: &str, args: &[&str]) -> Result<Option<u64>, Error> {
    let time = Path::new("/usr/bin/time");
    if !cfg!(target_os = "linux") || !time.exists() {
        return Ok(None);
    }
    let output = Command::new(time).args(["-f", "%M"]).arg(mil).args(args).output()?;
    let text = String::from_utf8(output.stderr)?;
    // What the command itself says on stderr comes before.
    Ok(text.lines().last().and_then(|l| l.trim().parse::<u64>().ok()).map(|kilobytes| kilobytes * 1024))
}

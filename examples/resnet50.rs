//! ResNet-50 (He et al., arXiv:1512.03385), built layer by layer, with weights by torchvision's names.
//!
//!     cargo run --release --example resnet50 [WEIGHTS.safetensors OUT.mlpackage]
//!
//! With a file of weights (a state dict: `mil convert resnet50.pth -o resnet50.safetensors` makes one) it writes the package. Without, it makes weights up
//! and checks that f32 and f16 agree. The same network can be imported: `mil convert resnet50.onnx -o OUT.mlpackage`.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use mil::{Value, ir::Program, prelude::*};
use network::{Network, Result, Window, check, parameters};

mod common;
#[path = "common/network.rs"]
mod network;

/// Blocks and inner channels of the four stages.
const STAGES: [(usize, usize); 4] = [(3, 64), (4, 128), (6, 256), (3, 512)];

/// What torchvision's model has.
const PARAMETERS: usize = 25_557_032;

fn resnet50(dtype: DType, weights: Option<&PathBuf>) -> Result<Program> {
    let mut net = Network::new(dtype);
    let image = net.input("image", [1, 3, 224, 224]);
    let x = net.conv(&image, "conv1", 64, Window { kernel: 7, stride: 2, groups: 1 }, false)?;
    let x = net.batch_norm(&x, "bn1")?;
    let x = net.graph.push(mb::relu(&x))?;
    let pool = mb::max_pool(&x, [3, 3], "custom").strides([2, 2]).pad([1, 1, 1, 1]);
    let mut x = net.graph.push(pool)?;
    for (stage, (blocks, width)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = bottleneck(&mut net, &x, &format!("layer{}.{block}", stage + 1), width, stride)?;
        }
    }
    let logits = net.head(&x, "fc", 1000)?;
    assert_eq!(parameters(&net), PARAMETERS);
    net.finish(logits, weights)
}

/// 1x1, 3x3, 1x1, and the input added; where sizes differ, through a convolution of its own.
fn bottleneck(net: &mut Network, x: &Value, name: &str, width: usize, stride: usize) -> Result<Value> {
    let middle = Window { kernel: 3, stride, groups: 1 };
    let y = net.conv(x, &format!("{name}.conv1"), width, Window::POINT, false)?;
    let y = net.batch_norm(&y, &format!("{name}.bn1"))?;
    let y = net.graph.push(mb::relu(&y))?;
    let y = net.conv(&y, &format!("{name}.conv2"), width, middle, false)?;
    let y = net.batch_norm(&y, &format!("{name}.bn2"))?;
    let y = net.graph.push(mb::relu(&y))?;
    let y = net.conv(&y, &format!("{name}.conv3"), 4 * width, Window::POINT, false)?;
    let y = net.batch_norm(&y, &format!("{name}.bn3"))?;
    let shortcut = if name.ends_with(".0") {
        let short =
            net.conv(x, &format!("{name}.downsample.0"), 4 * width, Window { stride, ..Window::POINT }, false)?;
        net.batch_norm(&short, &format!("{name}.downsample.1"))?
    } else {
        x.clone()
    };
    let sum = net.graph.push(mb::add(&y, &shortcut))?;
    Ok(net.graph.push(mb::relu(&sum))?)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match &arguments[..] {
        [] => run(),
        [weights, out] => Ok(resnet50(DType::F32, Some(weights))?.save(out)?),
        _ => Err("expected nothing, or a file of weights and the package to write".into()),
    }
}

/// The network with weights that are made up.
pub(crate) fn run() -> Result<()> {
    check("resnet50", [1, 3, 224, 224], |dtype| resnet50(dtype, None))?;
    println!("ResNet-50: {PARAMETERS} parameters, f32 and f16 agree");
    Ok(())
}

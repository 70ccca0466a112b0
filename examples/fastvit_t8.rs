//! FastViT-T8 (Vasu et al., arXiv:2303.14189) as it is for inference, its branches merged, with weights by timm's names.
//!
//!     cargo run --release --example fastvit_t8 [WEIGHTS.safetensors OUT.mlpackage]
//!
//! With a file of weights (of timm's model after `reparameterize_model`) it writes the package. Without, it makes weights up and
//! checks that f32 and f16 agree. The same network can be imported: `mil convert fastvit_t8.onnx -o OUT.mlpackage`.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;

use mil::{Value, ir::Program, prelude::*};
use network::{Network, Result, Window, check, parameters};

mod common;
#[path = "common/network.rs"]
mod network;

/// Blocks and channels of the four stages.
const STAGES: [(usize, usize); 4] = [(2, 48), (2, 96), (4, 192), (2, 384)];

/// What timm's model has.
const PARAMETERS: usize = 3_996_040;

fn fastvit_t8(dtype: DType, weights: Option<&PathBuf>) -> Result<Program> {
    let mut net = Network::new(dtype);
    let mut x = net.input("image", [1, 3, 256, 256]);
    let stem = [Window { kernel: 3, stride: 2, groups: 1 }, Window { kernel: 3, stride: 2, groups: 48 }, Window::POINT];
    for (i, window) in stem.into_iter().enumerate() {
        x = net.conv(&x, &format!("stem.{i}.reparam_conv"), 48, window, true)?;
        x = gelu(&mut net, &x)?;
    }
    let mut before = 48;
    for (stage, (blocks, width)) in STAGES.into_iter().enumerate() {
        if stage > 0 {
            let name = format!("stages.{stage}.downsample.proj");
            let large = Window { kernel: 7, stride: 2, groups: before };
            x = net.conv(&x, &format!("{name}.0.reparam_conv"), width, large, true)?;
            x = net.conv(&x, &format!("{name}.1.reparam_conv"), width, Window::POINT, true)?;
            x = gelu(&mut net, &x)?;
        }
        for block in 0..blocks {
            x = mixer(&mut net, &x, &format!("stages.{stage}.blocks.{block}"), width)?;
        }
        before = width;
    }
    x = net.conv(&x, "final_conv.reparam_conv", 768, Window { kernel: 3, stride: 1, groups: before }, true)?;
    x = squeeze_excite(&mut net, &x, "final_conv.se")?;
    x = gelu(&mut net, &x)?;
    let logits = net.head(&x, "head.fc", 1000)?;
    assert_eq!(parameters(&net), PARAMETERS);
    net.finish(logits, weights)
}

fn gelu(net: &mut Network, x: &Value) -> Result<Value> {
    Ok(net.graph.push(mb::gelu(x).mode("EXACT"))?)
}

/// Mixes pixels by a convolution, then channels by a perceptron of 1x1 convolutions whose result, scaled, is added.
fn mixer(net: &mut Network, x: &Value, name: &str, width: usize) -> Result<Value> {
    let window = |kernel| Window { kernel, stride: 1, groups: width };
    let x = net.conv(x, &format!("{name}.token_mixer.reparam_conv"), width, window(3), true)?;
    let y = net.conv(&x, &format!("{name}.mlp.conv.conv"), width, window(7), false)?;
    let y = net.batch_norm(&y, &format!("{name}.mlp.conv.bn"))?;
    let y = net.conv(&y, &format!("{name}.mlp.fc1"), 3 * width, Window::POINT, true)?;
    let y = gelu(net, &y)?;
    let y = net.conv(&y, &format!("{name}.mlp.fc2"), width, Window::POINT, true)?;
    let gamma = net.weight(format!("{name}.layer_scale.gamma"), &[width, 1, 1]);
    let y = net.graph.push(mb::mul(&y, &gamma))?;
    Ok(net.graph.push(mb::add(&x, &y))?)
}

/// Scales channels by what a small perceptron says of their means (Hu et al., arXiv:1709.01507).
fn squeeze_excite(net: &mut Network, x: &Value, name: &str) -> Result<Value> {
    let mean = net.graph.push(mb::reduce_mean(x).axes([2, 3]).keep_dims(true))?;
    let y = net.conv(&mean, &format!("{name}.fc1"), 48, Window::POINT, true)?;
    let y = net.graph.push(mb::relu(&y))?;
    let y = net.conv(&y, &format!("{name}.fc2"), 768, Window::POINT, true)?;
    let gate = net.graph.push(mb::sigmoid(&y))?;
    Ok(net.graph.push(mb::mul(x, &gate))?)
}

#[allow(dead_code)] // the tests call `run`
fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match &arguments[..] {
        [] => run(),
        [weights, out] => Ok(fastvit_t8(DType::F32, Some(weights))?.save(out)?),
        _ => Err("expected nothing, or a file of weights and the package to write".into()),
    }
}

/// The network with weights that are made up.
pub(crate) fn run() -> Result<()> {
    check("fastvit_t8", [1, 3, 256, 256], |dtype| fastvit_t8(dtype, None))?;
    println!("FastViT-T8: {PARAMETERS} parameters, f32 and f16 agree");
    Ok(())
}

//! A program without macros: plain Rust builds the graph, so that a loop or a file can decide its layers.
#![allow(clippy::print_stdout)]

use std::error::Error;

use mil::{Dim, Domain, Symbol, ir::Program, prelude::*};
use numbers::{constant, numbers};

mod common;
#[path = "common/numbers.rs"]
mod numbers;

/// The width of every layer, the input's first.
const WIDTHS: [usize; 6] = [8, 32, 32, 16, 16, 4];

/// A perceptron of these widths for any batch of up to 64: dense layers, with ReLU between them, and a residual where two
/// widths are equal.
fn perceptron(widths: &[usize], dtype: DType, opset: Opset) -> Result<Program, Box<dyn Error>> {
    let mut g = Graph::new("main", opset);
    let batch = Symbol::new("N", Domain::Range { min: 1, max: Some(64) });
    let mut x = g.input("x", TensorType::new(dtype, [Dim::from(batch), Dim::from(widths[0])]));
    for (i, pair) in widths.windows(2).enumerate() {
        let &[from, to] = pair else { continue };
        let weight = g.constant(&format!("weight_{i}"), constant(&[to, from], 1000 * i, dtype)?);
        let bias = g.constant(&format!("bias_{i}"), constant(&[to], 1000 * i + 500, dtype)?);
        let mut y = g.push(mb::linear(&x, &weight).bias(&bias).name(format!("linear_{i}")))?;
        if i + 2 < widths.len() {
            y = g.push(mb::relu(&y).name(format!("relu_{i}")))?;
        }
        x = if from == to { g.push(mb::add(&x, &y).name(format!("residual_{i}")))? } else { y };
    }
    Ok(g.finish([("y", x)])?)
}

/// The same in plain Rust, for one row of the batch.
fn expected(widths: &[usize], row: &[f32]) -> Vec<f32> {
    let mut x = row.to_vec();
    for (i, pair) in widths.windows(2).enumerate() {
        let (weight, bias) = (numbers(1000 * i, pair[1] * pair[0]), numbers(1000 * i + 500, pair[1]));
        let dot = |row: &[f32]| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>();
        let mut y: Vec<f32> = weight.chunks_exact(pair[0]).zip(bias).map(|(row, b)| dot(row) + b).collect();
        if i + 2 < widths.len() {
            y.iter_mut().for_each(|v| *v = v.max(0.0));
        }
        if pair[0] == pair[1] {
            y.iter_mut().zip(&x).for_each(|(y, x)| *y += x);
        }
        x = y;
    }
    x
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let out = common::output_dir()?;
    for (name, dtype, opset, tolerance) in
        [("builder", DType::F32, Opset::iOS15, 1e-6), ("builder_fp16", DType::F16, Opset::iOS16, 1e-3)]
    {
        let program = perceptron(&WIDTHS, dtype, opset)?;
        program.save(out.join(name).with_extension("mlpackage"))?;
        let model = Model::from_program(&program)?;
        for batch in [1, 5] {
            let rows: Vec<f32> = numbers(7000, batch * WIDTHS[0]).into_iter().map(|v| v * 8.0).collect();
            let x = AnyTensor::from_f32(dtype, [batch, WIDTHS[0]], rows.clone())?;
            let y = &model.predict([("x", x)])?["y"];
            assert_eq!(y.shape(), [batch, WIDTHS[WIDTHS.len() - 1]]);
            let expected = rows.chunks_exact(WIDTHS[0]).flat_map(|row| expected(&WIDTHS, row));
            for (found, expected) in y.to_f32()?.iter().zip(expected) {
                assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
            }
            println!("{name}: {y:?}");
        }
    }
    Ok(())
}

//! Threads and callers change nothing but the time.

use std::{num::NonZeroUsize, thread, time::Instant};

use mil_core::{
    graph::Graph,
    ir::{Constant, Program},
    mb,
    types::{Opset, TensorType},
};
use mil_runtime::{AnyTensor, Backend, Model, Numerics};

use crate::compare::Random;

/// A small net of open height and width, with all that nets are made of.
fn net() -> Program {
    let mut r = Random(3);
    let mut w = |shape: &[usize]| {
        let fan_in: usize = shape[1..].iter().product();
        let numbers = r.floats(shape.iter().product(), 1.5 / (fan_in as f32).sqrt());
        Constant::new(shape, &numbers).unwrap()
    };
    let mut g = Graph::new("main", Opset::iOS17);
    let x = g.input("x", "Tensor<f32, 1, 3, H, W>".parse::<TensorType>().unwrap());
    let mut push = || -> Result<_, mil_core::graph::BuildError> {
        let a = g.push(mb::conv(&x, w(&[16, 3, 3, 3])).pad_type("same").strides([2, 2]))?;
        let a = g.push(mb::relu(&a))?;
        let b = g.push(mb::conv(&a, w(&[16, 1, 3, 3])).pad_type("same").groups(16))?;
        let b = g.push(mb::sigmoid(&b))?;
        let b = g.push(mb::conv(&b, w(&[16, 16, 1, 1])))?;
        let c = g.push(mb::add(&a, &b))?;
        let c = g.push(mb::conv(&c, w(&[24, 16, 3, 3])).pad_type("same"))?;
        let c = g.push(mb::max_pool(&c, [2, 2], "same").strides([2, 2]))?;
        let d = g.push(mb::reduce_mean(&c).axes([2, 3]).keep_dims(false))?;
        let d = g.push(mb::linear(&d, w(&[10, 24])))?;
        let d = g.push(mb::softmax(&d).axis(-1))?;
        Ok((c, d))
    };
    let (c, d) = push().unwrap();
    g.finish([("c", c), ("d", d)]).unwrap()
}

fn image(height: usize, width: usize, seed: u64) -> AnyTensor {
    let numbers = Random(seed).floats(3 * height * width, 1.0);
    AnyTensor::new([1, 3, height, width], numbers).unwrap()
}

fn model(program: &Program, threads: usize, numerics: Numerics) -> Model {
    let threads = NonZeroUsize::new(threads).unwrap();
    Model::options().backend(Backend::Cpu).threads(threads).numerics(numerics).from_program(program).unwrap()
}

fn bits(model: &Model, x: AnyTensor) -> Vec<Vec<u8>> {
    let outputs = model.predict([("x", x)]).unwrap();
    ["c", "d"].iter().map(|n| outputs[*n].bytes().unwrap().to_vec()).collect()
}

#[test]
fn results_do_not_depend_on_threads() {
    let program = net();
    for numerics in [Numerics::Fast, Numerics::Strict] {
        for (height, width) in [(48, 40), (33, 47), (5, 1)] {
            let one = bits(&model(&program, 1, numerics), image(height, width, 7));
            for threads in [2, 3, 5] {
                let many = bits(&model(&program, threads, numerics), image(height, width, 7));
                assert!(one == many, "{numerics}, {height} x {width}, {threads} threads");
            }
        }
    }
}

#[test]
fn callers_do_not_disturb_each_other() {
    let model = model(&net(), 2, Numerics::Fast);
    let sizes = [(24, 24), (9, 31), (16, 8)];
    let work: Vec<_> = (0..24u64).map(|n| (sizes[n as usize % 3], n + 1)).collect();
    let alone: Vec<_> = work.iter().map(|((h, w), seed)| bits(&model, image(*h, *w, *seed))).collect();
    let (model, work, alone) = (&model, &work, &alone);
    thread::scope(|s| {
        for caller in 0..8 {
            s.spawn(move || {
                for round in 0..work.len() {
                    let at = (caller * 5 + round) % work.len();
                    let ((h, w), seed) = work[at];
                    assert!(bits(model, image(h, w, seed)) == alone[at], "caller {caller}, input {at}");
                }
            });
        }
    });
}

/// A measure, for a machine with two cores and nothing else to do: `cargo test --release -p mil-runtime --test engine -- --ignored`.
#[test]
#[ignore = "a measure of time"]
#[allow(clippy::print_stdout)]
fn two_callers_get_more_done_than_one() {
    let model = &model(&net(), 1, Numerics::Fast);
    let predict = |times: usize| (0..times).for_each(|_| drop(bits(model, image(160, 160, 1))));
    predict(20);
    let best = |callers: usize| {
        let time = || {
            let start = Instant::now();
            thread::scope(|s| (0..callers).for_each(|_| drop(s.spawn(|| predict(60)))));
            (60 * callers) as f64 / start.elapsed().as_secs_f64()
        };
        (0..5).map(|_| time()).fold(0.0, f64::max)
    };
    let (one, two) = (best(1), best(2));
    println!("{one:.0} predictions per second by one caller, {two:.0} by two: {:.2} times", two / one);
    assert!(two > 1.4 * one);
}

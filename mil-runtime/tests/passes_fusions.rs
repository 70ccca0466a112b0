//! Fusions keep the numbers: each is run on a program of its pattern, and both programs on the same random inputs.

use mil_core::{
    graph::{Graph, Value},
    ir::{Constant, Program},
    mb,
    passes::{Context, Pipeline},
    types::{DType, Opset, TensorType},
};
use mil_runtime::{AnyTensor, Model};

/// A pattern, and what passes make of it.
struct Case {
    passes: &'static str,
    build: fn(&mut Build) -> Value,
    /// The ops after the passes, without constants.
    ops: &'static [&'static str],
}

/// A graph, and numbers that look random and are always the same.
struct Build {
    g: Graph,
    seed: u64,
}

impl Build {
    /// From -2 to 2.
    fn number(&mut self) -> f32 {
        self.seed = self.seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.seed >> 40) as f32 / (1 << 22) as f32 - 2.0
    }

    fn constant(&mut self, shape: &[usize]) -> Constant {
        let numbers: Vec<f32> = (0..shape.iter().product::<usize>()).map(|_| self.number()).collect();
        Constant::new(shape, &numbers).unwrap()
    }

    /// From 0.5 to 2.5.
    fn positive(&mut self, shape: &[usize]) -> Constant {
        let numbers: Vec<f32> = (0..shape.iter().product::<usize>()).map(|_| self.number().abs() + 0.5).collect();
        Constant::new(shape, &numbers).unwrap()
    }

    fn x(&mut self, shape: &[usize]) -> Value {
        self.g.input("x", TensorType::new(DType::F32, shape))
    }
}

macro_rules! push {
    ($b:ident, $call:expr) => {{
        let call = $call;
        $b.g.push(call).unwrap()
    }};
}

fn conv(b: &mut Build) -> Value {
    let x = b.x(&[2, 4, 5, 6]);
    let (w, bias) = (b.constant(&[6, 2, 3, 2]), b.constant(&[6]));
    push!(b, mb::conv(&x, w).bias(bias).groups(2).strides([2, 1]).pad_type("same"))
}

fn conv_transpose(b: &mut Build) -> Value {
    let x = b.x(&[2, 4, 5, 3]);
    let w = b.constant(&[4, 3, 3, 2]);
    push!(b, mb::conv_transpose(&x, w).groups(2).strides([2, 1]))
}

fn batch_norm(b: &mut Build, x: &Value, channels: usize) -> Value {
    let shape = [channels];
    let (mean, variance) = (b.constant(&shape), b.positive(&shape));
    let (gamma, beta) = (b.constant(&shape), b.constant(&shape));
    push!(b, mb::batch_norm(x, mean, variance).gamma(gamma).beta(beta).epsilon(1e-3))
}

fn erf_sum(b: &mut Build, x: &Value) -> Value {
    let v = push!(b, mb::real_div(x, std::f64::consts::SQRT_2));
    let v = push!(b, mb::erf(&v));
    push!(b, mb::add(&v, 1.0))
}

fn normalized(b: &mut Build, x: &Value, axes: &[i64]) -> Value {
    let mean = push!(b, mb::reduce_mean(x).axes(axes).keep_dims(true));
    let centered = push!(b, mb::sub(x, &mean));
    let square = push!(b, mb::mul(&centered, &centered));
    let variance = push!(b, mb::reduce_mean(&square).axes(axes).keep_dims(true));
    let variance = push!(b, mb::add(&variance, 1e-3));
    let inverse = push!(b, mb::rsqrt(&variance));
    push!(b, mb::mul(&centered, &inverse))
}

fn distributed(b: &mut Build, x: &Value, axes: &[i64], shape: &[usize]) -> Value {
    let mean = push!(b, mb::reduce_mean(x).axes(axes).keep_dims(true));
    let centered = push!(b, mb::sub(x, &mean));
    let square = push!(b, mb::square(&centered));
    let variance = push!(b, mb::reduce_mean(&square).axes(axes).keep_dims(true));
    let variance = push!(b, mb::add(&variance, 1e-3));
    let inverse = push!(b, mb::rsqrt(&variance));
    let (gamma, beta) = (b.constant(shape), b.constant(shape));
    let s = push!(b, mb::mul(&inverse, gamma));
    let product = push!(b, mb::mul(x, &s));
    let means = push!(b, mb::mul(&mean, &s));
    let shift = push!(b, mb::sub(beta, &means));
    push!(b, mb::add(&product, &shift))
}

const CASES: &[Case] = &[
    Case {
        passes: "fuse_conv_batchnorm",
        build: |b| {
            let c = conv(b);
            batch_norm(b, &c, 6)
        },
        ops: &["conv"],
    },
    Case {
        passes: "fuse_conv_batchnorm",
        build: |b| {
            let c = conv_transpose(b);
            batch_norm(b, &c, 6)
        },
        ops: &["conv_transpose"],
    },
    Case {
        passes: "fuse_conv_scale,fuse_conv_bias",
        build: |b| {
            let c = conv(b);
            let scale = b.constant(&[6, 1, 1]);
            let v = push!(b, mb::mul(scale, &c));
            let v = push!(b, mb::real_div(&v, 3.0));
            let added = b.constant(&[1, 6, 1, 1]);
            push!(b, mb::sub(added, &v))
        },
        ops: &["conv"],
    },
    Case {
        passes: "fuse_conv_scale,fuse_conv_bias",
        build: |b| {
            let c = conv_transpose(b);
            let scale = b.positive(&[6, 1, 1]);
            let v = push!(b, mb::real_div(&c, scale));
            let v = push!(b, mb::transpose(&v, [0, 2, 3, 1]));
            let added = b.constant(&[6]);
            push!(b, mb::add(added, &v))
        },
        ops: &["conv_transpose", "transpose"],
    },
    Case {
        passes: "fuse_matmul_weight_bias,fuse_linear_bias",
        build: |b| {
            let x = b.x(&[3, 4, 5]);
            let (w, first, second) = (b.constant(&[5, 7]), b.constant(&[1, 7]), b.constant(&[7]));
            let v = push!(b, mb::matmul(&x, w));
            let v = push!(b, mb::sub(&v, first));
            push!(b, mb::sub(second, &v))
        },
        ops: &["linear"],
    },
    Case {
        passes: "fuse_gelu_exact",
        build: |b| {
            let x = b.x(&[40]);
            let v = erf_sum(b, &x);
            let v = push!(b, mb::mul(&x, &v));
            push!(b, mb::mul(&v, 0.5))
        },
        ops: &["gelu"],
    },
    Case {
        passes: "fuse_gelu_tanh_approximation",
        build: |b| {
            let x = b.x(&[40]);
            let v = push!(b, mb::pow(&x, 3.0));
            let v = push!(b, mb::mul(&v, 0.044715));
            let v = push!(b, mb::add(&x, &v));
            let v = push!(b, mb::mul(&v, 0.7978845608));
            let v = push!(b, mb::tanh(&v));
            let v = push!(b, mb::add(&v, 1.0));
            let half = push!(b, mb::mul(&x, 0.5));
            push!(b, mb::mul(&half, &v))
        },
        ops: &["gelu"],
    },
    Case {
        passes: "fuse_gelu_sigmoid_approximation",
        build: |b| {
            let x = b.x(&[40]);
            let v = push!(b, mb::mul(&x, 1.702));
            let v = push!(b, mb::sigmoid(&v));
            push!(b, mb::mul(&x, &v))
        },
        ops: &["gelu"],
    },
    Case {
        passes: "fuse_silu",
        build: |b| {
            let x = b.x(&[40]);
            let v = push!(b, mb::sigmoid(&x));
            push!(b, mb::mul(&x, &v))
        },
        ops: &["silu"],
    },
    Case {
        passes: "fuse_hard_sigmoid",
        build: |b| {
            let x = b.x(&[40]);
            let x = push!(b, mb::mul(&x, &x));
            let v = push!(b, mb::sub(&x, 2.0));
            let v = push!(b, mb::relu6(&v));
            push!(b, mb::real_div(&v, 6.0))
        },
        ops: &["mul", "sigmoid_hard"],
    },
    Case {
        passes: "fuse_leaky_relu",
        build: |b| {
            let x = b.x(&[40]);
            let v = push!(b, mb::mul(&x, 0.3));
            push!(b, mb::maximum(&x, &v))
        },
        ops: &["leaky_relu"],
    },
    Case {
        passes: "fuse_prelu",
        build: |b| {
            let x = b.x(&[2, 3, 4, 5]);
            let x = push!(b, mb::transpose(&x, [0, 2, 3, 1]));
            let positive = push!(b, mb::relu(&x));
            let v = push!(b, mb::mul(&x, -1.0));
            let v = push!(b, mb::relu(&v));
            let a = b.constant(&[3]);
            let v = push!(b, mb::mul(&v, a));
            push!(b, mb::add(&positive, &v))
        },
        ops: &["prelu", "transpose"],
    },
    Case {
        passes: "prelu_to_lrelu",
        build: |b| {
            let x = b.x(&[2, 3, 4, 5]);
            push!(b, mb::prelu(&x, [0.2, 0.2, 0.2]))
        },
        ops: &["leaky_relu"],
    },
    Case {
        passes: "fuse_layernorm_or_instancenorm",
        build: |b| {
            let x = b.x(&[2, 3, 4, 5]);
            let v = normalized(b, &x, &[-1]);
            let (gamma, beta) = (b.constant(&[5]), b.constant(&[5]));
            let v = push!(b, mb::mul(&v, gamma));
            push!(b, mb::add(&v, beta))
        },
        ops: &["layer_norm"],
    },
    Case {
        passes: "fuse_layernorm_or_instancenorm",
        build: |b| {
            let x = b.x(&[2, 3, 1, 5]);
            let v = normalized(b, &x, &[1]);
            let (gamma, beta) = (b.constant(&[1, 3, 1, 1]), b.constant(&[1, 3, 1, 1]));
            let v = push!(b, mb::add(&v, beta));
            push!(b, mb::mul(&v, gamma))
        },
        ops: &["layer_norm"],
    },
    Case {
        passes: "fuse_layernorm_or_instancenorm",
        build: |b| {
            let x = b.x(&[2, 3, 4, 5]);
            let v = distributed(b, &x, &[2, 3], &[1, 3, 1, 1]);
            distributed(b, &v, &[1, 2], &[5])
        },
        ops: &["instance_norm", "transpose", "instance_norm", "transpose"],
    },
    Case {
        passes: "fuse_elementwise_to_batchnorm",
        build: |b| {
            let x = b.x(&[2, 3, 4, 5]);
            let (gamma, beta) = (b.constant(&[3, 1, 1]), b.constant(&[1, 3, 1, 1]));
            let v = push!(b, mb::mul(&x, gamma));
            push!(b, mb::add(&v, beta))
        },
        ops: &["batch_norm"],
    },
    Case {
        passes: "divide_to_multiply",
        build: |b| {
            let x = b.x(&[4, 5]);
            let c = b.positive(&[5]);
            push!(b, mb::real_div(&x, c))
        },
        ops: &["mul"],
    },
    Case {
        passes: "fuse_reduce_mean",
        build: |b| {
            let x = b.x(&[4, 5, 6]);
            let v = push!(b, mb::reduce_sum(&x).axes([0, -1]));
            push!(b, mb::real_div(&v, 24.0))
        },
        ops: &["reduce_mean"],
    },
    Case {
        passes: "fuse_pad_conv",
        build: |b| {
            let x = b.x(&[1, 5, 4, 2]);
            let v = push!(b, mb::pad(&x, [1, 2, 0, 3, 0, 0]));
            let v = push!(b, mb::transpose(&v, [0, 3, 1, 2]));
            let w = b.constant(&[3, 2, 2, 3]);
            push!(b, mb::conv(&v, w).pad_type("custom").pad([1, 0, 0, 1]).strides([2, 2]))
        },
        ops: &["transpose", "conv"],
    },
    Case {
        passes: "merge_consecutive_paddings",
        build: |b| {
            let x = b.x(&[1, 5, 4]);
            let v = push!(b, mb::pad(&x, [1, 2]).mode("reflect"));
            push!(b, mb::pad(&v, [3, 1, 0, 0]).mode("reflect"))
        },
        ops: &["pad"],
    },
    Case {
        passes: "merge_consecutive_transposes,merge_consecutive_relus",
        build: |b| {
            let x = b.x(&[3, 5, 4]);
            let v = push!(b, mb::transpose(&x, [1, 2, 0]));
            let v = push!(b, mb::transpose(&v, [0, 2, 1]));
            let v = push!(b, mb::relu(&v));
            push!(b, mb::relu(&v))
        },
        ops: &["transpose", "relu"],
    },
    Case {
        passes: "fuse_transpose_matmul",
        build: |b| {
            let x = b.x(&[3, 5, 4]);
            let t = push!(b, mb::transpose(&x, [0, 2, 1]));
            let v = push!(b, mb::matmul(&t, &x));
            push!(b, mb::matmul(&v, &t))
        },
        ops: &["matmul", "matmul"],
    },
    Case {
        passes: "fuse_stack_split",
        build: |b| {
            let x = b.x(&[3, 4]);
            let y = push!(b, mb::exp(&x));
            let v = push!(b, mb::stack([&x, &y], 1));
            let parts = push!(b, mb::split(&v, 1).num_splits(2));
            let last = push!(b, mb::squeeze(&parts[1]).axes([1]));
            push!(b, mb::tanh(&last))
        },
        ops: &["exp", "tanh"],
    },
    Case {
        passes: "reduce_transposes",
        build: |b| {
            let x = b.x(&[2, 3, 4, 5]);
            let v = push!(b, mb::transpose(&x, [0, 2, 3, 1]));
            let (c, d) = (b.constant(&[3]), b.constant(&[4, 1, 3]));
            let v = push!(b, mb::mul(&v, c));
            let v = push!(b, mb::sub(d, &v));
            let v = push!(b, mb::softmax(&v).axis(2));
            let parts = push!(b, mb::split(&v, -1).split_sizes([1, 2]));
            let c = b.constant(&[2, 4, 5, 1]);
            let c = b.g.constant("c", c);
            let v = push!(b, mb::concat([&parts[1], &c, &parts[0]], 3));
            let v = push!(b, mb::pad(&v, [1, 0, 0, 2]).constant_val(0.5));
            let m = push!(b, mb::reduce_mean(&v).axes([3, 1]).keep_dims(true));
            let v = push!(b, mb::sub(&v, &m));
            push!(b, mb::transpose(&v, [0, 3, 1, 2]))
        },
        ops: &["mul", "sub", "softmax", "split", "concat", "pad", "reduce_mean", "sub"],
    },
    Case {
        passes: "reduce_transposes",
        build: |b| {
            let x = b.x(&[2, 3, 4]);
            let z = push!(b, mb::reduce_max(&x).axes([0, 2]));
            let v = push!(b, mb::transpose(&x, [2, 0, 1]));
            let v = push!(b, mb::add(&z, &v));
            let v = push!(b, mb::reduce_sum(&v).axes([1]));
            push!(b, mb::transpose(&v, [1, 0]))
        },
        ops: &["reduce_max", "reshape", "add", "reduce_sum"],
    },
    Case {
        // The pipeline as a whole: what a framework that puts channels last writes.
        passes: "fp32",
        build: |b| {
            let x = b.x(&[1, 6, 6, 3]);
            let v = push!(b, mb::transpose(&x, [0, 3, 1, 2]));
            let w = b.constant(&[4, 3, 3, 3]);
            let v = push!(b, mb::conv(&v, w));
            let v = push!(b, mb::transpose(&v, [0, 2, 3, 1]));
            let (scale, shift) = (b.constant(&[4]), b.constant(&[4]));
            let v = push!(b, mb::mul(&v, scale));
            let v = push!(b, mb::add(&v, shift));
            let s = push!(b, mb::sigmoid(&v));
            let v = push!(b, mb::mul(&v, &s));
            let v = push!(b, mb::transpose(&v, [0, 3, 1, 2]));
            let w = b.constant(&[2, 4, 1, 1]);
            let v = push!(b, mb::conv(&v, w));
            let v = push!(b, mb::transpose(&v, [0, 2, 3, 1]));
            let v = push!(b, mb::reduce_sum(&v).axes([1, 2]));
            let v = push!(b, mb::real_div(&v, 16.0));
            let (w, bias) = (b.constant(&[2, 5]), b.constant(&[5]));
            let v = push!(b, mb::matmul(&v, w));
            push!(b, mb::add(&v, bias))
        },
        ops: &["transpose", "conv", "silu", "conv", "reduce_mean", "linear"],
    },
];

fn ops(program: &Program) -> Vec<&'static str> {
    let f = program.main().unwrap();
    let all = f.walk().into_iter().map(|op| f.op(op).def);
    all.filter(|def| !def.is_const()).map(|def| def.name).collect()
}

fn run(program: &Program, x: &AnyTensor) -> Vec<f32> {
    let y = Model::from_program(program).unwrap().predict([("x", x.clone())]).unwrap().single().unwrap();
    y.as_slice::<f32>().unwrap().to_vec()
}

/// What is wrong with a case, if something is.
fn wrong(case: &Case, seed: u64) -> Option<String> {
    let mut b = Build { g: Graph::new("main", Opset::iOS17), seed };
    let y = (case.build)(&mut b);
    let shape = b.g.function().value(b.g.function().inputs[0]).ty.tensor().unwrap().shape.fixed().unwrap();
    let numbers: Vec<f32> = (0..shape.iter().product::<usize>()).map(|_| b.number()).collect();
    let x = AnyTensor::new(shape, numbers).unwrap();
    let before = b.g.finish([("y", y)]).unwrap();
    let mut after = before.clone();
    if let Err(e) = Pipeline::parse(case.passes).unwrap().run(&mut after, &Context::default()) {
        return Some(e.to_string());
    }
    if ops(&after) != case.ops {
        return Some(format!("has {:?}, expected {:?}", ops(&after), case.ops));
    }
    let (expected, found) = (run(&before, &x), run(&after, &x));
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    if largest == 0.0 || expected.len() != found.len() {
        return Some(format!("{} numbers, {} expected, the largest is {largest}", found.len(), expected.len()));
    }
    let near = |(e, f): &(&f32, &f32)| (**e - **f).abs() <= 1e-5 * largest;
    let (e, f) = expected.iter().zip(&found).find(|pair| !near(pair))?;
    Some(format!("{e} became {f}, of {largest} at most"))
}

#[test]
fn numbers_are_kept() {
    let all = CASES.iter().enumerate();
    let wrong = all.filter_map(|(i, c)| Some(format!("case {i}, {}: {}", c.passes, wrong(c, i as u64 + 1)?)));
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_pipeline_does_no_more_the_second_time() {
    for (i, case) in CASES.iter().enumerate() {
        let mut b = Build { g: Graph::new("main", Opset::iOS17), seed: i as u64 + 1 };
        let y = (case.build)(&mut b);
        let mut program = b.g.finish([("y", y)]).unwrap();
        Pipeline::fp32().run(&mut program, &Context::default()).unwrap();
        let once = ops(&program);
        Pipeline::fp32().run(&mut program, &Context::default()).unwrap();
        assert_eq!(ops(&program), once, "case {i}, {}", case.passes);
    }
}

//! Compressed weights give what dense ones do, to the bit, and stay small.

use std::{collections::BTreeMap, num::NonZeroUsize};

use half::f16;
use mil_core::{
    graph::{Graph, Value},
    ir::{Constant, Function, Program},
    mb,
    types::{DType, Opset, TensorType},
};
use proptest::prelude::*;

use crate::{
    cpu::{CpuOptions, Executor, Numerics, plan::testing::rounding},
    tensor::AnyTensor,
};

/// Random numbers of a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn ints(&mut self, dtype: DType, shape: &[usize]) -> Constant {
        let (min, max) = dtype.int_range().unwrap();
        let mut next = || (min + i128::from(self.next()) % (max - min + 1)) as i64;
        let values: Vec<i64> = (0..shape.iter().product()).map(|_| next()).collect();
        Constant::integers(dtype, shape, &values).unwrap()
    }

    /// Numbers that are no round ones.
    fn floats(&mut self, dtype: DType, shape: &[usize]) -> Constant {
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| (self.next() % 2001) as f32 / 777.0 - 1.3).collect();
        match dtype {
            DType::F16 => Constant::new(shape, &values.into_iter().map(f16::from_f32).collect::<Vec<_>>()).unwrap(),
            _ => Constant::new(shape, &values).unwrap(),
        }
    }
}

/// How a weight is compressed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Way {
    /// Of i8 or u8; scale and zero point by column or not.
    Affine {
        signed: bool,
        scales: bool,
        zeros: bool,
    },
    /// The zero point as f32.
    AffineF32,
    /// The scales along another dimension.
    AffineAcross,
    Blockwise {
        data: DType,
        by_column: bool,
        offset: Option<DType>,
    },
    /// Blocks along another dimension.
    Blocks,
    /// Indices of so many bits, in one group or one for every two columns.
    Lut {
        bits: usize,
        groups: bool,
    },
    /// As up to iOS17.
    OldLut {
        bits: usize,
    },
    Sparse,
}

impl Way {
    /// Whether it stays compressed.
    fn is_packed(self, dtype: DType) -> bool {
        match self {
            Way::AffineAcross | Way::Blocks | Way::Sparse => false,
            // The differences are rounded.
            Way::Blockwise { offset: Some(DType::F16), .. } => dtype == DType::F32,
            _ => true,
        }
    }

    fn opset(self) -> Opset {
        match self {
            Way::Affine { .. } | Way::AffineF32 | Way::AffineAcross | Way::OldLut { .. } => Opset::iOS16,
            _ => Opset::iOS18,
        }
    }

    /// The weight; columns run along `axis`.
    fn push(self, g: &mut Graph, r: &mut Random, dtype: DType, shape: &[usize], axis: usize) -> Value {
        let columns = shape[axis];
        let vector = |long: bool| if long { vec![columns] } else { vec![] };
        let ones = |n: usize| (0..shape.len()).map(|d| if d == axis { n } else { 1 }).collect::<Vec<_>>();
        let pushed = match self {
            Way::Affine { signed, scales, zeros } => {
                let int = if signed { DType::I8 } else { DType::U8 };
                let (data, zero) = (r.ints(int, shape), r.ints(int, &vector(zeros)));
                let scale = r.floats(dtype, &vector(scales));
                g.push(mb::constexpr_affine_dequantize(data, zero, scale, axis as i64 - shape.len() as i64))
            }
            Way::AffineF32 => {
                let (data, zero) = (r.ints(DType::I8, shape), r.floats(DType::F32, &[columns]));
                g.push(mb::constexpr_affine_dequantize(data, zero, r.floats(dtype, &[columns]), axis as i64))
            }
            Way::AffineAcross => {
                let across = usize::from(axis == 0);
                let (data, zero) = (r.ints(DType::I8, shape), r.ints(DType::I8, &[]));
                g.push(mb::constexpr_affine_dequantize(data, zero, r.floats(dtype, &[shape[across]]), across as i64))
            }
            Way::Blockwise { data, by_column, offset } => {
                let scale = r.floats(dtype, &ones(if by_column { columns } else { 1 }));
                let call = mb::constexpr_blockwise_shift_scale(r.ints(data, shape), scale.clone());
                g.push(match offset {
                    None => call,
                    Some(d) if d.is_float() => call.offset(r.floats(d, scale.shape())),
                    Some(_) => call.offset(r.ints(data, scale.shape())),
                })
            }
            Way::Blocks => {
                let mut blocks = ones(1);
                blocks[usize::from(axis == 0)] = shape[usize::from(axis == 0)];
                g.push(mb::constexpr_blockwise_shift_scale(r.ints(DType::I8, shape), r.floats(dtype, &blocks)))
            }
            Way::Lut { bits, groups } => {
                let int = [DType::U1, DType::U2, DType::U3, DType::U4, DType::U6, DType::U8];
                let int = int.into_iter().find(|d| d.bits() == bits).unwrap();
                let n = if groups && columns.is_multiple_of(2) { columns / 2 } else { 1 };
                let table: Vec<usize> = ones(n).into_iter().chain([1 << bits, 1]).collect();
                g.push(mb::constexpr_lut_to_dense(r.ints(int, shape), r.floats(dtype, &table)))
            }
            Way::OldLut { bits } => {
                let bytes = (shape.iter().product::<usize>() * bits).div_ceil(8);
                let sizes: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
                let sizes = Constant::integers(DType::U32, [sizes.len()], &sizes).unwrap();
                let (indices, table) = (r.ints(DType::U8, &[bytes]), r.floats(dtype, &[1 << bits]));
                g.push(mb::constexpr_lut_to_dense(indices, table).shape(sizes))
            }
            Way::Sparse => {
                let mask = r.ints(DType::U1, shape);
                let count = mask.ints().unwrap().iter().sum::<i64>() as usize;
                g.push(mb::constexpr_sparse_to_dense(r.floats(dtype, &[count]), mask))
            }
        };
        pushed.unwrap()
    }
}

fn way() -> impl Strategy<Value = Way> {
    let data = prop::sample::select(vec![DType::I8, DType::U8, DType::I4, DType::U4]);
    let offset = prop::sample::select(vec![None, Some(DType::I8), Some(DType::F16), Some(DType::F32)]);
    let bits = prop::sample::select(vec![1usize, 2, 4, 6, 8]);
    prop_oneof![
        3 => any::<[bool; 3]>().prop_map(|[signed, scales, zeros]| Way::Affine { signed, scales, zeros }),
        4 => (data, any::<bool>(), offset).prop_map(|(data, by_column, offset)| Way::Blockwise { data, by_column, offset }),
        3 => (prop::sample::select(vec![1usize, 2, 3, 4, 6, 8]), any::<bool>()).prop_map(|(bits, groups)| Way::Lut { bits, groups }),
        2 => bits.prop_map(|bits| Way::OldLut { bits }),
        1 => prop::sample::select(vec![Way::AffineF32, Way::AffineAcross, Way::Blocks, Way::Sparse]),
    ]
}

/// What uses the weight.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Use {
    Linear,
    Matmul { transposed: bool },
    Conv { groups: usize, kernel: usize },
    Depthwise,
    ConvTranspose { groups: usize },
}

impl Use {
    /// The shape of the weight, and the dimension along which columns run.
    fn weight(self, inputs: usize, outputs: usize) -> (Vec<usize>, usize) {
        match self {
            Use::Linear => (vec![outputs, inputs], 0),
            Use::Matmul { transposed: true } => (vec![1, outputs, inputs], 1),
            Use::Matmul { transposed: false } => (vec![1, inputs, outputs], 2),
            Use::Conv { groups, kernel } => (vec![groups * outputs, inputs, kernel, kernel], 0),
            Use::Depthwise => (vec![outputs, 1, 3, 3], 0),
            Use::ConvTranspose { groups } => (vec![groups * inputs, outputs, 3, 2], 1),
        }
    }

    fn push(self, g: &mut Graph, inputs: usize, outputs: usize, dtype: DType, weight: &Value) -> (Value, Vec<usize>) {
        let shape = match self {
            Use::Linear => vec![3, inputs],
            Use::Matmul { .. } => vec![2, 3, inputs],
            Use::Conv { groups, .. } | Use::ConvTranspose { groups } => vec![1, groups * inputs, 5, 4],
            Use::Depthwise => vec![1, outputs, 5, 4],
        };
        let x = g.input("x", TensorType::new(dtype, &shape[..]));
        let y = match self {
            Use::Linear => g.push(mb::linear(&x, weight)),
            Use::Matmul { transposed } => g.push(mb::matmul(&x, weight).transpose_y(transposed)),
            Use::Conv { groups, .. } => g.push(mb::conv(&x, weight).groups(groups as i64).pad_type("same")),
            Use::Depthwise => g.push(mb::conv(&x, weight).groups(outputs as i64)),
            Use::ConvTranspose { groups } => {
                g.push(mb::conv_transpose(&x, weight).groups(groups as i64).strides([2, 1]))
            }
        };
        (g.push(mb::relu(y.unwrap())).unwrap(), shape)
    }
}

fn used() -> impl Strategy<Value = Use> {
    prop_oneof![
        1 => Just(Use::Linear),
        2 => any::<bool>().prop_map(|transposed| Use::Matmul { transposed }),
        2 => (1usize..3, 1usize..4).prop_map(|(groups, kernel)| Use::Conv { groups, kernel }),
        1 => Just(Use::Depthwise),
        1 => (1usize..3).prop_map(|groups| Use::ConvTranspose { groups }),
    ]
}

fn main(program: &Program) -> Function {
    program.main().unwrap().clone()
}

/// The compressed function, the same with the unpacked weight, and the shape of its input.
fn functions(
    way: Way,
    used: Use,
    dtype: DType,
    (inputs, outputs): (usize, usize),
    seed: u64,
) -> (Function, Function, Vec<usize>) {
    let (shape, axis) = used.weight(inputs, outputs);
    let mut g = Graph::new("main", way.opset());
    let w = way.push(&mut g, &mut Random(seed), dtype, &shape, axis);
    let f = g.function();
    let op = f.walk().into_iter().map(|o| f.op(o)).find(|o| o.def.is_constexpr()).unwrap();
    let unpacked = f.materialize(op, &|_| None).unwrap().remove(0);
    let (y, x) = used.push(&mut g, inputs, outputs, dtype, &w);
    let small = main(&g.finish([("y", y)]).unwrap());
    let mut g = Graph::new("main", way.opset());
    let w = g.constant("w", unpacked);
    let (y, _) = used.push(&mut g, inputs, outputs, dtype, &w);
    (small, main(&g.finish([("y", y)]).unwrap()), x)
}

fn run(executor: &Executor, x: &AnyTensor) -> AnyTensor {
    executor.run(BTreeMap::from([("x".to_string(), x.clone())])).unwrap().remove("y").unwrap()
}

fn planned(function: &Function, threads: usize, numerics: Numerics) -> Executor {
    Executor::with_options(
        function.clone(),
        &CpuOptions { threads: NonZeroUsize::new(threads), numerics, ..CpuOptions::default() },
    )
    .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_numbers(
        way in way(), used in used(), inputs in 1usize..40, outputs in 1usize..40, half in any::<bool>(), seed in any::<u64>(),
    ) {
        let dtype = if half { DType::F16 } else { DType::F32 };
        let (small, dense, shape) = functions(way, used, dtype, (inputs, outputs), seed);
        let x = Random(seed ^ 1).floats(dtype, &shape);
        let x = AnyTensor::from_constant(&x).unwrap();
        let expected = run(&Executor::new(small.clone()).unwrap(), &x);
        let numbers = expected.to_f32().unwrap();
        let largest = numbers.iter().fold(0f32, |a, v| a.max(v.abs()));
        for (threads, numerics) in [(1, Numerics::Fast), (2, Numerics::Fast), (1, Numerics::Strict), (2, Numerics::Strict)] {
            let executor = planned(&small, threads, numerics);
            let got = run(&executor, &x);
            prop_assert_eq!(&got, &run(&planned(&dense, threads, numerics), &x));
            for (g, e) in got.to_f32().unwrap().iter().zip(&*numbers) {
                prop_assert!(g == e || (g - e).abs() <= rounding(dtype) * largest, "{g} for {e}");
            }
            // Nothing is kept besides what is packed.
            let planner = executor.planner().unwrap();
            prop_assert_eq!(planner.compressed.len(), 1);
            prop_assert!(planner.compressed.values().all(|c| !c.is_dense()));
        }
    }

    #[test]
    fn small_in_memory(way in way(), used in used(), half in any::<bool>(), seed in any::<u64>()) {
        prop_assume!(used != Use::Depthwise);
        let dtype = if half { DType::F16 } else { DType::F32 };
        let (inputs, outputs) = (256, 64);
        let (small, _, shape) = functions(way, used, dtype, (inputs, outputs), seed);
        let x = AnyTensor::from_constant(&Random(seed).floats(dtype, &shape)).unwrap();
        let executor = planned(&small, 1, Numerics::Strict);
        run(&executor, &x);
        let bytes = executor.planner().unwrap().packed_bytes();
        let (weight, _) = used.weight(inputs, outputs);
        let count: usize = weight.iter().product();
        // Scales and zero points or tables, with those of columns that fill up groups; tables of 8 bits can be larger than they are worth.
        let more = match way {
            Way::Lut { bits: 8, groups: true } => count * dtype.bits() / 8,
            Way::Lut { bits, .. } | Way::OldLut { bits } => count + 2 * (outputs << bits) * 4,
            _ => count + 4096,
        };
        let expected = if way.is_packed(dtype) { more } else { count * dtype.bits() / 8 };
        prop_assert!(bytes >= count && bytes <= expected, "{bytes} bytes for {count} elements");
    }
}

/// Where the numbers themselves are wanted they are there, in both engines.
#[test]
fn numbers_where_they_are_wanted() {
    let mut g = Graph::new("main", Opset::iOS18);
    let x = g.input("x", TensorType::new(DType::F32, [2, 3]));
    let data = Constant::integers(DType::I4, [2, 3], &[1, 2, 3, -4, -5, -6]).unwrap();
    let w = g.push(mb::constexpr_blockwise_shift_scale(data, Constant::new([1, 1], &[0.5f32]).unwrap())).unwrap();
    let sum = g.push(mb::add(&x, &w)).unwrap();
    let go = g.push(mb::less(&x, 100.0)).unwrap();
    let go = g.push(mb::cast(&go, "fp32")).unwrap();
    let go = g.push(mb::reduce_min(&go)).unwrap();
    let go = g.push(mb::cast(&go, "bool")).unwrap();
    let chosen = g.cond(&go, |_| Ok(vec![w.clone()]), |_| Ok(vec![x.clone()])).unwrap().remove(0);
    let product = g.push(mb::linear(&x, &w)).unwrap();
    let sorted = g.push(mb::argsort(&w).axis(1)).unwrap();
    let outputs = [("sum", sum), ("w", w), ("chosen", chosen), ("product", product), ("sorted", sorted)];
    let function = main(&g.finish(outputs).unwrap());
    let w = AnyTensor::new([2, 3], vec![0.5f32, 1.0, 1.5, -2.0, -2.5, -3.0]).unwrap();
    for executor in [Executor::new(function.clone()).unwrap(), planned(&function, 1, Numerics::Fast)] {
        for _ in 0..2 {
            let x = AnyTensor::new([2, 3], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
            let out = executor.run(BTreeMap::from([("x".to_string(), x)])).unwrap();
            assert_eq!(out["w"], w);
            assert_eq!(out["chosen"], w);
            assert_eq!(out["sum"], AnyTensor::new([2, 3], vec![1.5f32, 3.0, 4.5, 2.0, 2.5, 3.0]).unwrap());
            assert_eq!(out["product"], AnyTensor::new([2, 2], vec![7f32, -16.0, 16.0, -38.5]).unwrap());
            assert_eq!(out["sorted"], AnyTensor::new([2, 3], vec![2i32, 1, 0, 0, 1, 2]).unwrap());
        }
    }
}

/// Weights that are not attached are missed when a function is made ready, not when it runs.
#[test]
fn missing_weights() {
    let mut g = Graph::new("main", Opset::iOS18);
    let x = g.input("x", TensorType::new(DType::F32, [1, 3]));
    let data = Constant::weight("packed", DType::I8, [2, 3]);
    let call = mb::constexpr_blockwise_shift_scale(data, Constant::new([1, 1], &[0.5f32]).unwrap());
    let w = g.push(call).unwrap();
    let y = g.push(mb::linear(&x, &w)).unwrap();
    let function = main(&g.finish([("y", y)]).unwrap());
    for result in [Executor::new(function.clone()), Executor::with_options(function.clone(), &CpuOptions::default())] {
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("constexpr_blockwise_shift_scale") && error.contains("`data` must be a known constant"),
            "{error}"
        );
    }
}

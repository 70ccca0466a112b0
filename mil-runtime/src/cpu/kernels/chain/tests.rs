//! Chains against plain loops.

use half::f16;
use mil_core::ops::scalar;
use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::{
    math::tests::ulp,
    scaled::{
        scaled,
        testing::{cases, threads},
    },
    unary::apply,
};

/// Numbers, some of them odd.
fn number() -> impl Strategy<Value = f32> {
    prop_oneof![8 => -9f32..9.0, 1 => prop::sample::select(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0][..])]
}

/// All indices of a shape.
pub(crate) fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let count = shape.iter().product();
    let of = |mut position: usize| {
        let mut index = vec![0; shape.len()];
        for d in (0..shape.len()).rev() {
            index[d] = position % shape[d];
            position /= shape[d];
        }
        index
    };
    (0..count).map(of).collect()
}

pub(crate) fn place(view: &View, index: &[usize]) -> usize {
    view.offset + view.strides.iter().zip(index).map(|(s, i)| s * i).sum::<usize>()
}

/// A view whose elements are apart: dimensions in the order of `keys`, with gaps.
pub(crate) fn apart(shape: &[usize], keys: &[u8], gaps: &[usize], offset: usize) -> View {
    let mut order: Vec<usize> = (0..shape.len()).collect();
    order.sort_by_key(|d| keys[*d]);
    let (mut strides, mut next) = (vec![0; shape.len()], 1);
    for d in order {
        next += if gaps[d] == 3 { 2 } else { 0 };
        strides[d] = next;
        next *= shape[d].max(1);
    }
    View { offset, strides }
}

pub(crate) fn shapes() -> impl Strategy<Value = Vec<usize>> {
    // Rows shorter and longer than those that are taken several at once, and than blocks.
    let long = [scaled(500, 28)..scaled(1100, 70), scaled(1000, 60)..scaled(2100, 140)];
    let some = [1, 3, scaled(20, 4), scaled(50, 6)];
    prop_oneof![
        8 => prop::collection::vec(prop_oneof![6 => 1usize..6, 1 => Just(0usize), 2 => 6..scaled(20, 9)], 0..scaled(5, 4)),
        2 => (1usize..3, prop::sample::select(some.to_vec()), long[0].clone()).prop_map(|(a, b, c)| vec![a, c, b]),
        1 => (1usize..3, long[1].clone()).prop_map(|(a, c)| vec![a, c]),
    ]
}

/// How many elements a view needs.
pub(crate) fn length(shape: &[usize], view: &View) -> usize {
    if shape.contains(&0) { 0 } else { place(view, &shape.iter().map(|n| n - 1).collect::<Vec<_>>()) + 1 }
}

fn meaning(op: Binary, x: f32, y: f32) -> f32 {
    let (a, b) = (f64::from(x), f64::from(y));
    (match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Max => scalar::max(a, b),
        Binary::Min => scalar::min(a, b),
        Binary::Pow => a.powf(b),
        Binary::FloorDiv => scalar::floor_div(a, b),
        Binary::Mod => scalar::modulo(a, b),
        Binary::Prelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
    }) as f32
}

const BINARY: [Binary; 9] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Max,
    Binary::Min,
    Binary::FloorDiv,
    Binary::Mod,
    Binary::Prelu,
];

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        3 => (prop::sample::select(&BINARY[..]), 0usize..2, any::<bool>()).prop_map(|(op, operand, swapped)| Stage::Binary { op, operand, swapped }),
        1 => Just(Stage::Half),
        1 => prop::sample::select(&[Unary::Relu, Unary::Sigmoid, Unary::Square][..]).prop_map(Stage::Unary),
    ]
}

fn same(a: f32, b: f32) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

fn filled(numbers: &[f32], count: usize) -> Vec<f32> {
    numbers
        .iter()
        .copied()
        .cycle()
        .enumerate()
        .map(|(i, v)| v + (i / numbers.len()) as f32 * 0.25)
        .take(count)
        .collect()
}

proptest! {
    #![proptest_config(cases(40, 4))]

    #[test]
    fn chains_are_plain_loops(
        shape in shapes(),
        keys in prop::array::uniform5(any::<u8>()),
        gaps in prop::array::uniform5(0usize..4),
        strides in prop::collection::vec(prop::sample::select(&[0usize, 0, 1, 1, 2, 3, 7][..]), 10),
        plain in prop::array::uniform3(any::<bool>()),
        numbers in prop::collection::vec(number(), 1..40),
        stages in prop::collection::vec(stage(), 0..scaled(5, 3)),
        in_place in any::<bool>(),
        threads in threads(),
    ) {
        let out = apart(&shape, &keys, &gaps, gaps[0]);
        let free = |at: usize| View { offset: at, strides: strides[at..at + shape.len()].to_vec() };
        let operands = vec![
            if plain[0] { View { offset: 0, ..out.clone() } } else { free(1) },
            if plain[1] { View::contiguous(&shape) } else { free(2) },
        ];
        let input = if in_place || plain[2] { out.clone() } else { free(3) };
        // Two views of one slice.
        let values = filled(&numbers, operands.iter().map(|v| length(&shape, v)).max().unwrap());
        let slices = [&values[..]; 2];
        let from = filled(&numbers, length(&shape, &input));
        let chain = Chain::new(&shape, out.clone(), input.clone(), operands.clone(), stages.clone());
        let all = indices(&shape);
        for isa in Isa::available() {
            let blank = vec![77f32; length(&shape, &out) + 9];
            let mut expected = blank.clone();
            for index in &all {
                let mut v = from[place(&input, index)];
                for stage in &stages {
                    v = match *stage {
                        Stage::Unary(op) => {
                            let mut one = [v];
                            apply(isa, &op, &mut one);
                            one[0]
                        }
                        Stage::Half => f16::from_f32(v).to_f32(),
                        Stage::Binary { op, operand, swapped } => {
                            let y = values[place(&operands[operand], index)];
                            if swapped { meaning(op, y, v) } else { meaning(op, v, y) }
                        }
                    };
                }
                expected[place(&out, index)] = v;
            }
            let mut got = blank.clone();
            if in_place {
                all.iter().for_each(|i| got[place(&out, i)] = from[place(&out, i)]);
            }
            let input = (!in_place).then_some(&from[..]);
            chain.run(isa, &Threads::new(threads), &mut got, input, &slices);
            for (at, (g, e)) in got.iter().zip(&expected).enumerate() {
                prop_assert!(same(*g, *e), "{isa:?}, {at}: {g} for {e}; {chain:?}");
            }
        }
    }

    #[test]
    fn powers(x in prop::collection::vec(prop_oneof![number(), any::<u32>().prop_map(f32::from_bits)], 1..scaled(40, 9)), y in prop::sample::select(&[1f32, 2.0, 3.0, -1.0, 0.5, 0.0, 2.5, -3.0, f32::NAN][..])) {
        let shape = [x.len()];
        for isa in Isa::available() {
            for swapped in [false, true] {
                let one = View { offset: 0, strides: vec![0] };
                let stage = Stage::Binary { op: Binary::Pow, operand: 0, swapped };
                let chain = Chain::new(&shape, View::contiguous(&shape), View::contiguous(&shape), vec![one], vec![stage]);
                let mut got = x.clone();
                chain.run(isa, &Threads::new(1), &mut got, None, &[&[y]]);
                for (x, got) in x.iter().zip(&got) {
                    let (a, b) = if swapped { (y, *x) } else { (*x, y) };
                    let truth = f64::from(a).powf(f64::from(b));
                    // A cube is rounded twice.
                    let bound = if b == 3.0 { 1.5 } else { 1.01 };
                    prop_assert!(ulp(*got, truth) <= bound, "{isa:?}: {a:e} ^ {b}: {got:e} for {truth:e}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "in a slice of")]
fn a_slice_that_is_too_short() {
    let view = || View::contiguous(&[4, 4]);
    let chain = Chain::new(&[4, 4], view(), view(), vec![], vec![Stage::Unary(Unary::Relu)]);
    chain.run(Isa::SCALAR, &Threads::new(1), &mut [0.0; 16], Some(&[0.0; 15]), &[]);
}

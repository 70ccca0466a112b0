//! Copies against plain loops.

use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::{
    chain::tests::{apart, indices, length, place, shapes},
    scaled::{
        scaled,
        testing::{cases, threads},
    },
};

/// Bits that are all different: copies keep even those of NaN.
fn pattern(i: usize) -> f32 {
    if i % 97 == 5 { f32::from_bits(0x7fc0_0000 + i as u32) } else { i as f32 - 300.0 }
}

/// Numbers of f16, NaN and infinities among them.
fn half(i: usize) -> f16 {
    match i % 89 {
        3 => f16::NAN,
        4 => f16::NEG_INFINITY,
        _ => f16::from_f32(i as f32 * 0.37 - 200.0),
    }
}

fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| v.to_bits()).collect()
}

/// Two dimensions that are transposed, large enough for blocks, between others.
fn transposed() -> impl Strategy<Value = Vec<usize>> {
    (1..scaled(3, 2), 1..scaled(70, 20), 1..scaled(70, 20), 1..scaled(3, 2)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

proptest! {
    #![proptest_config(cases(32, 4))]

    #[test]
    fn copies_are_plain_loops(
        shape in prop_oneof![shapes(), transposed()],
        keys in prop::array::uniform5(0u8..8),
        other in prop::array::uniform5(0u8..8),
        gaps in prop::array::uniform5(0usize..4),
        broadcast in prop::collection::vec(prop::sample::select(&[0usize, 1, 1, 1, 1, 1, 2][..]), 5),
        threads in threads(),
    ) {
        let to = apart(&shape, &keys, &gaps, gaps[0]);
        let mut from = apart(&shape, &other, &gaps.map(|g| 3 - g), gaps[1]);
        from.strides.iter_mut().zip(&broadcast).for_each(|(s, b)| *s *= b);
        let (given, taken) = (length(&shape, &from), length(&shape, &to) + 5);
        let values: Vec<f32> = (0..given).map(pattern).collect();
        let halves: Vec<f16> = (0..given).map(half).collect();
        let threads = Threads::new(threads);
        let copy = Copy::new(&shape, to.clone(), from.clone());
        let (mut whole, mut wide, mut narrow) = (vec![7f32; taken], vec![7f32; taken], vec![f16::ONE; taken]);
        for index in indices(&shape) {
            let (to, from) = (place(&to, &index), place(&from, &index));
            whole[to] = values[from];
            wide[to] = halves[from].to_f32();
            narrow[to] = f16::from_f32(values[from]);
        }
        for isa in Isa::available() {
            let mut got = vec![7f32; taken];
            copy.run(isa, &threads, &mut got, &values);
            prop_assert!(bits(&got) == bits(&whole), "{:?}: {:?}", isa, copy);
            let mut got = vec![7f32; taken];
            copy.load_halves(isa, &threads, &mut got, &halves);
            prop_assert!(bits(&got) == bits(&wide), "{:?}: {:?}", isa, copy);
            let mut got = vec![f16::ONE; taken];
            copy.store_halves(isa, &threads, &mut got, &values);
            let same = |(g, e): (&f16, &f16)| g == e || (g.is_nan() && e.is_nan());
            prop_assert!(got.iter().zip(&narrow).all(same), "{:?}: {:?}", isa, copy);
        }
    }
}

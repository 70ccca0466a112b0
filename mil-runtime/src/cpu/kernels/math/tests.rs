//! Every function against f64, on every instruction set of this machine.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use proptest::prelude::*;

use super::*;
use crate::cpu::kernels::{
    scaled::{scaled, testing::cases},
    simd::{Isa, dispatch},
};

/// In place, with the function of this number.
#[inline(always)]
unsafe fn generic<S: Simd>(which: usize, x: &mut [f32]) {
    assert_eq!(x.len() % S::LANES, 0);
    for at in (0..x.len()).step_by(S::LANES) {
        // SAFETY: so many elements are there.
        unsafe {
            let p = x.as_mut_ptr().add(at);
            let v = S::load(p);
            let y = match which {
                0 => exp::<S>(v),
                1 => exp_m1::<S>(v),
                2 => exp2::<S>(v),
                3 => log::<S>(v),
                4 => softplus::<S>(v),
                5 => tanh::<S>(v),
                6 => erf::<S>(v),
                7 => sigmoid::<S>(v),
                8 => silu::<S>(v),
                9 => gelu::<S>(v),
                10 => gelu_tanh::<S>(v),
                11 => gelu_sigmoid::<S>(v),
                12 => sin::<S>(v),
                13 => cos::<S>(v),
                14 => log_plus::<S>(v, 1e-4),
                15 => log_plus::<S>(v, 1e-45),
                _ => lanes::<S>(v, f64::atan),
            };
            S::store(p, y);
        }
    }
}

dispatch! { unsafe fn entry(which: usize, x: &mut [f32]) = super::tests::generic }

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A name, the truth, and the range that matters most.
type Function = (&'static str, fn(f64) -> f64, f32, f32);

const FUNCTIONS: [Function; 17] = [
    ("exp", f64::exp, -104.0, 89.0),
    ("exp_m1", |x| if x > 0.0 { f64::NAN } else { x.exp_m1() }, -20.0, 0.0),
    ("exp2", f64::exp2, -151.0, 129.0),
    ("log", f64::ln, 0.0, 3.0),
    ("softplus", |x| if x.is_nan() { x } else { x.max(0.0) + (-x.abs()).exp().ln_1p() }, -90.0, 20.0),
    ("tanh", f64::tanh, -10.0, 10.0),
    ("erf", libm::erf, -4.5, 4.5),
    ("sigmoid", logistic, -105.0, 20.0),
    ("silu", |x| x * logistic(x), -110.0, 20.0),
    ("gelu", |x| 0.5 * x * libm::erfc(-x * FRAC_1_SQRT_2), -15.0, 7.0),
    ("gelu_tanh", |x| x * logistic(2.0 * (2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)), -12.0, 7.0),
    ("gelu_sigmoid", |x| x * logistic(1.702 * x), -70.0, 7.0),
    ("sin", f64::sin, -100.0, 9000.0),
    ("cos", f64::cos, -100.0, 9000.0),
    ("log_plus", |x| (x + f64::from(1e-4f32)).ln(), -1e-4, 2.0),
    ("log_plus", |x| (x + f64::from(1e-45f32)).ln(), 0.0, 2.0),
    ("lanes", f64::atan, -9.0, 9.0),
];

/// The most units of the last place.
fn bound(name: &str, isa: Isa) -> f64 {
    match name {
        "gelu" | "gelu_tanh" | "gelu_sigmoid" | "silu" if isa == Isa::SCALAR => 3.1,
        "gelu" | "gelu_tanh" | "gelu_sigmoid" => 2.5,
        _ => 2.0,
    }
}

/// The distance in units of the last place of `truth`.
pub(crate) fn ulp(got: f32, truth: f64) -> f64 {
    if truth.is_nan() || got.is_nan() {
        return if truth.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    let rounded = truth as f32;
    if got == rounded {
        return 0.0;
    }
    if got.is_infinite() || rounded.is_infinite() {
        return if got.abs().min(rounded.abs()) == f32::MAX && got.signum() == rounded.signum() {
            1.0
        } else {
            f64::INFINITY
        };
    }
    let exponent = (rounded.abs().to_bits() >> 23).max(1) as i32 - 127 - 23;
    (f64::from(got) - truth).abs() / f64::from(exponent).exp2()
}

/// The worst distance of a function among these operands, and where.
fn worst(isa: Isa, which: usize, x: &[f32]) -> (f64, f32, f32) {
    let mut x = x.to_vec();
    x.resize(x.len().next_multiple_of(16), 0.0);
    let mut got = x.clone();
    // SAFETY: `generic` has no conditions.
    unsafe { entry(isa, which, &mut got) };
    let truth = FUNCTIONS[which].1;
    let mut worst = (0.0, 0.0, 0.0);
    for (x, got) in x.iter().zip(got) {
        let truth = truth(f64::from(*x));
        if which == 1 && *x > 0.0 {
            continue;
        }
        let mut distance = ulp(got, truth);
        // Zeros have signs, but where the truth rounds to zero from either side.
        if truth == 0.0 && got == 0.0 && truth.is_sign_negative() != got.is_sign_negative() {
            distance = f64::INFINITY;
        }
        if distance > worst.0 {
            worst = (distance, *x, got);
        }
    }
    worst
}

/// Bit patterns all over f32, and numbers all over the range that matters.
fn operands(low: f32, high: f32) -> Vec<f32> {
    let count: u32 = if cfg!(miri) {
        8
    } else if cfg!(debug_assertions) {
        6_000
    } else {
        400_000
    };
    let patterns = (0..count).map(|i| f32::from_bits((u64::from(i) * (1 << 32) / u64::from(count)) as u32));
    let range = (0..count)
        .map(|i| (f64::from(low) + (f64::from(high) - f64::from(low)) * f64::from(i) / f64::from(count)) as f32);
    let odd = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-45,
    ];
    let edges = [
        88.72284,
        88.72283,
        88.722_85,
        -103.972_08,
        -103.278_93,
        127.999_99,
        128.0,
        -149.0,
        -150.0,
        -149.5,
        8192.0,
        8192.001,
        1e4,
        1e10,
        0.625,
        0.92,
    ];
    let near = (-40..40)
        .step_by(scaled(1, 9))
        .map(|i| f32::from_bits((1f32.to_bits() as i32 + i) as u32) - if i % 2 == 0 { 0.0 } else { 1e-4 });
    patterns.chain(range).chain(odd).chain(edges).chain(edges.map(|x| -x)).chain(near).collect()
}

#[test]
fn within_ulps_of_f64() {
    let mut good = true;
    for (which, (name, _, low, high)) in FUNCTIONS.iter().enumerate() {
        let x = operands(*low, *high);
        for isa in Isa::available() {
            let (distance, x, got) = worst(isa, which, &x);
            eprintln!("{name} {isa:?}: {distance:.2} ulp at {x:e}: {got:e}");
            good &= distance <= bound(name, isa);
        }
    }
    assert!(good, "more than there may be: see above");
}

proptest! {
    #![proptest_config(cases(48, 1))]

    #[test]
    fn any_bits(bits in prop::collection::vec(any::<u32>(), 32), scale in -20f32..20.0) {
        let x: Vec<f32> = bits.iter().map(|b| f32::from_bits(*b)).chain(bits.iter().map(|b| *b as f32 / 4e9 * scale)).collect();
        for (which, (name, ..)) in FUNCTIONS.iter().enumerate() {
            for isa in Isa::available() {
                let (distance, x, got) = worst(isa, which, &x);
                prop_assert!(distance <= bound(name, isa), "{name} {isa:?}: {distance} ulp at {x:e}: {got:e}");
            }
        }
    }
}
